"""Poller of a dataset: one request a poll, shared by all event triggers of a connection and scope.

Each result counts the records since one moment, the base. While the base stays, a changed count or a newer record is
news. The base moves on after news and once a day, and only where two counts agree that nothing slipped in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec

from airflow_provider_binance_margin.exchange.errors import (
    BinanceConfigError,
    BinanceError,
    BinanceRequestError,
    BinanceThrottledError,
)
from airflow_provider_binance_margin.exchange.paging import HOUR_MS
from airflow_provider_binance_margin.failures import name_connection

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.dataset import Dataset
    from airflow_provider_binance_margin.exchange.scope import Scope
    from airflow_provider_binance_margin.triggers.client import AsyncClient

log = logging.getLogger(__name__)

#: records that appear this late, by their own time, are still noticed
LATE_MS = HOUR_MS
_DAY_MS = 24 * HOUR_MS
_STEP_MS = 60_000
#: July 2017, when the exchange opened
_OLDEST_MS = 1_498_867_200_000
_LONGEST_PAUSE = 600.0


@dataclass(frozen=True)
class PollResult:
    """Result of one poll, and what was counted from other bases since."""

    base: int  # start of the count, in ms
    total: int  # records since then
    newest: int | None  # time of the newest record, in ms
    others: dict[int, asyncio.Task[PollResult]] = field(default_factory=dict, compare=False, repr=False)

    def is_news_after(self, earlier: PollResult) -> bool:
        """True if a record has appeared since an earlier result of the same base."""
        return self.newest is not None and (self.total, self.newest) != (earlier.total, earlier.newest)


class _State(msgspec.Struct):
    since: Annotated[int, msgspec.Meta(ge=_OLDEST_MS)]
    total: Annotated[int, msgspec.Meta(ge=0)]
    newest: Annotated[int, msgspec.Meta(ge=0)] | None


def read_state(state: object, now: PollResult) -> PollResult:
    """Parse an asset's state: the result announced last.

    :raises ValueError: for a state of another form, or whose base lies in the future
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
    """Poller of one dataset over one connection."""

    dataset: Dataset
    conn_id: str
    scope: Scope
    poll_interval: float  # seconds
    max_span: float | None = None  # seconds; the longest window per request, the dataset's own if None

    @property
    def key(self) -> Hashable:
        """Key of the poll: pollers with the same connection, dataset, scope and interval share one."""
        return ("polls", self.dataset.name, self.conn_id, self.scope, self.poll_interval, self.max_span)

    async def run(self, publish: Callable[[PollResult], None]) -> None:
        """Poll for ever, one result each time. Errors are logged once and waited out."""
        last: PollResult | None = None
        trouble = _Trouble(self.conn_id, self.poll_interval)
        while True:
            try:
                async with self.connect() as client:
                    polls = _Polls(self, client, last)
                    while True:
                        for last in await polls.poll():
                            trouble.is_over()
                            publish(last)
                        await asyncio.sleep(self.poll_interval)
            except Exception as error:  # noqa: BLE001 - Airflow restarts a trigger that ends at once, for ever
                await asyncio.sleep(trouble.pause(error))

    async def count(self, base: int, now: PollResult) -> PollResult:
        """Count from another base, later than `now`: once for all triggers that start with that result."""
        if base not in now.others:
            now.others[base] = asyncio.create_task(self._count(base))
        return await asyncio.shield(now.others[base])

    async def _count(self, base: int) -> PollResult:
        async with self.connect() as client:
            return await self.counting(client, base)()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncClient]:
        """Open the client."""
        from airflow_provider_binance_margin.triggers.client import fetch_settings, open_client

        async with open_client(await fetch_settings(self.conn_id)) as client:
            yield client

    def counting(self, client: AsyncClient, base: int) -> Callable[[], Awaitable[PollResult]]:
        """Make the count from a base; a window closes, and is counted no more, once no record of it may be late."""
        window = (self.dataset, self.scope, base, None)
        counter = client.settings.counter(*window, settle=LATE_MS / 1000, max_span=self.max_span)

        async def count() -> PollResult:
            counted = await client.drive(counter.poll())
            return PollResult(base, counted.total, counted.newest_time)

        return count


class _Polls:
    """Successive polls over one client."""

    def __init__(self, poller: RecordPoller, client: AsyncClient, last: PollResult | None) -> None:
        self._client = client
        self._last = last
        self._counting = partial(poller.counting, client)
        self._count = self._counting(last.base if last else self._late())

    def _late(self) -> int:
        """Earliest time (ms) of a record that may still appear, by the exchange's clock."""
        return self._client.settings.host.server_ms() - LATE_MS

    async def poll(self) -> list[PollResult]:
        """Count; and, where the base moves, count the same from the new one."""
        now = await self._count()
        if self._last is None and now.base > self._late():  # this machine's clock was ahead: the answer set it
            self._count = self._counting(self._late())
            now = await self._count()
        last, self._last = self._last, now
        ms = self._better_base(now)
        if ms is None or (last is not None and last.base == now.base and now.is_news_after(last)):
            return [now]  # news is announced first; the base moves with the next poll
        return [now, *await self._move(now, ms)]

    def _better_base(self, now: PollResult) -> int | None:
        """A later base, where it is worth two requests: an hour before the newest record, or before now."""
        ms = max((now.newest or 0) - LATE_MS, now.base)
        if self._late() + LATE_MS - ms > _DAY_MS:
            ms = self._late()
        return ms if ms - now.base > _STEP_MS else None

    async def _move(self, now: PollResult, ms: int) -> list[PollResult]:
        """Count from the new base, then from the old again: if that is unchanged, nothing slipped in between."""
        count = self._counting(ms)
        moved, again = await count(), await self._count()
        if again != now or moved.newest not in (now.newest, None):
            self._last = again
            return [again]
        self._count, self._last = count, moved
        return [moved]


@dataclass
class _Trouble:
    """Backoff of failed polls; the first failure of a kind and the first success after it are logged."""

    _conn_id: str
    _poll_interval: float
    _kind: str = ""
    _times: int = 0

    def pause(self, error: Exception) -> float:
        """Seconds to wait after an error: longer each time, and never less than the exchange asks for."""
        kind = type(error).__name__
        if kind != self._kind:
            message = name_connection(self._conn_id, error if isinstance(error, BinanceError) else f"unexpected {kind}")
            final = isinstance(error, (BinanceConfigError, BinanceRequestError))
            log.error("Poll failed, will retry: %s (%s).", message, "somebody has to act" if final else "it may pass")
            self._kind, self._times = kind, 0
        wait = min(self._poll_interval * 2**self._times, max(_LONGEST_PAUSE, self._poll_interval))
        self._times = min(self._times + 1, 20)
        return float(max(wait, error.retry_after + 1 if isinstance(error, BinanceThrottledError) else 0.0))

    def is_over(self) -> None:
        """Log the recovery, if polls have failed."""
        if self._kind:
            log.info("Poll succeeded again: records that have appeared meanwhile are announced.")
            self._kind, self._times = "", 0
