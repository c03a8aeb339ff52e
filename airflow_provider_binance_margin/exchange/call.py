"""One signed call, as a generator: it yields what to send or how long to wait, and is handed replies.

It has no socket and no clock of its own, so `requests` with ``time.sleep`` and `aiohttp` with ``asyncio.sleep`` drive
the same code. Each attempt is signed anew; the bytes that are signed are the bytes that are sent.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from airflow_provider_binance_margin.exchange.credentials import Credentials
from airflow_provider_binance_margin.exchange.errors import (
    Advice,
    BinanceClockError,
    BinanceThrottledError,
    BinanceTransientError,
    Meaning,
    error_for,
    meaning_of,
)
from airflow_provider_binance_margin.exchange.host import Host
from airflow_provider_binance_margin.exchange.wire import Call, Reply, Request, Wait

T = TypeVar("T")

ATTEMPTS = 5
LONGEST_WAIT = 60.0
_SLOW_RETRY = 30.0
_TIME_PATH = "/api/v3/time"
_LONGEST_ERROR = 65_536


@dataclass(frozen=True)
class Caller(Generic[T]):
    """How one endpoint is called with one key: everything of a call but its parameters.

    :param host: what all calls to the host share: pace, used weight, clock offset, not-before
    :param credentials: the key that signs
    :param path: the path below the base URL
    :param weight: the weight of one call
    :param decode: body -> answer; ValueError for a body that is not an answer
    :param recv_window: ms for which a request stays valid, by the exchange's clock
    :param attempts: how often a call is tried before a fault that may pass is raised
    :param longest_wait: seconds; what the exchange asks to wait beyond them is raised, not waited for
    """

    host: Host
    credentials: Credentials
    path: str
    weight: int
    decode: Callable[[bytes], T]
    recv_window: int = 5000
    attempts: int = ATTEMPTS
    longest_wait: float = LONGEST_WAIT

    def call(self, params: Mapping[str, Any]) -> Call[T]:
        """One call, tried until it is answered, refused for good, or `attempts` have failed.

        :param params: the endpoint's own parameters; those that are None are not sent
        :return: the decoded answer
        """
        attempt, resynced = 1, False
        while True:
            if self.host.clock_is_stale():
                yield from self.set_clock()
            yield from self.host.clearance(self.weight, self.longest_wait, self.path)  # last: the time may forbid it
            reply = yield self._signed(params)
            assert reply is not None
            outcome = self._judge(reply)
            if not isinstance(outcome, _Refusal):
                return outcome
            if outcome.meaning.advice is Advice.RESYNC and not resynced:
                resynced = True
                yield from self.set_clock()
            else:
                yield from self._wait_or_raise(outcome, reply, attempt)
                attempt += 1

    def _signed(self, params: Mapping[str, Any]) -> Request:
        sent = {name: value for name, value in params.items() if value is not None}
        sent |= {"recvWindow": sent.get("recvWindow", self.recv_window), "timestamp": self.host.server_ms()}
        query = urlencode(sent)
        signature = self.credentials.sign(query.encode())
        url = f"{self.host.base_url}{self.path}?{query}&signature={signature}"
        return Request(url, {"X-MBX-APIKEY": self.credentials.api_key})

    def _judge(self, reply: Reply) -> T | _Refusal:
        """What a reply says: the answer, or a refusal with what it asks for."""
        self.host.heard(reply.status, reply.header, self.path)
        if reply.status is None:
            return _Refusal(Meaning(Advice.RETRY, f"the exchange could not be reached ({reply.fault})"), None)
        if reply.status == 200:  # noqa: PLR2004
            try:
                return self.decode(reply.body)
            except (ValueError, RecursionError):
                return _refusal_in(reply.body, reply.status, unreadable=True)
        return _refusal_in(reply.body, reply.status, unreadable=False)

    def _wait_or_raise(self, refusal: _Refusal, reply: Reply, attempt: int) -> Call[None]:
        """Wait before the next attempt, or raise what ends the call."""
        status = reply.status or 0
        advice = refusal.meaning.advice
        if advice is Advice.RESYNC:
            raise BinanceClockError(
                "requests are refused for their timestamp even after the server's time was taken over: the way to the "
                f"exchange takes longer than recv_window ({self.recv_window} ms), or its clock jumps",
                code=refusal.code,
                status=status,
            )
        if status in (418, 429) or advice is Advice.THROTTLE or (status == 403 and refusal.code is None):  # noqa: PLR2004
            self.host.throttled(
                status,
                reply.header("retry-after"),
                banned_until_ms=refusal.banned_until_ms,
                code=refusal.code,
                path=self.path,
            )
            if attempt == self.attempts:
                self.host.raise_throttled()
            return  # the clearance of the next attempt waits, or raises what is too long to wait for
        if advice not in (Advice.RETRY, Advice.RETRY_SLOWLY):
            raise error_for(refusal.meaning, code=refusal.code, status=status)
        asked = self.host.asked_wait(reply.header("retry-after"))
        if attempt == self.attempts or asked > self.longest_wait:
            raise _failed(refusal, reply.status, attempt, asked)
        yield Wait(max(_backoff(attempt, slowly=advice is Advice.RETRY_SLOWLY), asked), refusal.meaning.text)

    def set_clock(self) -> Call[None]:
        """Measure the offset of our clock to the server's, once; a failure leaves it as it was."""
        yield from self.host.clearance(1, self.longest_wait, _TIME_PATH)
        before = self.host.clock.time()
        reply = yield Request(self.host.base_url + _TIME_PATH)
        assert reply is not None
        self.host.heard(reply.status, reply.header, _TIME_PATH)
        if reply.status in (403, 418, 429):
            code, banned_until_ms = _error_code(reply.body)
            retry_after = reply.header("retry-after")
            self.host.throttled(reply.status, retry_after, banned_until_ms=banned_until_ms, code=code, path=_TIME_PATH)
        elif reply.status == 200:  # noqa: PLR2004
            server_ms = _server_time(reply.body)
            if server_ms is not None:
                self.host.set_clock(server_ms, sent_at=before)


@dataclass(frozen=True)
class _Refusal:
    meaning: Meaning
    code: int | None
    banned_until_ms: int | None = None


def _failed(refusal: _Refusal, status: int | None, attempts: int, asked: float) -> BinanceTransientError:
    """The error of a fault that may pass, with the wait that the exchange asked for, if it did."""
    seen = "no answer" if status is None else f"HTTP {status}"
    times = f", {attempts} times in a row" if attempts > 1 else ""
    text = f"{refusal.meaning.text} ({seen}){times}"
    if not asked:
        return BinanceTransientError(text, code=refusal.code, status=status)
    text = f"{text}, and asks to wait {asked:.0f} s"
    return BinanceThrottledError(text, retry_after=asked, code=refusal.code, status=status)


def _refusal_in(body: bytes, status: int, *, unreadable: bool) -> _Refusal:
    code, banned_until = _error_code(body)
    if unreadable and code is None:
        return _Refusal(Meaning(Advice.RETRY, "the answer could not be read"), None)
    return _Refusal(meaning_of(code, status), code, banned_until)


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
    if not isinstance(code, int) or isinstance(code, bool):
        return None, None
    epochs = [word for word in text.replace(".", " ").split() if word.isascii() and word.isdigit() and len(word) == 13]  # noqa: PLR2004
    return code, int(epochs[0]) if code == -1003 and epochs else None  # noqa: PLR2004


def _server_time(body: bytes) -> int | None:
    try:
        value = json.loads(body)["serverTime"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _backoff(attempt: int, *, slowly: bool) -> float:
    base = _SLOW_RETRY if slowly else 0.5 * 2 ** (attempt - 1)
    return base * random.uniform(0.75, 1.25)  # noqa: S311 - spreads retries, protects nothing
