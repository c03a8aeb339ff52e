"""Event triggers that announce records: the part that is the same for every endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_binance_margin.exchange.endpoint import Endpoint
from airflow_provider_binance_margin.exchange.errors import BinanceError, BinanceRequestError
from airflow_provider_binance_margin.exchange.symbol import checked_symbol
from airflow_provider_binance_margin.lake.interval import iso, ms, parse

if TYPE_CHECKING:
    from airflow_provider_binance_margin.triggers.poller import PollResult, RecordPoller

_HOUR = 3600.0
#: an event is written to the database within a second or two; what is remembered before could lose it
_SAVE_AFTER = 5.0
#: polls after which a state that cannot be read is done without
_READ_TRIES = 20


class RecordsEventTrigger(BaseEventTrigger):
    """Announcement of records as they appear; subclasses name the endpoint.

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
        self.isolated_symbol = checked_symbol(isolated_symbol)
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
        if max_span < _HOUR:
            raise ValueError(f"max_span must be an hour or more in seconds, not {max_span!r}")

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments of an equal trigger; no secrets."""
        names = ("binance_conn_id", "isolated_symbol", "poll_interval", "since", "name", "max_span")
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {name: getattr(self, name) for name in names}

    # -- one poll for all (Airflow 3.3), or one of its own ---------------------------------------------------------

    def shared_stream_key(self) -> Hashable | None:
        """Key of the shared poll: one per connection and filter, however many triggers watch."""
        kind = type(self)
        own = (self.binance_conn_id, self.isolated_symbol, self.poll_interval, self.max_span)
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

        return RecordPoller(
            self.endpoint, self.binance_conn_id, self.isolated_symbol, self.poll_interval, self.max_span
        )

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
        watched = (self.endpoint.name, self.binance_conn_id, self.isolated_symbol or "account")
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
