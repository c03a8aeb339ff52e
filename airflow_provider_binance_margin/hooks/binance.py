"""The hook: what the exchange's pages offer, over an Airflow connection of type ``binance``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_binance_margin.exchange.endpoint import Endpoint, Page
from airflow_provider_binance_margin.exchange.force_liquidation import FORCE_LIQUIDATION
from airflow_provider_binance_margin.hooks.connection import SignedConnection, json_object
from airflow_provider_binance_margin.lake.interval import IntervalError, ms, parse

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.counter import Count, RecordCounter
    from airflow_provider_binance_margin.exchange.paging import FetchPages, Reader, Span

_MAX_SPAN_MS = 7 * 24 * 3_600_000
_ISOLATED_ACCOUNT = "/sapi/v1/margin/isolated/account"


class BinanceHook(SignedConnection):
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
        super().__init__(binance_conn_id)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """The form's labels, for Airflow before 3.2, which reads them off the hook's own class and nowhere else."""
        from airflow_provider_binance_margin.get_provider_info import UI_FIELD_BEHAVIOUR

        return UI_FIELD_BEHAVIOUR

    # -- forced liquidations -------------------------------------------------------------------------------------

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

    # -- the account ---------------------------------------------------------------------------------------------

    def isolated_symbols(self) -> list[str]:
        """The pairs that have an isolated margin account today, sorted; closed ones are no longer listed.

        :return: to feed ``.expand(isolated_symbol=...)``
        """
        return sorted(self._get(_ISOLATED_ACCOUNT, weight=10, decode=_isolated_symbols))

    # -- any endpoint --------------------------------------------------------------------------------------------

    def _page(self, endpoint: Endpoint, params: Mapping[str, Any]) -> Page:
        return self._get(endpoint.path, params, weight=endpoint.weight, decode=endpoint.read_page)

    def _records(
        self, endpoint: Endpoint, start: datetime | str, end: datetime | str, isolated_symbol: str | None
    ) -> list[dict[str, Any]]:
        from airflow_provider_binance_margin.exchange.paging import Span
        from airflow_provider_binance_margin.lake.spool import Spool

        first, last = parse(start), parse(end)
        if first is None or last is None or first >= last:
            raise IntervalError("start must be before end, and both must be given")
        with Spool(len(endpoint.record_key)) as spool:
            self.reader(endpoint, Span(_MAX_SPAN_MS), isolated_symbol=isolated_symbol).read(ms(first), ms(last), spool)
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
    ) -> RecordCounter:
        """What counts the records that appear in an endpoint's window (ms); see `exchange.counter.RecordCounter`."""
        from airflow_provider_binance_margin.exchange.counter import RecordCounter
        from airflow_provider_binance_margin.exchange.paging import Span

        caller = replace(self._caller(endpoint.path, endpoint.weight, endpoint.read_page), attempts=1)
        span = Span(int(max_span * 1000))
        return RecordCounter(caller, start, end, span=span, settle=settle, isolated_symbol=isolated_symbol)

    def look(self, watch: RecordCounter) -> Count:
        """Look once: one request of one row. A failure is raised, not retried: the next look is the next try."""
        return self._drive(watch.poll())


def _ms(when: datetime | int | None) -> int | None:
    if not isinstance(when, datetime):
        return when
    known = parse(when)  # which takes one without a zone as UTC
    return None if known is None else ms(known)


def _row(line: bytes) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(line, parse_float=Decimal)
    return row


def _isolated_symbols(body: bytes) -> Iterable[str]:
    try:
        return [str(pair["symbol"]) for pair in json_object(body)["assets"]]
    except (KeyError, TypeError):
        raise ValueError("not a list of isolated accounts") from None
