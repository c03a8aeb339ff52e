"""`requests`, held to what a signed call needs: no redirect, retry, cookie or re-encoding, one deadline per answer."""

from __future__ import annotations

import time
from http.cookiejar import DefaultCookiePolicy

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from airflow_provider_binance_margin import __version__
from airflow_provider_binance_margin.exchange.wire import Reply, Request

_CONNECT_TIMEOUT = 5.0
_LONGEST_BODY = 32 * 1024 * 1024
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "Connection": "keep-alive",
    "User-Agent": f"airflow-provider-binance-margin/{__version__}",
}


def make_session(connections: int, *, use_environment: bool) -> requests.Session:
    """A session that keeps so many connections open.

    :param use_environment: whether proxies and certificates named by the environment are used
    """
    session = requests.Session()
    session.trust_env = use_environment
    session.auth = _as_it_is  # without one, requests would look for the host in a netrc file
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = HTTPAdapter(pool_connections=2, pool_maxsize=connections, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def send(session: requests.Session, request: Request, timeout: float) -> Reply:
    """Send one request; a failure of the transport is a reply without a status, known by its class alone."""
    prepared = session.prepare_request(requests.Request("GET", request.url.partition("?")[0]))
    prepared.url = request.url  # requests would normalise the query: the bytes signed must be the bytes sent
    prepared.headers.update({**_HEADERS, **request.headers})
    deadline = time.monotonic() + timeout
    environment = session.merge_environment_settings(prepared.url, {}, True, None, None)  # noqa: FBT003 - stream
    try:
        with session.send(
            prepared, timeout=(min(_CONNECT_TIMEOUT, timeout), timeout), allow_redirects=False, **environment
        ) as response:
            return Reply(response.status_code, response.headers, _body(response, deadline))
    except (requests.RequestException, HTTPError, OSError, ValueError) as error:
        return Reply(None, fault=type(error).__name__)


def _as_it_is(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def _body(response: requests.Response, deadline: float) -> bytes:
    chunks, size = [], 0
    for chunk in response.iter_content(65_536):
        chunks.append(chunk)
        size += len(chunk)
        if time.monotonic() > deadline:
            raise requests.ReadTimeout("the answer takes too long")
        if size > _LONGEST_BODY:
            raise requests.exceptions.ContentDecodingError("the answer is too long")
    return b"".join(chunks)
