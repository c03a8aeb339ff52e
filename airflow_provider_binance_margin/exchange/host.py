"""What all calls of one process to a host must know of each other: its clock, its pace, and when it said "not before".

The exchange counts by address, so one worker's 429 is every worker's; nothing here outlives the process.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NoReturn, Protocol

from airflow_provider_binance_margin.exchange.errors import BinanceBannedError, BinanceThrottledError
from airflow_provider_binance_margin.exchange.wire import Wait

#: The documented limit of weight per minute, address and endpoint.
LIMIT = 12_000
BURST = 1_200
RATE = 100.0
_LONGEST_BAN = 3 * 24 * 3600.0
_DEFAULT_WAIT = {429: 10.0, 418: 300.0, 403: 300.0}
_OFFSET_AGE = 1800.0
_MINUTE = 60.0


class Clock(Protocol):
    """Where the time comes from: the module `time` is one."""

    def time(self) -> float:
        """Seconds since 1970."""

    def monotonic(self) -> float:
        """Seconds that only grow."""


class Host:
    """One base URL, as this process has come to know it. Safe to share between threads.

    :param base_url: scheme, host and port, without a slash at the end
    :param clock: where the time comes from
    """

    def __init__(self, base_url: str, clock: Clock) -> None:
        self.base_url = base_url
        self.clock = clock
        self._lock = threading.Lock()
        self._offset_ms = 0
        self._offset_set_at: float | None = None
        self._date: tuple[float, float] | None = None
        self._tokens = float(BURST)
        self._tokens_at = clock.monotonic()
        self._used: tuple[int, float] = (0, -math.inf)
        self._not_before = -math.inf
        self._banned = False

    # -- clock ---------------------------------------------------------------------------------------------------

    def server_ms(self) -> int:
        """The server's time in ms, as well as we know it: for timestamps of requests."""
        return int(self.clock.time() * 1000) + self._offset_ms

    def set_clock(self, server_ms: int, *, sent_at: float) -> None:
        """Take over the server's time, asked for at `sent_at` (our clock) and just received."""
        with self._lock:
            self._offset_ms = server_ms - int((sent_at + self.clock.time()) / 2 * 1000)
            self._offset_set_at = self.clock.monotonic()

    def clock_is_stale(self) -> bool:
        """Whether an offset is in use that was measured too long ago to trust."""
        return self._offset_set_at is not None and self.clock.monotonic() - self._offset_set_at > _OFFSET_AGE

    def exchange_time(self, at: float | None = None) -> float | None:
        """The exchange's time in seconds since 1970 by the last ``Date`` it sent, never ahead of the truth.

        :param at: the instant meant, by our monotonic clock; now if not given
        :return: None before the first answer
        """
        if self._date is None:
            return None
        date, heard_at = self._date
        return date + (self.clock.monotonic() if at is None else at) - heard_at

    # -- what answers tell ---------------------------------------------------------------------------------------

    def heard(self, status: int | None, header: Callable[[str], str | None]) -> None:
        """Take note of an answer's ``Date`` and of the weight used by everybody behind this address."""
        if status is None:
            return
        now = self.clock.monotonic()
        date = _http_date(header("date"))
        used = header("x-sapi-used-ip-weight-1m") or ""
        with self._lock:
            if date is not None:
                self._date = (date, now)
            if used.isascii() and used.isdigit() and len(used) < 10:  # noqa: PLR2004 - a sane number
                self._used = (int(used), now)

    def throttled(self, status: int, retry_after: str | None, *, banned_until_ms: int | None) -> None:
        """Take note that nothing may be sent for a time: of 429, of 418 and of 403, which are bans.

        Where header and text name two ends, the later one counts; so it does where an earlier answer named another.
        """
        named = [self._seconds(retry_after)]
        if banned_until_ms is not None:
            named.append(banned_until_ms / 1000 - (self.exchange_time() or self.clock.time()))
        seconds = max((some for some in named if some is not None), default=-1.0)
        if seconds < 0:
            seconds = _DEFAULT_WAIT.get(status, _DEFAULT_WAIT[429])
        with self._lock:
            now = self.clock.monotonic()
            banned = status in (403, 418) or banned_until_ms is not None
            self._banned = banned or (self._banned and now < self._not_before)
            self._not_before = max(self._not_before, now + min(max(seconds, 1.0), _LONGEST_BAN))
            self._tokens, self._tokens_at = min(self._tokens, 0.0), self._not_before  # then no burst, but the pace

    def _seconds(self, retry_after: str | None) -> float | None:
        text = (retry_after or "").strip()
        if text.isascii() and text.isdigit():
            return float(text[:12])
        date = _http_date(text)
        return None if date is None else date - (self.exchange_time() or self.clock.time())

    # -- what calls must wait for --------------------------------------------------------------------------------

    def clearance(self, weight: int, longest_wait: float) -> Generator[Wait, object, None]:
        """Wait until a call of this weight may be sent.

        :raises BinanceBannedError: at once while a ban lasts
        :raises BinanceThrottledError: when the exchange asks for a longer wait than `longest_wait`
        """
        yield from self._permission(longest_wait)  # first, so that a call that is refused takes nothing from the pace
        pace = self._reserve(weight)
        if pace > 0:
            yield Wait(pace)
            yield from self._permission(longest_wait)

    def _permission(self, longest_wait: float) -> Generator[Wait, object, None]:
        while (left := self._not_before - self.clock.monotonic()) > 0:
            if self._banned or left > longest_wait:
                self.raise_throttled()
            yield Wait(left, "the exchange asks to wait (429)")

    def raise_throttled(self) -> NoReturn:
        """Raise what says how long nothing may be sent."""
        left = max(self._not_before - self.clock.monotonic(), 0.0)
        if self._banned:
            raise BinanceBannedError(
                f"the exchange has shut this address out for {left:.0f} s (418 or 403); nothing is sent to it before",
                retry_after=left,
            )
        raise BinanceThrottledError(f"the exchange asks to wait {left:.0f} s (429)", retry_after=left)

    def _reserve(self, weight: int) -> float:
        """Take tokens out of the bucket, into debt if need be, and say how long to wait for them."""
        with self._lock:
            now = self.clock.monotonic()
            used, heard_at = self._used
            share = used / LIMIT if now - heard_at < _MINUTE else 0.0
            ease = min(1.0, max(2 * (1 - share), 0.01))
            self._tokens = min(self._tokens + max(now - self._tokens_at, 0.0) * RATE * ease, BURST * ease)
            self._tokens_at = max(now, self._tokens_at)
            self._tokens -= weight
            return max(-self._tokens / (RATE * ease), 0.0)


def _http_date(text: str | None) -> float | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
