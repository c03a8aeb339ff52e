"""Register of throttling (429) and bans (418, 403) of an IP address."""

from __future__ import annotations

import math
import re
from typing import NoReturn

from airflow_provider_binance_margin.exchange.errors import BinanceBannedError, BinanceThrottledError
from airflow_provider_binance_margin.exchange.server_clock import Clock, ServerClock, http_date

_LONGEST_BAN = 3 * 24 * 3600.0
#: seconds where an answer names no end
_BAN = 300.0
_THROTTLE = 10.0
#: the same where it tries to, in a form that cannot be read
_THROTTLE_UNREADABLE = 60.0
_WEEKDAY = "(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*"
_ENDS = re.compile(rf"(?:{_WEEKDAY},)?[^,]+", re.IGNORECASE)  # an HTTP date has a comma of its own
_SECONDS = re.compile(r"\+?(\d+\.?\d*|\.\d+)\s*(?:s|secs?|seconds?)?", re.IGNORECASE | re.ASCII)


class BanRegister:
    """Earliest time of the next request to a host, and the reason for the wait."""

    def __init__(self, clock: Clock, server_clock: ServerClock) -> None:
        self._clock = clock
        self._server_clock = server_clock
        self.not_before = -math.inf
        self._is_ban = False
        self._said: tuple[int | None, int | None] = (None, None)

    def record(
        self, status: int, retry_after: str | None, banned_until_ms: int | None, code: int | None, date: str | None
    ) -> bool:
        """Take note of a 429, 418 or 403: the latest end that header and text name counts, also of earlier answers.

        What names one that cannot be read is taken for the longest default, at least.

        :param date: the answer's own ``Date``, by which it means an end that is a date
        :return: True if it names an end
        """
        ends, is_unreadable = self._ends(retry_after, date)
        if banned_until_ms is not None:
            ends.append(banned_until_ms / 1000 - self._now(date))
        is_ban = status in (403, 418) or banned_until_ms is not None
        seconds = max(ends, default=-1.0)
        names_end = seconds >= 0
        if not names_end or is_unreadable:
            seconds = max(seconds, _BAN if is_ban else _THROTTLE_UNREADABLE if is_unreadable else _THROTTLE)
        now = self._clock.monotonic()
        self._is_ban = is_ban or (self._is_ban and now < self.not_before)
        end = now + min(max(seconds, 1.0), _LONGEST_BAN)
        if end >= self.not_before:
            self.not_before, self._said = end, (status, code)
        return names_end

    def asked_wait(self, retry_after: str | None, date: str | None = None) -> float:
        """Seconds that a ``Retry-After`` asks to wait, from now on; 0 where there is none."""
        ends, is_unreadable = self._ends(retry_after, date)
        return min(max([_THROTTLE_UNREADABLE if is_unreadable else 0.0, *ends]), _LONGEST_BAN)

    def _ends(self, retry_after: str | None, date: str | None) -> tuple[list[float], bool]:
        """Seconds from now of every end that a ``Retry-After`` names, and True if it names one that cannot be read."""
        ends: list[float] = []
        texts = [text.strip() for text in _ENDS.findall(retry_after or "") if text.strip()]
        for text in texts:
            if number := _SECONDS.fullmatch(text):
                ends.append(float(number[1]))
            elif (end := http_date(text)) is not None:
                ends.append(max(end - self._now(date), -1.0))
        return ends, len(ends) < len(texts)

    def _now(self, date: str | None) -> float:
        """The time by which an answer means a date: its own, else the exchange's as last known, else this machine's."""
        return http_date(date) or self._server_clock.now()

    def check(self, longest_wait: float) -> float:
        """Seconds before which nothing may be sent; an error during a ban, or if they are more than `longest_wait`."""
        left = self.not_before - self._clock.monotonic()
        if left > 0 and (self._is_ban or left > longest_wait):
            self.raise_throttle()
        return max(left, 0.0)

    def raise_throttle(self) -> NoReturn:
        """Raise the error that says how long nothing may be sent."""
        left = max(self.not_before - self._clock.monotonic(), 0.0)
        status, code = self._said
        if self._is_ban:
            text = f"the exchange has banned this IP address for {left:.0f} s (418, 403): no request is sent until then"
            raise BinanceBannedError(text, retry_after=left, code=code, status=status)
        text = f"the exchange asks to wait {left:.0f} s (429)"
        raise BinanceThrottledError(text, retry_after=left, code=code, status=status)
