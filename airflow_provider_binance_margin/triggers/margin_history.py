"""Triggers of records of the margin account: one that a deferred sensor waits for, one that announces."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, fields
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from airflow_provider_binance_margin.exchange.datasets import dataset_of
from airflow_provider_binance_margin.exchange.errors import BinanceError, BinanceRequestError, BinanceTransientError
from airflow_provider_binance_margin.exchange.scope import scope_of
from airflow_provider_binance_margin.failures import name_connection
from airflow_provider_binance_margin.lake.interval import iso, ms, parse
from airflow_provider_binance_margin.options import check_windows
from airflow_provider_binance_margin.triggers.outcome import describe, failure_of, outcome_of
from airflow_provider_binance_margin.triggers.poller import PollResult, RecordPoller, read_state
from airflow_provider_binance_margin.triggers.shared_stream import shared

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.counter import Count
    from airflow_provider_binance_margin.hooks.settings import Settings

#: seconds within which an event is in the database; state saved earlier could outrun an event that is lost
_SAVE_AFTER = 5.0
#: polls after which a state that cannot be read is given up
_READ_TRIES = 20


@dataclass(kw_only=True, eq=False, repr=False)
class _DatasetTrigger(BaseTrigger):
    """Trigger for one dataset and scope; its fields are its constructor's parameters, and what is serialized."""

    dataset: str
    binance_conn_id: str = "binance_default"
    isolated_symbol: str | None = None
    filters: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's triggers are untyped
        self._scope = scope_of(dataset_of(self.dataset), self.isolated_symbol, self.filters)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and constructor arguments, without secrets."""
        kind = type(self)
        options = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        return f"{kind.__module__}.{kind.__qualname__}", options


@dataclass(kw_only=True, eq=False, repr=False)
class MarginHistoryTrigger(_DatasetTrigger):
    """Poll once every poke interval and fire one event: found, closed, or failed for good.

    Transient errors (network, 5xx, 429, a ban) are logged and waited out, a ban until its end. Triggers of one event
    loop that ask the same over the same connection share one poll. Parameters are the sensor's, durations in seconds.
    """

    start: int  # first millisecond of the window
    end: int | None  # first millisecond after it; None for a window that stays open
    min_records: int
    settle: float
    max_span: float | None
    poke_interval: float
    exponential_backoff: bool = False
    max_wait: float | None = None
    not_before: float = 0.0  # earliest time of the first poll, in seconds since 1970
    memory: dict[str, Any] | None = None  # `RecordCounter.memory` of another process, whose count goes on

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the wait is over."""
        from airflow_provider_binance_margin.triggers.client import fetch_settings

        await asyncio.sleep(self.not_before - time.time())
        try:
            settings = await fetch_settings(self.binance_conn_id)
            async with shared(self._question(settings), partial(self._poll, settings)) as counts:
                async for count in counts:
                    if (outcome := self._outcome(count)) is not None:
                        break
        except BinanceError as error:
            outcome = failure_of(error, self.binance_conn_id)
        yield TriggerEvent(outcome)  # type: ignore[no-untyped-call]

    def _outcome(self, count: Count | BinanceTransientError) -> dict[str, Any] | None:
        """Log a poll; return its outcome once that ends the wait."""
        if isinstance(count, BinanceTransientError):
            self.log.warning("Poll failed, will retry: %s", name_connection(self.binance_conn_id, count))
            return None
        outcome = outcome_of(count, self.start, self)
        self.log.info(describe(outcome, self.min_records))
        return None if outcome["status"] == "waiting" else outcome

    def _question(self, settings: Settings) -> Hashable:
        """Key of the shared polls; a trigger whose intervals grow polls by itself."""
        window = (self.start, self.end, self.settle, self.max_span)
        own = self if self.exponential_backoff else None
        return (settings, self.dataset, self._scope, window, self.poke_interval, self.max_wait, own)

    async def _poll(self, settings: Settings, publish: Callable[[Count | BinanceTransientError], None]) -> None:
        """Publish one count, or the error that prevented it, a poll."""
        from airflow_provider_binance_margin.triggers.client import open_client

        window, dataset = (self.start, self.end), dataset_of(self.dataset)
        counter = settings.counter(dataset, self._scope, *window, settle=self.settle, max_span=self.max_span)
        counter.recall(self.memory)
        async with open_client(settings) as client:
            for polls in itertools.count():
                polled: Count | BinanceTransientError
                try:
                    polled = await client.drive(counter.poll())
                except BinanceTransientError as error:
                    polled = error
                publish(polled)
                await asyncio.sleep(max(self._interval(polls), getattr(polled, "retry_after", 0.0)))

    def _interval(self, polls: int) -> float:
        interval = self.poke_interval * (2 ** min(polls, 30) if self.exponential_backoff else 1)
        return interval if self.max_wait is None else min(interval, self.max_wait)


@dataclass(kw_only=True, eq=False, repr=False)
class MarginHistoryEventTrigger(_DatasetTrigger, BaseEventTrigger):
    """Wake the DAGs of an `AssetWatcher` within one poll of a new record.

    The event carries the half-open window to load, which `MarginHistoryToS3Operator` takes as its interval (with
    ``settle=0`` and no grain, into a prefix of its own), and the number of records in it.

    Delivery is at least once. Windows reach an hour back before the record announced last, so that late records and
    records of one millisecond are not lost. The last announcement is kept in the asset's state (Airflow 3.3), so that
    a restart of the triggerer neither repeats nor misses. A first start announces nothing old, unless `since` is given.

    :param dataset: the dataset's name
    :param binance_conn_id: the connection to the exchange
    :param isolated_symbol: the pair of one isolated margin account
    :param filters: the endpoint's own further filters, e.g. ``{"asset": "BTC"}``
    :param poll_interval: seconds between polls; triggers of the same connection, dataset and scope share one poll
    :param since: at the first start, announce the records from then on: datetime, date or ISO 8601
    :param name: distinguishes triggers with the same options that watch for several assets
    :param max_span: seconds; the longest window per request, the dataset's own by default
    """

    poll_interval: float = 60.0
    since: date | str | None = None
    name: str | None = None
    max_span: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        start = parse(self.since)
        self.since = None if start is None else iso(ms(start))
        self._warned = ""
        self._unread = 0
        #: candidates for the last announcement, best first; the state is None until it is read
        self._announced: dict[str, PollResult | None] = {"State": None}
        if start is not None:
            self._announced["since"] = PollResult(ms(start), 0, None)
        if self.poll_interval < 1:
            raise ValueError(f"poll_interval must be a second or more, not {self.poll_interval!r}")
        check_windows(grain=None, settle=0, max_span=self.max_span)

    async def run(self) -> AsyncGenerator[TriggerEvent, None]:
        """Poll once for all triggers of this event loop with the same connection, dataset, scope and interval."""
        poller = self.poller()
        async with shared(poller.key, poller.run) as results, aclosing(self._events(results)) as events:
            async for event in events:
                yield event

    def poller(self) -> RecordPoller:
        """Make the poller of this trigger's connection, dataset and scope."""
        dataset = dataset_of(self.dataset)
        return RecordPoller(dataset, self.binance_conn_id, self._scope, self.poll_interval, self.max_span)

    async def _events(self, results: AsyncIterator[PollResult]) -> AsyncGenerator[TriggerEvent, None]:
        """Fire an event for each change since the last announcement, that of an earlier process included.

        At least once: an announcement is saved only after its event is out.
        """
        last: PollResult | None = None
        saved = True
        async for now in results:
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
                saved = await self._save(now)
            elif last is None or now.base != last.base or not saved:
                saved = await self._save(now)
            last = now

    async def _start(self, now: PollResult) -> tuple[PollResult, PollResult] | None:
        """Return the last announcement and the same counted again, or None to try again at the next poll.

        The announcement is the asset's state, else the empty one of `since`, else the first poll: nothing is old.
        """
        self._announced.setdefault("First poll", now)
        for source, known in list(self._announced.items()):
            try:
                announced = known or await self._load(now)
                if announced is not None:
                    counted = now if announced.base == now.base else await self.poller().count(announced.base, now)
                    return announced, counted
            except (BinanceRequestError, ValueError) as error:  # final
                del self._announced[source]
                self.log.warning("%s ignored, since it cannot be used: %s.", source, _words(error))
            except Exception as error:  # noqa: BLE001 - Airflow restarts a trigger that ends at once, for ever
                self._warn_once("Catch-up failed, will retry at the next poll: %s.", error)
                return None
        return now, now

    def _event(self, now: PollResult) -> TriggerEvent:
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

    # -- the last announcement, in the asset's state (Airflow 3.3) -------------------------------------------------

    async def _load(self, now: PollResult) -> PollResult | None:
        """Read the last announcement; None at a first start.

        :raises ValueError: for a state that cannot be used
        """
        try:
            state = await self._call_store("get", self._state_key())
        except Exception as error:
            self._unread += 1
            if isinstance(error, ValueError) or self._unread < _READ_TRIES:
                raise
            raise ValueError(f"{type(error).__name__} at each of {self._unread} polls") from None
        return None if state is None else read_state(state, now)

    async def _save(self, now: PollResult) -> bool:
        """Write the state; False if that failed, which makes the next start announce again."""
        try:
            state = {"since": now.base, "total": now.total, "newest": now.newest}
            await self._call_store("set", self._state_key(), state)
        except Exception as error:  # noqa: BLE001 - as in `_start`
            self._warn_once("State not written, will retry at the next poll: %s.", error)
            return False
        self._warned = ""
        return True

    def _state_key(self) -> str:
        """One key per connection, dataset and scope, since watchers of several may announce one asset."""
        watched = (self.dataset, self.binance_conn_id, str(self._scope))
        return "/".join(("binance", *(quote(name, safe="") for name in watched)))

    def _warn_once(self, message: str, error: Exception) -> None:
        if type(error).__name__ != self._warned:
            self.log.warning(message, _words(error))
        self._warned = type(error).__name__

    async def _call_store(self, verb: str, *args: Any) -> Any:
        from asgiref.sync import sync_to_async

        store = getattr(self, "asset_state_store", None)
        if store is None:
            if verb == "get":
                self.log.warning(
                    "This Airflow keeps no state for assets (3.3 does): what appears while the triggerer is down is "
                    "not announced, unless `since` is given, and then all since is announced again at each start."
                )
            return None
        try:
            call = getattr(store, f"a{verb}", None) or sync_to_async(getattr(store, verb))  # 3.3.0 and 3.3.1
            return await call(*args)
        except ValueError as error:
            if type(error) is not ValueError:  # a subclass: the state cannot be decoded
                raise
            self.log.error(  # noqa: TRY400 - Airflow's own words name no cure
                "Several assets share this trigger, so that none of them can remember what was announced: give each "
                "trigger a name= of its own."
            )
            return None


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, BinanceError) or type(error) is ValueError else type(error).__name__
