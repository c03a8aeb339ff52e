"""Rate limiter: this process's part of each documented limit, by its own pace and the used weight that answers state.

The exchange counts weight by the minute of its clock, on each endpoint by itself, for the address (IP) or for the
account (UID). The rule is told in ``docs/reliability.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias

from airflow_provider_binance_margin.exchange.server_clock import Clock, ServerClock

LimitKind: TypeAlias = Literal["IP", "UID"]

#: part of each limit that is used unless the connection says otherwise
SHARE = 0.6
#: documented weight a minute
LIMITS: dict[LimitKind, int] = {"IP": 12_000, "UID": 180_000}
_HEADERS: dict[LimitKind, str] = {"IP": "x-sapi-used-ip-weight-1m", "UID": "x-sapi-used-uid-weight-1m"}
_MINUTE = 60.0
#: part of a minute's share that may leave at once, and that the minute after it is slower for
_BURST = 1 / 6
#: processes that are reckoned with, at most
_CROWD = 64.0
#: seconds for which the part of others is remembered
_CROWD_MEMORY = 10.0
#: seconds after which a wait is reckoned anew, since answers have told more meanwhile
_LOOK = 1.0
#: a 429 below this used weight is not about weight
_LEAST_LIMIT = 100
#: seconds for which a limit that a 429 has shown is believed, and the room that accepted answers have shown
_MEMORY = 3600.0
#: requests in flight on an endpoint before its answers have shown that there is room for more
_FEW = 4
#: the part of the limit that may be in flight before the first answer, and of the room that is left after it
_COLD_PART = 100
_ROOM_PART = 8
_ROUNDING = 1e-6
_TICK = 1e-5  # seconds that any clock can tell apart


class Limit(NamedTuple):
    """One limit of weight: of the address or of one account, on one path."""

    path: str
    kind: LimitKind
    account: str


class Endpoint(NamedTuple):
    """A path, as one account asks it; `kind` is the limit that counts a call by its documentation."""

    path: str = ""
    kind: LimitKind = "IP"
    account: str = ""

    def limit(self, kind: LimitKind) -> Limit:
        """The limit of a kind: an address is one, whatever the account."""
        return Limit(self.path, kind, self.account if kind == "UID" else "")


def used_weights(header: Callable[[str], str | None]) -> Iterator[tuple[LimitKind, int]]:
    """The weights of this minute that an answer states as used."""
    for kind, name in _HEADERS.items():
        used = header(name) or ""
        if used.isascii() and used.isdigit() and len(used) < 10:  # noqa: PLR2004 - a sane number
            yield kind, int(used)


class WeightWindow:
    """One limit of weight a minute, as this process knows it.

    :param documented: the limit until a 429 has shown a lower one
    """

    def __init__(self, documented: int, now: float) -> None:
        self._documented = self._limit = documented
        self._learned_at = self._heard_at = self._accepted_at = self._resumes_at = -math.inf
        self._accepted = 0  # the largest weight that an accepted answer has stated since the last 429
        self._minute = math.nan
        self._left = _MINUTE  # seconds of it that were left when used weight was stated last
        self._used = 0  # by everybody in this minute, as last stated
        self._unstated = 0  # by this process since
        self._own = self._all = 0.0  # of late: let go by this process, stated for everybody
        self._issued = 0  # ever asked for by calls, and what of it may have left by now
        self._allowed = math.inf
        self._refilled_at = self._slow_until = now

    def record_used(self, used: int, now: float, since_1970: float, sent_at: float, *, accepted: bool) -> None:
        """Record the used weight of a response; an accepted one beyond the assumed limit lifts that."""
        minute, passed = divmod(since_1970, _MINUTE)
        if self._heard_at == -math.inf:
            self._minute = minute  # until now by this machine's clock
        elif minute == self._minute - 1:
            return  # overtaken by the new minute
        self._turn(since_1970)
        if sent_at // _MINUTE < minute:
            return  # under way as the minute ended: counted in either
        if not self._own:  # as if by now at full pace, beside what others had on average
            self._own = max(self._documented - used, 1.0) / (_MINUTE - passed)
            self._all = self._own + used / max(passed, 1.0)
        else:
            fade = math.exp((self._heard_at - now) / _CROWD_MEMORY)
            self._own = self._own * fade + self._unstated
            self._all = self._all * fade + max(used - self._used, 0)
        if accepted and used > self._limit:
            self._limit = self._documented
        if accepted and (used >= self._accepted or now - self._accepted_at >= _MEMORY):
            self._accepted, self._accepted_at = used, now
        if self._used / 2 < used < self._used:
            used = self._used  # an answer that was overtaken by a later one
        self._used, self._unstated, self._heard_at, self._left = used, 0, now, _MINUTE - passed

    def record_refusal(self, now: float) -> None:
        """Take for the limit what was used when a 429 came: as stated, or without any word as sent by this process."""
        used, is_fresh = self._used, now - self._heard_at < 1
        if self._heard_at == -math.inf and self._unstated >= _LEAST_LIMIT:
            used, is_fresh = self._unstated, True
        if is_fresh and 0 < used < (self._limit if self._limit >= _LEAST_LIMIT else self._documented):
            self._limit, self._learned_at = used, now

    def pause(self, end: float, *, is_new_minute: bool) -> None:
        """Let nothing go before `end`, and then no burst; what was used counts no more if a new minute begins there."""
        self._accepted = 0
        self._allowed, self._refilled_at, self._slow_until = min(self._allowed, self._issued), end, end + _MINUTE
        if is_new_minute:
            self._resumes_at, self._unstated, self._own, self._all = end, 0, 0.0, 0.0

    def room(self, weight: int, now: float) -> int:
        """Requests that may be in flight.

        Few, and as many as the square root of what was accepted in a minute; light calls are doubled with the first
        answer, and again each time that four times as many were accepted, from 64 on. Of the room below the limit they
        are at most a fixed share, so that few requests at once can hit a limit that is not yet known.
        """
        accepted = self._accepted if now - self._accepted_at < _MEMORY else 0
        light = self._documented // (_COLD_PART * weight)
        few = _FEW if self._heard_at > -math.inf else min(_FEW, light)
        if shown := math.isqrt(accepted // weight):
            few = max(few, shown + 1, min(max(1 << shown.bit_length(), 2 * _FEW), light))
        left = self._limit_at(now) - self._stated() - self._unstated
        return max(min(few, left // (_ROOM_PART * weight)), 1)

    def queue(self, weight: int, now: float, since_1970: float, share: float) -> int:
        """Queue a call behind all before it; return its ticket."""
        self._refill(now, since_1970, share)
        saved = min(self._allowed - self._issued - weight, weight)
        if saved > 0:  # what leaves at once is paid back in the minute after
            seconds = saved / (_BURST * self._pace(now, share))
            self._slow_until = min(max(self._slow_until, now) + seconds, now + _MINUTE)
        self._issued += weight
        return self._issued

    def wait(self, ticket: int, weight: int, now: float, since_1970: float, share: float) -> float:
        """Seconds to wait before asking again; 0 lets the call go."""
        rate = self._refill(now, since_1970, share)
        if ticket > self._allowed + _ROUNDING:
            return min(max((ticket - self._allowed) / rate, _TICK), _LOOK) if rate else _LOOK
        self._unstated += weight
        return 0.0

    def is_spent(self, now: float, since_1970: float, share: float) -> bool:
        """True when nothing of the share is left in this minute."""
        self._turn(since_1970)
        return self._stated() + self._unstated >= self._pace(now, share) * _MINUTE

    def _refill(self, now: float, since_1970: float, share: float) -> float:
        """Bring up to date what may have left; return the rate in weight a second."""
        self._turn(since_1970)
        pace, left = self._pace(now, share), _MINUTE - since_1970 % _MINUTE
        crowd = min(max(self._all / (self._own or 1.0), 1.0), _CROWD)
        budget = pace * _MINUTE - self._stated()
        budget -= budget * (1 - 1 / crowd) * (1 - left / self._left)  # what others may have used since
        budget = max(budget - self._unstated, 0.0) / crowd
        rate = min(budget / left, pace)
        slow_rate = min(rate, (1 - _BURST) * pace / crowd)
        seconds = max(now - self._refilled_at, 0.0)
        slow = min(max(self._slow_until - self._refilled_at, 0.0), seconds)
        gained = rate * (seconds - slow) + slow_rate * slow
        self._allowed = min(self._allowed + gained, self._issued + _BURST * budget)
        self._refilled_at = max(now, self._refilled_at)
        return slow_rate if now < self._slow_until else rate

    def _pace(self, now: float, share: float) -> float:
        """Weight a second that the share allows."""
        limit = self._limit_at(now)
        return share * (limit if limit >= _LEAST_LIMIT else self._documented) / _MINUTE

    def _limit_at(self, now: float) -> int:
        """The limit, as far as what a 429 has shown is still believed."""
        return self._limit if now - self._learned_at < _MEMORY else self._documented

    def _stated(self) -> int:
        return self._used if self._heard_at >= self._resumes_at else 0

    def _turn(self, since_1970: float) -> None:
        """Forget what was used in an earlier minute."""
        minute = since_1970 // _MINUTE
        if minute not in (self._minute, self._minute - 1):  # a `Date` may be overtaken by a later one
            self._minute, self._used, self._unstated, self._left = minute, 0, 0, _MINUTE
            self._all = self._all**0.75 * self._own**0.25  # who had little may have more of the new one


class RateLimiter:
    """Limits of one host: one of weight by address for each path, one by account for each path and account."""

    def __init__(self, clock: Clock, server_clock: ServerClock) -> None:
        self._clock = clock
        self._server_clock = server_clock
        self._windows: dict[Limit, WeightWindow] = {}

    def record_used(
        self, header: Callable[[str], str | None], endpoint: Endpoint, *, accepted: bool, sent_at: float
    ) -> None:
        """Take note of the used weight that an answer states, of either kind."""
        now, since_1970 = self._clock.monotonic(), self._server_clock.now()
        for kind, used in used_weights(header):
            window = self._window(endpoint.limit(kind))
            window.record_used(used, now, since_1970, sent_at, accepted=accepted)

    def record_throttle(self, endpoint: Endpoint, end: float, *, names_end: bool) -> None:
        """Take note of a 429: it may show a limit, and nothing leaves for any path before its end."""
        self._window(endpoint.limit(endpoint.kind)).record_refusal(self._clock.monotonic())
        for window in self._windows.values():
            window.pause(end, is_new_minute=names_end)

    def queue(self, weight: int, endpoint: Endpoint, share: float) -> Callable[[], float]:
        """Queue a call; return what says how long to wait, and at last lets it go with 0."""
        window = self._window(endpoint.limit(endpoint.kind))
        ticket = window.queue(weight, self._clock.monotonic(), self._server_clock.now(), share)

        def wait() -> float:
            now, since_1970 = self._clock.monotonic(), self._server_clock.now()
            # an endpoint may count by both, whatever is documented
            other = self._windows.get(endpoint.limit("IP" if endpoint.kind == "UID" else "UID"))
            if other and other.is_spent(now, since_1970, share):
                return _LOOK
            return window.wait(ticket, weight, now, since_1970, share)

        return wait

    def room(self, limit: Limit, weight: int) -> int:
        """Requests that may be in flight of those that one limit counts."""
        return self._window(limit).room(weight, self._clock.monotonic())

    def _window(self, limit: Limit) -> WeightWindow:
        if limit not in self._windows:
            self._windows[limit] = WeightWindow(LIMITS[limit.kind], self._clock.monotonic())
        return self._windows[limit]
