"""What all calls of one process to a host must know of each other: its clock, its pace, and when it said "not before".

The exchange counts by address, so one worker's 429 is every worker's; nothing here outlives the process.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
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
#: a 429 below this used weight is not about weight
_LEAST_LIMIT = 100
#: how long a limit that a 429 has shown is believed in
_LIMIT_AGE = 3600.0


class Clock(Protocol):
    """Where the time comes from: the module `time` is one."""

    def time(self) -> float:
        """Seconds since 1970."""

    def monotonic(self) -> float:
        """Seconds that only grow."""


@dataclass
class _Usage:
    """What is known of the weight that everybody behind this address has used on one endpoint.

    :param used: weight, as the last answer stated it
    :param heard_at: when that was, by our monotonic clock
    :param limit: the weight at which the endpoint was seen to refuse, or the documented limit
    :param learned_at: when that was seen
    """

    used: int = 0
    heard_at: float = -math.inf
    limit: int = LIMIT
    learned_at: float = -math.inf

    def hear(self, used: int, now: float, *, accepted: bool) -> None:
        """Take over what an answer states; one that was not refused disproves a lower limit."""
        self.used, self.heard_at = used, now
        if accepted and used > self.limit:
            self.limit = LIMIT

    def refused(self, now: float) -> None:
        """A 429 came with the weight heard last: the limit is no higher than that."""
        if _LEAST_LIMIT <= self.used < self.limit and now - self.heard_at < 1:
            self.limit, self.learned_at = self.used, now


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
        self._usage: dict[str, _Usage] = {}
        self._not_before = -math.inf
        self._minute_began = -math.inf
        self._banned = False
        self._said: tuple[int | None, int | None] = (None, None)

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

    def heard(self, status: int | None, header: Callable[[str], str | None], path: str = "") -> None:
        """Take note of an answer's ``Date`` and of the weight used by everybody behind this address on the path."""
        if status is None:
            return
        now = self.clock.monotonic()
        date = _http_date(header("date"))
        used = header("x-sapi-used-ip-weight-1m") or ""
        with self._lock:
            if date is not None:
                self._date = (date, now)
            if used.isascii() and used.isdigit() and len(used) < 10:  # noqa: PLR2004 - a sane number
                self._usage_of(path).hear(int(used), now, accepted=status == 200)  # noqa: PLR2004

    def throttled(
        self,
        status: int,
        retry_after: str | None,
        *,
        banned_until_ms: int | None,
        code: int | None = None,
        path: str = "",
    ) -> None:
        """Take note that nothing may be sent for a time: of 429, of 418 and of 403, which are bans.

        Where header and text name two ends, the later one counts; so it does where an earlier answer named another.
        A 429 also shows what the limit is, should it be lower than the documented one.
        """
        named = [self._seconds(retry_after)]
        if banned_until_ms is not None:
            named.append(banned_until_ms / 1000 - (self.exchange_time() or self.clock.time()))
        seconds = max((some for some in named if some is not None), default=-1.0)
        named_end = seconds >= 0
        if not named_end:
            seconds = _DEFAULT_WAIT.get(status, _DEFAULT_WAIT[429])
        with self._lock:
            now = self.clock.monotonic()
            banned = status in (403, 418) or banned_until_ms is not None
            self._banned = banned or (self._banned and now < self._not_before)
            end = now + min(max(seconds, 1.0), _LONGEST_BAN)
            if end >= self._not_before:
                self._not_before, self._said = end, (status, code)
            if named_end:
                self._minute_began = self._not_before  # what was used by now counts no more then
            self._usage_of(path).refused(now)
            self._tokens, self._tokens_at = min(self._tokens, 0.0), self._not_before  # then no burst, but the pace

    def asked_wait(self, retry_after: str | None) -> float:
        """The seconds that a ``Retry-After`` asks to wait, from now on; 0 where there is none."""
        return min(max(self._seconds(retry_after) or 0.0, 0.0), _LONGEST_BAN)

    def _seconds(self, retry_after: str | None) -> float | None:
        text = (retry_after or "").strip()
        if text.isascii() and text.isdigit():
            return float(text)
        date = _http_date(text)
        return None if date is None else date - (self.exchange_time() or self.clock.time())

    # -- what calls must wait for --------------------------------------------------------------------------------

    def clearance(self, weight: int, longest_wait: float, path: str = "") -> Generator[Wait, object, None]:
        """Wait until a call of this weight to the path may be sent.

        :raises BinanceBannedError: at once while a ban lasts
        :raises BinanceThrottledError: when the exchange asks for a longer wait than `longest_wait`
        """
        yield from self._permission(longest_wait)  # first, so that a call that is refused takes nothing from the pace
        pace = self._reserve(weight, path)
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
        status, code = self._said
        if self._banned:
            raise BinanceBannedError(
                f"the exchange has shut this address out for {left:.0f} s (418 or 403); nothing is sent to it before",
                retry_after=left,
                code=code,
                status=status,
            )
        raise BinanceThrottledError(
            f"the exchange asks to wait {left:.0f} s (429)", retry_after=left, code=code, status=status
        )

    def _usage_of(self, path: str) -> _Usage:
        return self._usage.setdefault(path, _Usage())

    def _ease(self, path: str, now: float) -> float:
        """Which part of the full pace is right: by the path's limit, and by how much of it is used this minute."""
        usage = self._usage_of(path)
        limit = usage.limit if now - usage.learned_at < _LIMIT_AGE else LIMIT
        is_of_this_minute = now - usage.heard_at < _MINUTE and usage.heard_at >= self._minute_began
        share = usage.used / limit if is_of_this_minute else 0.0
        return min(1.0, max(2 * (1 - share), 0.01)) * limit / LIMIT

    def _reserve(self, weight: int, path: str) -> float:
        """Take tokens out of the bucket, into debt if need be, and say how long to wait for them."""
        with self._lock:
            now = self.clock.monotonic()
            ease = self._ease(path, now)
            self._tokens = min(self._tokens + max(now - self._tokens_at, 0.0) * RATE * ease, BURST * ease)
            self._tokens_at = max(now, self._tokens_at)
            self._tokens -= weight
            return max(-self._tokens / (RATE * ease), 0.0)


@lru_cache(maxsize=16)  # answers of one second say the same
def _http_date(text: str | None) -> float | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
