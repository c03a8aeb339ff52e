"""Limiter of the requests in flight to one host, for threads of a worker and coroutines of a triggerer alike."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from airflow_provider_binance_margin.exchange.forking import fork_safe_lock
from airflow_provider_binance_margin.exchange.rate_limiter import Limit

#: requests in flight to one host, at most, where the caller names no other number
MOST = 20


@dataclass(eq=False)
class _Place:
    limit: Limit
    weight: int
    width: int
    turn: Future[None] = field(default_factory=Future)


class InFlight:
    """First come, first served, for each limit by itself. Safe to share between threads, event loops and forks.

    :param room: requests under a limit, of a weight, that may be in flight now, at least 1
    """

    def __init__(self, room: Callable[[Limit, int], int]) -> None:
        self._room = room
        self._lock = fork_safe_lock()
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._taken: set[_Place] = set()
        self._waiting: dict[Limit, deque[tuple[int, _Place]]] = {}
        self._arrived = 0

    @contextmanager
    def place(self, limit: Limit, weight: int, width: int) -> Iterator[Future[None]]:
        """A place for one request: to be used once the future is done, given back with the block.

        :param width: requests in flight to the host that the caller can carry, whatever their limits
        """
        place = _Place(limit, weight, width)
        with self._lock:
            if self._pid != os.getpid():  # a forked child: the parent's requests are none of its own
                self._begin()
            self._arrived += 1
            self._waiting.setdefault(limit, deque()).append((self._arrived, place))
            self._admit()
        try:
            yield place.turn
        finally:
            with self._lock:
                if place in self._taken:
                    self._taken.remove(place)
                elif queue := self._waiting.get(limit):
                    self._waiting[limit] = deque(entry for entry in queue if entry[1] is not place)
                self._admit()

    def _admit(self) -> None:
        while heads := [queue[0] for queue in self._waiting.values() if queue and self._fits(queue[0][1])]:
            _, place = min(heads, key=lambda head: head[0])
            self._waiting[place.limit].popleft()
            if place.turn.set_running_or_notify_cancel():
                self._taken.add(place)
                place.turn.set_result(None)

    def _fits(self, place: _Place) -> bool:
        beside = sum(taken.limit == place.limit for taken in self._taken)
        return len(self._taken) < place.width and beside < self._room(place.limit, place.weight)
