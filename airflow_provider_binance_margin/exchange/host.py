"""State that all calls of one process to a host share: its clock, its pace, its bans and places in flight.

The exchange counts by address, so one worker's 429 is every worker's; nothing here outlives the process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

from airflow_provider_binance_margin.exchange.ban_register import BanRegister
from airflow_provider_binance_margin.exchange.forking import fork_safe_lock
from airflow_provider_binance_margin.exchange.in_flight import InFlight
from airflow_provider_binance_margin.exchange.messages import Wait
from airflow_provider_binance_margin.exchange.rate_limiter import SHARE, Endpoint, RateLimiter
from airflow_provider_binance_margin.exchange.server_clock import Clock, ServerClock

_UNNAMED = Endpoint()


class Host:
    """One base URL (without a slash at its end), as this process has come to know it. Safe to share between threads."""

    def __init__(self, base_url: str, clock: Clock) -> None:
        self.base_url = base_url
        self.clock = clock
        self._lock = fork_safe_lock()
        self.server_clock = ServerClock(clock)
        self.bans = BanRegister(clock, self.server_clock)
        self.limiter = RateLimiter(clock, self.server_clock)
        self.in_flight = InFlight(self.limiter.room)
        self.server_ms, self.exchange_time = self.server_clock.server_ms, self.server_clock.exchange_time

    def record_response(
        self,
        status: int | None,
        header: Callable[[str], str | None],
        endpoint: Endpoint = _UNNAMED,
        *,
        accepted: bool | None = None,
        sent_at: float = math.inf,
    ) -> None:
        """Take note of the used weight that an answer states, and of a success's ``Date``.

        :param accepted: True for a success of the exchange's own; by its status if not given
        :param sent_at: when the request left, by the exchange's clock
        """
        if status is None:
            return
        accepted = status == 200 if accepted is None else accepted  # noqa: PLR2004
        with self._lock:
            if accepted:
                self.server_clock.record_date(header("date"))
            # what was still under way when a 429 came shows no room
            has_room = accepted and self.clock.monotonic() >= self.bans.not_before
            self.limiter.record_used(header, endpoint, accepted=has_room, sent_at=sent_at)

    def record_throttle(
        self,
        status: int,
        retry_after: str | None,
        endpoint: Endpoint = _UNNAMED,
        *,
        banned_until_ms: int | None,
        code: int | None = None,
        date: str | None = None,
    ) -> None:
        """Take note of a 429, 418 or 403, see `BanRegister.record`; a 429 may show a limit below the documented."""
        with self._lock:
            names_end = self.bans.record(status, retry_after, banned_until_ms, code, date)
            self.limiter.record_throttle(endpoint, self.bans.not_before, names_end=names_end)

    def acquire(
        self, weight: int, longest_wait: float, endpoint: Endpoint = _UNNAMED, share: float = SHARE
    ) -> Generator[Wait, object, None]:
        """Wait until a call of this weight may be sent.

        :raises BinanceBannedError: at once while a ban lasts
        :raises BinanceThrottledError: when the exchange asks for a longer wait than `longest_wait`
        """
        yield from self._permission(longest_wait)  # first, so that a call that is refused takes nothing from the pace
        with self._lock:
            turn = self.limiter.queue(weight, endpoint, share)
        while (pause := self._pause(turn)) > 0:
            yield Wait(pause)
            yield from self._permission(longest_wait)

    def _pause(self, turn: Callable[[], float]) -> float:
        with self._lock:
            return turn()

    def _permission(self, longest_wait: float) -> Generator[Wait, object, None]:
        while (left := self.bans.check(longest_wait)) > 0:
            yield Wait(left, "the exchange asks to wait (429)")
