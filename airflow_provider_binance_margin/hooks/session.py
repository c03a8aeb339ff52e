"""Transport of the hook: `requests` without redirects, retries, cookies or re-encoding, one deadline per answer."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import socket
import ssl
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from airflow_provider_binance_margin import __version__
from airflow_provider_binance_margin.exchange.credentials import bare, hides_frames
from airflow_provider_binance_margin.exchange.errors import BinanceConfigError
from airflow_provider_binance_margin.exchange.messages import Reply, Request

CONNECT_TIMEOUT = 5.0
LONGEST_BODY = 32 * 1024 * 1024
#: headers of both transports; each adds its Accept-Encoding
HEADERS = {"Accept": "application/json", "User-Agent": f"airflow-provider-binance-margin/{__version__}"}
_OWN_HEADERS = {"Accept-Encoding": "gzip", "Connection": "keep-alive"}
_MOST_MEMBERS = 16
_CHUNK = 65_536


# -- proxy, certificates and content coding, for both transports -------------------------------------------------------


@dataclass(frozen=True)
class Route:
    """Proxy (its URL and, apart, its user and password) and trusted certificates, as named by the environment."""

    proxy: str | None = None
    proxy_headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    certificates: str | None = None


@hides_frames
def find_route(base_url: str, *, use_environment: bool) -> Route:
    """Find the route to a host; `requests` reads the environment (upper and lower case, ``ALL_PROXY``, ``NO_PROXY``).

    :raises BinanceConfigError: for a proxy that is no HTTP proxy, not quoted since it may hold a password
    """
    with requests.Session() as session:
        session.trust_env = use_environment
        named = session.merge_environment_settings(base_url, {}, None, None, None)
    certificates = named["verify"] if isinstance(named["verify"], str) else None
    proxy = (select_proxy(base_url, named["proxies"]) or "").strip()
    if not proxy:
        return Route(certificates=certificates)
    where = f"the proxy that {urlsplit(base_url).scheme.upper()}_PROXY or ALL_PROXY of the environment names"
    scheme, name, port = "", "", None
    with contextlib.suppress(ValueError):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy.lstrip('/')}")
        scheme, name, port = parts.scheme, parts.hostname or "", parts.port
    if scheme not in ("", "http", "https"):
        raise BinanceConfigError(
            f"{where} is no HTTP proxy (such as SOCKS): name one that is, as http://host:port, or list the exchange's "
            "host in NO_PROXY"
        )
    if not name or not name.isprintable() or " " in name:
        raise BinanceConfigError(
            f"{where} is not the URL of one: write it as http://host:port or http://user:password@host:port, with "
            "special characters of the password percent-encoded"
        )
    url = f"{scheme}://" + (f"[{name}]" if ":" in name else name) + (f":{port}" if port else "")
    if parts.username is None:
        return Route(url, {}, certificates)
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode(errors="surrogateescape")
    return Route(url, {"Proxy-Authorization": f"Basic {base64.b64encode(login).decode()}"}, certificates)


def load_trust(certificates: str | None) -> ssl.SSLContext:
    """Load the trusted certificates of a `Route`.

    :raises BinanceConfigError: if they cannot be read
    """
    path = Path(certificates or DEFAULT_CA_BUNDLE_PATH)
    try:
        if not path.is_dir():
            return ssl.create_default_context(cafile=path)
        os.scandir(path).close()
        return ssl.create_default_context(capath=path)
    except OSError as error:
        fault = type(error).__name__
    name = "REQUESTS_CA_BUNDLE" if os.environ.get("REQUESTS_CA_BUNDLE") else "CURL_CA_BUNDLE"
    raise BinanceConfigError(
        f"the certificates that {name} of the environment names cannot be read ({fault}): name a file or folder of "
        "certificates that is there on each worker and triggerer, or unset it"
    )


class AnswerTooLongError(ValueError):
    """Body longer than `LONGEST_BODY`, packed or unpacked."""


class ContentCodingError(ValueError):
    """Unknown content coding, or a body that is not packed as its header says."""


def unpack(body: bytes, coding: str) -> bytes:
    """Undo the content coding of a body, up to `LONGEST_BODY`.

    :param coding: the header ``Content-Encoding``: gzip or deflate; empty or identity for none
    :raises AnswerTooLongError: for a longer body
    :raises ContentCodingError: for another coding, or a body that is cut or malformed
    """
    coding = coding.strip().lower()
    if coding in ("", "identity") or not body:
        return body
    if coding in ("gzip", "x-gzip"):
        wbits = 31
    elif coding == "deflate":  # with zlib's header, as specified, or without, as some servers send it
        wbits = 15 if body[0] & 15 == 8 and int.from_bytes(body[:2]) % 31 == 0 else -15  # noqa: PLR2004
    else:
        raise ContentCodingError("an unknown coding")
    unpacked = b""
    for _ in range(_MOST_MEMBERS):
        decoder = zlib.decompressobj(wbits)
        try:
            unpacked += decoder.decompress(body, LONGEST_BODY - len(unpacked) + 1)
        except zlib.error as error:
            raise ContentCodingError("not packed as it says") from error
        if len(unpacked) > LONGEST_BODY:
            raise AnswerTooLongError("the answer is too long")
        body = decoder.unused_data.lstrip(b"\0")  # padding of the last block
        if not decoder.eof:
            raise ContentCodingError("cut")
        if not body:
            return unpacked
    raise ContentCodingError("too many members")


# -- requests --------------------------------------------------------------------------------------------------------


def make_session(connections: int, base_url: str, *, use_environment: bool) -> requests.Session:
    """Make a session that keeps a number of connections open to one host.

    :param use_environment: use the environment's proxies and certificates, which are looked up once, here
    """
    route = find_route(base_url, use_environment=use_environment)
    if route.certificates:
        load_trust(route.certificates)
    session = requests.Session()
    session.trust_env = False
    session.proxies = {"all": route.proxy} if route.proxy else {}
    session.verify = route.certificates or True
    session.auth = lambda prepared: prepared  # without one, requests would look for the host in a netrc file
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = _Adapter(pool_connections=2, pool_maxsize=connections, max_retries=0)
    adapter.headers_for_proxy = dict(route.proxy_headers)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def send(session: requests.Session, request: Request, timeout: float) -> Reply:
    """Send one request; a transport failure is a reply without a status, and with the failure's class name only."""
    prepared = requests.PreparedRequest()  # made by hand: requests would normalise the query that is signed
    prepared.method, prepared.url = "GET", request.url
    prepared.headers = CaseInsensitiveDict({**HEADERS, **_OWN_HEADERS, **request.headers})
    way: dict[str, Any] = {"proxies": session.proxies, "verify": session.verify, "cert": session.cert}
    adapter = session.get_adapter(request.url)  # past the session: it looks into redirects even where it follows none
    try:
        with adapter.send(prepared, True, (min(CONNECT_TIMEOUT, timeout), timeout), **way) as response:  # noqa: FBT003 - stream
            body = unpack(_body(response), response.headers.get("Content-Encoding", ""))
            return Reply(response.status_code, response.headers, body)
    except (requests.RequestException, HTTPError, OSError, ValueError) as error:
        return Reply(None, fault=type(error).__name__)
    except BaseException as error:  # noqa: BLE001 - such as a timeout of the task
        interruption = bare(error)  # frames of HTTP libraries show signature and key
    raise interruption


def _body(response: requests.Response) -> bytes:
    body = bytearray()
    for chunk in response.raw.stream(_CHUNK, decode_content=False):
        body += chunk
        if len(body) > LONGEST_BODY:
            raise AnswerTooLongError("the answer is too long")
    return bytes(body)


# The read timeout of `requests` starts anew with each piece, so a server that drips would be read for ever. These
# connections read each answer, from its status line to the end of its body, against one deadline.


class _TimedReader(io.RawIOBase):
    """Reading end of a socket, for one answer."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw, self._sock, self.is_over = raw, sock, False
        self._deadline = time.monotonic() + (sock.gettimeout() or CONNECT_TIMEOUT)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.is_over:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._sock, self._reader = sock, _TimedReader(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self._reader, _CHUNK)

    def _close_conn(self) -> None:
        """End reading; a connection with bytes beyond the answer is not used again."""
        self._reader.is_over = True
        with contextlib.suppress(OSError, ValueError):
            if self.fp.peek() or getattr(self._sock, "pending", int)():
                getattr(self._sock, "socket", self._sock).shutdown(socket.SHUT_RDWR)  # urllib3 notices, and closes it
        super()._close_conn()  # type: ignore[misc]  # http.client calls it at the end of each answer


class _Connection(HTTPConnection):
    response_class = _TimedResponse
    debuglevel = 0  # not http.client's, under which signature and key are printed


class _SecureConnection(HTTPSConnection):
    response_class = _TimedResponse
    debuglevel = 0


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class _Adapter(HTTPAdapter):
    headers_for_proxy: Mapping[str, str] = {}

    def proxy_headers(self, proxy: str) -> dict[str, str]:  # noqa: ARG002
        return dict(self.headers_for_proxy)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Check certificates for a plain host too: its proxy may speak TLS, and requests would trust any."""
        super().cert_verify(conn, url.replace("http://", "https://", 1), verify, cert)  # type: ignore[no-untyped-call]

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager
