"""The hook: what the exchange's pages offer, over an Airflow connection of type ``binance``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_binance_margin.exchange.dataset import Dataset, Page
from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION, dataset_of
from airflow_provider_binance_margin.exchange.errors import BinanceTransientError
from airflow_provider_binance_margin.exchange.scope import checked_symbol, scope_of
from airflow_provider_binance_margin.exchange.settling import CLOCK_STEP, SETTLE, seconds_until_settled
from airflow_provider_binance_margin.hooks.base import BinanceBaseHook, json_object
from airflow_provider_binance_margin.lake.interval import Interval, IntervalError, ms, parse
from airflow_provider_binance_margin.load_plan import LoadPlan, check_against, check_memory
from airflow_provider_binance_margin.options import seconds

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.counter import Count, RecordCounter
    from airflow_provider_binance_margin.exchange.paging import FetchPages, Reader, Span

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
        return self.page(
            FORCE_LIQUIDATION.name,
            startTime=start_time,
            endTime=end_time,
            isolatedSymbol=checked_symbol(isolated_symbol),
            current=current,
            size=size,
            recvWindow=recv_window,
        )

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
        return self.records(FORCE_LIQUIDATION.name, start, end, isolated_symbol=isolated_symbol, settle=settle)

    # -- the account ---------------------------------------------------------------------------------------------

    def isolated_symbols(self) -> list[str]:
        """The pairs that have an isolated margin account today, sorted; closed ones are no longer listed.

        :return: to feed ``.expand(isolated_symbol=...)``
        """
        return sorted(self._get(_ISOLATED_ACCOUNT, weight=10, decode=_isolated_symbols))

    # -- any dataset -----------------------------------------------------------------------------------------------

    def page(self, dataset: str, **params: Any) -> dict[str, Any]:
        """One page of a dataset.

        :param dataset: one of `exchange.datasets.DATASETS`
        :param params: the endpoint's own parameters by their own names, such as ``startTime`` (a datetime or ms since
            1970), ``isolatedSymbol``, ``current`` and ``size``, or ``limit`` and ``fromId``; None is not sent
        :return: ``{"rows": [...], "total": n}``, rows as the exchange sent them, in its order; ``total`` is None for a
            dataset that has none
        """
        known = dataset_of(dataset)
        sent = {name: _ms(value) if isinstance(value, datetime) else value for name, value in params.items()}
        page = self._page(known, {**sent, **known.params})
        return {"rows": [_row(record.line) for record in page.records], "total": page.total}

    def records(
        self,
        dataset: str,
        start: datetime | str,
        end: datetime | str,
        *,
        isolated_symbol: str | None = None,
        filters: Mapping[str, str] | None = None,
        settle: timedelta | float = SETTLE,
    ) -> list[dict[str, Any]]:
        """All records of a dataset in the half-open interval ``[start, end)``: complete and checked, or an error.

        An interval that has ended but not settled is waited for, by the exchange's clock.

        :param dataset: one of `exchange.datasets.DATASETS`
        :param start: first instant in the interval; a datetime or ISO 8601 text, UTC if it names no zone
        :param end: first instant after it
        :param isolated_symbol: the pair of an isolated account; None asks for no pair
        :param filters: the endpoint's own further filters, such as ``{"asset": "BTC"}``
        :param settle: seconds after its end from which on an interval counts as closed
        :return: rows as the exchange sent them (numbers stay text), oldest first
        :raises BinanceIncompleteError: when the exchange's pages do not agree with each other or with its total
        :raises IntervalError: when the interval is none, ends in the future, or begins before what the exchange
            remembers
        """
        from airflow_provider_binance_margin.exchange.paging import Span
        from airflow_provider_binance_margin.lake.spool import Spool

        known, settle = dataset_of(dataset), seconds(settle)
        reader = self.reader(known, Span(known.span_ms(None)), isolated_symbol=isolated_symbol, filters=filters)
        first, last = parse(start), parse(end)
        if first is None or last is None or first >= last:
            raise IntervalError("start must be before end, and both must be given")
        if settle < 0:
            raise ValueError("settle must not be negative")
        interval = Interval(ms(first), ms(last))
        choice = LoadPlan((interval,), "arguments")
        self.check_memory(choice, known)
        for _ in range(_READINGS):
            if left := self.unsettled(choice, settle):
                self.wait(left, f"{interval} counts as closed {settle:.0f} s after its end")
            began = time.monotonic()
            with Spool(len(known.record_key)) as spool:
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

    def check_memory(self, choice: LoadPlan, dataset: Dataset) -> None:
        """Refuse what begins before the exchange remembers, by its clock.

        :raises IntervalError: with the cure
        """
        if dataset.memory is not None:
            check_memory(self.ask_exchange_time(), choice, dataset)

    def reader(
        self,
        dataset: Dataset,
        span: Span,
        *,
        isolated_symbol: object = None,
        filters: object = None,
        require_total: bool = True,
        fetch_pages: FetchPages = map,
        size: int | None = None,
    ) -> Reader:
        """What reads whole intervals of a dataset; see `exchange.paging.Reader` and `exchange.ledger.LedgerReader`.

        :param size: rows on a page that has a total; the endpoint's most if not given
        """
        from airflow_provider_binance_margin.exchange.ledger import LedgerReader
        from airflow_provider_binance_margin.exchange.paging import Reader
        from airflow_provider_binance_margin.lake.spool import Spool

        scope = scope_of(dataset, isolated_symbol, filters)
        size = dataset.max_size if dataset.is_ledger else size

        def fetch(start: int, end: int, at: int | None) -> Page:
            return self._page(dataset, dataset.request(scope, start, end, size=size, at=at))

        common = (fetch, span, require_total, fetch_pages, self.exchange_time)
        if dataset.is_ledger:
            make_sink = partial(Spool, len(dataset.record_key))
            return LedgerReader(*common, limit=dataset.max_size, make_sink=make_sink)
        return Reader(*common)

    def _page(self, dataset: Dataset, params: Mapping[str, Any]) -> Page:
        decode = dataset.reader_of(params.get("limit" if dataset.is_ledger else "size"))
        return self._get(dataset.path, params, weight=dataset.weight, decode=decode, kind=dataset.weight_kind)

    def watch(
        self,
        dataset: Dataset,
        start: int,
        end: int | None,
        *,
        settle: float,
        max_span: float | None = None,
        isolated_symbol: object = None,
        filters: object = None,
    ) -> RecordCounter:
        """What counts the records that appear in a window (ms); see `exchange.counter.RecordCounter`."""
        from airflow_provider_binance_margin.exchange.counter import RecordCounter, rows_asked
        from airflow_provider_binance_margin.exchange.paging import Span

        scope = scope_of(dataset, isolated_symbol, filters)
        decode = dataset.reader_of(rows_asked(dataset))
        caller = replace(self._caller(dataset.path, dataset.weight, decode, dataset.weight_kind), attempts=1)
        span = Span(dataset.span_ms(max_span))
        return RecordCounter(caller, start, end, span=span, settle=settle, dataset=dataset, scope=scope)

    def look(self, watch: RecordCounter) -> Count:
        """Look once: one request of one row. A failure is raised, not retried: the next look is the next try."""
        return self._drive(watch.poll())


def _ms(when: datetime) -> int | None:
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
