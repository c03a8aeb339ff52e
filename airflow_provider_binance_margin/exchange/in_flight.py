"""Limiter of the requests in flight to one host, for threads of a worker and coroutines of a triggerer alike."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from airflow_provider_binance_margin.exchange.forking import fork_safe_lock, renew_in_children
from airflow_provider_binance_margin.exchange.rate_limiter import Limit

#: requests in flight to one host, at most, where the caller names no other number
MOST = 20


@dataclass(eq=False, slots=True)
class _Place:
    limit: Limit
    weight: int
    width: int
    arrived: int
    turn: Future[None] | None = None  # of one that has to wait


class InFlight:
    """First come, first served, for each limit by itself. Safe to share between threads, event loops and forks.

    :param room: requests under a limit, of a weight, that may be in flight now, at least 1
    """

    def __init__(self, room: Callable[[Limit, int], int]) -> None:
        self._room = room
        self._lock = fork_safe_lock()
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Forget all places in a forked child: its parent's requests are none of its own."""
        self._taken: dict[Limit, set[_Place]] = {}
        self._waiting: dict[Limit, deque[_Place]] = {}
        self._arrived = 0

    @contextmanager
    def place(self, limit: Limit, weight: int, width: int) -> Iterator[Future[None] | None]:
        """A place for one request, given back with the block: free at once, or to be used once the future is done.

        :param width: requests in flight to the host that the caller can carry, whatever their limits
        """
        with self._lock:
            self._arrived += 1
            place = _Place(limit, weight, width, self._arrived)
            taken, waiting = self._taken.setdefault(limit, set()), self._waiting.setdefault(limit, deque())
            waiting.append(place)
            self._admit()
            if place not in taken:
                place.turn = Future()
        try:
            yield place.turn
        finally:
            with self._lock:
                if place in taken:
                    taken.remove(place)
                elif place in waiting:
                    waiting.remove(place)
                self._admit()

    def _admit(self) -> None:
        while heads := [queue[0] for queue in self._waiting.values() if queue and self._fits(queue[0])]:
            place = min(heads, key=lambda head: head.arrived)
            self._waiting[place.limit].popleft()
            if place.turn is None or place.turn.set_running_or_notify_cancel():
                self._taken[place.limit].add(place)
                if place.turn is not None:
                    place.turn.set_result(None)

    def _fits(self, place: _Place) -> bool:
        in_flight = sum(map(len, self._taken.values()))
        return in_flight < place.width and len(self._taken[place.limit]) < self._room(place.limit, place.weight)
