"""Triggers of records of the margin account: one that waits, one that announces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from airflow_provider_binance_margin.exchange.datasets import dataset_of
from airflow_provider_binance_margin.exchange.errors import (
    BinanceError,
    BinanceRequestError,
    BinanceThrottledError,
    BinanceTransientError,
)
from airflow_provider_binance_margin.exchange.scope import scope_of
from airflow_provider_binance_margin.lake.interval import iso, ms, parse
from airflow_provider_binance_margin.sensors.outcome import describe, failure_of, outcome_of

if TYPE_CHECKING:
    from airflow_provider_binance_margin.triggers.poller import PollResult, RecordPoller

_HOUR = 3600.0
#: an event is written to the database within a second or two; what is remembered before could lose it
_SAVE_AFTER = 5.0
#: polls after which a state that cannot be read is done without
_READ_TRIES = 20


class MarginHistoryTrigger(BaseTrigger):
    """Poll once every poke interval and fire one event: found, closed, or failed for good.

    What may pass (network, 5xx, 429, a ban) is logged and waited out, a ban until its end.

    :param dataset: the dataset's name
    :param binance_conn_id: the connection
    :param start: first millisecond of the window
    :param end: first millisecond after it; None for a window that stays open
    :param isolated_symbol: the pair of one isolated margin account
    :param filters: the endpoint's own further filters
    :param min_records: number of records that must have appeared
    :param settle: seconds after its end at which the window counts as closed
    :param max_span: seconds; the longest window asked for at once, the dataset's own if None
    :param poke_interval: seconds between polls
    :param exponential_backoff: True doubles the interval with each poll
    :param max_wait: seconds; the longest interval
    :param not_before: the first poll is not before this moment, in seconds since 1970
    :param memory: the count of another process to go on from; see `exchange.counter.RecordCounter.memory`
    """

    def __init__(
        self,
        *,
        dataset: str,
        binance_conn_id: str,
        start: int,
        end: int | None,
        isolated_symbol: str | None,
        filters: Mapping[str, str] | None = None,
        min_records: int,
        settle: float,
        max_span: float | None,
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
        self.dataset = dataset
        self.isolated_symbol = isolated_symbol
        self.filters = filters
        scope_of(dataset_of(dataset), isolated_symbol, filters)
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
            *("dataset", "binance_conn_id", "start", "end", "isolated_symbol", "filters", "min_records", "settle"),
            "max_span",
            *("poke_interval", "exponential_backoff", "max_wait", "not_before", "memory"),
        )
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until there is something to tell."""
        from airflow_provider_binance_margin.exchange.counter import RecordCounter
        from airflow_provider_binance_margin.exchange.paging import Span
        from airflow_provider_binance_margin.triggers.client import open_client

        dataset = dataset_of(self.dataset)
        await asyncio.sleep(self.not_before - time.time())
        try:
            async with open_client(self.binance_conn_id) as connection:
                counter = RecordCounter(
                    connection.caller(dataset),
                    self.start,
                    self.end,
                    span=Span(dataset.span_ms(self.max_span)),
                    settle=self.settle,
                    dataset=dataset,
                    scope=scope_of(dataset, self.isolated_symbol, self.filters),
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


class MarginHistoryEventTrigger(BaseEventTrigger):
    """For an `AssetWatcher`: wakes a DAG within one poll of a new record.

    Its event carries the half-open window to load, which `MarginHistoryToS3Operator` takes as its interval (with
    ``settle=0`` and no grain, into a prefix of its own), and the number of records in it. Every record is announced at
    least once: windows reach an hour back before the record announced last, so that late-comers and records of one
    millisecond are not lost. What was announced is kept in the asset's state (Airflow 3.3), so that a restart of the
    triggerer neither repeats nor misses; what appeared meanwhile is caught up. A first start announces nothing old,
    unless `since` asks for it.

    :param dataset: the dataset's name
    :param binance_conn_id: the connection
    :param isolated_symbol: the pair of one isolated margin account
    :param filters: the endpoint's own further filters, e.g. ``{"asset": "BTC"}``
    :param poll_interval: seconds between polls; one request of one row each, shared by all triggers of the same
        connection, dataset and scope
    :param since: announce what has appeared since then, at the first start: datetime or ISO 8601 text
    :param name: tells triggers apart that watch for several assets with the same options: give each its own
    :param max_span: seconds; the longest window asked of the exchange at once, the dataset's own if None or longer
    """

    def __init__(
        self,
        *,
        dataset: str,
        binance_conn_id: str = "binance_default",
        isolated_symbol: str | None = None,
        filters: Mapping[str, str] | None = None,
        poll_interval: float = 60.0,
        since: datetime | str | None = None,
        name: str | None = None,
        max_span: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's triggers are untyped
        self.binance_conn_id = binance_conn_id
        self.dataset = dataset
        self.isolated_symbol = isolated_symbol
        self.filters = filters
        self._scope = scope_of(dataset_of(dataset), isolated_symbol, filters)
        self.poll_interval = poll_interval
        start = parse(since)
        self.since = None if start is None else iso(ms(start))
        self.name = name
        self.max_span = max_span
        self._said = ""
        self._first: PollResult | None = None
        self._useless: set[str] = set()
        self._unread = 0
        if poll_interval < 1:
            raise ValueError(f"poll_interval must be a second or more, not {poll_interval!r}")
        if max_span is not None and max_span < _HOUR:
            raise ValueError(f"max_span must be an hour or more in seconds, not {max_span!r}")

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments of an equal trigger; no secrets."""
        names = (
            "dataset",
            "binance_conn_id",
            "isolated_symbol",
            "filters",
            "poll_interval",
            "since",
            "name",
            "max_span",
        )
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {name: getattr(self, name) for name in names}

    # -- one poll for all (Airflow 3.3), or one of its own ---------------------------------------------------------

    def shared_stream_key(self) -> Hashable | None:
        """Key of the shared poll: one per connection and filter, however many triggers watch."""
        kind = type(self)
        own = (self.dataset, self.binance_conn_id, str(self._scope), self.poll_interval, self.max_span)
        return ("binance", f"{kind.__module__}.{kind.__qualname__}", *own)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncGenerator[PollResult, None]:
        """The poll."""
        async with aclosing(cls(**kwargs).poller().results()) as snapshots:
            async for snapshot in snapshots:
                yield snapshot

    async def run(self) -> AsyncGenerator[TriggerEvent, None]:
        """The same where polls cannot be shared."""
        async with (
            aclosing(self.poller().results()) as snapshots,
            aclosing(self.filter_shared_stream(snapshots)) as events,
        ):
            async for event in events:
                yield event

    def poller(self) -> RecordPoller:
        """The poller of this trigger's connection and filter."""
        from airflow_provider_binance_margin.triggers.poller import RecordPoller

        dataset = dataset_of(self.dataset)
        return RecordPoller(dataset, self.binance_conn_id, self._scope, self.poll_interval, self.max_span)

    # -- what is news to this trigger ----------------------------------------------------------------------------

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[PollResult]
    ) -> AsyncGenerator[TriggerEvent, None]:
        """An event for each change since what was announced last, be it before this trigger was started again.

        At least once: what was announced is remembered only after the event is out.
        """
        last: PollResult | None = None
        saved = True
        async for now in shared_stream:
            if last is None:
                start = await self._start(now)
                if start is None:
                    continue
                announced, counted = start
            else:
                announced, counted = last, now
            if counted.base == announced.base and counted.is_news_after(announced):
                yield self._event(counted)
                await asyncio.sleep(_SAVE_AFTER)
                saved = await self._remember(now)
            elif last is None or now.base != last.base or not saved:
                saved = await self._remember(now)
            last = now

    async def _start(self, now: PollResult) -> tuple[PollResult, PollResult] | None:
        """The last announcement, and the same counted again; None when that cannot be told yet.

        By the asset's state; where there is none that can be used, by `since`; else by the first poll: nothing is old.
        """
        self._first = self._first or now
        for source, read in (("State", self._stored), ("since", self._since), ("First poll", self._first_poll)):
            try:
                announced = None if source in self._useless else await read(now)
                if announced is not None:
                    counted = now if announced.base == now.base else await self.poller().count(announced.base, now)
                    return announced, counted
            except (BinanceRequestError, ValueError) as flaw:  # asking again cannot help
                self._useless.add(source)
                self.log.warning("%s ignored, since it cannot be used: %s.", source, _words(flaw))
            except Exception as error:  # noqa: BLE001 - a trigger that ends is started again at once, for ever
                self._say_once("Catch-up failed, will retry at the next poll: %s.", error)
                return None
        return now, now

    def _event(self, now: PollResult) -> TriggerEvent:
        """The half-open window to load, and how many records the exchange states for it."""
        assert now.newest is not None
        window = {
            "start": iso(now.base),
            "end": iso(now.newest + 1),
            "total": now.total,
            "newest": iso(now.newest),
            "binance_conn_id": self.binance_conn_id,
            "isolated_symbol": self.isolated_symbol,
            "dataset": self.dataset,
        }
        self.log.info("New records: %s", window)
        return TriggerEvent(window)  # type: ignore[no-untyped-call]

    # -- what was announced, in the asset's state (Airflow 3.3) ----------------------------------------------------

    async def _stored(self, now: PollResult) -> PollResult | None:
        """The last announcement, None at a first start; ValueError for a state that nobody could go on from."""
        from airflow_provider_binance_margin.triggers.poller import read_state

        try:
            state = await self._ask_state("get", self._state_key())
        except ValueError:
            raise
        except Exception as error:
            self._unread += 1
            if self._unread < _READ_TRIES:
                raise
            raise ValueError(f"{type(error).__name__} at each of {self._unread} polls") from None
        return None if state is None else read_state(state, now)

    async def _since(self, now: PollResult) -> PollResult | None:  # noqa: ARG002 - as above
        """The empty announcement that `since` starts from."""
        from airflow_provider_binance_margin.triggers.poller import PollResult

        start = parse(self.since)
        return None if start is None else PollResult(ms(start), 0, None)

    async def _first_poll(self, now: PollResult) -> PollResult | None:  # noqa: ARG002 - as above
        return self._first

    async def _remember(self, now: PollResult) -> bool:
        """Write the asset's state; what could not be written (False) is announced again at the next start."""
        state = {"since": now.base, "total": now.total, "newest": now.newest}
        try:
            await self._ask_state("set", self._state_key(), state)
        except Exception as error:  # noqa: BLE001 - see above
            self._say_once("State not written, will retry at the next poll: %s.", error)
            return False
        self._said = ""
        return True

    def _state_key(self) -> str:
        """Of its own for each connection and filter: watchers of several may tell of one asset."""
        watched = (self.dataset, self.binance_conn_id, str(self._scope))
        return "/".join(("binance", *(quote(name, safe="") for name in watched)))

    def _say_once(self, message: str, error: Exception) -> None:
        if type(error).__name__ != self._said:
            self.log.warning(message, _words(error))
        self._said = type(error).__name__

    async def _ask_state(self, verb: str, *args: Any) -> Any:
        """Read or write the asset's state; without one the memory ends with this process."""
        store = getattr(self, "asset_state_store", None)
        if store is None:
            if verb == "get":
                self.log.warning(
                    "This Airflow keeps no state for assets (3.3 does): what appears while the triggerer is down is "
                    "not announced, unless `since` is given, and then all since is announced again at each start."
                )
            return None
        try:
            if hasattr(store, f"a{verb}"):
                return await getattr(store, f"a{verb}")(*args)
            from asgiref.sync import sync_to_async  # Airflow 3.3.0 and 3.3.1

            return await sync_to_async(getattr(store, verb))(*args)
        except ValueError as error:
            if type(error) is not ValueError:  # a state that cannot be decoded
                raise
            self.log.error(  # noqa: TRY400 - the cure is all there is to say
                "Several assets share this trigger, so that none of them can remember what was announced: give each "
                "trigger a name= of its own."
            )
            return None


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, BinanceError) or type(error) is ValueError else type(error).__name__


def _retry_after(error: BinanceTransientError) -> float:
    return error.retry_after if isinstance(error, BinanceThrottledError) else 0.0
