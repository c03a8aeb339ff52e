"""Hook for Binance's margin API."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_binance_margin.exchange.dataset import Dataset, Page
from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION, dataset_of
from airflow_provider_binance_margin.exchange.errors import BinanceTransientError
from airflow_provider_binance_margin.exchange.ledger import LedgerReader
from airflow_provider_binance_margin.exchange.paging import FetchPages, Reader, Reading, Span
from airflow_provider_binance_margin.exchange.scope import Scope, checked_symbol, scope_of
from airflow_provider_binance_margin.exchange.settling import CLOCK_STEP, SETTLE, seconds_until_settled
from airflow_provider_binance_margin.hooks.base import BinanceBaseHook, json_object
from airflow_provider_binance_margin.lake.interval import Interval, IntervalError, between, ms, parse
from airflow_provider_binance_margin.lake.spool import Spool
from airflow_provider_binance_margin.load_plan import LoadPlan, check_against, check_memory
from airflow_provider_binance_margin.options import check_windows, seconds

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.counter import Count, RecordCounter

_READINGS = 3
_ISOLATED_ACCOUNT = "/sapi/v1/margin/isolated/account"


class BinanceHook(BinanceBaseHook):
    """Signed calls to Binance's margin API with an Airflow connection.

    Calls are paced, retried and re-signed as the exchange asks; final errors are raised as one of
    `airflow_provider_binance_margin.exchange.errors`. Safe to share between threads.

    :param binance_conn_id: the connection, of type ``binance``
    """

    conn_name_attr: ClassVar[str] = "binance_conn_id"
    default_conn_name: ClassVar[str] = "binance_default"
    conn_type: ClassVar[str] = "binance"
    hook_name: ClassVar[str] = "Binance"

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Labels of the connection form, which Airflow before 3.2 takes from the hook's own class only."""
        from airflow_provider_binance_margin.get_provider_info import UI_FIELD_BEHAVIOUR

        return UI_FIELD_BEHAVIOUR

    def force_liquidation_page(
        self,
        *,
        start_time: date | int | None = None,
        end_time: date | int | None = None,
        isolated_symbol: str | None = None,
        current: int = 1,
        size: int = 100,
        recv_window: int | None = None,
    ) -> dict[str, Any]:
        """Fetch one page of ``GET /sapi/v1/margin/forceLiquidationRec``, newest first.

        The parameters are the endpoint's; times (both inclusive) are datetimes, dates or ms since 1970.

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
        start: date | str,
        end: date | str,
        *,
        isolated_symbol: str | None = None,
        settle: timedelta | float = SETTLE,
    ) -> list[dict[str, Any]]:
        """Fetch all forced liquidations of ``[start, end)``: `records` of ``force_liquidation``."""
        return self.records(FORCE_LIQUIDATION.name, start, end, isolated_symbol=isolated_symbol, settle=settle)

    def isolated_symbols(self) -> list[str]:
        """List the pairs with an isolated margin account today (closed ones vanish), sorted: for `.expand`."""
        return self._get(_ISOLATED_ACCOUNT, weight=10, decode=_isolated_symbols)

    def page(self, dataset: str, **params: Any) -> dict[str, Any]:
        """Fetch one page of a dataset.

        :param dataset: one of `exchange.datasets.DATASETS`
        :param params: the endpoint's own parameters, such as ``startTime`` (a datetime, a date or ms since 1970),
            ``isolatedSymbol``, ``current`` and ``size``, or ``limit`` and ``fromId``; None is not sent
        :return: ``{"rows": [...], "total": n}``, rows as the exchange sent them; ``total`` is None where the endpoint
            states none
        """
        known = dataset_of(dataset)
        sent = {name: _ms(value) if isinstance(value, date) else value for name, value in params.items()}
        page = self._page(known, {**sent, **known.params})
        return {"rows": [_row(record.line) for record in page.records], "total": page.total}

    def records(
        self,
        dataset: str,
        start: date | str,
        end: date | str,
        *,
        isolated_symbol: str | None = None,
        filters: Mapping[str, str] | None = None,
        settle: timedelta | float = SETTLE,
    ) -> list[dict[str, Any]]:
        """Fetch all records of a dataset in the half-open interval ``[start, end)``: complete and checked, or an error.

        An interval that has ended but not settled is waited for, by the exchange's clock.

        :param dataset: one of `exchange.datasets.DATASETS`
        :param start: start of the interval; a datetime, a date or ISO 8601 text, UTC without a zone
        :param end: end of the interval, exclusive
        :param isolated_symbol: the pair of an isolated account
        :param filters: the endpoint's own further filters, such as ``{"asset": "BTC"}``
        :param settle: time after its end at which an interval counts as closed; timedelta or seconds
        :return: rows as the exchange sent them (numbers stay text), oldest first
        :raises BinanceIncompleteError: when the exchange's pages disagree with each other or with its total
        :raises IntervalError: for an interval that is reversed, ends in the future, or begins before what the exchange
            remembers
        """
        known, settle = dataset_of(dataset), seconds(settle)
        reader = self.reader(known, scope_of(known, isolated_symbol, filters), Span(known.span_ms(None)))
        interval = between(start, end)
        if interval is None or interval.start >= interval.end:
            raise IntervalError("start must be before end, and both must be given")
        check_windows(grain=None, settle=settle, max_span=None)
        plan = LoadPlan((interval,), "arguments")
        self.check_memory(plan, known)
        if left := self.unsettled(plan, settle):
            self.wait(left, f"{interval} counts as closed {settle:.0f} s after its end")
        with self.read_settled(reader, known, interval, settle=settle, plan=plan) as (spool, _, _):
            return [_row(line) for line in spool.lines()]

    @contextmanager
    def read_settled(
        self,
        reader: Reader,
        dataset: Dataset,
        interval: Interval,
        *,
        settle: float,
        plan: LoadPlan,
        stuck: type[Exception] = BinanceTransientError,
        draft: Callable[[Spool, int], Any] | None = None,
    ) -> Iterator[tuple[Spool, Reading, float]]:
        """Read an interval, again as long as it had not settled when the exchange was first asked.

        :param plan: the run's intervals, checked against the exchange's clock
        :param stuck: error for an exchange whose clock stands still
        :return: the records, their reading, and the exchange's time at its start (seconds since 1970)
        :raises IntervalError: for a plan that ends in the future
        """
        for _ in range(_READINGS):
            began = time.monotonic()
            with Spool(len(dataset.record_key), draft) as spool:
                reading = reader.read(interval.start, interval.end, spool)
                asked_at = self.exchange_time(began)
                check_against(asked_at, plan)
                left = seconds_until_settled(interval.end, settle, asked_at)
                if not left:
                    yield spool, reading, asked_at
                    return
            self.wait(left + CLOCK_STEP, f"{interval} has not settled by the exchange's clock, which is behind")
        raise stuck(f"{interval} never counts as closed: the exchange's clock stands still")

    def unsettled(self, plan: LoadPlan, settle: float) -> float:
        """Seconds to wait until the last interval counts as closed by the exchange's clock, 0 if it does.

        The exchange is asked for its time only if this machine's clock leaves it in doubt, since `read_settled` goes by
        the exchange's in any case.

        :raises IntervalError: for a plan that ends in the future
        """
        end = plan.intervals[-1].end
        if not seconds_until_settled(end, settle, self.exchange_time()):
            return 0.0
        now = self.ask_exchange_time()
        check_against(now, plan)
        left = seconds_until_settled(end, settle, now)
        return left and left + CLOCK_STEP  # the time is told in whole seconds

    def check_memory(self, plan: LoadPlan, dataset: Dataset) -> None:
        """Refuse, by an IntervalError, a plan that begins before what the exchange remembers, by its clock."""
        if dataset.memory is not None:
            check_memory(self.ask_exchange_time(), plan, dataset)

    def reader(
        self,
        dataset: Dataset,
        scope: Scope,
        span: Span,
        *,
        require_total: bool = True,
        fetch_pages: FetchPages = map,
        size: int | None = None,
    ) -> Reader:
        """Make the reader of whole intervals, an `exchange.paging.Reader` or `exchange.ledger.LedgerReader`.

        :param size: rows on a page that has a total; the endpoint's maximum by default
        """
        size = dataset.max_size if dataset.is_ledger else size

        def fetch(start: int, end: int, at: int | None) -> Page:
            return self._page(dataset, dataset.request(scope, start, end, size=size, at=at))

        common = (fetch, span, require_total, fetch_pages, self.exchange_time)
        if dataset.is_ledger:
            make_sink = partial(Spool, len(dataset.record_key))
            return LedgerReader(*common, limit=dataset.max_size, make_sink=make_sink)
        return Reader(*common)

    def _page(self, dataset: Dataset, params: Mapping[str, Any]) -> Page:
        decode = partial(dataset.read_page, size=params.get("limit" if dataset.is_ledger else "size"))
        return self._get(dataset.path, params, weight=dataset.weight, decode=decode, kind=dataset.weight_kind)

    def count(self, counter: RecordCounter) -> Count:
        """Poll once: one request of one row, without retries."""
        return self._drive(counter.poll())


def _ms(when: date | None) -> int | None:
    known = parse(when)  # a naive one is UTC
    return None if known is None else ms(known)


def _row(line: bytes) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(line, parse_float=Decimal)
    return row


def _isolated_symbols(body: bytes) -> list[str]:
    try:
        return sorted(str(pair["symbol"]) for pair in json_object(body)["assets"])
    except (KeyError, TypeError):
        raise ValueError("not a list of isolated accounts") from None
