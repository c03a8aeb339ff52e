"""The hook: an Airflow connection of type ``binance``, as signed calls over `requests`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_binance_margin.exchange.endpoint import Endpoint, Page
from airflow_provider_binance_margin.exchange.force_liquidation import FORCE_LIQUIDATION
from airflow_provider_binance_margin.lake.interval import IntervalError, ms, parse

if TYPE_CHECKING:
    import requests

    from airflow_provider_binance_margin.exchange.call import Caller
    from airflow_provider_binance_margin.exchange.host import Host
    from airflow_provider_binance_margin.exchange.paging import FetchPages, Reader, Span
    from airflow_provider_binance_margin.exchange.watch import Seen, Watch
    from airflow_provider_binance_margin.exchange.wire import Call, Reply, Request
    from airflow_provider_binance_margin.hooks.settings import Settings

T = TypeVar("T")

MAX_SPAN_MS = 7 * 24 * 3_600_000
_RESTRICTIONS = "/sapi/v1/account/apiRestrictions"
_ISOLATED_ACCOUNT = "/sapi/v1/margin/isolated/account"
_TEST_TIMEOUT = 5.0

_hosts: dict[str, Host] = {}
_hosts_lock = threading.Lock()


def shared_host(base_url: str) -> Host:
    """What all calls of this process to one host share: its pace, its clock, its bans."""
    from airflow_provider_binance_margin.exchange.host import Host

    with _hosts_lock:
        return _hosts.setdefault(base_url, Host(base_url, time))


class BinanceHook(BaseHook):
    """Signed calls to Binance's margin API with an Airflow connection.

    Calls are retried, paced and re-signed as the exchange asks; what cannot be helped by trying again is raised as one
    of the errors of `airflow_provider_binance_margin.exchange.errors`. Safe to share between threads.

    :param binance_conn_id: the connection, of type ``binance``
    """

    conn_name_attr: ClassVar[str] = "binance_conn_id"
    default_conn_name: ClassVar[str] = "binance_default"
    conn_type: ClassVar[str] = "binance"
    hook_name: ClassVar[str] = "Binance"

    def __init__(self, binance_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.binance_conn_id = binance_conn_id
        self.max_connections = 16
        self._closed = threading.Event()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """The form's labels, for Airflow before 3.2, which does not read them from the provider's info."""
        from airflow_provider_binance_margin.get_provider_info import UI_FIELD_BEHAVIOUR

        return UI_FIELD_BEHAVIOUR

    # -- the exchange's pages ------------------------------------------------------------------------------------

    def force_liquidation_page(
        self,
        *,
        start_time: datetime | int | None = None,
        end_time: datetime | int | None = None,
        isolated_symbol: str | None = None,
        current: int = 1,
        size: int = 100,
        recv_window: int | None = None,
    ) -> dict[str, Any]:
        """One page of ``GET /sapi/v1/margin/forceLiquidationRec``, newest first.

        :param start_time: ``startTime``, inclusive; a datetime or ms since 1970
        :param end_time: ``endTime``, inclusive; a datetime or ms since 1970
        :param isolated_symbol: ``isolatedSymbol``: the pair of an isolated account; None asks for no pair
        :param current: the page, from 1
        :param size: rows on a page, 1 to 100
        :param recv_window: ``recvWindow`` in ms, the connection's if not given
        :return: ``{"rows": [...], "total": n}``, rows as the exchange sent them
        """
        page = self._page(
            FORCE_LIQUIDATION,
            {
                "startTime": _ms(start_time),
                "endTime": _ms(end_time),
                "isolatedSymbol": isolated_symbol,
                "current": current,
                "size": size,
                "recvWindow": recv_window,
            },
        )
        return {"rows": [_row(record.line) for record in page.records], "total": page.total}

    def force_liquidations(
        self, start: datetime | str, end: datetime | str, *, isolated_symbol: str | None = None
    ) -> list[dict[str, Any]]:
        """All forced liquidations of the half-open interval ``[start, end)``, checked against the exchange's total.

        :param start: first instant in the interval; a datetime or ISO 8601 text, UTC if it names no zone
        :param end: first instant after it
        :param isolated_symbol: the pair of an isolated account; None asks for no pair
        :return: rows as the exchange sent them (numbers stay text), oldest first
        :raises BinanceIncompleteError: when the exchange's pages do not agree with its total
        """
        return self._records(FORCE_LIQUIDATION, start, end, isolated_symbol)

    def _records(
        self, endpoint: Endpoint, start: datetime | str, end: datetime | str, isolated_symbol: str | None
    ) -> list[dict[str, Any]]:
        from airflow_provider_binance_margin.exchange.paging import Span
        from airflow_provider_binance_margin.lake.spool import Spool

        first, last = parse(start), parse(end)
        if first is None or last is None or first >= last:
            raise IntervalError("start must be before end, and both must be given")
        with Spool(len(endpoint.record_key)) as spool:
            self.reader(endpoint, Span(MAX_SPAN_MS), isolated_symbol=isolated_symbol).read(ms(first), ms(last), spool)
            return [_row(line) for line in spool.lines()]

    def reader(
        self,
        endpoint: Endpoint,
        span: Span,
        *,
        isolated_symbol: str | None = None,
        require_total: bool = True,
        fetch_pages: FetchPages = map,
        size: int | None = None,
    ) -> Reader:
        """What reads whole intervals of an endpoint; see `exchange.paging.Reader`.

        :param size: rows on a page; the endpoint's most if not given
        """
        from airflow_provider_binance_margin.exchange.paging import Reader

        def fetch(start: int, end: int, current: int) -> Page:
            window = {"startTime": start, "endTime": end - 1, "isolatedSymbol": isolated_symbol}
            return self._page(endpoint, {**window, "current": current, "size": size or endpoint.max_size})

        return Reader(fetch, span, require_total, fetch_pages)

    def watch(
        self,
        endpoint: Endpoint,
        start: int,
        end: int | None,
        *,
        settle: float,
        max_span: float,
        isolated_symbol: str | None = None,
    ) -> Watch:
        """What counts the records that appear in an endpoint's window (ms); see `exchange.watch.Watch`."""
        from airflow_provider_binance_margin.exchange.paging import Span
        from airflow_provider_binance_margin.exchange.watch import Watch

        caller = replace(self._caller(endpoint.path, endpoint.weight, endpoint.read_page), attempts=1)
        span, settle_ms = Span(int(max_span * 1000)), int(settle * 1000)
        return Watch(caller, start, end, span=span, settle_ms=settle_ms, isolated_symbol=isolated_symbol)

    def look(self, watch: Watch) -> Seen:
        """Look once: one request of one row. A failure is raised, not retried: the next look is the next try."""
        return self._drive(watch.look(), self.settings.timeout)

    def isolated_symbols(self) -> list[str]:
        """The pairs that have an isolated margin account today, sorted; closed ones are no longer listed.

        :return: to feed ``.expand(isolated_symbol=...)``
        """
        return sorted(self._get(_ISOLATED_ACCOUNT, weight=10, decode=_isolated_symbols))

    def exchange_time(self, at: float | None = None) -> float:
        """The exchange's time in seconds since 1970, by the last ``Date`` it sent; this machine's before the first.

        :param at: the instant meant, by `time.monotonic`; now if not given
        """
        known = self.host.exchange_time(at)
        return known if known is not None else time.time() + (0.0 if at is None else at - time.monotonic())

    def ask_exchange_time(self) -> float:
        """The exchange's time, asked for only if no answer has told it yet."""
        if self.host.exchange_time() is None:
            self._drive(self._caller("", 1, _json_object).set_clock(), self.settings.timeout)
        return self.exchange_time()

    # -- the connection ------------------------------------------------------------------------------------------

    @cached_property
    def settings(self) -> Settings:
        """The connection, checked. Its secrets are known to Airflow's masker from here on."""
        from airflow_provider_binance_margin.hooks.redaction import hush_http_loggers, mask
        from airflow_provider_binance_margin.hooks.settings import read_settings, secrets_of

        conn = self.get_connection(self.binance_conn_id)
        hush_http_loggers()
        mask(secrets_of(conn))
        settings = read_settings(conn)
        mask(settings.secrets)
        if settings.is_foreign:
            self.log.warning("The connection's host is not one of binance.com: its owner will see the API key.")
        return settings

    @cached_property
    def host(self) -> Host:
        """What this process knows of the connection's host."""
        return shared_host(self.settings.base_url)

    @cached_property
    def _session(self) -> requests.Session:
        from airflow_provider_binance_margin.hooks.session import make_session

        return make_session(self.max_connections, use_environment=not self.settings.is_loopback)

    def get_conn(self) -> requests.Session:
        """The HTTP session; requests sent through it directly are neither signed nor paced."""
        return self._session

    def close(self) -> None:
        """End waits, refuse further calls and close connections."""
        self._closed.set()
        if "_session" in self.__dict__:
            self._session.close()

    def test_connection(self) -> tuple[bool, str]:
        """Prove clock, key, signature and address with one signed call, and say in words what is wrong or unwise."""
        from airflow_provider_binance_margin.hooks.diagnosis import diagnose

        works, words = diagnose(lambda: self._get(_RESTRICTIONS, weight=1, decode=_json_object, patient=False))
        if "Warning" in words:  # the command line shows nothing of a connection that works
            self.log.warning(words)
        return works, words

    # -- calls ---------------------------------------------------------------------------------------------------

    def _page(self, endpoint: Endpoint, params: Mapping[str, Any]) -> Page:
        return self._get(endpoint.path, params, weight=endpoint.weight, decode=endpoint.read_page)

    def _get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        weight: int,
        decode: Callable[[bytes], T],
        patient: bool = True,
    ) -> T:
        caller = self._caller(path, weight, decode)
        if patient:
            return self._drive(caller.call(params or {}), self.settings.timeout)
        hasty = replace(caller, attempts=2, longest_wait=_TEST_TIMEOUT)
        return self._drive(hasty.call(params or {}), min(self.settings.timeout, _TEST_TIMEOUT))

    def _caller(self, path: str, weight: int, decode: Callable[[bytes], T]) -> Caller[T]:
        from airflow_provider_binance_margin.exchange.call import Caller

        return Caller(self.host, self.settings.credentials, path, weight, decode, self.settings.recv_window)

    def _drive(self, call: Call[T], timeout: float) -> T:
        """Do what a call asks for, until it returns."""
        from airflow_provider_binance_margin.exchange.wire import Wait

        reply: Reply | None = None
        while True:
            try:
                step = call.send(reply)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]  # StopIteration does not know the generator's type
            if isinstance(step, Wait):
                self.wait(step.seconds, step.reason)
                reply = None
            else:
                reply = self._send(step, timeout)

    def wait(self, seconds: float, reason: str = "") -> None:
        """Do nothing for a time, unless the hook is closed meanwhile."""
        from airflow_provider_binance_margin.exchange.errors import BinanceTransientError

        if reason:
            self.log.info("Waiting %.1f s: %s.", seconds, reason)
        if self._closed.wait(seconds):
            raise BinanceTransientError("the hook was closed while a call was waiting")

    def _send(self, request: Request, timeout: float) -> Reply:
        from airflow_provider_binance_margin.exchange.errors import BinanceTransientError
        from airflow_provider_binance_margin.hooks.session import send

        if self._closed.is_set():
            raise BinanceTransientError("the hook is closed")
        return send(self._session, request, timeout)


def _ms(when: datetime | int | None) -> int | None:
    if not isinstance(when, datetime):
        return when
    known = parse(when)  # which takes one without a zone as UTC
    return None if known is None else ms(known)


def _row(line: bytes) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(line, parse_float=Decimal)
    return row


def _json_object(body: bytes) -> dict[str, Any]:
    decoded = json.loads(body)
    if not isinstance(decoded, dict) or "code" in decoded:
        raise ValueError("not the object asked for")
    return decoded


def _isolated_symbols(body: bytes) -> Iterable[str]:
    try:
        return [str(pair["symbol"]) for pair in _json_object(body)["assets"]]
    except (KeyError, TypeError):
        raise ValueError("not a list of isolated accounts") from None
