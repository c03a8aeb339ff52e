"""Server clock: the exchange's time, estimated from its responses."""

from __future__ import annotations

import math
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Protocol

_OFFSET_AGE = 1800.0


class Clock(Protocol):
    """This machine's clock: the module `time` is one."""

    def time(self) -> float:
        """Seconds since 1970."""

    def monotonic(self) -> float:
        """Seconds that only grow."""


class ServerClock:
    """Clock offset for signatures, and the exchange's time for all that asks whether a window has settled."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ms = 0
        self._offset_set_at: float | None = None
        self._date: tuple[float, float] | None = None

    def server_ms(self) -> int:
        """The server's time in ms, as well as we know it: for timestamps of requests."""
        return int(self._clock.time() * 1000) + self._offset_ms

    def set(self, server_ms: int, *, sent_at: float) -> None:
        """Set the offset from a server time requested at `sent_at` (local clock) and just received."""
        self._offset_ms = server_ms - int((sent_at + self._clock.time()) / 2 * 1000)
        self._offset_set_at = self._clock.monotonic()
        self._date = (server_ms / 1000, self._offset_set_at)

    def is_stale(self) -> bool:
        """True when the offset in use was measured too long ago to trust."""
        return self._offset_set_at is not None and self._clock.monotonic() - self._offset_set_at > _OFFSET_AGE

    def doubt(self) -> None:
        """Mark the offset as stale: it is measured again before the next signature."""
        self._offset_set_at = -math.inf

    def record_date(self, date: str | None) -> None:
        """Record the ``Date`` of a successful response, unless it came from a cache."""
        if (seconds := http_date(date)) is not None:
            self._date = (seconds, self._clock.monotonic())

    def exchange_time(self, at: float | None = None) -> float | None:
        """The exchange's time in seconds since 1970, never ahead of the truth: THE clock by which a window has settled.

        It is set by the ``Date`` of the exchange's own successes and by the ``serverTime`` it is asked for; errors,
        redirects, what a cache has kept and what else a box in between may answer never set it.

        :param at: the instant meant, by our monotonic clock; now if not given
        :return: None before the first success
        """
        if self._date is None:
            return None
        date, heard_at = self._date
        return date + (self._clock.monotonic() if at is None else at) - heard_at

    def now(self, at: float | None = None) -> float:
        """The same, by this machine's clock before the first success."""
        known = self.exchange_time(at)
        if known is None:
            return self._clock.time() - (0.0 if at is None else self._clock.monotonic() - at)
        return known


@lru_cache(maxsize=16)  # answers of one second say the same
def http_date(text: str | None) -> float | None:
    """Seconds since 1970 of an HTTP date; None for what is none."""
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
