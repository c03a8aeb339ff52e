"""One signed call, as a generator: it yields what to send or how long to wait, and is handed replies.

It has no socket and no clock of its own, so `requests` with ``time.sleep`` and `aiohttp` with ``asyncio.sleep`` drive
the same code. Each attempt is signed anew; the bytes that are signed are the bytes that are sent.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from airflow_provider_binance_margin.exchange.credentials import Credentials
from airflow_provider_binance_margin.exchange.errors import (
    BinanceError,
    BinanceThrottledError,
    BinanceTransientError,
    ErrorAction,
    ErrorInfo,
    error_info,
)
from airflow_provider_binance_margin.exchange.host import Host
from airflow_provider_binance_margin.exchange.in_flight import MOST
from airflow_provider_binance_margin.exchange.messages import Call, Reply, Request, Wait
from airflow_provider_binance_margin.exchange.rate_limiter import SHARE, Endpoint, LimitKind

T = TypeVar("T")

ATTEMPTS = 5
LONGEST_WAIT = 60.0
_SLOW_RETRY = 30.0
_TIME_PATH = "/api/v3/time"
_CACHED_TIME = ErrorInfo(ErrorAction.RETRY, "the exchange's time came from a cache: no proxy may keep its answers")
_LONGEST_ERROR = 65_536
#: no code of the exchange is 0 or a status
_HTTP_STATUSES = 600


@dataclass(frozen=True)
class Caller(Generic[T]):
    """Endpoint and key: everything of a call but its parameters."""

    host: Host
    credentials: Credentials
    path: str
    weight: int  # of one call
    decode: Callable[[bytes], T]  # body -> answer; ValueError for a body that is not an answer
    recv_window: int = 5000  # ms for which a request stays valid, by the exchange's clock
    attempts: int = ATTEMPTS  # tries before a fault that may pass is raised
    longest_wait: float = LONGEST_WAIT  # seconds; a longer wait that the exchange asks for is raised
    width: int = MOST  # requests in flight to the host that the transport can carry
    kind: LimitKind = "IP"  # the limit that counts a call: the address's or the account's
    share: float = SHARE  # the part of it that may be used

    @cached_property
    def _endpoint(self) -> Endpoint:
        """The account is known by its key alone, as a digest."""
        return Endpoint(self.path, self.kind, sha256(self.credentials.api_key.encode()).hexdigest()[:16])

    def call(self, params: Mapping[str, Any]) -> Call[T]:
        """Make one call: retry transient errors up to `attempts` times. Parameters that are None are not sent."""
        attempt, resynced = 1, False
        measured: float | _Refusal | None = None
        while True:
            if self.host.server_clock.is_stale():
                yield from self._measure()
            outcome = yield from self.ask(lambda: self._signed(params))
            if not isinstance(outcome, _Refusal):
                return outcome
            if outcome.info.action is ErrorAction.RESYNC and outcome.asked > self.longest_wait:
                self.host.server_clock.doubt()
            elif outcome.info.action is ErrorAction.RESYNC:
                if outcome.asked:
                    yield Wait(outcome.asked, outcome.info.text)
                    outcome = replace(outcome, asked=0.0)
                if not resynced or attempt < self.attempts:
                    measured = yield from self._measure()
                if not resynced and not isinstance(measured, _Refusal):
                    resynced = True  # with the right clock it is signed again at once
                    continue
                outcome = self._untimely(outcome, measured)
            yield from self._wait_or_raise(outcome, attempt)
            attempt += 1

    def set_clock(self) -> Call[None]:
        """Measure the offset of our clock to the server's, tried as often as a call is."""
        attempt = 1
        while isinstance(outcome := (yield from self._measure()), _Refusal):
            yield from self._wait_or_raise(outcome, attempt)
            attempt += 1

    def _measure(self) -> Call[float | _Refusal]:
        """Set the clock by one question for the server's time; return the seconds it took, or why it failed."""
        of_any: Caller[Any] = self
        clock: Caller[int] = replace(of_any, path=_TIME_PATH, weight=1, kind="IP", decode=_server_time)
        before = 0.0

        def make() -> Request:
            nonlocal before
            before = self.host.clock.time()
            return Request(self.host.base_url + _TIME_PATH, {"Cache-Control": "no-cache"})

        outcome = yield from clock.ask(make)
        if isinstance(outcome, _Refusal):
            return outcome
        self.host.server_clock.set(outcome, sent_at=before)
        return self.host.clock.time() - before

    def ask(self, make: Callable[[], Request]) -> Call[T | _Refusal]:
        """Send one request in a place of its own among those in flight, made (and signed) when it may leave."""
        self.host.bans.check(self.longest_wait)  # what is refused in any case need not wait for a place
        with self.host.in_flight.place(self._endpoint.limit(self.kind), self.weight, self.width) as turn:
            while turn is not None and not turn.done():
                yield Wait(math.inf, until=turn)
            yield from self.host.acquire(self.weight, self.longest_wait, self._endpoint, self.share)
            sent_at = self.host.server_clock.now()
            reply = yield make()
            assert reply is not None
            # before the place is free: whoever takes it knows of a ban
            return self._judge(reply, sent_at)

    def _signed(self, params: Mapping[str, Any]) -> Request:
        sent = {name: value for name, value in params.items() if value is not None}
        sent |= {"recvWindow": sent.get("recvWindow", self.recv_window), "timestamp": self.host.server_ms()}
        query = urlencode(sent)
        signature = self.credentials.sign(query.encode())
        url = f"{self.host.base_url}{self.path}?{query}&signature={signature}"
        return Request(url, {"X-MBX-APIKEY": self.credentials.api_key})

    def _judge(self, reply: Reply, sent_at: float) -> T | _Refusal:
        """Answer or refusal of one reply; used weight, throttling and clock are recorded on the host."""
        status = reply.status
        record = partial(self.host.record_response, status, reply.header, self._endpoint, sent_at=sent_at)
        if status == 200 and self.path == _TIME_PATH and reply.is_cached:  # noqa: PLR2004
            return _Refusal(_CACHED_TIME, status=status)
        if status == 200:  # noqa: PLR2004
            try:
                answer = self.decode(reply.body)
            except (ValueError, RecursionError):
                pass
            else:
                if not reply.is_cached:
                    record()
                return answer
        record(accepted=False)
        if status is None:
            return _Refusal(ErrorInfo(ErrorAction.RETRY, f"the exchange could not be reached ({reply.fault})"))
        code, banned_until_ms = _error_code(reply.body)
        info, date = error_info(code, status), reply.header("date")
        retry_after = reply.header("retry-after")
        if status in (418, 429) or info.action is ErrorAction.THROTTLE or (status == 403 and code is None):  # noqa: PLR2004
            self.host.record_throttle(
                status, retry_after, self._endpoint, banned_until_ms=banned_until_ms, code=code, date=date
            )
            return _Refusal(info, code, status, is_throttled=True)
        return _Refusal(info, code, status, self.host.bans.asked_wait(retry_after, date))

    def _wait_or_raise(self, refusal: _Refusal, attempt: int) -> Call[None]:
        """Wait before the next attempt, or raise what ends the call."""
        action = refusal.info.action
        if refusal.is_throttled:
            if attempt == self.attempts:
                self.host.bans.raise_throttle()
            return  # the clearance of the next attempt waits, or raises what is too long to wait for
        may_pass = action in (ErrorAction.RETRY, ErrorAction.RETRY_SLOWLY, ErrorAction.RESYNC)
        if not may_pass or attempt == self.attempts or refusal.asked > self.longest_wait:
            raise refusal.error(attempt if may_pass else 1)
        pause = max(_backoff(attempt, slowly=action is ErrorAction.RETRY_SLOWLY), refusal.asked)
        yield Wait(pause, refusal.info.text)

    def _untimely(self, refusal: _Refusal, measured: float | _Refusal | None) -> _Refusal:
        """Rejected timestamp, with the reason why the new clock offset did not help."""
        if isinstance(measured, _Refusal) and measured.is_throttled:
            return measured
        if isinstance(measured, _Refusal):
            text = f"timestamps are rejected, and the clock offset could not be measured: {measured.info.text}"
        else:
            text = (
                "timestamps are rejected although the clock offset was just measured: the network takes longer than "
                f"recv_window ({self.recv_window} ms), or the exchange's clock jumps. The time request took "
                f"{measured:.1f} s: raise recv_window, or look for a slow proxy"
            )
        return replace(refusal, info=ErrorInfo(ErrorAction.RESYNC, text))


@dataclass(frozen=True)
class _Refusal:
    info: ErrorInfo
    code: int | None = None
    status: int | None = None
    asked: float = 0.0  # seconds that the exchange asks to wait
    is_throttled: bool = False

    def error(self, attempts: int) -> BinanceError:
        """The error that ends the call, with the wait that the exchange asks for, if it may pass."""
        seen = "no answer" if self.status is None else f"HTTP {self.status}"
        code = "" if self.code is None else f", code {self.code}"
        times = f", {attempts} times in a row" if attempts > 1 else ""
        text = f"{self.info.text} ({seen}{code}){times}"
        kind: type[BinanceError] = self.info.action.value[1]
        if self.asked and issubclass(kind, BinanceTransientError):
            text = f"{text}, and asks to wait {self.asked:.0f} s"
            return BinanceThrottledError(text, retry_after=self.asked, code=self.code, status=self.status)
        return kind(text, code=self.code, status=self.status)


def _error_code(body: bytes) -> tuple[int | None, int | None]:
    """The code of an error body, and the end of a ban in ms where its text names one."""
    if len(body) > _LONGEST_ERROR:
        return None, None
    try:
        error = json.loads(body)
        code = error["code"]
        text = str(error.get("msg", ""))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, None
    if not isinstance(code, int) or isinstance(code, bool) or 0 <= code < _HTTP_STATUSES:
        return None, None  # gateways number their own answers so
    epochs = [word for word in text.replace(".", " ").split() if word.isascii() and word.isdigit() and len(word) == 13]  # noqa: PLR2004
    return code, max(map(int, epochs)) if code == -1003 and epochs else None  # noqa: PLR2004


def _server_time(body: bytes) -> int:
    content = json.loads(body)
    value = content.get("serverTime") if isinstance(content, dict) else None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("no server's time")
    return value


def _backoff(attempt: int, *, slowly: bool) -> float:
    base = _SLOW_RETRY if slowly else 0.5 * 2 ** (attempt - 1)
    return base * random.uniform(0.75, 1.25)  # noqa: S311 - spreads retries, protects nothing
