"""Transport of the triggerer: `aiohttp` without redirects, retries, cookies or re-encoding of the URL."""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import aiohttp
from yarl import URL

from airflow_provider_binance_margin.exchange.credentials import bare
from airflow_provider_binance_margin.exchange.messages import Reply, Request
from airflow_provider_binance_margin.hooks.session import (
    CONNECT_TIMEOUT,
    HEADERS,
    LONGEST_BODY,
    AnswerTooLongError,
    Route,
    find_route,
    load_trust,
    unpack,
)

if TYPE_CHECKING:
    from aiohttp.connector import Connection

_LONGEST_LINE = 65_536
#: seconds after which an idle connection is closed
_IDLE = 60.0
#: a deadline for the whole answer is set around it
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
_FAULTS = (aiohttp.ClientError, TimeoutError, OSError, ValueError)


class Transport:
    """HTTP connections of one event loop to one host; the timeout is of one answer, in seconds."""

    def __init__(self, trust: ssl.SSLContext, route: Route, timeout: float) -> None:
        self._route = route
        self._timeout = timeout
        self._client = aiohttp.ClientSession(
            # no limit here: a signed request must not wait for a connection
            connector=_Connector(ssl=trust, limit=0, keepalive_timeout=_IDLE),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={**HEADERS, "Accept-Encoding": "identity"},
            timeout=_TIMEOUT,
            auto_decompress=False,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        self._client._retry_connection = False  # noqa: SLF001 - the call generator decides about retries

    async def send(self, request: Request) -> Reply:
        """Send one request; a transport failure is a reply without a status, and with the failure's class name only."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(request)
        except _FAULTS as error:
            return Reply(None, fault=type(error).__name__)
        except asyncio.CancelledError as error:
            interruption = bare(error)  # frames of HTTP libraries show signature and key
        raise interruption

    async def _exchange(self, request: Request) -> Reply:
        url, headers, way = URL(request.url, encoded=True), dict(request.headers), dict[str, Any]()
        if self._route.proxy:
            way = {"proxy": self._route.proxy, "proxy_headers": dict(self._route.proxy_headers)}
            if url.scheme == "http":  # not tunnelled: the proxy reads the request's own headers
                headers |= self._route.proxy_headers
        async with self._client.get(url, headers=headers, allow_redirects=False, **way) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > LONGEST_BODY:
                    raise AnswerTooLongError("the answer is too long")
        content, coding = bytes(body), ", ".join(response.headers.getall("Content-Encoding", ()))
        if coding:
            content = await asyncio.to_thread(unpack, content, coding)  # it may become long
        return Reply(response.status, response.headers, content)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()


class _Connector(aiohttp.TCPConnector):
    """Connector that drops a kept connection on which unrequested bytes have arrived."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._served: WeakSet[Any] = WeakSet()

    async def connect(self, *args: Any, **kwargs: Any) -> Connection:
        while True:
            connection = await super().connect(*args, **kwargs)
            protocol = connection.protocol
            assert protocol is not None
            is_new = protocol not in self._served
            self._served.add(protocol)
            if is_new or not (protocol.should_close or _has_arrived(connection.transport)):
                return connection
            connection.close()


def _has_arrived(transport: asyncio.BaseTransport | None) -> bool:
    """True if bytes, or the end, of a connection wait in the kernel for the event loop."""
    sock = transport.get_extra_info("socket") if transport else None
    if sock is None:
        return False
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def prepare(base_url: str, timeout: float, *, use_environment: bool) -> Callable[[], Transport]:
    """Do the blocking part, and return the factory to call on the event loop."""
    route = find_route(base_url, use_environment=use_environment)
    trust = load_trust(route.certificates)
    return lambda: Transport(trust, route, timeout)
