"""Signed calls over an Airflow connection of type ``binance``, by way of `requests`."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError
from concurrent.futures import wait as wait_for
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_binance_margin.exchange.errors import BinanceTransientError
from airflow_provider_binance_margin.exchange.forking import renew_in_children
from airflow_provider_binance_margin.exchange.messages import Call, Reply, Request, Wait, drive
from airflow_provider_binance_margin.failures import name_connection, naming_connection
from airflow_provider_binance_margin.hooks.diagnosis import diagnose
from airflow_provider_binance_margin.hooks.settings import Settings, open_settings
from airflow_provider_binance_margin.metrics import send_reply_metrics

if TYPE_CHECKING:
    import requests

    from airflow_provider_binance_margin.exchange.host import Host
    from airflow_provider_binance_margin.exchange.rate_limiter import LimitKind

T = TypeVar("T")

_RESTRICTIONS = "/sapi/v1/account/apiRestrictions"
_TEST_TIMEOUT = 5.0


class BinanceBaseHook(BaseHook):
    """Signed, paced and retried calls over one connection. Safe to share between threads."""

    def __init__(self, binance_conn_id: str = "binance_default") -> None:
        super().__init__()
        self.binance_conn_id = binance_conn_id
        self.max_connections = 16
        self._is_closed = False
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Drop the session in a forked child, which would read answers to its parent's requests."""
        self.__dict__.pop("_session", None)
        self._closed: Future[None] = Future()
        if self._is_closed:
            self._closed.set_result(None)

    @cached_property
    def settings(self) -> Settings:
        """The connection, checked; from here on its secrets are masked in logs."""
        with naming_connection(self.binance_conn_id):
            settings = open_settings(self.get_connection(self.binance_conn_id))
        if settings.is_foreign:
            self.log.warning(
                "Connection %r: its host is not one of binance.com, and whoever runs it will see the API key.",
                self.binance_conn_id,
            )
        return settings

    @property
    def host(self) -> Host:
        """Clock, pace and bans of the host, shared by this process."""
        return self.settings.host

    @cached_property
    def _session(self) -> requests.Session:
        from airflow_provider_binance_margin.hooks.session import make_session

        base_url, is_local = self.settings.base_url, self.settings.is_loopback
        return make_session(self.max_connections, base_url, use_environment=not is_local)

    def get_conn(self) -> requests.Session:
        """The HTTP session; requests sent through it directly are neither signed nor paced."""
        return self._session

    def close(self) -> None:
        """End waits, refuse further calls and close connections."""
        self._is_closed = True
        with suppress(InvalidStateError):
            self._closed.set_result(None)
        if "_session" in self.__dict__:
            self._session.close()

    def test_connection(self) -> tuple[bool, str]:
        """Test clock, key, signature and address with one signed call.

        :return: whether they work, and what is wrong with them or unwise about the key
        """

        def ask() -> dict[str, Any]:
            caller = self.settings.caller(_RESTRICTIONS, 1, json_object, width=self.max_connections)
            hasty = replace(caller, attempts=2, longest_wait=_TEST_TIMEOUT)
            return self._drive(hasty.call({}), min(self.settings.timeout, _TEST_TIMEOUT), patience=_TEST_TIMEOUT)

        works, message = diagnose(ask)
        if "Warning" in message:
            if logging.root.manager.disable < logging.WARNING:
                self.log.warning(message)
            else:  # Airflow's command line switches logs off, and says nothing of a connection that works
                sys.stderr.write(f"{message}\n")
        return works, message.replace(name_connection(self.binance_conn_id, ""), "")

    def exchange_time(self, at: float | None = None) -> float:
        """Exchange's time in s since 1970, at an instant of `time.monotonic`; this machine's before any answer."""
        return self.host.server_clock.now(at)

    def ask_exchange_time(self) -> float:
        """Exchange's time, requested only if no answer has told it yet."""
        if self.host.exchange_time() is None:
            self._drive(self.settings.caller("", 1, json_object, width=self.max_connections).set_clock())
        return self.exchange_time()

    def _get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        weight: int,
        decode: Callable[[bytes], T],
        kind: LimitKind = "IP",
    ) -> T:
        caller = self.settings.caller(path, weight, decode, kind=kind, width=self.max_connections)
        return self._drive(caller.call(params or {}))

    def _drive(self, call: Call[T], timeout: float | None = None, patience: float = math.inf) -> T:
        """Run a call to its result; `timeout` is of one answer, and a wait longer than `patience` (s) is an error."""
        with naming_connection(self.binance_conn_id):
            return drive(
                call,
                send=lambda request: self._send(request, timeout or self.settings.timeout),
                wait=lambda pause: self._pause(pause, patience),
            )

    def _pause(self, pause: Wait, patience: float) -> None:
        if pause.until is None and pause.seconds <= patience:
            self.wait(pause.seconds, pause.reason)
        elif pause.until is None or not self._wait_for([pause.until], min(pause.seconds, patience)):
            raise BinanceTransientError(
                f"the call would have to wait for longer than {patience:.0f} s"
                + (f": {pause.reason}" if pause.reason else ", behind other calls of this process")
            )

    def wait(self, seconds: float, reason: str = "") -> None:
        """Sleep for at most so many seconds; BinanceTransientError when the hook is closed meanwhile."""
        if reason:
            self.log.info("Waiting %.1f s: %s.", seconds, reason)
        self._wait_for([], seconds)

    def _wait_for(self, awaited: list[Future[None]], seconds: float) -> bool:
        """Wait for one of the futures; False if none was done in time."""
        timeout = None if seconds == math.inf else seconds
        done, _ = wait_for([self._closed, *awaited], timeout, return_when=FIRST_COMPLETED)
        if self._closed in done:
            raise BinanceTransientError("the hook was closed while a call was waiting")
        return bool(done)

    def _send(self, request: Request, timeout: float) -> Reply:
        from airflow_provider_binance_margin.hooks.session import send

        if self._closed.done():
            raise BinanceTransientError("the hook is closed")
        reply = send(self._session, request, timeout)
        send_reply_metrics(self.binance_conn_id, request.url, reply)
        return reply


def json_object(body: bytes) -> dict[str, Any]:
    """Decode a JSON object; ValueError for anything else, an error of the exchange's included."""
    decoded = json.loads(body)
    if not isinstance(decoded, dict) or "code" in decoded:
        raise ValueError("not the object asked for")
    return decoded
