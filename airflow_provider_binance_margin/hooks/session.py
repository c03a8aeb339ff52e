"""`requests`, held to what a signed call needs: no redirect, retry, cookie or re-encoding, one deadline per answer."""

from __future__ import annotations

import io
import socket
import time
from http.client import HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from airflow_provider_binance_margin import __version__
from airflow_provider_binance_margin.exchange.wire import Reply, Request

CONNECT_TIMEOUT = 5.0
LONGEST_BODY = 32 * 1024 * 1024
#: what triggers send too; each transport adds which packing it can undo
HEADERS = {"Accept": "application/json", "User-Agent": f"airflow-provider-binance-margin/{__version__}"}
_OWN_HEADERS = {"Accept-Encoding": "gzip", "Connection": "keep-alive"}


def make_session(connections: int, base_url: str, *, use_environment: bool) -> requests.Session:
    """A session that keeps so many connections open to one host.

    :param use_environment: whether proxies and certificates named by the environment are used; what it names is looked
        up here, once, since that takes longer than signing
    """
    session = requests.Session()
    session.trust_env = use_environment
    named = session.merge_environment_settings(base_url, {}, None, None, None)
    session.trust_env = False
    session.proxies, session.verify = named["proxies"], named["verify"]
    session.auth = _as_it_is  # without one, requests would look for the host in a netrc file
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = _Adapter(pool_connections=2, pool_maxsize=connections, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def send(session: requests.Session, request: Request, timeout: float) -> Reply:
    """Send one request; a failure of the transport is a reply without a status, known by its class alone."""
    prepared = requests.PreparedRequest()  # made by hand: requests would normalise the query that is signed
    prepared.method, prepared.url = "GET", request.url
    prepared.headers = CaseInsensitiveDict({**HEADERS, **_OWN_HEADERS, **request.headers})
    way: dict[str, Any] = {"proxies": session.proxies, "verify": session.verify, "cert": session.cert}
    adapter = session.get_adapter(request.url)  # past the session: it looks into redirects even where it follows none
    try:
        with adapter.send(prepared, True, (min(CONNECT_TIMEOUT, timeout), timeout), **way) as response:  # noqa: FBT003 - stream
            return Reply(response.status_code, response.headers, _body(response))
    except (requests.RequestException, HTTPError, OSError, ValueError) as error:
        return Reply(None, fault=type(error).__name__)


def _as_it_is(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def _body(response: requests.Response) -> bytes:
    chunks, size = [], 0
    for chunk in response.iter_content(65_536):
        chunks.append(chunk)
        size += len(chunk)
        if size > LONGEST_BODY:
            raise requests.exceptions.ContentDecodingError("the answer is too long")
    return b"".join(chunks)


# A timeout of `requests` holds for each piece that arrives, so a server that drips would be listened to for ever. Here
# the connections read each answer, from its status line to the end of its body, against one deadline.


class _TimedReader(io.RawIOBase):
    """The reading end of a socket, for one answer."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw, self._sock = raw, sock
        self._deadline = time.monotonic() + (sock.gettimeout() or CONNECT_TIMEOUT)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self._sock.settimeout(left)
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_TimedReader(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _TimedResponse


class _SecureConnection(HTTPSConnection):
    response_class = _TimedResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager
