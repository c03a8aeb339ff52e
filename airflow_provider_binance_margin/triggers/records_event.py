"""Wakes DAGs when records have appeared: what every such trigger does, whatever the endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from datetime import datetime
from typing import Any, ClassVar

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_binance_margin.exchange.endpoint import Endpoint
from airflow_provider_binance_margin.exchange.errors import BinanceError
from airflow_provider_binance_margin.lake.interval import iso, ms, parse
from airflow_provider_binance_margin.triggers.news import Feed, Snapshot

_STATE = "binance/announced"
#: an event is written to the database within a second or two; what is remembered before could lose it
_SAVE_AFTER = 5.0


class RecordsEventTrigger(BaseEventTrigger):
    """Announces records as they appear; subclasses name the endpoint.

    :param binance_conn_id: the connection
    :param isolated_symbol: the endpoint's own filter
    :param poll_interval: seconds between polls
    :param since: announce what has appeared since then, at the first start: datetime or ISO 8601 text
    :param name: tells triggers apart that watch for several assets with the same options: give each its own
    :param max_span: seconds; the longest window asked for at once
    """

    endpoint: ClassVar[Endpoint]

    def __init__(
        self,
        *,
        binance_conn_id: str = "binance_default",
        isolated_symbol: str | None = None,
        poll_interval: float = 60.0,
        since: datetime | str | None = None,
        name: str | None = None,
        max_span: float = 7 * 24 * 3600.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's triggers are untyped
        self.binance_conn_id = binance_conn_id
        self.isolated_symbol = isolated_symbol
        self.poll_interval = poll_interval
        start = parse(since)
        self.since = None if start is None else iso(ms(start))
        self.name = name
        self.max_span = max_span
        if poll_interval < 1:
            raise ValueError(f"poll_interval must be a second or more, not {poll_interval!r}")

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What it takes to make this trigger again; no secrets."""
        names = ("binance_conn_id", "isolated_symbol", "poll_interval", "since", "name", "max_span")
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {name: getattr(self, name) for name in names}

    # -- one poll for all (Airflow 3.3), or one of its own ---------------------------------------------------------

    def shared_stream_key(self) -> Hashable | None:
        """One poll per connection and filter, however many triggers watch."""
        kind = type(self)
        own = (self.binance_conn_id, self.isolated_symbol, self.poll_interval, self.max_span)
        return ("binance", f"{kind.__module__}.{kind.__qualname__}", *own)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Snapshot]:
        """The poll."""
        async for snapshot in cls(**kwargs).feed().snapshots():
            yield snapshot

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """The same where polls cannot be shared."""
        async for event in self.filter_shared_stream(self.feed().snapshots()):
            yield event

    def feed(self) -> Feed:
        """What this trigger watches."""
        return Feed(self.endpoint, self.binance_conn_id, self.isolated_symbol, self.poll_interval, self.max_span)

    # -- what is news to this trigger ----------------------------------------------------------------------------

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Snapshot]) -> AsyncIterator[TriggerEvent]:
        """An event for each change since what was announced last, be it before this trigger was started again.

        At least once: what was announced is remembered only after the event is out.
        """
        last: Snapshot | None = None
        async for now in shared_stream:
            if last is None:
                announced = await self._announced(now)
                try:
                    caught_up = now if announced is now else await self.feed().count(announced.base)
                except BinanceError as error:
                    self.log.warning("What appeared meanwhile could not be asked for yet: %s", error)
                    continue
                if caught_up.is_news_after(announced):
                    yield self._event(caught_up)
                    await asyncio.sleep(_SAVE_AFTER)
                await self._remember(now)
            elif now.base == last.base and now.is_news_after(last):
                yield self._event(now)
                await asyncio.sleep(_SAVE_AFTER)
                await self._remember(now)
            elif now.base != last.base:
                await self._remember(now)
            last = now

    def _event(self, now: Snapshot) -> TriggerEvent:
        """The half-open window to load, and how many records the exchange states for it."""
        assert now.newest is not None
        window = {"start": iso(now.base), "end": iso(now.newest + 1), "total": now.total, "newest": iso(now.newest)}
        self.log.info("New records: %s", window)
        return TriggerEvent(window)  # type: ignore[no-untyped-call]

    # -- what was announced, in the asset's state (Airflow 3.3) ----------------------------------------------------

    async def _announced(self, now: Snapshot) -> Snapshot:
        """What was announced last; at a first start all there is, or what was there before `since`: nothing."""
        state = await self._ask_state("get", _STATE)
        if isinstance(state, dict):
            return Snapshot(int(state["since"]), int(state["total"]), state["newest"])
        start = parse(self.since)
        return now if start is None else Snapshot(ms(start), 0, None)

    async def _remember(self, now: Snapshot) -> None:
        await self._ask_state("set", _STATE, {"since": now.base, "total": now.total, "newest": now.newest})

    async def _ask_state(self, verb: str, *args: Any) -> Any:
        """Read or write the asset's state; without one the memory ends with this process."""
        store = getattr(self, "asset_state_store", None)
        if store is None:
            if verb == "get":
                self.log.warning(
                    "This Airflow keeps no state for assets (3.3 does): what appears while the triggerer is down is "
                    "not announced, unless `since` is given, and then everything since is announced again at each start."
                )
            return None
        try:
            if hasattr(store, f"a{verb}"):
                return await getattr(store, f"a{verb}")(*args)
            from asgiref.sync import sync_to_async  # Airflow 3.3.0 and 3.3.1

            return await sync_to_async(getattr(store, verb))(*args)
        except ValueError:
            self.log.error(  # noqa: TRY400 - the cure is all there is to say
                "Several assets share this trigger, so that none of them can remember what was announced: give each "
                "trigger a name= of its own."
            )
            return None
