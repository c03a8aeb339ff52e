"""`BinanceHook` against the sandbox, over real sockets."""

from __future__ import annotations

import base64
import json
import signal
import socket
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout
from frames import shown_in_frames

from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.exchange.errors import (
    BinanceBannedError,
    BinanceCredentialError,
    BinanceIncompleteError,
    BinanceRequestError,
    BinanceTransientError,
)
from airflow_provider_binance_margin.exchange.paging import Span
from airflow_provider_binance_margin.exchange.rate_limiter import Limit
from airflow_provider_binance_margin.exchange.scope import Scope
from airflow_provider_binance_margin.lake.spool import Spool

HOUR = 3_600_000
RECORDS = "/sapi/v1/margin/forceLiquidationRec"


@pytest.fixture
def hook(sandbox, monkeypatch):
    """Makes hooks whose connection is one of the sandbox's, or changed."""
    from airflow_provider_binance_margin.hooks.binance import BinanceHook

    made = []

    def make(key="hmac", *, extra=None, **changes):
        conn = {**sandbox.connection(key), **changes}
        conn["extra"] = {**(conn.get("extra") or {}), **(extra or {})}
        monkeypatch.setenv("AIRFLOW_CONN_BINANCE_DEFAULT", json.dumps(conn))
        made.append(BinanceHook())
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def waits(monkeypatch):
    """The seconds that hooks wait, which none does."""
    from airflow_provider_binance_margin.hooks.binance import BinanceHook

    waited = []
    monkeypatch.setattr(BinanceHook, "wait", lambda _, seconds, __="": waited.append(seconds))
    return waited


# Calls


def test_a_page_sends_every_parameter_under_its_own_name(hook, sandbox, day):
    """Each parameter of the exchange's page is sent as it is documented."""
    sandbox.add(n=30, at=day.ms[0], symbol="ETHUSDT", isolated=True)

    page = hook().force_liquidation_page(
        start_time=day.start, end_time=day.ms[1], isolated_symbol="ETHUSDT", current=2, size=20, recv_window=4000
    )

    (entry,) = sandbox.requests
    params = entry.params
    assert params.pop("timestamp").isdigit()
    assert params == {
        "startTime": str(day.ms[0]),
        "endTime": str(day.ms[1]),
        "isolatedSymbol": "ETHUSDT",
        "current": "2",
        "size": "20",
        "recvWindow": "4000",
    }
    assert (30, sandbox.records(*day.ms, "ETHUSDT")[:10][::-1]) == (page["total"], page["rows"])


def test_a_page_without_parameters_sends_no_filter(hook, sandbox):
    """What is not given is not sent; the largest page is asked for."""
    page = hook().force_liquidation_page()

    assert {"rows": [], "total": 0} == page
    assert {"current", "size", "recvWindow", "timestamp"} == set(sandbox.requests[0].params)
    assert sandbox.requests[0].params["size"] == "100"


@pytest.mark.parametrize(
    "start",
    [
        datetime(2026, 1, 15, tzinfo=UTC),
        datetime(2026, 1, 15),  # noqa: DTZ001 - what a user may give
        datetime(2026, 1, 15, 2, tzinfo=timezone(timedelta(hours=2))),
        1768435200000,
    ],
    ids=["utc", "naive", "zone", "ms"],
)
def test_a_page_takes_times_in_any_zone(hook, sandbox, start, monkeypatch):
    """A datetime means the same instant everywhere: one without a zone is UTC, not the worker's zone."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        hook().force_liquidation_page(start_time=start)
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()

    assert sandbox.requests[0].params["startTime"] == "1768435200000"


@pytest.mark.parametrize("options", [{"size": 101}, {"size": 0}, {"current": 0}, {"recv_window": 60001}])
def test_a_parameter_the_exchange_refuses(hook, sandbox, options):
    """What the exchange does not take is an error that is not tried again."""
    with pytest.raises(BinanceRequestError, match="code -11"):
        hook().force_liquidation_page(**options)

    assert len(sandbox.requests) == 1


def test_all_records_of_an_interval(hook, sandbox, day):
    """The interval is half-open, its records are complete, and oldest first; numbers are not rounded."""
    sandbox.add(n=1, at=day.ms[0] - 1)
    sandbox.add(n=250, at=day.ms[0], fee=0.1)
    sandbox.add(n=1, at=day.ms[1])

    records = hook().force_liquidations(day.start, "2026-01-16")

    assert len(records) == 250
    assert [str(r.pop("fee")) for r in records] == ["0.1"] * 250
    assert records == [{k: v for k, v in r.items() if k != "fee"} for r in sandbox.records(*day.ms)]


def test_all_records_of_a_pair(hook, sandbox, day):
    """The interval of an isolated pair."""
    sandbox.add(n=3, at=day.ms[0], symbol="币安人生USDT", isolated=True)

    records = hook("ed25519").force_liquidations(day.start, day.end, isolated_symbol="币安人生USDT")

    assert sandbox.records(*day.ms, "币安人生USDT") == records


@pytest.mark.parametrize(
    ("start", "end"), [("2026-01-16", "2026-01-15"), ("2026-01-15", "2026-01-15"), ("", "2026-01-15")]
)
def test_an_interval_that_is_none(hook, sandbox, start, end):
    """Bounds that hold nothing are refused before anything is asked."""
    with pytest.raises(ValueError, match="start must be before end"):
        hook().force_liquidations(start, end)

    assert sandbox.requests == []


def test_an_interval_that_ends_in_the_future_is_an_error(hook, sandbox):
    """With the cure; what is in it by now is not all there will be."""
    now = datetime.now(UTC)
    sandbox.add(n=3, at=sandbox.now_ms() - HOUR)

    with pytest.raises(ValueError, match="ends in the future"):
        hook().force_liquidations(now - timedelta(hours=2), now + timedelta(hours=1))
    with pytest.raises(ValueError, match="starts in the future"):
        hook().force_liquidations(now + timedelta(hours=2), now + timedelta(hours=3))

    assert RECORDS not in [entry.path for entry in sandbox.requests]


@pytest.mark.parametrize("offset_hours", [-2, 0, 2])
@pytest.mark.parametrize("settle", [1.5, timedelta(seconds=1.5)])
def test_an_interval_that_has_not_settled_is_waited_for(hook, sandbox, offset_hours, settle):
    """By the exchange's clock, whatever this machine's says; a record that comes late by then is there."""
    sandbox.clock_offset_ms = offset_hours * HOUR
    end = sandbox.now_ms()
    sandbox.add(n=2, at=end - 5000)
    late = threading.Timer(1.0, lambda: sandbox.add(n=1, at=end - 1000))
    late.start()

    records = hook().force_liquidations(
        datetime.fromtimestamp((end - HOUR) / 1000, UTC), datetime.fromtimestamp(end / 1000, UTC), settle=settle
    )
    late.join()

    assert len(records) == 3
    assert sandbox.now_ms() >= end + 1500


def test_an_interval_that_has_settled_is_not_waited_for(hook, sandbox, day):
    """And costs no request but its own."""
    asked = hook()
    asked.wait = None

    assert asked.force_liquidations(day.start, day.end) == []
    assert [RECORDS] == [entry.path for entry in sandbox.requests]


def test_a_settle_below_zero(hook, sandbox, day):
    """It would take what is not there yet for missing."""
    with pytest.raises(ValueError, match="settle must not be negative"):
        hook().force_liquidations(day.start, day.end, settle=-1)

    assert sandbox.requests == []


WAYS = {
    "page": lambda hook, symbol: hook.force_liquidation_page(isolated_symbol=symbol),
    "interval": lambda hook, symbol: hook.force_liquidations("2026-01-15", "2026-01-16", isolated_symbol=symbol),
    "records": lambda hook, symbol: hook.records("borrow", "2026-01-15", "2026-01-16", isolated_symbol=symbol),
}


@pytest.mark.parametrize("ask", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    "symbol", ["", "None", "btcusdt", "BTC/USDT", "..", "A" * 41, "\ud800", 5, ["BTCUSDT"]], ids=ascii
)
def test_a_pair_that_is_none(hook, sandbox, ask, symbol):
    """Whichever way it is given, it is refused before anything is asked."""
    with pytest.raises(BinanceRequestError, match="isolated_symbol must be a pair such as BTCUSDT"):
        ask(hook(), symbol)

    assert sandbox.requests == []


ROW = b'{"symbol":"BTCUSDT","orderId":1,"isIsolated":false,"updatedTime":1768435200001}'
CONTRADICTIONS = {
    "rows-of-none": b'{"rows":[%b],"total":0}' % ROW,
    "fewer-than-none": b'{"rows":[],"total":-1}',
    "rows-twice": b'{"rows":[%b],"rows":[],"total":0}' % ROW,
    "total-twice": b'{"rows":[%b],"total":1,"total":0}' % ROW,
    "field-twice": b'{"rows":[%b],"total":1}' % ROW.replace(b"}", b',"orderId":2}'),
    "number-of-5000-digits": b'{"rows":[%b],"total":1}' % ROW.replace(b":1,", b":" + b"1" * 5000 + b","),
    "endless-exponent": b'{"rows":[%b],"total":1}' % ROW.replace(b":1,", b":1e99999999999999999999,"),
    "two-rows-of-one-asked": b'{"rows":[%b,%b],"total":2}' % (ROW, ROW.replace(b":1,", b":2,")),
}


@pytest.mark.parametrize("answer", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
@pytest.mark.parametrize("way", ["page", "reader", "count", "poll"])
def test_an_answer_that_contradicts_itself_is_read_by_nobody(hook, serve, answer, way):
    """It is asked for again, and never becomes an answer or an error that is not ours."""
    asked = hook(host=serve(lambda _: (200, {}, answer)))
    asked.wait = lambda *_: None
    start = 1768435200000
    reader = asked.reader(FORCE_LIQUIDATION, Scope(), Span(HOUR), size=1)
    counter = asked.settings.counter(FORCE_LIQUIDATION, Scope(), start, start + HOUR, settle=60, max_span=3600)
    ways = {
        "page": lambda: asked.force_liquidation_page(size=1),
        "reader": lambda: reader.read(start, start + HOUR, Spool(3)),
        "count": lambda: reader.count(start, start + HOUR),
        "poll": lambda: asked.count(counter),
    }

    with pytest.raises(BinanceTransientError, match="the answer could not be read"):
        ways[way]()


def test_records_that_never_agree(hook, sandbox, day):
    """The hook raises rather than return what may be incomplete."""
    sandbox.add(n=150, at=day.ms[0])
    sandbox.fault("short", times=None, current=2)

    with pytest.raises(BinanceIncompleteError):
        hook().force_liquidations(day.start, day.end)


def test_isolated_symbols(hook, sandbox):
    """The account's isolated pairs of today, sorted: what mapped tasks are expanded over."""
    sandbox.add(n=1, at=1, symbol="ABCUSDT", isolated=True)

    assert sandbox.pairs == hook().isolated_symbols()


@pytest.mark.parametrize("answer", [b"[]", b'{"assets": 5}', b'{"assets": [{}]}', b'{"assets": [5]}', b"null", b"\xff"])
def test_isolated_symbols_from_an_answer_that_is_none(hook, serve, answer):
    """What cannot be a list of pairs is never taken for one without pairs."""
    url = serve(lambda _: (200, {}, answer))
    asked = hook(host=url)
    asked.wait = lambda *_: None  # not wait between tries

    with pytest.raises(Exception, match="could not be read"):
        asked.isolated_symbols()


# Keys


@pytest.mark.parametrize("key", ["hmac", "rsa", "ed25519"])
def test_each_kind_of_key_signs(hook, sandbox, key):
    """HMAC, RSA and Ed25519 keys are each accepted by the exchange."""
    hook(key).force_liquidation_page(isolated_symbol="BTCUSDT")

    assert [(key, 200)] == [(entry.key, entry.status) for entry in sandbox.requests]


def encrypted(pem, passphrase):
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key(pem.encode(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode())).decode()


def test_a_key_from_a_file(hook, sandbox, tmp_path):
    """A mounted key file serves as well, encrypted too."""
    file = tmp_path / "key.pem"
    file.write_text(encrypted(sandbox.connection("rsa")["extra"]["private_key"], "open sesame"))
    extra = {"private_key": None, "key_file": str(file), "private_key_passphrase": "open sesame"}

    hook("rsa", extra=extra).force_liquidation_page()

    assert sandbox.requests[0].status == 200


def test_a_key_as_base64(hook, sandbox):
    """The bare base64 of the DER serves as well."""
    lines = sandbox.connection("ed25519")["extra"]["private_key"].splitlines()
    der = "".join(line for line in lines if "-----" not in line)
    assert base64.b64decode(der)

    hook("ed25519", extra={"private_key": der}).force_liquidation_page()

    assert sandbox.requests[0].status == 200


@pytest.mark.parametrize("content", ["", "no key", None], ids=["empty", "words", "folder"])
def test_a_key_file_that_is_none(hook, tmp_path, content):
    """A file that holds no key is told, without quoting it."""
    path = tmp_path
    if content is not None:
        path = tmp_path / "key.pem"
        path.write_text(content)

    with pytest.raises(BinanceCredentialError, match="key") as told:
        hook("rsa", extra={"private_key": None, "key_file": str(path)}).force_liquidation_page()

    assert "no key" not in str(told.value)


# One host, one process


def test_hooks_of_one_process_know_of_a_ban(hook, sandbox):
    """Once one hook has been shut out, no other of the process asks before the end."""
    sandbox.fault("418", times=None, retry_after=100)
    with pytest.raises(BinanceBannedError) as first:
        hook().force_liquidation_page()
    with pytest.raises(BinanceBannedError):
        hook("rsa").isolated_symbols()

    assert 99 <= first.value.retry_after <= 102
    assert len(sandbox.requests) == 1


def test_an_offset_is_measured_once(hook, sandbox):
    """A clock that is off costs one refused call and one look at the server's, not more at each call."""
    sandbox.clock_offset_ms = 3_600_000

    for _ in range(3):
        hook().force_liquidation_page()

    assert [400, 200, 200, 200, 200] == [entry.status for entry in sandbox.requests]


def test_connections_are_kept(hook, sandbox, day):
    """Many calls of one hook come by one connection."""
    sandbox.add(n=950, at=day.ms[0])

    hook().force_liquidations(day.start, day.end)

    assert (10 + 2, 1) == (len(sandbox.requests), sandbox.connections)


@pytest.mark.parametrize("seconds", [0.05, 0.2])
def test_a_timeout_of_the_task_shows_no_secret_in_its_frames(hook, sandbox, seconds):
    """As Airflow raises it, from a signal, in the middle of a request."""
    sandbox.latency = 0.5
    asked = hook()
    conn = sandbox.connection()

    def end(*_):
        raise AirflowTaskTimeout

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with pytest.raises(AirflowTaskTimeout) as ended:
            asked.force_liquidation_page()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    shown = shown_in_frames(ended.value)
    assert "_drive: {" in shown
    assert [word for word in (conn["login"], conn["password"], "signature=") if word in shown] == []


def test_a_closed_hook_says_no(hook, sandbox):
    """After close nothing is sent any more."""
    asked = hook()
    asked.close()

    with pytest.raises(Exception, match="closed"):
        asked.force_liquidation_page()

    assert sandbox.requests == []


def test_a_closed_hook_ends_what_waits_for_a_place(hook, serve):
    """Threads that wait behind others go, unsent, before anything is answered; what is under way ends by itself."""
    sent, answering, told = [], threading.Event(), []

    def answer(handler):
        sent.append(handler.path)
        answering.wait(60)
        return 200, {}, b'{"rows":[],"total":0}'

    asked = hook(host=serve(answer))
    asked.settings  # noqa: B018 - read once, before threads need it

    def ask():
        try:
            asked.force_liquidation_page()
        except BinanceTransientError as error:
            told.append((answering.is_set(), str(error)))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    while sum(map(len, asked.host.in_flight._waiting.values())) < 8 or len(sent) < 4:
        time.sleep(0.01)
    asked.close()
    deadline = time.monotonic() + 30
    while len(told) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    answering.set()
    for thread in threads:
        thread.join(20)

    assert told[:8] == [(False, "connection 'binance_default': the hook was closed while a call was waiting")] * 8
    assert len(sent) == 4


def test_a_connection_test_does_not_wait_behind_others(hook, sandbox, monkeypatch):
    """Where all places are taken, and stay so, it says so."""
    monkeypatch.setattr("airflow_provider_binance_margin.hooks.base._TEST_TIMEOUT", 0.3)
    asked = hook()
    limit = Limit("/sapi/v1/account/apiRestrictions", "IP", "")
    with ExitStack() as places:
        for _ in range(4):
            places.enter_context(asked.host.in_flight.place(limit, 1, 4))
        works, told = asked.test_connection()

    assert (works, sandbox.requests) == (False, [])
    assert "behind other calls of this process" in told


def test_an_overloaded_exchange_does_not_hold_a_connection_test(hook, sandbox, waits):
    """Half a minute of backoff is not waited out: the test tells why."""
    sandbox.fault("error", times=None, code=-1008, status=503)

    works, told = hook().test_connection()

    assert (works, sum(waits) < 15) == (False, True)
    assert "overloaded" in told


@pytest.mark.parametrize("kind", ["503", "html"])
def test_the_answer_of_a_box_in_between_is_not_the_exchanges_time(hook, serve, kind):
    """A question for the time is asked again, and only a success sets the clock."""
    box = {"Date": formatdate(time.time() - 3_600, usegmt=True), "Content-Type": "text/html"}
    answers = [(200, box, b"<html/>") if kind == "html" else (503, box, b"<html/>")]
    ahead = int((time.time() + 600) * 1_000)

    def answer(_):
        return answers.pop() if answers else (200, {}, b'{"serverTime":%d}' % ahead)

    asked, began = hook(host=serve(answer)), time.monotonic()

    assert -1 <= asked.ask_exchange_time() - ahead / 1_000 <= time.monotonic() - began + 1


def test_no_redirect_is_followed(hook, sandbox, serve):
    """A redirect is an error: the key is never sent to another host."""
    came = []
    elsewhere = serve(lambda handler: came.append(handler.path) or (200, {}, b"{}"))
    sandbox.fault("redirect", location=f"{elsewhere}/sapi/v1/x", times=None)

    with pytest.raises(BinanceTransientError, match="HTTP 302"):
        hook().force_liquidation_page()

    assert came == []


# The connection test


def test_a_good_connection(hook, sandbox):
    """A key that may only read, from listed addresses, is reported as good with no word of warning."""
    assert (True, "The exchange accepts the key, its signature and this machine's clock.") == hook().test_connection()
    assert ["/sapi/v1/account/apiRestrictions"] == [entry.path for entry in sandbox.requests]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"enableWithdrawals": True}, ["may withdraw"]),
        ({"enableSpotAndMarginTrading": True}, ["may trade"]),
        ({"ipRestrict": False}, ["no IP list"]),
        (
            {"enableWithdrawals": True, "enableMargin": True, "ipRestrict": False},
            ["may withdraw", "borrow", "no IP list"],
        ),
    ],
    ids=["withdraw", "trade", "no-ip-list", "all"],
)
def test_a_key_that_may_too_much(hook, sandbox, flags, says):
    """A key that could do harm works, with a warning that says what it could do."""
    sandbox.keys["hmac"].flags.update(flags)

    works, told = hook().test_connection()

    assert works
    for said in ("Warning", *says):
        assert said in told


@pytest.mark.parametrize(
    ("key", "changes", "says"),
    [
        ("hmac", {"password": "w" * 64}, "signature is not valid"),
        ("hmac", {"login": "sandbox" + "x" * 57}, "IP list"),
        ("hmac", {"login": None}, "no API key"),
        ("hmac", {"host": "http://api.binance.com", "login": "x" * 64}, "https://"),
        ("hmac", {"host": "http://127.0.0.1:9"}, "could not be reached"),
        ("rsa", {"extra": {"private_key": "nonsense", "timeout": 3}}, "private key"),
        ("hmac", {"extra": {"recv_window": "long"}}, "recv_window must be"),
    ],
    ids=["secret", "key", "no-key", "http", "nobody-there", "no-private-key", "recv-window"],
)
def test_a_connection_that_does_not_work(hook, waits, key, changes, says):
    """What is wrong is said in words, at once; nothing is raised."""
    works, told = hook(key, **changes).test_connection()

    assert not works
    assert says in told
    assert sum(waits) < 15
    assert "nonsense" not in told


@pytest.mark.parametrize(
    ("fault", "options", "says"),
    [
        ("-1021", {"path": None}, "timestamp"),
        ("418", {"retry_after": 900}, "banned this machine's IP address"),
        ("403", {}, "banned this machine's IP address"),
        ("429", {"retry_after": 60}, "asks to wait"),
        ("html", {}, "could not be read"),
        ("500", {}, "exchange failed"),
        ("451", {}, "region"),
        ("reset", {}, "could not be reached"),
        ("redirect", {"location": "http://127.0.0.1:1/secret"}, "not the exchange's"),
        ("error", {"code": -2015, "status": 401, "msg": "Invalid API-key, request ip: 10.1.2.3"}, "-2015"),
        ("error", {"code": -9999, "msg": "10.1.2.3"}, "unknown to this package"),
    ],
)  # fmt: skip
def test_an_exchange_that_does_not_work(hook, sandbox, waits, fault, options, says):
    """Whatever the exchange answers, the test ends in seconds, raises nothing and quotes no body."""
    sandbox.fault(fault, times=None, **options)

    works, told = hook().test_connection()

    assert not works
    assert says in told
    assert sum(waits) < 15
    assert sum(entry.path == "/sapi/v1/account/apiRestrictions" for entry in sandbox.requests) <= 2
    assert not any(quoted in told for quoted in ("10.1.2.3", "<html", "secret", "signature="))


@pytest.mark.parametrize(("host", "warned"), [("https://203.0.113.9", True), ("https://api4.binance.com", False)])
def test_a_strangers_host_is_warned_of(hook, caplog, capsys, host, warned):
    """Its owner sees the API key."""
    assert hook(host=host, port=None).settings.base_url == host
    assert ("whoever runs it will see the API key" in caplog.text + "".join(capsys.readouterr())) == warned


@pytest.mark.parametrize("answer", ["{}", '{"ipRestrict": "no", "enableWithdrawals": 1}', "[]", '"x"', '{"msg": "x"}'])
def test_flags_that_are_not_there(hook, serve, answer):
    """Fields that are missing or strange are no reason to fail, nor to raise."""
    works, told = hook(host=serve(lambda _: (200, {}, answer.encode()))).test_connection()

    assert works == answer.startswith("{")
    assert "Warning" not in told


def drip(every, total):
    """A server whose answer never ends: its head in one piece or not at all, then a byte now and then."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def answer(client):
        with client:
            try:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n" + (b"\r\n" if total == "body" else b""))
                while not stop.wait(every):
                    client.sendall(b"X" if total == "body" else b"X-A: b\r\n")
            except OSError:
                pass

    def serve():
        while not stop.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(client,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()

    def end():
        stop.set()
        listener.close()

    return f"http://127.0.0.1:{listener.getsockname()[1]}", end


@pytest.mark.parametrize("part", ["head", "body"])
def test_an_exchange_that_drips_is_given_up(hook, part):
    """An answer that comes byte by byte, for ever, does not hold the test up."""
    url, end = drip(0.2, part)
    try:
        works, _ = hook(host=url, extra={"timeout": 1}).test_connection()
    finally:
        end()

    assert not works


def test_a_connection_that_is_not_there(monkeypatch):
    """A connection that does not exist is told, not raised."""
    from airflow_provider_binance_margin.hooks.binance import BinanceHook

    works, told = BinanceHook("nowhere").test_connection()

    assert (False, "There is no such connection.") == (works, told)


def test_extra_that_is_no_json(monkeypatch, sandbox):
    """A connection whose extra is broken is told, and not quoted."""
    from airflow_provider_binance_margin.hooks.binance import BinanceHook

    conn = {**sandbox.connection(), "extra": "{'private_key': 'broken"}
    monkeypatch.setenv("AIRFLOW_CONN_BINANCE_DEFAULT", json.dumps(conn))

    works, told = BinanceHook().test_connection()

    assert "broken" not in told
    assert works in (True, False)
