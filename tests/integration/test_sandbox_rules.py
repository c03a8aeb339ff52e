"""What the sandbox refuses, in the exchange's own words, and how it counts."""

import base64
import hashlib
import hmac
import socket
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlencode

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

pytest_plugins = ["airflow_provider_binance_margin.sandbox.pytest_plugin"]

RECORDS = "/sapi/v1/margin/forceLiquidationRec"
RESTRICTIONS = "/sapi/v1/account/apiRestrictions"
PAIRS = "/sapi/v1/margin/isolated/account"
AT = 1_760_000_000_000
MANDATORY = "Mandatory parameter '{}' was not sent, was empty/null, or malformed."


class Asker:
    """A plain client that signs whatever it is told to."""

    def __init__(self, sandbox, http):
        self.sandbox, self.http = sandbox, http

    def signature(self, payload, key="hmac"):
        secret = self.sandbox.keys[key].secret
        return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()

    def __call__(self, path=RECORDS, *, key="hmac", **params):
        return self.raw(urlencode({**params, "timestamp": params.get("timestamp", self.sandbox.now_ms())}), path, key)

    def raw(self, query, path=RECORDS, key="hmac"):
        return self.send(f"{path}?{query}&signature={self.signature(query, key)}", self.sandbox.keys[key].api_key)

    def send(self, target, api_key=None, method="GET"):
        headers = {} if api_key is None else {"X-MBX-APIKEY": api_key}
        return self.http.request(method, self.sandbox.url + target, headers=headers)

    def refused(self, **params):
        return refused(self(**params))


def refused(answer):
    return answer.status_code, answer.json()["code"], answer.json()["msg"]


@pytest.fixture
def ask(binance_sandbox):
    with httpx.Client(trust_env=False) as http:
        yield Asker(binance_sandbox, http)


def test_equal_times_keep_one_order_over_pages(ask, binance_sandbox):
    """Records of one millisecond are neither lost nor doubled between pages."""
    added = binance_sandbox.add(n=30, at=AT, step_ms=0)

    ids = [row["orderId"] for page in (1, 2, 3) for row in ask(startTime=AT, endTime=AT, current=page).json()["rows"]]

    assert ids == [record["orderId"] for record in reversed(added)]


@pytest.mark.parametrize("name", ["rsa", "ed25519"])
def test_private_keys_sign_too(ask, binance_sandbox, name):
    """Base64 in percent-encoding is the signature; with its + / = bare or its case changed it is none."""
    key = binance_sandbox.keys[name]
    private = load_pem_private_key(key.private_key.encode(), None)
    payload = f"timestamp={binance_sandbox.now_ms()}"
    raw = private.sign(payload.encode(), *([PKCS1v15(), SHA256()] if name == "rsa" else []))
    text = base64.b64encode(raw).decode()

    def send(signature):
        return ask.send(f"{RECORDS}?{payload}&signature={signature}", key.api_key)

    assert send(quote(text, safe="")).status_code == 200
    assert refused(send(text))[1] == -1022
    assert refused(send(quote(text.swapcase(), safe="")))[1] == -1022
    assert refused(send(raw.hex()))[1] == -1022


def test_hex_signatures_may_be_in_capitals(ask, binance_sandbox):
    payload = f"timestamp={binance_sandbox.now_ms()}"
    target = f"{RECORDS}?{payload}&signature={ask.signature(payload).upper()}"

    assert ask.send(target, binance_sandbox.keys["hmac"].api_key).status_code == 200


@pytest.mark.parametrize(
    "query", ["{0}&signature=00", "signature={1}&{0}", "{0}&signature={1}%20", "size=1&{0}&signature={1}"]
)
def test_a_signature_is_of_these_bytes_and_comes_last(ask, binance_sandbox, query):
    payload = f"timestamp={binance_sandbox.now_ms()}"
    target = RECORDS + "?" + query.format(payload, ask.signature(payload))

    answer = ask.send(target, binance_sandbox.keys["hmac"].api_key)

    assert refused(answer) == (400, -1022, "Signature for this request is not valid.")


def test_bytes_that_are_not_percent_encoded_are_not_signed(binance_sandbox):
    """A symbol in bare UTF-8 is refused although the signature is of exactly what was sent."""
    payload = f"isolatedSymbol=币安人生USDT&timestamp={binance_sandbox.now_ms()}"
    key = binance_sandbox.keys["hmac"]
    signature = hmac.new(key.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
    head = f"GET {RECORDS}?{payload}&signature={signature} HTTP/1.1\r\nX-MBX-APIKEY: {key.api_key}\r\n"

    with socket.create_connection(httpx.URL(binance_sandbox.url).netloc.decode().split(":")) as peer:
        peer.sendall(f"{head}Connection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: peer.recv(4096), b""))

    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'"code":-1022' in answer


@pytest.mark.parametrize(
    ("params", "status", "code", "msg"),
    [
        ({"size": 101}, 400, -1102, MANDATORY.format("size")),
        ({"size": 0}, 400, -1102, MANDATORY.format("size")),
        ({"size": "1e1"}, 400, -1102, MANDATORY.format("size")),
        ({"current": 0}, 400, -1102, MANDATORY.format("current")),
        ({"startTime": "1.5"}, 400, -1102, MANDATORY.format("startTime")),
        ({"timestamp": ""}, 400, -1102, MANDATORY.format("timestamp")),
        ({"isolatedSymbol": ""}, 400, -1105, "Parameter 'isolatedSymbol' was empty."),
        ({"page": 2}, 400, -1104, "Not all sent parameters were read; read '2' parameter(s) but was sent '3'."),
        ({"recvWindow": 60001}, 400, -1131, "recvWindow must be less than 60000"),
        ({"startTime": 2, "endTime": 1}, 400, -3011, "Your input date is invalid."),
        ({"isolatedSymbol": "NOSUCHPAIR"}, 400, -1121, "Invalid symbol."),
        ({"isolatedSymbol": "BNBUSDT"}, 400, -11001, "Isolated margin account does not exist."),
        (
            {"isolatedSymbol": "btc usdt"},
            400,
            -1100,
            "Illegal characters found in parameter 'isolatedSymbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.",
        ),
        ({"key": "no-margin"}, 400, -3003, "Margin account does not exist."),
    ],
)
def test_each_mistake_is_refused_under_its_own_code(ask, params, status, code, msg):
    assert ask.refused(**params) == (status, code, msg)


def test_a_parameter_sent_twice_is_refused(ask, binance_sandbox):
    assert refused(ask.raw(f"size=1&size=1&timestamp={binance_sandbox.now_ms()}"))[1] == -1101


def test_bytes_that_are_no_text_are_refused(ask, binance_sandbox):
    assert refused(ask.raw(f"isolatedSymbol=%ff%fe&timestamp={binance_sandbox.now_ms()}"))[1] == -1100


@pytest.mark.parametrize(
    ("api_key", "code", "msg"),
    [
        (None, -2014, "API-key format invalid."),
        ("short", -2014, "API-key format invalid."),
        ("x" * 64, -2015, "Invalid API-key, IP, or permissions for action."),
    ],
)
def test_keys_it_does_not_know_are_refused(ask, binance_sandbox, api_key, code, msg):
    target = f"{RECORDS}?timestamp={binance_sandbox.now_ms()}&signature=00"

    assert refused(ask.send(target, api_key)) == (401, code, msg)


def test_what_must_be_sent_is_named(ask, binance_sandbox):
    key = binance_sandbox.keys["hmac"].api_key

    assert "'timestamp'" in refused(ask.send(RECORDS, key))[2]
    assert "'signature'" in refused(ask.send(f"{RECORDS}?timestamp=1", key))[2]


@pytest.mark.parametrize(
    ("off", "window", "msg"),
    [
        (-5200, None, "Timestamp for this request is outside of the recvWindow."),
        (-1200, 1000, "Timestamp for this request is outside of the recvWindow."),
        (1200, None, "Timestamp for this request was 1000ms ahead of the server's time."),
    ],
)
def test_a_request_is_good_for_its_window_only(ask, binance_sandbox, off, window, msg):
    """Too old or from the future is -1021, and costs weight like any other request."""
    params = {} if window is None else {"recvWindow": window}

    answer = ask(timestamp=binance_sandbox.now_ms() + off, **params)

    assert refused(answer) == (400, -1021, msg)
    assert answer.headers["x-sapi-used-ip-weight-1m"] == "1"
    assert ask(timestamp=binance_sandbox.now_ms() - 4000).status_code == 200
    assert ask(timestamp=binance_sandbox.now_ms() + 500).status_code == 200


def test_its_clock_can_be_set(ask, binance_sandbox):
    """One clock stands behind the Date header, the server time and the timing check."""
    binance_sandbox.clock_offset_ms = 3_600_000

    before = binance_sandbox.now_ms()
    answer = ask.send("/api/v3/time")
    after = binance_sandbox.now_ms()

    assert before <= answer.json()["serverTime"] <= after
    assert before - 1000 <= parsedate_to_datetime(answer.headers["Date"]).timestamp() * 1000 <= after
    assert ask.refused(timestamp=binance_sandbox.now_ms() - 3_600_000)[1] == -1021
    assert ask().status_code == 200


def test_open_endpoints_need_no_key(ask):
    assert ask.send("/api/v3/ping").json() == {}
    assert ask.send("/sapi/v1/system/status").json() == {"status": 0, "msg": "normal"}
    assert refused(ask.send("/api/v3/ping?a=1"))[1] == -1101


def test_other_paths_and_methods_are_told_off(ask):
    nowhere, posted = ask.send("/sapi/v1/nowhere"), ask.send(RECORDS, method="POST")

    assert (nowhere.status_code, nowhere.headers["Content-Type"]) == (404, "text/html")
    assert (posted.status_code, posted.json()["error"]) == (405, "Method Not Allowed")
    assert ask.send(RECORDS, method="HEAD").content == b""


def test_what_a_key_may_do_is_told_and_can_be_changed(ask, binance_sandbox):
    assert ask(RESTRICTIONS).json()["enableWithdrawals"] is False
    assert ask(RESTRICTIONS, key="no-margin").json()["enableWithdrawals"] is True
    flags = binance_sandbox.keys["hmac"].flags
    try:
        flags["enableReading"] = False
        assert refused(ask(RESTRICTIONS))[:2] == (401, -2015)
    finally:
        flags["enableReading"] = True


def test_the_isolated_pairs_are_listed(ask, binance_sandbox):
    binance_sandbox.add(symbol="BNBUSDT", isolated=True)

    answer = ask(PAIRS)

    assert [pair["symbol"] for pair in answer.json()["assets"]] == ["BNBUSDT", "BTCUSDT", "ETHUSDT", "币安人生USDT"]
    assert answer.headers["x-sapi-used-ip-weight-1m"] == "10"
    assert [pair["symbol"] for pair in ask(PAIRS, symbols="ETHUSDT,ADAUSDT").json()["assets"]] == ["ETHUSDT"]
    assert refused(ask(PAIRS, symbols="A,B,C,D,E,F"))[1] == -1102
    assert refused(ask(PAIRS, key="no-margin"))[1] == -3003


def test_weight_is_counted_for_each_endpoint_by_itself(ask):
    used = [ask(path).headers["x-sapi-used-ip-weight-1m"] for path in (RECORDS, RECORDS, RESTRICTIONS)]

    assert used == ["1", "2", "1"]


def test_too_much_weight_is_429_and_insisting_is_a_ban(ask, binance_sandbox):
    """The limit is answered with 429 until the minute is over; who goes on is banned everywhere until the ban's end."""
    binance_sandbox.settings.change(limit=2, strikes=2, ban_seconds=90)
    binance_sandbox.clock_offset_ms = 60_000 - binance_sandbox.now_ms() % 60_000  # a minute has just begun

    answers = [ask() for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200, 200, 429, 429, 418]
    assert refused(answers[2])[1] == -1003
    assert 55 <= int(answers[2].headers["Retry-After"]) <= 60
    assert answers[4].headers["Retry-After"] == "90"
    assert "IP banned until" in refused(answers[4])[2]
    assert ask.send("/api/v3/time").status_code == 418
    binance_sandbox.clock_offset_ms += 90_000
    assert ask().status_code == 200


def test_a_span_limit_and_a_retention_can_be_set(ask, binance_sandbox):
    """Both are undocumented of the real endpoint; its siblings have them."""
    now = binance_sandbox.now_ms()
    binance_sandbox.add(n=3, at=now - 40 * 86_400_000)
    binance_sandbox.add(n=2, at=now - 60_000)
    window = {"startTime": now - 50 * 86_400_000, "endTime": now}

    assert ask(**window).json()["total"] == 5
    binance_sandbox.settings.change(retention_ms=30 * 86_400_000)
    assert ask(**window).json()["total"] == 2
    forgotten = {"startTime": now - 50 * 86_400_000, "endTime": now - 45 * 86_400_000}
    assert ask(**forgotten).json() == {"rows": [], "total": 0}
    binance_sandbox.settings.change(beyond_memory="refused")
    assert ask.refused(**forgotten) == (400, -3011, "Your input date is invalid.")
    binance_sandbox.settings.change(max_span_ms=7 * 86_400_000)
    assert ask.refused(**window) == (400, -1127, "More than 168 hours between startTime and endTime.")


def test_settings_that_make_no_sense_are_refused(binance_sandbox):
    for wrong in ({"limits": 1}, {"limit": "1"}, {"limit": None}, {"unfiltered": "none"}, {"latency": True}):
        with pytest.raises(ValueError):
            binance_sandbox.settings.change(**wrong)
    with pytest.raises(ValueError, match="this machine only"):
        type(binance_sandbox)(host="0.0.0.0", days=0)


def test_every_request_is_in_the_log_without_secrets(ask, binance_sandbox):
    ask(size=5, current=3)
    ask.send("/api/v3/ping")

    first, second = binance_sandbox.requests

    assert (first.method, first.path, first.current, first.key, first.status, first.fault) == (
        "GET",
        RECORDS,
        3,
        "hmac",
        200,
        "",
    )
    assert {**first.params, "timestamp": ""} == {"size": "5", "current": "3", "timestamp": ""}
    assert (second.path, second.current, second.key) == ("/api/v3/ping", None, "")
    assert first.connection == second.connection
    assert binance_sandbox.connections == 1
    binance_sandbox.clear_log()
    assert binance_sandbox.requests == []


@pytest.mark.parametrize(
    "garbage", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"x" * 70_000]
)
def test_what_is_no_http_is_a_400_and_the_end(binance_sandbox, garbage):
    with socket.create_connection(httpx.URL(binance_sandbox.url).netloc.decode().split(":")) as peer:
        peer.sendall(garbage)

        answer = b"".join(iter(lambda: peer.recv(4096), b""))

    assert answer.startswith(b"HTTP/1.1 400 ")


def test_requests_in_one_packet_are_answered_in_order(binance_sandbox):
    """Pipelined requests, the first of them slow."""
    binance_sandbox.fault("slow-head", seconds=0.05)
    one = b"GET /api/v3/time HTTP/1.1\r\n\r\n"
    two = b"GET /api/v3/ping HTTP/1.1\r\nConnection: close\r\n\r\n"
    with socket.create_connection(httpx.URL(binance_sandbox.url).netloc.decode().split(":")) as peer:
        peer.sendall(one + two)

        answer = b"".join(iter(lambda: peer.recv(4096), b""))

    assert answer.index(b"serverTime") < answer.index(b"{}")
