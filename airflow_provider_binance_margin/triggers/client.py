"""Client for the triggerer: drives calls on an event loop, over one transport however many triggers use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_binance_margin.exchange.credentials import bare
from airflow_provider_binance_margin.exchange.errors import BinanceConfigError
from airflow_provider_binance_margin.exchange.messages import Call, Reply, Wait
from airflow_provider_binance_margin.hooks.settings import Settings, open_settings
from airflow_provider_binance_margin.metrics import send_reply_metrics, triggerer_stats
from airflow_provider_binance_margin.triggers.shared_stream import shared

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

    from airflow_provider_binance_margin.triggers.transport import Transport

T = TypeVar("T")

_LONG_BODY = 256 * 1024


@dataclass(frozen=True)
class AsyncClient:
    """Signed calls over one connection."""

    settings: Settings
    transport: Transport  # shared by all triggers of the host on this event loop

    async def drive(self, call: Call[T]) -> T:
        """Run a call to its result."""
        reply: Reply | None = None
        with closing(call):  # frees its place among the requests in flight, whatever ends it
            while True:
                is_done, step = await _resumed(call, reply)
                if is_done:
                    return step  # type: ignore[no-any-return]  # StopIteration does not know the generator's type
                if isinstance(step, Wait):
                    await (asyncio.sleep(step.seconds) if step.until is None else asyncio.wrap_future(step.until))
                    reply = None
                else:
                    reply = await self.transport.send(step)
                    send_reply_metrics(self.settings.conn_id, step.url, reply, triggerer_stats)


async def _resumed(call: Call[Any], reply: Reply | None) -> tuple[bool, Any]:
    """Resume a call: (False, next step) or (True, result). A long answer is decoded in a thread."""
    if reply is None or len(reply.body) <= _LONG_BODY:
        return _resume(call, reply)
    step = asyncio.ensure_future(asyncio.to_thread(_resume, call, reply))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        while not step.done():  # a generator cannot be closed while it runs, however often this is cancelled
            with suppress(asyncio.CancelledError):
                await asyncio.wait([step])
        raise


def _resume(call: Call[Any], reply: Reply | None) -> tuple[bool, Any]:
    try:
        return False, call.send(reply)
    except StopIteration as done:
        return True, done.value


@asynccontextmanager
async def open_client(settings: Settings) -> AsyncIterator[AsyncClient]:
    """Open a client; those of one host and timeout share a transport, the only item of a stream."""
    key = ("transport", settings.base_url, settings.timeout)
    async with shared(key, partial(_serve_transport, settings)) as transports:
        yield AsyncClient(settings, await anext(transports))


async def _serve_transport(settings: Settings, publish: Callable[[Transport], None]) -> None:
    transport = (await asyncio.to_thread(_prepare, settings))()
    try:
        publish(transport)
        await asyncio.get_running_loop().create_future()  # until it is closed
    finally:
        await transport.close()


async def fetch_settings(conn_id: str) -> Settings:
    """Fetch and check a connection, once for all that ask for it at the same time.

    :raises BinanceConfigError: for a connection that is missing or cannot be used
    """
    try:
        async with shared(("settings", conn_id), partial(_serve_settings, conn_id)) as settings:
            return await anext(settings)
    except (BinanceConfigError, asyncio.CancelledError) as error:
        refusal = bare(error)  # the frames of the thread hold the connection
    raise refusal


async def _serve_settings(conn_id: str, publish: Callable[[Settings], None]) -> None:
    publish(await asyncio.to_thread(open_settings, await _fetch(conn_id)))  # which may block, to read a key file
    await asyncio.get_running_loop().create_future()  # until it is closed


def _prepare(settings: Settings) -> Callable[[], Transport]:
    from airflow_provider_binance_margin.triggers.transport import prepare  # which imports aiohttp: that blocks

    return prepare(settings.base_url, settings.timeout, use_environment=not settings.is_loopback)


async def _fetch(conn_id: str) -> Connection:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook
    from asgiref.sync import sync_to_async

    try:
        fetch: Any = getattr(BaseHook, "aget_connection", None) or sync_to_async(BaseHook.get_connection)
        connection: Connection = await fetch(conn_id)  # asynchronous since Airflow 3.1
    except AirflowNotFoundException:
        raise BinanceConfigError(f"there is no connection {conn_id!r}: create it, or correct the id") from None
    return connection
