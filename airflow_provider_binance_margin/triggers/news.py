"""A stream of what an endpoint holds, one request a poll: what event triggers share however many they are.

Each item counts the records since one moment, the base. As long as the base stays, a changed count or a newer record is
news. The base moves on after news and once a day, and only when two counts agree that nothing slipped in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import msgspec

from airflow_provider_binance_margin.exchange.errors import (
    BinanceConfigError,
    BinanceError,
    BinanceRequestError,
    BinanceThrottledError,
)
from airflow_provider_binance_margin.exchange.paging import HOUR_MS, Span
from airflow_provider_binance_margin.exchange.watch import Seen, Watch

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.endpoint import Endpoint
    from airflow_provider_binance_margin.triggers.connection import AsyncConnection

log = logging.getLogger(__name__)

#: records that come this much late, by their own time, are still noticed
LATE_MS = HOUR_MS
_DAY_MS = 24 * HOUR_MS
_STEP_MS = 60_000
#: July 2017: the exchange is not older
_OLDEST_MS = 1_498_867_200_000
_LONGEST_PAUSE = 600.0


@dataclass
class _Counts:
    """What was counted from other bases since a snapshot was taken, or why it could not be."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    known: dict[int, Snapshot | BinanceError] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """What there was at one poll.

    :param base: counted from here, in ms
    :param total: how many records
    :param newest: the time of the newest, in ms; None without any
    :param counts: what was counted for those that hold this very snapshot
    """

    base: int
    total: int
    newest: int | None
    counts: _Counts = field(default_factory=_Counts, compare=False, repr=False)

    def is_news_after(self, earlier: Snapshot) -> bool:
        """Whether there is something that was not there, both counted from one base."""
        return self.newest is not None and (self.total, self.newest) != (earlier.total, earlier.newest)


class _State(msgspec.Struct):
    since: Annotated[int, msgspec.Meta(ge=_OLDEST_MS)]
    total: Annotated[int, msgspec.Meta(ge=0)]
    newest: Annotated[int, msgspec.Meta(ge=0)] | None


def read_state(state: object, now: Snapshot) -> Snapshot:
    """What was announced last, from what an asset's state says of it.

    :raises ValueError: in words, for a state of another form, or that counts from a time to come
    """
    try:
        known = msgspec.convert(state, _State)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None
    if known.since > now.base + 2 * _DAY_MS:  # a base lies an hour to a day back
        raise ValueError("since lies in the future - at `$.since`")
    return Snapshot(known.since, known.total, known.newest)


@dataclass(frozen=True)
class Feed:
    """Which endpoint of which connection is watched, and how often.

    :param poll_interval: seconds
    :param max_span: seconds; the longest window asked for at once
    """

    endpoint: Endpoint
    conn_id: str
    isolated_symbol: str | None
    poll_interval: float
    max_span: float

    async def snapshots(self) -> AsyncGenerator[Snapshot, None]:
        """One item a poll, for ever. What goes wrong is logged once, in words, and waited out."""
        last: Snapshot | None = None
        trouble = _Trouble(self.poll_interval)
        while True:
            try:
                async with self.connect() as connection:
                    poll = _Poll(self, connection, last)
                    while True:
                        for last in await poll.look():
                            trouble.is_over()
                            yield last
                        await asyncio.sleep(self.poll_interval)
            except Exception as error:  # noqa: BLE001 - a trigger that ends is started again at once, for ever
                await asyncio.sleep(trouble.pause(error))

    async def count(self, base: int, now: Snapshot) -> Snapshot:
        """What there is from a moment on, counted after `now`: once for all who start with it."""
        async with now.counts.lock:
            counted = now.counts.known.get(base)
            if counted is None:
                try:
                    async with self.connect() as connection:
                        counted = await _counted(self.watch(connection, base), connection, base)
                except BinanceError as error:
                    counted = error
                now.counts.known[base] = counted
        if isinstance(counted, BinanceError):
            raise counted
        return counted

    def connect(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """The connection that is watched."""
        from airflow_provider_binance_margin.triggers.connection import connected

        return connected(self.conn_id)

    def watch(self, connection: AsyncConnection, base: int) -> Watch:
        """What counts from a moment on."""
        return Watch(
            connection.caller(self.endpoint),
            base,
            None,
            span=Span(int(self.max_span * 1000)),
            settle=LATE_MS / 1000,  # what is closed is not counted again: late-comers would go unnoticed
            isolated_symbol=self.isolated_symbol,
        )


class _Poll:
    """One poll after the other, over one connection."""

    def __init__(self, feed: Feed, connection: AsyncConnection, last: Snapshot | None) -> None:
        self._feed = feed
        self._connection = connection
        self._last = last
        base = last.base if last else connection.host.server_ms() - LATE_MS
        self._base, self._watch = base, feed.watch(connection, base)

    async def look(self) -> list[Snapshot]:
        """What there is; and, where the base has moved, the same counted from the new one."""
        now = await _counted(self._watch, self._connection, self._base)
        present = self._connection.host.server_ms()
        if self._last is None and self._base + LATE_MS > present:  # our clock is ahead, and was set by the answer
            self._base = present - LATE_MS
            self._watch = self._feed.watch(self._connection, self._base)
            now = await _counted(self._watch, self._connection, self._base)
        last, self._last = self._last, now
        base = self._better_base(now)
        if base is None or (last is not None and last.base == now.base and now.is_news_after(last)):
            return [now]  # the base moves with the next poll, when this has been told
        return [now, *await self._move(now, base)]

    def _better_base(self, now: Snapshot) -> int | None:
        """A later base, where it is worth two requests: just before the newest record, or before today."""
        present = self._connection.host.server_ms()
        base = max((now.newest or 0) - LATE_MS, now.base)
        if present - base > _DAY_MS:
            base = present - LATE_MS
        return base if base - now.base > _STEP_MS else None

    async def _move(self, now: Snapshot, base: int) -> list[Snapshot]:
        """Count from the new base, then once more from the old: only if that is unchanged did nothing slip between."""
        watch = self._feed.watch(self._connection, base)
        moved = await _counted(watch, self._connection, base)
        again = await _counted(self._watch, self._connection, self._base)
        if again != now or moved.newest not in (now.newest, None):
            self._last = again
            return [again]
        self._base, self._watch, self._last = base, watch, moved
        return [moved]


async def _counted(watch: Watch, connection: AsyncConnection, base: int) -> Snapshot:
    seen: Seen = await connection.drive(watch.look())
    return Snapshot(base, seen.total, seen.newest_time)


class _Trouble:
    """Says once what is wrong, says once that it is over, and how long to wait meanwhile."""

    def __init__(self, poll_interval: float) -> None:
        self._poll_interval = poll_interval
        self._known = ""
        self._times = 0

    def pause(self, error: Exception) -> float:
        """Seconds to wait after an error: longer each time, and never less than the exchange asks for."""
        said = f"{error}" if isinstance(error, BinanceError) else f"unexpected {type(error).__name__}"
        kind = type(error).__name__
        if kind != self._known:
            final = isinstance(error, (BinanceConfigError, BinanceRequestError))
            hope = "somebody has to act; it is tried again now and then" if final else "it is tried again"
            log.error("No word of new records for now: %s (%s).", said, hope)
            self._known, self._times = kind, 0
        wait = min(self._poll_interval * 2**self._times, max(_LONGEST_PAUSE, self._poll_interval))
        self._times = min(self._times + 1, 20)
        asked = error.retry_after + 1 if isinstance(error, BinanceThrottledError) else 0.0
        return float(max(wait, asked))

    def is_over(self) -> None:
        """Say so, if there was any."""
        if self._known:
            log.info("The exchange answers again; what appeared meanwhile is announced now.")
            self._known, self._times = "", 0
