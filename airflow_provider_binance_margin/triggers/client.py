"""A connection in the triggerer: the call generator on an event loop, one transport however many triggers use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_binance_margin.exchange.call import Caller
from airflow_provider_binance_margin.exchange.counter import rows_asked
from airflow_provider_binance_margin.exchange.credentials import bare
from airflow_provider_binance_margin.exchange.errors import BinanceConfigError
from airflow_provider_binance_margin.exchange.messages import Call, Reply, Wait
from airflow_provider_binance_margin.hooks.hosts import shared_host
from airflow_provider_binance_margin.hooks.settings import Settings, open_settings

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

    from airflow_provider_binance_margin.exchange.dataset import Dataset, Page
    from airflow_provider_binance_margin.exchange.host import Host
    from airflow_provider_binance_margin.triggers.transport import Transport

T = TypeVar("T")

_LONG_BODY = 256 * 1024


@dataclass(frozen=True)
class AsyncClient:
    """A checked connection and what it sends with.

    :param settings: what the connection says
    :param transport: shared by all triggers of this host on this event loop
    """

    settings: Settings
    transport: Transport

    @property
    def host(self) -> Host:
        """What this process knows of the connection's host."""
        return shared_host(self.settings.base_url)

    def caller(self, dataset: Dataset) -> Caller[Page]:
        """How a dataset's endpoint is called, once a poll: a failure is told, and the next poll is the next try."""
        return Caller(
            self.host,
            self.settings.credentials,
            dataset.path,
            dataset.weight,
            dataset.reader_of(rows_asked(dataset)),
            self.settings.recv_window,
            attempts=1,
            kind=dataset.weight_kind,
            share=self.settings.weight_share,
        )

    async def drive(self, call: Call[T]) -> T:
        """Do what a call asks for, until it returns."""
        reply: Reply | None = None
        with closing(call):  # whatever ends it: its place among the requests in flight is free at once
            while True:
                is_done, step = await _resumed(call, reply)
                if is_done:
                    return step  # type: ignore[no-any-return]  # StopIteration does not know the generator's type
                if isinstance(step, Wait):
                    await (asyncio.sleep(step.seconds) if step.until is None else asyncio.wrap_future(step.until))
                    reply = None
                else:
                    reply = await self.transport.send(step)


async def _resumed(call: Call[Any], reply: Reply | None) -> tuple[bool, Any]:
    """The next step of a call, or that it is done and what it returned; a long answer is decoded in a thread."""
    if reply is None or len(reply.body) <= _LONG_BODY:
        return _resume(call, reply)
    step = asyncio.ensure_future(asyncio.to_thread(_resume, call, reply))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        while not step.done():  # a call cannot be closed while it runs, however often this is cancelled
            with suppress(asyncio.CancelledError):
                await asyncio.wait([step])
        raise


def _resume(call: Call[Any], reply: Reply | None) -> tuple[bool, Any]:
    try:
        return False, call.send(reply)
    except StopIteration as done:
        return True, done.value


@dataclass
class _Shared:
    """A transport that is made for its first user and closed after its last."""

    making: asyncio.Lock = field(default_factory=asyncio.Lock)
    transport: Transport | None = None
    users: int = 0

    async def open(self, settings: Settings) -> Transport:
        async with self.making:
            if self.transport is None:
                self.transport = (await asyncio.to_thread(_prepare_transport, settings))()
            return self.transport

    async def close(self) -> None:
        if self.transport is not None:
            await self.transport.close()


_shared: dict[tuple[asyncio.AbstractEventLoop, str, float], _Shared] = {}


@asynccontextmanager
async def open_client(conn_id: str) -> AsyncIterator[AsyncClient]:
    """Fetch and check a connection without blocking the loop, and share its HTTP client while it is in use.

    :raises BinanceConfigError: in words for each way a connection can be wrong
    """
    settings = await _open_settings(conn_id)
    key = (asyncio.get_running_loop(), settings.base_url, settings.timeout)
    shared = _shared.setdefault(key, _Shared())
    shared.users += 1
    try:
        yield AsyncClient(settings, await shared.open(settings))
    finally:
        shared.users -= 1
        if not shared.users:
            del _shared[key]
            await shared.close()


async def _open_settings(conn_id: str) -> Settings:
    """The checked connection; what may block, such as reading a key file, is done in a thread."""
    try:
        return await asyncio.to_thread(open_settings, await _fetch(conn_id))
    except (BinanceConfigError, asyncio.CancelledError) as error:
        refusal = bare(error)  # the frames of the thread hold the connection
    raise refusal


def _prepare_transport(settings: Settings) -> Callable[[], Transport]:
    """What may block: importing the HTTP client, loading certificates."""
    from airflow_provider_binance_margin.triggers.transport import prepare

    return prepare(settings.base_url, settings.timeout, use_environment=not settings.is_loopback)


async def _fetch(conn_id: str) -> Connection:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

    try:
        if hasattr(BaseHook, "aget_connection"):
            return await BaseHook.aget_connection(conn_id)
        from asgiref.sync import sync_to_async  # Airflow before 3.1

        return await sync_to_async(BaseHook.get_connection)(conn_id)
    except AirflowNotFoundException:
        raise BinanceConfigError(f"there is no connection {conn_id!r}: create it, or correct the id") from None
