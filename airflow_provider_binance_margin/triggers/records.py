"""Triggers that wait for records: the part that is the same for every endpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_binance_margin.exchange.endpoint import Endpoint
from airflow_provider_binance_margin.exchange.errors import (
    BinanceError,
    BinanceThrottledError,
    BinanceTransientError,
)
from airflow_provider_binance_margin.exchange.symbol import checked_symbol
from airflow_provider_binance_margin.sensors.outcome import describe, failure_of, outcome_of


class RecordsTrigger(BaseTrigger):
    """Poll once every poke interval and fire one event: found, closed, or failed for good.

    What may pass (network, 5xx, 429, a ban) is logged and waited out, a ban until its end.

    :param binance_conn_id: the connection
    :param start: first millisecond of the window
    :param end: first millisecond after it; None for a window that stays open
    :param isolated_symbol: the endpoint's own filter
    :param min_records: number of records that must have appeared
    :param settle: seconds after its end at which the window counts as closed
    :param max_span: seconds; the longest window asked for at once
    :param poke_interval: seconds between polls
    :param exponential_backoff: True doubles the interval with each poll
    :param max_wait: seconds; the longest interval
    :param not_before: the first poll is not before this moment, in seconds since 1970
    :param memory: the count of another process to go on from; see `exchange.counter.RecordCounter.memory`
    """

    endpoint: ClassVar[Endpoint]

    def __init__(
        self,
        *,
        binance_conn_id: str,
        start: int,
        end: int | None,
        isolated_symbol: str | None,
        min_records: int,
        settle: float,
        max_span: float,
        poke_interval: float,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        not_before: float = 0.0,
        memory: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's triggers are untyped
        self.binance_conn_id = binance_conn_id
        self.start = start
        self.end = end
        self.isolated_symbol = checked_symbol(isolated_symbol)
        self.min_records = min_records
        self.settle = settle
        self.max_span = max_span
        self.poke_interval = poke_interval
        self.exponential_backoff = exponential_backoff
        self.max_wait = max_wait
        self.not_before = not_before
        self.memory = memory

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments of an equal trigger; no secrets."""
        names = (
            *("binance_conn_id", "start", "end", "isolated_symbol", "min_records", "settle", "max_span"),
            *("poke_interval", "exponential_backoff", "max_wait", "not_before", "memory"),
        )
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until there is something to tell."""
        from airflow_provider_binance_margin.exchange.counter import RecordCounter
        from airflow_provider_binance_margin.exchange.paging import Span
        from airflow_provider_binance_margin.triggers.client import open_client

        await asyncio.sleep(self.not_before - time.time())
        try:
            async with open_client(self.binance_conn_id) as connection:
                counter = RecordCounter(
                    connection.caller(self.endpoint),
                    self.start,
                    self.end,
                    span=Span(int(self.max_span * 1000)),
                    settle=self.settle,
                    isolated_symbol=self.isolated_symbol,
                )
                counter.recall(self.memory)
                asked = {"binance_conn_id": self.binance_conn_id, "isolated_symbol": self.isolated_symbol}
                polls = 0
                while True:
                    try:
                        count = await connection.drive(counter.poll())
                        outcome = outcome_of(count, self.start, self.min_records, **asked)
                    except BinanceTransientError as error:
                        self.log.warning("Poll failed, will retry: %s", error)
                        await asyncio.sleep(max(self._interval(polls), _retry_after(error)))
                    else:
                        self.log.info(describe(outcome, self.min_records))
                        if outcome["status"] != "waiting":
                            break
                        await asyncio.sleep(self._interval(polls))
                    polls += 1
        except BinanceError as error:
            outcome = failure_of(error)
        yield TriggerEvent(outcome)  # type: ignore[no-untyped-call]

    def _interval(self, polls: int) -> float:
        interval = self.poke_interval * (2 ** min(polls, 30) if self.exponential_backoff else 1)
        return interval if self.max_wait is None else min(interval, self.max_wait)


def _retry_after(error: BinanceTransientError) -> float:
    return error.retry_after if isinstance(error, BinanceThrottledError) else 0.0
