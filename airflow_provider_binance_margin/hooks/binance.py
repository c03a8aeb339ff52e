"""The hook: what the exchange's pages offer, over an Airflow connection of type ``binance``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_binance_margin.exchange.endpoint import Endpoint, Page
from airflow_provider_binance_margin.exchange.errors import BinanceTransientError
from airflow_provider_binance_margin.exchange.force_liquidation import FORCE_LIQUIDATION
from airflow_provider_binance_margin.exchange.settling import CLOCK_STEP, SETTLE, seconds_until_settled
from airflow_provider_binance_margin.exchange.symbol import checked_symbol
from airflow_provider_binance_margin.hooks.base import BinanceBaseHook, json_object
from airflow_provider_binance_margin.lake.interval import Interval, IntervalError, ms, parse
from airflow_provider_binance_margin.load_plan import LoadPlan, check_against
from airflow_provider_binance_margin.options import seconds

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.counter import Count, RecordCounter
    from airflow_provider_binance_margin.exchange.paging import FetchPages, Reader, Span

_MAX_SPAN_MS = 7 * 24 * 3_600_000
_READINGS = 3
_ISOLATED_ACCOUNT = "/sapi/v1/margin/isolated/account"


class BinanceHook(BinanceBaseHook):
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
                "isolatedSymbol": checked_symbol(isolated_symbol),
                "current": current,
                "size": size,
                "recvWindow": recv_window,
            },
        )
        return {"rows": [_row(record.line) for record in page.records], "total": page.total}

    def force_liquidations(
        self,
        start: datetime | str,
        end: datetime | str,
        *,
        isolated_symbol: str | None = None,
        settle: timedelta | float = SETTLE,
    ) -> list[dict[str, Any]]:
        """All forced liquidations of the half-open interval ``[start, end)``, checked against the exchange's total.

        An interval that has ended but not settled is waited for, by the exchange's clock.

        :param start: first instant in the interval; a datetime or ISO 8601 text, UTC if it names no zone
        :param end: first instant after it
        :param isolated_symbol: the pair of an isolated account; None asks for no pair
        :param settle: seconds after its end from which on an interval counts as closed
        :return: rows as the exchange sent them (numbers stay text), oldest first
        :raises BinanceIncompleteError: when the exchange's pages do not agree with its total
        :raises IntervalError: when the interval is none, or ends in the future
        """
        return self._records(FORCE_LIQUIDATION, start, end, isolated_symbol, seconds(settle))

    # -- the account ---------------------------------------------------------------------------------------------

    def isolated_symbols(self) -> list[str]:
        """The pairs that have an isolated margin account today, sorted; closed ones are no longer listed.

        :return: to feed ``.expand(isolated_symbol=...)``
        """
        return sorted(self._get(_ISOLATED_ACCOUNT, weight=10, decode=_isolated_symbols))

    # -- any endpoint --------------------------------------------------------------------------------------------

    def _page(self, endpoint: Endpoint, params: Mapping[str, Any]) -> Page:
        decode = endpoint.reader_of(params["size"])
        return self._get(endpoint.path, params, weight=endpoint.weight, decode=decode)

    def _records(
        self,
        endpoint: Endpoint,
        start: datetime | str,
        end: datetime | str,
        isolated_symbol: str | None,
        settle: float,
    ) -> list[dict[str, Any]]:
        from airflow_provider_binance_margin.exchange.paging import Span
        from airflow_provider_binance_margin.lake.spool import Spool

        first, last = parse(start), parse(end)
        if first is None or last is None or first >= last:
            raise IntervalError("start must be before end, and both must be given")
        if settle < 0:
            raise ValueError("settle must not be negative")
        interval = Interval(ms(first), ms(last))
        choice = LoadPlan((interval,), "arguments")
        reader = self.reader(endpoint, Span(_MAX_SPAN_MS), isolated_symbol=isolated_symbol)
        for _ in range(_READINGS):
            if left := self.unsettled(choice, settle):
                self.wait(left, f"{interval} counts as closed {settle:.0f} s after its end")
            began = time.monotonic()
            with Spool(len(endpoint.record_key)) as spool:
                reader.read(interval.start, interval.end, spool)
                if not self.seconds_until_settled(choice, settle, began):
                    return [_row(line) for line in spool.lines()]
        raise BinanceTransientError(
            f"the interval {interval} never counts as closed: the exchange's clock stands still"
        )

    def unsettled(self, choice: LoadPlan, settle: float) -> float:
        """Seconds to wait until the last interval counts as closed by the exchange's clock, 0 if it does.

        The exchange is asked for its time only where this machine's clock leaves it in doubt: what is read is checked
        against the exchange's clock in any case.

        :raises IntervalError: for one that ends in the future
        """
        if not seconds_until_settled(choice.intervals[-1].end, settle, self.exchange_time()):
            return 0.0
        self.ask_exchange_time()
        left = self.seconds_until_settled(choice, settle)
        # that time is told in whole seconds: else what is read next could seem to be read too early
        return left and left + CLOCK_STEP

    def seconds_until_settled(self, choice: LoadPlan, settle: float, at: float | None = None) -> float:
        """Seconds until the last interval counts as closed by the exchange's clock, 0 if it does.

        :param at: when it was asked for, by `time.monotonic`; now if not given
        :raises IntervalError: for one that ends in the future
        """
        now = self.exchange_time(at)
        check_against(now, choice)
        return seconds_until_settled(choice.intervals[-1].end, settle, now)

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

        symbol = checked_symbol(isolated_symbol)

        def fetch(start: int, end: int, current: int) -> Page:
            window = {"startTime": start, "endTime": end - 1, "isolatedSymbol": symbol}
            return self._page(endpoint, {**window, "current": current, "size": size or endpoint.max_size})

        return Reader(fetch, span, require_total, fetch_pages, self.exchange_time)

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
        from airflow_provider_binance_margin.exchange.counter import ROWS_ASKED, RecordCounter
        from airflow_provider_binance_margin.exchange.paging import Span

        symbol = checked_symbol(isolated_symbol)
        caller = replace(self._caller(endpoint.path, endpoint.weight, endpoint.reader_of(ROWS_ASKED)), attempts=1)
        span = Span(int(max_span * 1000))
        return RecordCounter(caller, start, end, span=span, settle=settle, isolated_symbol=symbol)

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
