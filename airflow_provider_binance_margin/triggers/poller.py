"""Poller of a dataset, one request a poll, shared by event triggers however many they are.

Each result counts the records since one moment, the base. As long as the base stays, a changed count or a newer record
is news. The base moves on after news and once a day, and only when two counts agree that nothing slipped in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import msgspec

from airflow_provider_binance_margin.exchange.counter import Count, RecordCounter
from airflow_provider_binance_margin.exchange.errors import (
    BinanceConfigError,
    BinanceError,
    BinanceRequestError,
    BinanceThrottledError,
)
from airflow_provider_binance_margin.exchange.paging import HOUR_MS, Span

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.dataset import Dataset
    from airflow_provider_binance_margin.exchange.scope import Scope
    from airflow_provider_binance_margin.triggers.client import AsyncClient

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
    """Counts from other bases since a poll, or the error that prevented one."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    known: dict[int, PollResult | BinanceError] = field(default_factory=dict)


@dataclass(frozen=True)
class PollResult:
    """Result of one poll.

    :param base: counted from here, in ms
    :param total: number of records
    :param newest: the time of the newest, in ms; None without any
    :param counts: counts from other bases, for all who hold this very result
    """

    base: int
    total: int
    newest: int | None
    counts: _Counts = field(default_factory=_Counts, compare=False, repr=False)

    def is_news_after(self, earlier: PollResult) -> bool:
        """True if there is something that was not there, both counted from one base."""
        return self.newest is not None and (self.total, self.newest) != (earlier.total, earlier.newest)


class _State(msgspec.Struct):
    since: Annotated[int, msgspec.Meta(ge=_OLDEST_MS)]
    total: Annotated[int, msgspec.Meta(ge=0)]
    newest: Annotated[int, msgspec.Meta(ge=0)] | None


def read_state(state: object, now: PollResult) -> PollResult:
    """Parse an asset's state: the result that was announced last.

    :raises ValueError: in words, for a state of another form, or that counts from a time to come
    """
    try:
        known = msgspec.convert(state, _State)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None
    if known.since > now.base + 2 * _DAY_MS:  # a base lies an hour to a day back
        raise ValueError("since lies in the future - at `$.since`")
    return PollResult(known.since, known.total, known.newest)


@dataclass(frozen=True)
class RecordPoller:
    """Poller of one dataset over one connection.

    :param scope: the part of the account
    :param poll_interval: seconds
    :param max_span: seconds; the longest window asked for at once, the dataset's own if None
    """

    dataset: Dataset
    conn_id: str
    scope: Scope
    poll_interval: float
    max_span: float | None = None

    async def results(self) -> AsyncGenerator[PollResult, None]:
        """One result a poll, for ever. Errors are logged once, in words, and waited out."""
        last: PollResult | None = None
        trouble = _Trouble(self.poll_interval)
        while True:
            try:
                async with self.connect() as connection:
                    polls = _Polls(self, connection, last)
                    while True:
                        for last in await polls.poll():
                            trouble.is_over()
                            yield last
                        await asyncio.sleep(self.poll_interval)
            except Exception as error:  # noqa: BLE001 - a trigger that ends is started again at once, for ever
                await asyncio.sleep(trouble.pause(error))

    async def count(self, base: int, now: PollResult) -> PollResult:
        """Count from a moment on, after `now`: once for all who start with it."""
        async with now.counts.lock:
            counted = now.counts.known.get(base)
            if counted is None:
                try:
                    async with self.connect() as connection:
                        counted = await _counted(self.counter(connection, base), connection, base)
                except BinanceError as error:
                    counted = error
                now.counts.known[base] = counted
        if isinstance(counted, BinanceError):
            raise counted
        return counted

    def connect(self) -> AbstractAsyncContextManager[AsyncClient]:
        """Open the connection."""
        from airflow_provider_binance_margin.triggers.client import open_client

        return open_client(self.conn_id)

    def counter(self, connection: AsyncClient, base: int) -> RecordCounter:
        """Make the counter of a base."""
        return RecordCounter(
            connection.caller(self.dataset),
            base,
            None,
            span=Span(self.dataset.span_ms(self.max_span)),
            settle=LATE_MS / 1000,  # what is closed is not counted again: late-comers would go unnoticed
            dataset=self.dataset,
            scope=self.scope,
        )


class _Polls:
    """Successive polls over one connection."""

    def __init__(self, poller: RecordPoller, connection: AsyncClient, last: PollResult | None) -> None:
        self._poller = poller
        self._connection = connection
        self._last = last
        base = last.base if last else connection.host.server_ms() - LATE_MS
        self._base, self._counter = base, poller.counter(connection, base)

    async def poll(self) -> list[PollResult]:
        """Count; and, where the base has moved, count the same from the new one."""
        now = await _counted(self._counter, self._connection, self._base)
        present = self._connection.host.server_ms()
        if self._last is None and self._base + LATE_MS > present:  # our clock is ahead, and was set by the answer
            self._base = present - LATE_MS
            self._counter = self._poller.counter(self._connection, self._base)
            now = await _counted(self._counter, self._connection, self._base)
        last, self._last = self._last, now
        base = self._better_base(now)
        if base is None or (last is not None and last.base == now.base and now.is_news_after(last)):
            return [now]  # the base moves with the next poll, when this has been told
        return [now, *await self._move(now, base)]

    def _better_base(self, now: PollResult) -> int | None:
        """A later base, where it is worth two requests: just before the newest record, or before today."""
        present = self._connection.host.server_ms()
        base = max((now.newest or 0) - LATE_MS, now.base)
        if present - base > _DAY_MS:
            base = present - LATE_MS
        return base if base - now.base > _STEP_MS else None

    async def _move(self, now: PollResult, base: int) -> list[PollResult]:
        """Count from the new base, then once more from the old: only if that is unchanged did nothing slip between."""
        counter = self._poller.counter(self._connection, base)
        moved = await _counted(counter, self._connection, base)
        again = await _counted(self._counter, self._connection, self._base)
        if again != now or moved.newest not in (now.newest, None):
            self._last = again
            return [again]
        self._base, self._counter, self._last = base, counter, moved
        return [moved]


async def _counted(counter: RecordCounter, connection: AsyncClient, base: int) -> PollResult:
    count: Count = await connection.drive(counter.poll())
    return PollResult(base, count.total, count.newest_time)


class _Trouble:
    """Backoff of failed polls; logs once that they fail and once that they succeed again."""

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
            hope = "somebody has to act" if final else "it may pass"
            log.error("Poll failed, will retry: %s (%s).", said, hope)
            self._known, self._times = kind, 0
        wait = min(self._poll_interval * 2**self._times, max(_LONGEST_PAUSE, self._poll_interval))
        self._times = min(self._times + 1, 20)
        asked = error.retry_after + 1 if isinstance(error, BinanceThrottledError) else 0.0
        return float(max(wait, asked))

    def is_over(self) -> None:
        """Say so, if there was any."""
        if self._known:
            log.info("Poll succeeded again: what appeared meanwhile is announced now.")
            self._known, self._times = "", 0
