"""How the triggerer sends: `aiohttp`, held to what a signed call needs: no redirect, retry, cookie or re-encoding."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import aiohttp
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from yarl import URL

from airflow_provider_binance_margin.exchange.errors import BinanceConfigError
from airflow_provider_binance_margin.exchange.wire import Reply, Request
from airflow_provider_binance_margin.hooks.session import CONNECT_TIMEOUT, HEADERS, LONGEST_BODY, make_session

_LONGEST_LINE = 65_536
#: seconds for which a connection that nobody uses stays open
_IDLE = 60.0
#: one deadline for the whole answer is set around it; a name that cannot be reached is known sooner
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
_FAULTS = (aiohttp.ClientError, TimeoutError, OSError, ValueError)


class Transport:
    """The open HTTP connections of one event loop to one host.

    :param trust: the certificates that are trusted
    :param proxy: the URL of the proxy to send through
    :param timeout: seconds for one answer
    """

    def __init__(self, trust: ssl.SSLContext, proxy: str | None, timeout: float) -> None:
        self._proxy = proxy
        self._timeout = timeout
        self._client = aiohttp.ClientSession(
            # as many as requests are in flight: for a place one waits before signing, never here
            connector=aiohttp.TCPConnector(ssl=trust, limit=0, keepalive_timeout=_IDLE),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={**HEADERS, "Accept-Encoding": "identity"},
            timeout=_TIMEOUT,
            auto_decompress=False,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        self._client._retry_connection = False  # noqa: SLF001 - whether to send again is for the call to say

    async def send(self, request: Request) -> Reply:
        """Send one request; a failure of the transport is a reply without a status, known by its class alone."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(request)
        except _FAULTS as error:
            return Reply(None, fault=type(error).__name__)

    async def _exchange(self, request: Request) -> Reply:
        url = URL(request.url, encoded=True)
        async with self._client.get(url, headers=request.headers, proxy=self._proxy, allow_redirects=False) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > LONGEST_BODY:
                    return Reply(None, fault="AnswerTooLong")
            return Reply(response.status, response.headers, bytes(body))

    async def close(self) -> None:
        """End all connections, even when this is cancelled: each is closed before the first wait."""
        await self._client.close()


def prepare(base_url: str, timeout: float, *, use_environment: bool) -> Callable[[], Transport]:
    """Do what may block, and return what makes the transport, on the event loop that will use it.

    Certificates and proxy are those of the hook.

    :raises BinanceConfigError: when the certificates that the environment names cannot be read
    """
    with make_session(1, base_url, use_environment=use_environment) as session:
        trusted = Path(session.verify if isinstance(session.verify, str) else DEFAULT_CA_BUNDLE_PATH)
        proxy = select_proxy(base_url, session.proxies)
    is_folder = trusted.is_dir()
    try:
        trust = ssl.create_default_context(cafile=None if is_folder else trusted, capath=trusted if is_folder else None)
    except OSError as error:
        raise BinanceConfigError(
            f"the certificates that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names cannot be read ({type(error).__name__})"
        ) from None
    return lambda: Transport(trust, proxy, timeout)
