"""A connection in the triggerer: the call generator over `httpcore`, with one pool however many triggers use it.

It is what `httpx` itself sends with. A thousand sensors would spend two thirds of their time in what `httpx` does
beyond: cookies, redirects, normalising URLs, none of which a signed call may have.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
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
#: seconds for which a connection that nobody uses stays open
_IDLE = 60.0
#: one deadline for the whole answer is set around it; a name that cannot be reached is known sooner
_EXTENSIONS = {"timeout": {"connect": 5.0}}
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"airflow-provider-binance-margin/{__version__}",
}


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

    @cached_property
    def netloc(self) -> str:
        """The host as requests name it."""
        return urlsplit(self.settings.base_url).netloc

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
            async with self.pool.client() as client, asyncio.timeout(self.settings.timeout):
                return await _exchange(client, self.netloc, request)
        except (*_FAULTS, TimeoutError, OSError, ValueError) as error:
            return Reply(None, fault=type(error).__name__)


_FAULTS = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, httpcore.ProxyError)


async def _exchange(client: httpcore.AsyncConnectionPool, netloc: str, request: Request) -> Reply:
    headers = [("Host", netloc), *_HEADERS.items(), *request.headers.items()]
    async with client.stream("GET", request.url, headers=headers, extensions=_EXTENSIONS) as response:
        body = bytearray()
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > _LONGEST_BODY:
                return Reply(None, fault="AnswerTooLong")
        told = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
        return Reply(response.status, told, bytes(body))


@dataclass
class _Pool:
    """The open HTTP connections of one event loop to one host, closed when their last user has left.

    Each is a client of its own, and the one that was used last is used next: a client that holds many looks at all of
    them for each request.
    """

    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONNECTIONS))
    making: asyncio.Lock = field(default_factory=asyncio.Lock)
    make: Callable[[], httpcore.AsyncConnectionPool] | None = None
    clients: list[httpcore.AsyncConnectionPool] = field(default_factory=list)
    idle: list[httpcore.AsyncConnectionPool] = field(default_factory=list)
    users: int = 0

    async def open(self, settings: Settings) -> None:
        """Learn how clients are made, unless somebody has."""
        async with self.making:
            if self.make is None:
                self.make = await asyncio.to_thread(_maker, settings)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpcore.AsyncConnectionPool]:
        """A client for one request, as soon as one is free."""
        async with self.gate:
            if not self.idle:
                assert self.make is not None
                self.clients.append(self.make())
                self.idle.append(self.clients[-1])
            client = self.idle.pop()
            try:
                yield client
            finally:
                self.idle.append(client)

    async def close(self) -> None:
        """End all connections, even when this is cancelled: each is closed before its first wait."""
        cancelled: asyncio.CancelledError | None = None
        while self.clients:
            try:
                await self.clients.pop().aclose()
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled:
            raise cancelled


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


def _maker(settings: Settings) -> Callable[[], httpcore.AsyncConnectionPool]:
    """How to make a client; what may block, and takes 40 ms, is done here: loading certificates."""
    own = not settings.is_loopback
    options: dict[str, Any] = {
        "ssl_context": httpx.create_ssl_context(trust_env=own),
        "max_connections": 1,
        "keepalive_expiry": _IDLE,
    }
    parts = urlsplit(settings.base_url)
    proxy = None if not own or proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
    if proxy is None:
        return lambda: httpcore.AsyncConnectionPool(**options)
    address = httpx.Proxy(proxy)
    user = address.raw_auth
    return lambda: httpcore.AsyncHTTPProxy(proxy_url=str(address.url), proxy_auth=user, **options)


async def _fetch(conn_id: str) -> Connection:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

    try:
        if hasattr(BaseHook, "aget_connection"):
            return await BaseHook.aget_connection(conn_id)
        from asgiref.sync import sync_to_async  # Airflow before 3.1

        return await sync_to_async(BaseHook.get_connection)(conn_id)
    except AirflowNotFoundException:
        raise BinanceConfigError(f"there is no connection {conn_id!r}: create it, or correct the id") from None
