"""What all calls of one process to a host share: its clock, its pace, places in flight, and when it said "not before".

The exchange counts by address, so one worker's 429 is every worker's; nothing here outlives the process.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NoReturn, Protocol

from airflow_provider_binance_margin.exchange.errors import BinanceBannedError, BinanceThrottledError
from airflow_provider_binance_margin.exchange.forking import fork_safe_lock
from airflow_provider_binance_margin.exchange.in_flight import InFlight
from airflow_provider_binance_margin.exchange.messages import Wait

#: The documented limit of weight per minute, address and endpoint.
LIMIT = 12_000
BURST = 1_200
RATE = 100.0
_LONGEST_BAN = 3 * 24 * 3600.0
#: seconds where an answer names no end
_BAN = 300.0
_THROTTLE = 10.0
#: the same where it tries to, in a form that cannot be read
_THROTTLE_UNREADABLE = 60.0
_OFFSET_AGE = 1800.0
_MINUTE = 60.0
#: a 429 below this used weight is not about weight
_LEAST_LIMIT = 100
#: how long a limit that a 429 has shown is believed in, and the room that accepted answers have shown
_MEMORY = 3600.0
#: requests in flight on an endpoint before its answers have shown that there is room for more
_FEW = 4
#: the part of the room that is left which may be in flight
_SHARE = 8
_WEEKDAY = "(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*"
_ENDS = re.compile(rf"(?:{_WEEKDAY},)?[^,]+", re.IGNORECASE)  # an HTTP date has a comma of its own
_SECONDS = re.compile(r"\+?(\d+\.?\d*|\.\d+)\s*(?:s|secs?|seconds?)?", re.IGNORECASE | re.ASCII)


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
    :param accepted: the largest weight that an accepted answer has stated since the last 429
    :param accepted_at: when it did
    """

    used: int = 0
    heard_at: float = -math.inf
    limit: int = LIMIT
    learned_at: float = -math.inf
    accepted: int = 0
    accepted_at: float = -math.inf

    def hear(self, used: int, now: float, *, accepted: bool) -> None:
        """Take over what an answer states; one that was not refused disproves a lower limit."""
        self.used, self.heard_at = used, now
        if accepted and used > self.limit:
            self.limit = LIMIT
        if accepted and (used >= self.accepted or now - self.accepted_at >= _MEMORY):
            self.accepted, self.accepted_at = used, now

    def refused(self, now: float) -> None:
        """A 429 came with the weight heard last: the limit is no higher than that."""
        if 0 < self.used < (self.limit if self.limit >= _LEAST_LIMIT else LIMIT) and now - self.heard_at < 1:
            self.limit, self.learned_at = self.used, now

    def limit_at(self, now: float) -> int:
        """The limit, as far as it is still believed."""
        return self.limit if now - self.learned_at < _MEMORY else LIMIT


class Host:
    """One base URL, as this process has come to know it. Safe to share between threads.

    :param base_url: scheme, host and port, without a slash at the end
    :param clock: where the time comes from
    """

    def __init__(self, base_url: str, clock: Clock) -> None:
        self.base_url = base_url
        self.clock = clock
        self.in_flight = InFlight(self._room)
        self._lock = fork_safe_lock()
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
            self._date = (server_ms / 1000, self._offset_set_at)

    def clock_is_stale(self) -> bool:
        """Whether an offset is in use that was measured too long ago to trust."""
        return self._offset_set_at is not None and self.clock.monotonic() - self._offset_set_at > _OFFSET_AGE

    def exchange_time(self, at: float | None = None) -> float | None:
        """The exchange's time in seconds since 1970, never ahead of the truth: THE clock by which a window has settled.

        It is set by the ``Date`` of the exchange's own successes and by the ``serverTime`` it is asked for; errors,
        redirects and what else a box in between may answer never set it.

        :param at: the instant meant, by our monotonic clock; now if not given
        :return: None before the first success
        """
        if self._date is None:
            return None
        date, heard_at = self._date
        return date + (self.clock.monotonic() if at is None else at) - heard_at

    # -- what answers tell ---------------------------------------------------------------------------------------

    def record_response(
        self,
        status: int | None,
        header: Callable[[str], str | None],
        path: str = "",
        *,
        accepted: bool | None = None,
    ) -> None:
        """Take note of the weight used by everybody behind this address on the path, and of a success's ``Date``.

        :param accepted: whether the answer is a success of the exchange's own; by its status if not given
        """
        if status is None:
            return
        now = self.clock.monotonic()
        accepted = status == 200 if accepted is None else accepted  # noqa: PLR2004
        date = _http_date(header("date")) if accepted else None
        used = header("x-sapi-used-ip-weight-1m") or header("x-sapi-used-uid-weight-1m") or ""
        with self._lock:
            if date is not None:
                self._date = (date, now)
            if used.isascii() and used.isdigit() and len(used) < 10:  # noqa: PLR2004 - a sane number
                # what was still under way when a 429 came shows no room
                self._usage_of(path).hear(int(used), now, accepted=accepted and now >= self._not_before)

    def record_throttle(
        self,
        status: int,
        retry_after: str | None,
        *,
        banned_until_ms: int | None,
        code: int | None = None,
        path: str = "",
        date: str | None = None,
    ) -> None:
        """Take note that nothing may be sent for a time: of 429, of 418 and of 403, which are bans.

        The latest end that header and text name counts; so it does where an earlier answer named another. What names
        one that cannot be read is taken for the longest default, at least. A 429 also shows what the limit is, should
        it be lower than the documented one, and lets only few requests be in flight again.

        :param date: the answer's own ``Date``, by which it means an end that is a date
        """
        ends, is_unreadable = self._ends(retry_after, date)
        if banned_until_ms is not None:
            ends.append(banned_until_ms / 1000 - self._now(date))
        banned = status in (403, 418) or banned_until_ms is not None
        seconds = max(ends, default=-1.0)
        named_end = seconds >= 0
        if not named_end or is_unreadable:
            seconds = max(seconds, _BAN if banned else _THROTTLE_UNREADABLE if is_unreadable else _THROTTLE)
        with self._lock:
            now = self.clock.monotonic()
            self._banned = banned or (self._banned and now < self._not_before)
            end = now + min(max(seconds, 1.0), _LONGEST_BAN)
            if end >= self._not_before:
                self._not_before, self._said = end, (status, code)
            if named_end:
                self._minute_began = self._not_before  # what was used by now counts no more then
            self._usage_of(path).refused(now)
            for usage in self._usage.values():
                usage.accepted = 0
            self._tokens, self._tokens_at = min(self._tokens, 0.0), self._not_before  # then no burst, but the pace

    def asked_wait(self, retry_after: str | None, date: str | None = None) -> float:
        """The seconds that a ``Retry-After`` asks to wait, from now on; 0 where there is none."""
        ends, is_unreadable = self._ends(retry_after, date)
        return min(max([_THROTTLE_UNREADABLE if is_unreadable else 0.0, *ends]), _LONGEST_BAN)

    def _ends(self, retry_after: str | None, date: str | None) -> tuple[list[float], bool]:
        """Seconds from now of every end that a ``Retry-After`` names, and whether it names one that cannot be read."""
        ends: list[float] = []
        texts = [text.strip() for text in _ENDS.findall(retry_after or "") if text.strip()]
        for text in texts:
            if number := _SECONDS.fullmatch(text):
                ends.append(float(number[1]))
            elif (end := _http_date(text)) is not None:
                ends.append(max(end - self._now(date), -1.0))
        return ends, len(ends) < len(texts)

    def _now(self, date: str | None) -> float:
        """The time by which an answer means a date: its own, else the exchange's as last known, else this machine's."""
        return _http_date(date) or self.exchange_time() or self.clock.time()

    # -- what calls must wait for --------------------------------------------------------------------------------

    def acquire(self, weight: int, longest_wait: float, path: str = "") -> Generator[Wait, object, None]:
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
        while (left := self.check(longest_wait)) > 0:
            yield Wait(left, "the exchange asks to wait (429)")

    def check(self, longest_wait: float) -> float:
        """Seconds before which nothing may be sent.

        :raises BinanceBannedError: while a ban lasts
        :raises BinanceThrottledError: when they are more than `longest_wait`
        """
        left = self._not_before - self.clock.monotonic()
        if left > 0 and (self._banned or left > longest_wait):
            self.raise_throttle()
        return max(left, 0.0)

    def raise_throttle(self) -> NoReturn:
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

    def _used(self, usage: _Usage, now: float) -> int:
        """The weight used this minute, as far as is known."""
        is_of_this_minute = now - usage.heard_at < _MINUTE and usage.heard_at >= self._minute_began
        return usage.used if is_of_this_minute else 0

    def _pace_factor(self, path: str, now: float) -> float:
        """Which part of the full pace is right: by the path's limit, and by how much of it is used this minute."""
        usage = self._usage_of(path)
        limit = usage.limit_at(now)
        limit = limit if limit >= _LEAST_LIMIT else LIMIT
        return min(1.0, max(2 * (1 - self._used(usage, now) / limit), 0.01)) * limit / LIMIT

    def _room(self, path: str, weight: int) -> int:
        """Requests that may be in flight on a path.

        Few, doubled with the first answer that tells the weight, and again each time that four times as many calls were
        accepted in a minute, from 64 on. Of the room that is left below the limit they are no more than a share: so a
        limit that nobody has told of is not run into by many at once.
        """
        usage, now = self._usage.get(path, _Usage()), self.clock.monotonic()
        accepted = usage.accepted if now - usage.accepted_at < _MEMORY else 0
        left = usage.limit_at(now) - self._used(usage, now)
        shown = math.isqrt(accepted // weight)
        few = max(1 << shown.bit_length(), 2 * _FEW) if shown else _FEW
        return max(min(few, left // (_SHARE * weight)), 1)

    def _reserve(self, weight: int, path: str) -> float:
        """Take tokens out of the bucket, into debt if need be, and say how long to wait for them."""
        with self._lock:
            now = self.clock.monotonic()
            ease = self._pace_factor(path, now)
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
