"""What goes over the wire is what was signed, once, to one host; and no answer is waited for longer than its time.

Of both transports: `requests`, which the hook sends with, and `aiohttp`, which triggers send with.
"""

import asyncio
import contextlib
import gc
import gzip
import http.client
import json
import logging
import socket
import ssl
import threading
import time
import tracemalloc
import warnings
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, quote, urlencode

import pytest
import requests
import urllib3
from airflow.sdk import Connection
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from frames import shown_in_frames

from airflow_provider_binance_margin.exchange.call import Caller
from airflow_provider_binance_margin.exchange.credentials import load_credentials
from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.exchange.errors import BinanceConfigError, BinanceTransientError
from airflow_provider_binance_margin.exchange.host import Host
from airflow_provider_binance_margin.exchange.messages import Reply, Request, drive
from airflow_provider_binance_margin.hooks import session as hooks_session
from airflow_provider_binance_margin.hooks.binance import BinanceHook
from airflow_provider_binance_margin.hooks.session import make_session, send
from airflow_provider_binance_margin.hooks.settings import open_settings
from airflow_provider_binance_margin.triggers import transport
from airflow_provider_binance_margin.triggers.client import AsyncClient, open_client

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """A server that speaks raw bytes.

    :param speak: a function of (connection, request): what it does with each request; False ends the connection
    :param tls: wraps each connection
    """

    def __init__(self, speak, tls=None):
        self.speak, self.tls = speak, tls
        self.requests, self.connections, self.open = [], 0, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.threads = [threading.Thread(target=self.accept)]

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, *_):
        # a listener that is shut down wakes its accept
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(5)

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(connection)
            thread = threading.Thread(target=self.serve, args=(connection,))
            self.threads.append(thread)
            thread.start()

    def serve(self, plain):
        with plain, contextlib.suppress(OSError), self.tls(plain) if self.tls else plain as connection:
            buffer = b""
            while data := connection.recv(65_536):
                buffer += data
                while b"\r\n\r\n" in buffer:
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    self.requests.append(head.decode("latin-1"))
                    if self.speak(connection, head) is False:
                        return


def says(*pieces, every=0.0, then_close=False):
    """Sends these pieces, so many seconds apart."""

    def speak(connection, _):
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(every)
        return not then_close

    return speak


class OfHook:
    """The hook's transport."""

    connects = "SSLError"

    def __init__(self, connections, base_url, *, use_environment):
        self.session = make_session(connections, base_url, use_environment=use_environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.session.close()

    def send(self, request, timeout):
        return send(self.session, request, timeout)

    def idle(self, seconds):
        time.sleep(seconds)


class OfTriggers:
    """The triggers' transport, on an event loop of its own that runs while something is sent."""

    connects = "ClientConnectorCertificateError"

    def __init__(self, connections, base_url, *, use_environment):  # noqa: ARG002 - their number is fixed
        self.make = transport.prepare(base_url, 2.0, use_environment=use_environment)

    def __enter__(self):
        self.loop = asyncio.Runner().__enter__()
        self.transport = self.loop.run(self.made())
        return self

    async def made(self):
        return self.make()

    def __exit__(self, *_):
        self.loop.run(self.transport.close())
        self.loop.run(asyncio.sleep(0.01))
        self.loop.close()

    def send(self, request, timeout):
        self.transport._timeout = timeout
        return self.loop.run(self.record_response(request))

    def idle(self, seconds):
        self.loop.run(asyncio.sleep(seconds))

    async def record_response(self, request):
        reply = await self.transport.send(request)
        await asyncio.sleep(0.01)  # the loop of a triggerer goes on, and hears of what a server closes
        return reply


@pytest.fixture(params=[OfHook, OfTriggers], ids=["requests", "aiohttp"])
def open_session(request):
    """Opens a session: number of connections, base URL, use_environment."""

    def make(connections=4, base_url="http://127.0.0.1", *, use_environment=False):
        return request.param(connections, base_url, use_environment=use_environment)

    return make


@pytest.fixture
def session(open_session):
    with open_session() as made:
        yield made
    with warnings.catch_warnings():
        # aiohttp 3.12 leaves a transport to be collected when an answer is none of HTTP
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def hook_session():
    with OfHook(4, "http://127.0.0.1", use_environment=False) as made:
        yield made


def ask(session, url, timeout=20.0, headers=None):
    return session.send(Request(url, headers or {}), timeout)


def sockets():
    """How many sockets this process has open."""
    gc.collect()
    links = []
    for number in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(number.readlink()))
    return sum(link.startswith("socket:") for link in links)


# -- what is sent ----------------------------------------------------------------------------------------------------


def answer_to(session, call, timeout=20.0):
    return drive(call, lambda request: session.send(request, timeout), lambda pause: pytest.fail(f"{pause}"))


def caller(sandbox, key="hmac"):
    fields = sandbox.connection(key)
    credentials = load_credentials(
        fields["login"], secret=fields.get("password"), private_key=fields["extra"].get("private_key")
    )
    endpoint = FORCE_LIQUIDATION
    return Caller(Host(sandbox.url, time), credentials, endpoint.path, endpoint.weight, endpoint.read_page)


@pytest.mark.parametrize("key", ["hmac", "rsa", "ed25519"])
@pytest.mark.parametrize("symbol", ["BTCUSDT", "币安人生USDT"])
def test_the_bytes_that_are_sent_are_the_bytes_that_were_signed(session, sandbox, key, symbol):
    """A strict exchange takes the signature of each kind over a query that has to be encoded."""
    sandbox.add(n=1, symbol=symbol, isolated=True, at=1_760_000_000_000)
    page = answer_to(session, caller(sandbox, key).call({"isolatedSymbol": symbol, "startTime": 1_760_000_000_000}))
    assert (page.total, json.loads(page.records[0].line)["symbol"], sandbox.requests[0].status) == (1, symbol, 200)


@pytest.mark.parametrize(
    "value",
    ["%2f%2F%e5%", "1+2 3", "/../b//c", "{}|^`\"<>'()[]\\", "b?c=d&e#f", "~-_.!*$,;:@", "\x00\r\n\x7f", "币é😀"],
    ids=ascii,
)
def test_a_query_arrives_as_it_was_encoded(session, value):
    """Nothing on the way encodes it again or makes it look nicer."""
    query = urlencode({"a": value, value: "b"}) + f"&signature={quote('+/==', safe='')}"
    with Server(says(OK)) as server:
        reply = ask(session, f"{server.url}/p?{query}")
        asked = [head.split(" ", 2)[1] for head in server.requests]
    assert (reply.status, asked) == (200, [f"/p?{query}"])


def test_only_the_headers_that_are_needed_are_sent(session):
    """Nothing that is not the exchange's business."""
    with Server(says(OK)) as server:
        ask(session, f"{server.url}/p?a=1", headers={"X-MBX-APIKEY": "key"})
        first, *lines = server.requests[0].split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    if isinstance(session, OfHook):
        assert (headers.pop("Connection"), headers.pop("Accept-Encoding")) == ("keep-alive", "gzip")
    else:
        assert headers.pop("Accept-Encoding") == "identity"
    agent = headers.pop("User-Agent")
    assert (first, agent.startswith("airflow-provider-binance-margin/"), headers) == (
        "GET /p?a=1 HTTP/1.1",
        True,
        {
            "Host": f"127.0.0.1:{server.port}",
            "Accept": "application/json",
            "X-MBX-APIKEY": "key",
        },
    )


def test_no_password_is_looked_for_in_a_netrc_file(session, tmp_path, monkeypatch, open_session):
    """One for the host would be sent to it, and replace nothing."""
    (tmp_path / "netrc").write_text("default login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Server(says(OK)) as server, open_session(1, server.url, use_environment=True) as other:
        ask(other, f"{server.url}/p")
        ask(session, f"{server.url}/p")
    assert [head for head in server.requests if "authorization" in head.lower()] == []


def test_no_cookie_is_kept_or_sent_back(session):
    """A call depends on nothing but itself."""
    cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 2\r\n\r\n{}"
    with Server(says(cookie)) as server:
        for _ in range(2):
            ask(session, f"{server.url}/p")
    assert (len(server.requests), [head for head in server.requests if "cookie" in head.lower()]) == (2, [])


def test_a_proxy_of_the_environment_is_used_only_where_it_may_be(monkeypatch, open_session):
    """For this machine's own host it is not: the sandbox is reached past it."""
    with Server(says(OK)) as proxy, Server(says(OK)) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("NO_PROXY", "")
        for use in (True, False):
            with open_session(1, server.url, use_environment=use) as made:
                assert ask(made, f"{server.url}/p?a=1").status == 200
    assert ([head.split(" ")[1] for head in proxy.requests], len(server.requests)) == ([f"{server.url}/p?a=1"], 1)


def send_from_worker(settings, request):
    hook = BinanceHook("b")
    hook.settings = settings
    try:
        return send(hook.get_conn(), request, 20.0)
    finally:
        hook.close()


def send_from_triggerer(settings, request):
    async def ask():
        async with open_client(settings) as client:
            return await client.transport.send(request)

    return asyncio.run(ask())


@pytest.mark.parametrize("is_local", [True, False], ids=["local", "elsewhere"])
@pytest.mark.parametrize("send_from", [send_from_worker, send_from_triggerer], ids=["worker", "triggerer"])
def test_a_connection_uses_the_environments_proxy_unless_its_host_is_this_machine(monkeypatch, send_from, is_local):
    with Server(says(OK)) as server, Server(says(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")) as proxy:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "")
        url = server.url if is_local else "https://exchange.test"
        fields = {"conn_type": "binance", "host": url, "login": "a-key-of-this-test", "password": "its-secret"}
        settings = open_settings(Connection(conn_id="b", **fields))
        reply = send_from(settings, Request(f"{url}/p"))

    asked = [head.split(" ")[0] for head in proxy.requests]
    assert (reply.status, len(server.requests), asked) == ((200, 1, []) if is_local else (None, 0, ["CONNECT"]))


@pytest.mark.parametrize("lines", [b"Retry-After: 600\r\nRetry-After: 900", b"retry-after: 900\r\nRETRY-AFTER: 600"])
def test_a_header_that_comes_twice_is_handed_over_whole(session, lines):
    """Neither transport keeps only one of them."""
    with Server(says(b"HTTP/1.1 418 Banned\r\n" + lines + b"\r\nContent-Length: 0\r\n\r\n")) as server:
        reply = ask(session, f"{server.url}/p")
    assert sorted((reply.header("retry-after") or "").split(", ")) == ["600", "900"]


# -- proxies -----------------------------------------------------------------------------------------------------------


def relay(connection, head):
    """What a proxy does: a tunnel to the host that is named, or an answer of its own."""
    if not head.startswith(b"CONNECT "):
        connection.sendall(OK)
        return True
    name, _, port = head.split(b" ")[1].rpartition(b":")
    with socket.create_connection((name.decode(), int(port)), timeout=5) as far:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=pump, args=(far, connection))
        back.start()
        pump(connection, far)
        back.join(5)
    return False


def pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def environment(monkeypatch):
    """Sets variables, and no other of their kind."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "request_method"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def set_to(**names):
        for name, value in names.items():
            monkeypatch.setenv(name, value)

    return set_to


LOGIN = "b2hhdXNlcjpwQHNzL3fDtnJk"  # base64 of ohauser:p@ss/wörd
FORMS = {
    "no-scheme": ("{at}", None),
    "slashes-only": ("//{at}", None),
    "http": ("http://{at}", None),
    "upper-case-scheme": ("HTTP://{at}", None),
    "slash-and-blanks": (" http://{at}/ ", None),
    "login": ("http://ohauser:p%40ss%2Fw%C3%B6rd@{at}", LOGIN),
    "login-without-scheme": ("ohauser:p%40ss%2Fw%C3%B6rd@{at}", LOGIN),
    "user-only": ("http://ohauser@{at}", "b2hhdXNlcjo="),
    "empty-login": ("http://@{at}", "Og=="),
}


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(("form", "login"), FORMS.values(), ids=FORMS)
def test_a_proxy_is_used_however_the_environment_names_it(environment, open_session, tls, form, login, name):
    """By both transports, through a tunnel, with its login; a second request goes through the same tunnel."""
    wrap, file = tls
    with Server(says(OK), wrap) as server, Server(relay) as proxy:
        environment(REQUESTS_CA_BUNDLE=str(file), **{name: form.format(at=f"127.0.0.1:{proxy.port}")})
        with open_session(1, server.url, use_environment=True) as session:
            statuses = [ask(session, f"{server.url}/p").status for _ in range(2)]
    sent = [line.partition(": ")[2] for line in proxy.requests[0].split("\r\n") if line.startswith("Proxy-Auth")]
    assert (statuses, len(proxy.requests), sent) == ([200, 200], 1, [f"Basic {login}"] if login else [])
    assert [head for head in server.requests if "proxy-auth" in head.lower()] == []


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("target", ["http", "https"])
def test_a_proxy_that_speaks_tls_is_used(environment, open_session, tls, secure, target):
    """To either kind of host, with its login."""
    wrap, file = tls
    with (
        Server(says(OK), wrap if target == "https" else None) as server,
        Server(relay, wrap if secure else None) as proxy,
    ):
        at = f"{'https' if secure else 'http'}://user:pass-of-proxy@127.0.0.1:{proxy.port}"
        environment(REQUESTS_CA_BUNDLE=str(file), ALL_PROXY=at)
        with open_session(1, server.url, use_environment=True) as session:
            statuses = [ask(session, f"{server.url}/p").status for _ in range(2)]
    assert (statuses, "Basic dXNlcjpwYXNzLW9mLXByb3h5" in proxy.requests[0]) == ([200, 200], True)


@pytest.mark.filterwarnings("ignore:.*:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("target", ["http", "https"])
def test_a_proxy_whose_certificate_nobody_vouches_for_is_sent_nothing(environment, open_session, tls, target):
    """Whatever kind of host lies behind it."""
    with Server(relay, tls[0]) as proxy:
        environment(ALL_PROXY=f"https://user:pass-of-proxy@127.0.0.1:{proxy.port}")
        with open_session(1, f"{target}://127.0.0.1:1", use_environment=True) as session:
            reply = ask(session, f"{target}://127.0.0.1:1/p")
            gc.collect()
    assert (reply.status, proxy.requests) == (None, [])


@pytest.mark.parametrize("value", ["127.0.0.1", "127.0.0.0/8", "*", "x.test, 127.0.0.1"])
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_a_host_is_reached_past_the_proxy_where_the_environment_says_so(environment, open_session, name, value):
    """By both transports alike, even where the proxy could not be used."""
    with Server(says(OK)) as server:
        environment(ALL_PROXY="socks5://127.0.0.1:1", **{name: value})
        with open_session(1, server.url, use_environment=True) as session:
            assert ask(session, f"{server.url}/p").status == 200


UNUSABLE = {
    "socks5": "socks5://{at}",
    "socks5h": "socks5h://user:pass-of-proxy@{at}",
    "socks4": "SOCKS4://{at}",
    "socks": "socks://{at}",
    "ftp": "ftp://{at}",
    "no-host": "http://",
    "no-host-but-a-port": "http://:3128",
    "no-host-but-a-login": "http://user:pass-of-proxy@",
    "no-port": "http://127.0.0.1:x",
    "large-port": "http://127.0.0.1:99999",
    "password-not-encoded": "http://user:pass-of-proxy/x@{at}",
    "bracket": "http://[::1",
    "blank": "http://a b:3128",
}


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "all_proxy"])
@pytest.mark.parametrize("form", UNUSABLE.values(), ids=UNUSABLE)
def test_a_proxy_that_cannot_be_used_is_refused_alike(environment, form, name):
    """With the cure, before anything is sent to it, and without its password."""
    texts = set()
    with Server(says(OK)) as proxy:
        environment(**{name: form.format(at=f"127.0.0.1:{proxy.port}")})
        for each in (OfHook, OfTriggers):
            with pytest.raises(BinanceConfigError) as caught:
                each(1, "https://api.binance.com", use_environment=True)
            texts.add(str(caught.value))
            assert "pass-of-proxy" not in shown_in_frames(caught.value)
    (text,) = texts
    assert ("HTTPS_PROXY or ALL_PROXY" in text, "http://" in text, "pass-of-proxy" in text) == (True, True, False)
    assert proxy.connections == 0


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "REQUESTS_CA_BUNDLE"])
def test_what_the_environment_names_wrongly_fails_a_call_for_good(environment, monkeypatch, tmp_path, name):
    """It is the connection test's answer too, and nothing is tried twice."""
    from airflow_provider_binance_margin.hooks.binance import BinanceHook

    environment(**{name: "socks5h://127.0.0.1:1" if name == "HTTPS_PROXY" else str(tmp_path / "missing")})
    made = Connection(conn_id="b", conn_type="binance", login="key", password="secret-of-this")
    monkeypatch.setattr(BinanceHook, "get_connection", lambda *_: made)
    with pytest.raises(BinanceConfigError, match=name):
        BinanceHook("b").force_liquidation_page()
    works, words = BinanceHook("b").test_connection()
    assert (works, name in words) == (False, True)


def test_a_proxy_that_refuses_shows_no_password(environment, open_session, tls, caplog):
    """Neither in the fault nor in any log, at any level."""
    caplog.set_level(logging.DEBUG)
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with Server(says(refusal, then_close=True)) as proxy:
        environment(HTTPS_PROXY=f"http://user:pass-of-proxy@127.0.0.1:{proxy.port}")
        with open_session(1, "https://127.0.0.1:1", use_environment=True) as session:
            reply = ask(session, "https://127.0.0.1:1/p")
    shown = f"{reply} {caplog.text}"
    assert (reply.status, [each for each in ("pass-of-proxy", "dXNlcjpwYXNz") if each in shown]) == (None, [])


@pytest.mark.parametrize("through", ["nothing", "proxy"])
def test_nothing_is_printed_when_http_client_is_told_to(environment, open_session, tls, monkeypatch, capfd, through):
    """The usual recipe for looking into `requests` would print signature, key and the proxy's login."""
    wrap, file = tls
    for kind in (http.client.HTTPConnection, urllib3.connection.HTTPConnection, urllib3.connection.HTTPSConnection):
        monkeypatch.setattr(kind, "debuglevel", 1)
    monkeypatch.setattr(http.client.HTTPResponse, "debuglevel", 1, raising=False)
    with Server(says(OK), wrap) as server, Server(relay) as proxy:
        environment(REQUESTS_CA_BUNDLE=str(file))
        if through == "proxy":
            environment(HTTPS_PROXY=f"http://user:pass-of-proxy@127.0.0.1:{proxy.port}")
        with open_session(1, server.url, use_environment=True) as session:
            reply = ask(session, f"{server.url}/p?signature=s3cr3t", headers={"X-MBX-APIKEY": "key-of-this"})
    assert (reply.status, capfd.readouterr()) == (200, ("", ""))


# -- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(session, sandbox, status):
    """The host it points to sees nothing; the call fails as one that somebody else has answered."""
    with Server(says(OK)) as elsewhere:
        sandbox.fault("redirect", location=f"{elsewhere.url}/steal", status=status)
        with pytest.raises(BinanceTransientError, match="check the connection's host and any proxy"):
            answer_to(session, replace(caller(sandbox), attempts=1).call({}))
    assert (elsewhere.connections, len(sandbox.requests)) == (0, 1)


@pytest.mark.parametrize(
    "location", [b"http://[::1", b"\xff\xfe", b"", b"http://x:99999/", b"ftp://x/", b"//", b"http://" + b"a" * 9_000]
)
def test_a_redirect_that_leads_nowhere_is_still_a_redirect(session, location):
    """Its target is not even looked at: it is not taken for a fault that may pass."""
    answer = b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"
    with Server(says(answer)) as server:
        assert ask(session, f"{server.url}/p").status == 302


# -- connections -----------------------------------------------------------------------------------------------------


def test_calls_one_after_the_other_use_one_connection(session, sandbox):
    """Whatever they are answered: pages and errors alike."""
    sandbox.add(n=250, at=1_760_000_000_000)
    sandbox.fault("500", skip=2)
    sandbox.fault("429", skip=3)
    one = caller(sandbox)
    for current in range(8):
        request = next(one.call({"startTime": 1_760_000_000_000, "current": current + 1}))
        session.send(request, 2.0)
    assert (len(sandbox.requests), sandbox.connections) == (8, 1)


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(session):
    """An idle connection ends some time: the next call makes a new one, without a fault."""
    with Server(says(OK, then_close=True)) as server:
        statuses = []
        for _ in range(3):
            statuses.append(ask(session, f"{server.url}/p").status)
            time.sleep(0.05)
    assert (statuses, server.connections) == ([200, 200, 200], 3)


def test_no_socket_is_left_open(sandbox, open_session):
    """After answers, faults and cut bodies, and once the session is closed."""
    before = sockets()
    with open_session() as session:
        statuses = []
        for fault in ("reset", "reset-body", "slow-head", "slow-body"):
            sandbox.fault(fault, **({"seconds": 5} if "slow" in fault else {}))
            statuses += [session.send(next(caller(sandbox).call({})), 2.0).status for _ in range(2)]
        assert statuses == [None, 200] * 4
    deadline = time.monotonic() + 30.0
    while sockets() > before and time.monotonic() < deadline:
        time.sleep(0.02)  # the sandbox's ends close when its loop hears of ours
    assert sockets() == before


# -- deadlines -------------------------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GZIPPED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 40\r\n\r\n" + gzip.compress(b"x" * 9)[:10]
LONG = 400  # pieces, which take twenty seconds
DRIPS = {
    "silence": [b""] * LONG,
    "head": [bytes([byte]) for byte in HEAD[:-2] + b"X-A: " + b"b" * LONG],
    "endless-head": [b"HTTP/1.1 200 OK\r\n", *[b"X-A: b\r\n"] * LONG],
    "continue-for-ever": [b"HTTP/1.1 100 Continue\r\n\r\n"] * LONG,
    "body": [HEAD.replace(b"40", b"400"), *[b"x"] * LONG],
    "chunks": [CHUNKED, *[b"1\r\nx\r\n"] * LONG],
    "half-a-chunk": [CHUNKED, b"1000\r\n", *[b"x"] * LONG],
    "until-it-closes": [b"HTTP/1.1 200 OK\r\n\r\n", *[b"x"] * LONG],
    "gzip": [GZIPPED.replace(b"40", b"900"), *[b"\x00"] * LONG],
}


class Drip:
    """Sends these pieces, 50 ms apart, and knows whether all have been sent."""

    def __init__(self, *pieces):
        self.pieces, self.is_over = pieces, False

    def __call__(self, connection, head):
        says(*self.pieces, every=0.05)(connection, head)
        self.is_over = True


@pytest.mark.parametrize("pieces", DRIPS.values(), ids=DRIPS)
def test_an_answer_that_drips_is_given_up_at_its_time(session, pieces):
    """One deadline for all of an answer, however small its pieces and wherever they drip."""
    drip = Drip(*pieces)
    with Server(drip) as server:
        start = time.monotonic()
        reply = ask(session, f"{server.url}/p", timeout=0.3)
        took = time.monotonic() - start
        assert (reply.status, reply.body, took > 0.25, drip.is_over) == (None, b"", True, False)


def test_an_answer_that_is_slow_but_in_time_is_taken(session):
    """The deadline is no shorter than it says, and the next answer has a time of its own."""
    slow = says(HEAD, *[b"x" * 10] * 4, every=0.25)
    with Server(slow) as server:
        replies = [ask(session, f"{server.url}/p", timeout=3.5) for _ in range(3)]
    assert ([len(reply.body) for reply in replies], server.connections) == ([40, 40, 40], 1)


def tls_context(folder):
    """A server's certificate for 127.0.0.1, signed by itself."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, file


@pytest.fixture
def tls(tmp_path):
    context, file = tls_context(tmp_path)
    return lambda plain: context.wrap_socket(plain, server_side=True), file


def test_the_deadline_holds_under_tls_too(tls, monkeypatch, open_session):
    """Where the pieces are records: a drip is given up, an answer is taken, one connection serves both."""
    wrap, file = tls
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))

    drip = Drip(*DRIPS["body"])

    def speak(connection, head):
        return (drip if b"/drip" in head else says(OK))(connection, head)

    with Server(speak, wrap) as server, open_session(1, server.url, use_environment=True) as session:
        replies = [ask(session, f"{server.url}/p"), ask(session, f"{server.url}/p")]
        connections = server.connections
        given_up = ask(session, f"{server.url}/drip", timeout=0.3)
        assert (given_up.status, drip.is_over) == (None, False)
    assert ([reply.status for reply in replies], connections) == ([200, 200], 1)


@pytest.mark.filterwarnings("ignore:.*:pytest.PytestUnraisableExceptionWarning")
def test_a_certificate_that_nobody_vouches_for_is_a_fault(session, tls):
    """Then nothing is sent at all. asyncio leaves the socket of a failed handshake to the garbage collector."""
    with Server(says(OK), tls[0]) as server:
        reply = ask(session, f"{server.url}/p?signature=x")
        gc.collect()
    assert (reply.status, reply.fault, server.requests) == (None, session.connects, [])


# -- faults ----------------------------------------------------------------------------------------------------------


def reset(connection, _):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    return False


def after(first, then):
    def speak(connection, head):
        connection.sendall(first)
        return then(connection, head)

    return speak


def packed_as(coding, body):
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
    return says(head.encode() + body)


FAULTS = {
    "closed": says(b"", then_close=True),
    "reset": reset,
    "reset-in-the-head": after(b"HTTP/1.1 200", reset),
    "reset-in-the-body": after(HEAD + b"xxx", reset),
    "cut-body": says(HEAD + b"xxx", then_close=True),
    "cut-chunk": says(CHUNKED + b"1000\r\nxxx", then_close=True),
    "no-last-chunk": says(CHUNKED + b"3\r\nxxx\r\n", then_close=True),
    "chunk-of-no-length": says(CHUNKED + b"xyz\r\nxxx\r\n", then_close=True),
    "no-http": says(b"220 smtp.example.test ESMTP\r\n", then_close=True),
    "bad-status": says(b"HTTP/1.1 abc OK\r\n\r\n", then_close=True),
    "endless-status-line": says(b"HTTP/1.1 200 " + b"O" * 70_000 + b"\r\n\r\n", then_close=True),
    "too-many-headers": says(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200 + b"\r\n", then_close=True),
    "no-gzip": packed_as("gzip", b"{}"),
    "cut-gzip": packed_as("gzip", gzip.compress(b"x" * 9_000)[:-12]),
    "gzip-and-more": packed_as("gzip", gzip.compress(b"{}") + b"{}"),
    "endless-members": packed_as("gzip", gzip.compress(b"x") * 9_000),
    "no-deflate": packed_as("deflate", b"{}"),
    "cut-deflate": packed_as("deflate", zlib.compress(b"x" * 9_000)[:-8]),
    "brotli": packed_as("br", b"\x0b\x02\x80{}{}\x03"),
    "zstd": packed_as("zstd", b"\x28\xb5\x2f\xfd{}"),
    "two-codings": packed_as("gzip, br", gzip.compress(b"{}")),
}


@pytest.mark.parametrize("speak", FAULTS.values(), ids=FAULTS)
def test_a_failed_transport_is_a_reply_without_a_status(session, speak):
    """It is known by its class, and shows neither address nor query; the next call is served."""
    with Server(speak) as server:
        reply = ask(session, f"{server.url}/p?signature=s3cr3t")
        server.speak = says(OK)
        following = ask(session, f"{server.url}/p")
    if speak is FAULTS["too-many-headers"] and isinstance(session, OfTriggers) and reply.status == 200:
        pytest.skip("this aiohttp takes any number of headers")
    assert (reply.status, reply.fault.isidentifier(), following.status) == (None, True, 200)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://127.0.0.1:1/p?signature=s3cr3t", id="refused"),
        pytest.param("http://no-such-host.invalid/p?signature=s3cr3t", id="no-name"),
        pytest.param("http://" + "a" * 64 + ".invalid/p?signature=s3cr3t", id="label-too-long"),
        pytest.param("https://127.0.0.1:1/p?signature=s3cr3t", id="refused-tls"),
    ],
)
def test_a_host_that_cannot_be_reached_is_a_reply_without_a_status(session, url):
    """No exception gets out: its text would hold the URL."""
    reply = ask(session, url)
    assert (reply.status, reply.fault.isidentifier(), "s3cr3t" in repr(reply)) == (None, True, False)


UNREADABLE = {
    "missing": lambda path: None,  # noqa: ARG005
    "empty": lambda path: path.touch(),
    "no-certificate": lambda path: path.write_text("no certificate"),
    "link-to-itself": lambda path: path.symlink_to(path),
    "below-a-file": lambda path: path.parent.joinpath("f").touch(),
}


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("make", UNREADABLE.items(), ids=UNREADABLE)
def test_certificates_that_cannot_be_read_are_named(tmp_path, monkeypatch, make, name):
    """By hook and trigger in the same words, before anything is sent."""
    kind, write = make
    file = tmp_path / "ca.pem"
    write(file)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(name, str(tmp_path / "f" / "ca.pem" if kind == "below-a-file" else file))
    texts = set()
    for each in (OfHook, OfTriggers):
        with pytest.raises(BinanceConfigError, match=name) as caught:
            each(1, "https://127.0.0.1:1", use_environment=True)
        texts.add(str(caught.value))
    assert (len(texts), [text for text in texts if str(tmp_path) in text]) == (1, [])


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_other_names_of_certificates_mean_nothing_to_either(tmp_path, monkeypatch, open_session, tls, name):
    """As with `requests`: what they name is neither needed nor trusted."""
    wrap, file = tls
    monkeypatch.setenv(name, str(file if name == "SSL_CERT_FILE" else tmp_path / "missing"))
    with Server(says(OK), wrap) as server, open_session(1, server.url, use_environment=True) as session:
        assert ask(session, f"{server.url}/p").fault == session.connects
        gc.collect()


def test_a_folder_of_certificates_will_do(tmp_path, monkeypatch):
    """As it does for `requests`."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    with OfTriggers(1, "https://127.0.0.1:1", use_environment=True) as session:
        assert ask(session, "https://127.0.0.1:1/p").status is None


def test_a_request_that_was_lost_is_not_sent_again(session):
    """Not even on a connection that served before: whether to ask again is for the call to say."""
    with Server(says(OK)) as server:
        assert ask(session, f"{server.url}/p").status == 200
        server.speak = reset
        assert ask(session, f"{server.url}/p").status is None
    assert (len(server.requests), server.connections) == (2, 1)


ROWS = b'{"rows":[]}' * 30_000


def raw_deflate(body):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


CODINGS = {
    "gzip": ("gzip", gzip.compress(ROWS)),
    "old-name": ("x-gzip", gzip.compress(ROWS)),
    "upper-case": (" GZip ", gzip.compress(ROWS)),
    "two-members": ("gzip", gzip.compress(ROWS[:99]) + gzip.compress(ROWS[99:])),
    "filled-up": ("gzip", gzip.compress(ROWS) + bytes(512)),
    "deflate": ("deflate", zlib.compress(ROWS)),
    "deflate-without-header": ("deflate", raw_deflate(ROWS)),
    "identity": ("identity", ROWS),
}


@pytest.mark.parametrize("framed", ["length", "chunked", "closed"])
@pytest.mark.parametrize(("coding", "body"), CODINGS.values(), ids=CODINGS)
def test_a_body_is_unpacked(session, coding, body, framed):
    """Whatever was asked for: servers and boxes in between pack as they like, and both transports read it alike."""
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\n".encode()
    answer = {
        "length": head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        "chunked": head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
        "closed": head + b"\r\n" + body,
    }[framed]
    with Server(says(answer, then_close=framed == "closed")) as server:
        reply = ask(session, f"{server.url}/p")
    assert (reply.status, reply.body == ROWS) == (200, True)


def test_an_empty_body_is_empty_however_it_is_packed(session):
    """As refusals without a body are."""
    with Server(says(b"HTTP/1.1 418 Nope\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n")) as server:
        reply = ask(session, f"{server.url}/p")
    assert (reply.status, reply.body) == (418, b"")


@pytest.mark.parametrize("coding", [None, "gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_fault_of_packing_is_the_same_in_both(coding):
    """One word for one thing, in each log."""
    replies = []
    body = b"this is packed in no way"
    speak = packed_as(coding, body) if coding else says(b"HTTP/1.1 200 OK\r\n\r\n", *[bytes(1024 * 1024)] * 40)
    for each in (OfHook, OfTriggers):
        with Server(speak) as server, each(1, server.url, use_environment=False) as session:
            replies.append(ask(session, f"{server.url}/p", timeout=10.0))
    fault = "ContentCodingError" if coding else "AnswerTooLongError"
    assert [(reply.status, reply.fault) for reply in replies] == [(None, fault)] * 2


@cache
def bomb(wbits):
    """1 GiB of zeros in a megabyte."""
    packer, block = zlib.compressobj(wbits=wbits), bytes(16 * 1024 * 1024)
    first, again = (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * 63


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_a_body_without_end_is_given_up(session, coding):
    """32 MiB are more than any page; what unpacks to more is no answer, and is not unpacked to its end."""
    if coding:
        speak = packed_as(coding, bomb(31 if coding == "gzip" else 15))
    else:
        speak = says(b"HTTP/1.1 200 OK\r\n\r\n", *[bytes(1024 * 1024)] * 40)
    tracemalloc.start()
    with Server(speak) as server:
        reply = ask(session, f"{server.url}/p", timeout=10.0)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (reply.status, reply.fault, reply.body) == (None, "AnswerTooLongError", b"")
    assert most < 150 * 1024 * 1024


@pytest.mark.parametrize("length", [1000, 1001])
@pytest.mark.parametrize("coding", [None, "gzip"])
def test_a_body_of_the_greatest_length_is_taken_and_one_byte_more_is_not(session, monkeypatch, coding, length):
    for module in (hooks_session, transport):
        monkeypatch.setattr(module, "LONGEST_BODY", 1000)
    body = b"x" * length
    with Server(packed_as(coding or "identity", gzip.compress(body) if coding else body)) as server:
        reply = ask(session, f"{server.url}/p")

    whole, too_long = (200, "", body), (None, "AnswerTooLongError", b"")
    assert (reply.status, reply.fault, reply.body) == (whole if length == 1000 else too_long)


# -- what was not asked for --------------------------------------------------------------------------------------------

STALE = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{stale}"
LONG_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000
SURPLUS = {
    "with-the-answer": [OK + STALE],
    "with-the-end-of-a-long-answer": [LONG_OK + STALE],
    "behind-a-chunked-answer": [CHUNKED + b"2\r\n{}\r\n0\r\n\r\n" + STALE],
    "half-of-it": [OK + STALE[:30], STALE[30:]],
    "at-once": [OK, STALE],
    "a-line": [OK, b"\r\n\r\n" + STALE],
    "a-timeout": [OK, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"],
    "no-http": [OK, b"bye"],
    "many": [OK, STALE * 50],
}


@pytest.mark.parametrize("later", [0.0, 0.1])
@pytest.mark.parametrize("pieces", SURPLUS.values(), ids=SURPLUS)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_an_answer_that_was_not_asked_for_answers_nothing(open_session, tls, monkeypatch, pieces, later, secure):
    """Whatever comes behind an answer ends the connection: it is never taken for the next request's answer."""
    wrap, file = tls
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    asked = []

    def speak(connection, head):
        asked.append(head)
        first = len(asked) == 1
        return says(*(pieces if first else [OK]), every=later)(connection, head)

    with (
        Server(speak, wrap if secure else None) as server,
        open_session(1, server.url, use_environment=True) as session,
    ):
        first = ask(session, f"{server.url}/first")
        session.idle(later * len(pieces) + 0.05)
        following = [ask(session, f"{server.url}/next") for _ in range(2)]
        connections = server.connections
    if pieces is SURPLUS["no-http"] and isinstance(session, OfTriggers):
        first = replace(first, status=200)  # aiohttp reads on, and gives the answer up for what comes right behind it
    assert (first.status, [(reply.status, reply.body) for reply in following]) == (200, [(200, b"{}")] * 2)
    assert (len(asked), connections) == (3, 2)


def test_bytes_that_the_event_loop_has_not_come_to_are_seen_too(open_session):
    """They wait in the kernel while the loop is busy, and it sends before it reads."""
    sent = threading.Event()

    def speak(connection, _):
        connection.sendall(OK)
        if not sent.is_set():
            time.sleep(0.05)
            connection.sendall(STALE)
            sent.set()

    with Server(speak) as server, open_session(1, server.url, use_environment=False) as session:
        ask(session, f"{server.url}/p")
        assert sent.wait(60)
        time.sleep(0.05)
        assert ask(session, f"{server.url}/p").body == b"{}"


def test_no_request_of_a_triggerer_waits_for_the_connection_of_another():
    """Its signature would grow old meanwhile: all are sent at once, here each is answered when all have arrived."""
    number = 101
    arrived = threading.Barrier(number)

    def speak(connection, _):
        arrived.wait(60)
        connection.sendall(OK)
        return True

    async def send_all(url):
        made = transport.prepare(url, 60.0, use_environment=False)()
        try:
            return await asyncio.gather(*(made.send(Request(f"{url}/p")) for _ in range(number)))
        finally:
            await made.close()

    with Server(speak) as server:
        replies = asyncio.run(send_all(server.url))
    assert {(reply.status, reply.body) for reply in replies} == {(200, b"{}")}


@pytest.mark.parametrize("outcome", ["answer", "error"])
def test_the_event_loop_goes_on_while_a_long_answer_is_decoded(outcome):
    """Other triggers wait for their turn on it; what is short is decoded at once."""
    body = b"x" * 300_000
    names, turns, turn = [], [], threading.Event()

    def decode(content):
        names.append(threading.current_thread() is threading.main_thread())
        turn.clear()
        turns.append(turn.wait(10 if len(content) > 100 else 0))
        if outcome == "error":
            raise BinanceConfigError("of this test")
        return len(content)

    def call():
        reply = yield Request("https://of.test")
        return decode(reply.body)

    class Canned:
        async def send(self, _):
            return Reply(200, {}, self.body)

    async def drive():
        transport = Canned()
        client = AsyncClient(SimpleNamespace(conn_id="c"), transport)
        ticking = asyncio.create_task(tick())
        for transport.body in (b"{}", body):
            try:
                assert await client.drive(call()) == len(transport.body)
            except BinanceConfigError:
                assert outcome == "error"
        ticking.cancel()

    async def tick():
        while True:
            await asyncio.sleep(0.001)
            turn.set()

    asyncio.run(drive())
    assert (names, turns) == ([True, False], [False, True])


def test_a_call_that_is_cancelled_while_it_decodes_can_be_closed():
    """Its thread is waited for: a generator cannot be closed while it runs."""
    ended, started = [], threading.Event()

    def call():
        reply = yield Request("https://of.test")
        started.set()
        time.sleep(0.2)
        ended.append(len(reply.body))
        return 1

    class Canned:
        async def send(self, _):
            return Reply(200, {}, b"x" * 300_000)

    async def cancel():
        one = call()
        driving = asyncio.create_task(AsyncClient(SimpleNamespace(conn_id="c"), Canned()).drive(one))
        await asyncio.to_thread(started.wait, 5)
        driving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await driving
        one.close()

    asyncio.run(cancel())
    assert ended == [300_000]


def test_a_long_body_is_not_searched_for_an_error_code(sandbox, monkeypatch):
    """To decode 32 MiB takes seconds, in which no other thread runs, and errors of the exchange are short."""
    one = caller(sandbox).call({})
    next(one)
    lengths, loads = [], json.loads
    monkeypatch.setattr(json, "loads", lambda text, **how: (lengths.append(len(text)), loads(text, **how))[1])
    step = one.send(Reply(200, {}, b'{"rows": 1, "a": [' + b"{}," * 10_000_000 + b"{}]}"))
    assert (type(step).__name__, [length for length in lengths if length > 100_000]) == ("Wait", [])


def test_threads_share_a_session(sandbox, hook_session):
    """Four at once: each gets its own answer, over at most as many connections."""
    symbols = [f"P{number}USDT" for number in range(40)]
    for number, symbol in enumerate(symbols):
        sandbox.add(n=number + 1, symbol=symbol, isolated=True, at=1_760_000_000_000)
    one, totals, todo = caller(sandbox), {}, list(symbols)

    def work():
        while True:
            try:
                symbol = todo.pop()
            except IndexError:
                return
            totals[symbol] = answer_to(
                hook_session, one.call({"isolatedSymbol": symbol, "startTime": 1_760_000_000_000})
            ).total

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (totals, sandbox.connections <= 4) == ({symbol: n + 1 for n, symbol in enumerate(symbols)}, True)


def test_a_session_can_be_used_by_itself():
    """What `get_conn` hands out is a plain `requests` session."""
    with Server(says(OK)) as server, make_session(1, server.url, use_environment=False) as plain:
        assert isinstance(plain, requests.Session)
        assert plain.get(f"{server.url}/p", params={"a": "b"}, timeout=2).json() == {}
        assert parse_qs(server.requests[0].split(" ")[1].partition("?")[2]) == {"a": ["b"]}
