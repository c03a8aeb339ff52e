"""A connection in the triggerer: the call generator over `httpx`, with one HTTP client however many triggers use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import httpx

from airflow_provider_binance_margin import __version__
from airflow_provider_binance_margin.exchange.call import Caller
from airflow_provider_binance_margin.exchange.errors import BinanceConfigError
from airflow_provider_binance_margin.exchange.wire import Call, Reply, Request, Wait
from airflow_provider_binance_margin.hooks.binance import shared_host
from airflow_provider_binance_margin.hooks.redaction import hush_http_loggers, mask
from airflow_provider_binance_margin.hooks.settings import Settings, read_settings, secrets_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

    from airflow_provider_binance_margin.exchange.endpoint import Endpoint, Page
    from airflow_provider_binance_margin.exchange.host import Host

T = TypeVar("T")

_LONGEST_BODY = 32 * 1024 * 1024
_CONNECTIONS = 20


@dataclass(frozen=True)
class AsyncConnection:
    """A checked connection and its HTTP client.

    :param settings: what the connection says
    :param pool: shared by all triggers of this connection on this event loop
    """

    settings: Settings
    pool: _Pool

    @property
    def host(self) -> Host:
        """What this process knows of the connection's host."""
        return shared_host(self.settings.base_url)

    def caller(self, endpoint: Endpoint) -> Caller[Page]:
        """How an endpoint is called, once a poll: a failure is told, and the next poll is the next try."""
        return Caller(
            self.host,
            self.settings.credentials,
            endpoint.path,
            endpoint.weight,
            endpoint.read_page,
            self.settings.recv_window,
            attempts=1,
        )

    async def drive(self, call: Call[T]) -> T:
        """Do what a call asks for, until it returns."""
        reply: Reply | None = None
        while True:
            try:
                step = call.send(reply)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]  # StopIteration does not know the generator's type
            if isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
                reply = None
            else:
                reply = await self._send(step)

    async def _send(self, request: Request) -> Reply:
        try:
            async with self.pool.gate, asyncio.timeout(self.settings.timeout):
                assert self.pool.client is not None
                return await _exchange(self.pool.client, request)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, ValueError) as error:
            return Reply(None, fault=type(error).__name__)


async def _exchange(client: httpx.AsyncClient, request: Request) -> Reply:
    async with client.stream("GET", request.url, headers=dict(request.headers)) as response:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _LONGEST_BODY:
                return Reply(None, fault="AnswerTooLong")
        return Reply(response.status_code, response.headers, bytes(body))


@dataclass
class _Pool:
    """One HTTP client of one event loop, made for its first user and closed when its last one has left."""

    client: httpx.AsyncClient | None = None
    # what waits for a connection waits here: the client's own queue gets slow when it is long
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONNECTIONS))
    making: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0

    async def open(self, settings: Settings) -> None:
        """Make the client, unless somebody has."""
        async with self.making:
            if self.client is None:
                self.client = await asyncio.to_thread(_make_client, settings)

    async def close(self) -> None:
        """End its connections."""
        if self.client is not None:
            await self.client.aclose()


_pools: dict[tuple[asyncio.AbstractEventLoop, str, float], _Pool] = {}


@asynccontextmanager
async def connected(conn_id: str) -> AsyncIterator[AsyncConnection]:
    """Fetch and check a connection without blocking the loop, and share its HTTP client while it is in use.

    :raises BinanceConfigError: in words for each way a connection can be wrong
    """
    settings = await asyncio.to_thread(_prepare, await _fetch(conn_id))
    key = (asyncio.get_running_loop(), settings.base_url, settings.timeout)
    pool = _pools.setdefault(key, _Pool())
    pool.users += 1
    try:
        await pool.open(settings)
        yield AsyncConnection(settings, pool)
    finally:
        pool.users -= 1
        if not pool.users:
            del _pools[key]
            await pool.close()


def _prepare(conn: Connection) -> Settings:
    """What may block: reading a key file, loading a key."""
    hush_http_loggers()
    mask(secrets_of(conn))
    settings = read_settings(conn)
    mask(settings.secrets)
    return settings


def _make_client(settings: Settings) -> httpx.AsyncClient:
    """What may block, and takes 40 ms: loading certificates."""
    return httpx.AsyncClient(
        headers={"Accept": "application/json", "User-Agent": f"airflow-provider-binance-margin/{__version__}"},
        follow_redirects=False,
        trust_env=not settings.is_loopback,
        limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
        timeout=httpx.Timeout(settings.timeout, connect=min(5.0, settings.timeout)),
    )


async def _fetch(conn_id: str) -> Connection:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

    try:
        if hasattr(BaseHook, "aget_connection"):
            return await BaseHook.aget_connection(conn_id)
        from asgiref.sync import sync_to_async  # Airflow before 3.1

        return await sync_to_async(BaseHook.get_connection)(conn_id)
    except AirflowNotFoundException:
        raise BinanceConfigError(f"there is no connection {conn_id!r}: create it, or correct the id") from None
