"""Every fault the sandbox knows, as a plain client meets it."""

import hashlib
import hmac
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from airflow_provider_binance_margin.sandbox.mishaps import KINDS

pytest_plugins = ["airflow_provider_binance_margin.sandbox.pytest_plugin"]

RECORDS = "/sapi/v1/margin/forceLiquidationRec"
AT = 1_760_000_000_000
LAST = AT + 249


@pytest.fixture
def account(binance_sandbox):
    """250 records, one a millisecond."""
    binance_sandbox.add(n=250, at=AT)
    return binance_sandbox


@pytest.fixture
def ask(account):
    key = account.keys["hmac"]
    with httpx.Client(trust_env=False, base_url=account.url, headers={"X-MBX-APIKEY": key.api_key}) as http:

        def ask(current=1, **params):
            asked = {"startTime": AT, "endTime": LAST, "size": 100, "current": current, **params}
            query = urlencode({**asked, "timestamp": account.now_ms()})
            signature = hmac.new(key.secret.encode(), query.encode(), hashlib.sha256).hexdigest()
            return http.get(f"{RECORDS}?{query}&signature={signature}")

        ask.http = http
        yield ask


def times(answer):
    return [row["updatedTime"] - AT for row in answer.json()["rows"]]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (("429", {}), (429, "1", '"code":-1003')),
        (("429", {"retry_after": 30}), (429, "30", '"code":-1003')),
        (("429", {"retry_after": None}), (429, None, '"code":-1003')),
        (("429", {"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}), (429, "Wed, 21 Oct 2026 07:28:00 GMT", "-1003")),
        (("418", {}), (418, "120", "IP banned until")),
        (("418", {"retry_after": "soon"}), (418, "soon", "IP banned until")),
        (("403", {}), (403, None, "<html>")),
        (("451", {}), (451, None, '{"code":0,"msg":"Service unavailable from a restricted location')),
        (("500", {}), (500, None, "<html>")),
        (("502", {}), (502, None, "<html>")),
        (("503", {"retry_after": 9}), (503, "9", "<html>")),
        (("504", {}), (504, None, "<html>")),
        (("error", {"status": 503, "code": -1008, "msg": "busy"}), (503, None, '{"code":-1008,"msg":"busy"}')),
        (("error", {"code": -2015}), (400, None, '"code":-2015,"msg":"Invalid API-key')),
        (("-1021", {}), (400, None, '"code":-1021')),
        (("202", {}), (202, None, "<html>")),
        (("400", {}), (400, None, "<html>")),
        (("404", {}), (404, None, "<html>")),
        (("405", {}), (405, None, "<html>")),
        (("407", {}), (407, None, "<html>")),
        (("redirect", {}), (302, None, "<html>")),
        (("html", {"status": 429, "retry_after": "120.5"}), (429, "120.5", "<html>")),
        (("429", {"retry_after": "600, 900"}), (429, "600, 900", "-1003")),
        (("418", {"retry_after": "600s"}), (418, "600s", "-1003")),
        (("418", {"retry_after": [600, 900]}), (418, "600, 900", "-1003")),
        (("html", {}), (200, None, "<html>")),
        (("error-200", {}), (200, None, '"code":-1000')),
    ],
)
def test_an_answer_instead(ask, account, fault, expected):
    """The fault is met once, then the exchange is itself again."""
    (name, options), (status, retry_after, text) = fault, expected
    account.fault(name, **options)

    answer = ask()

    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == retry_after
    assert text in answer.text
    assert ask().json()["total"] == 250
    assert [(entry.status, entry.fault) for entry in account.requests] == [(status, name), (200, "")]


def test_a_header_comes_twice(ask, account):
    """Two headers, which most clients see as one with a comma."""
    account.fault("418", retry_after=[600, 900])

    assert ask().headers.get_list("Retry-After") == ["600", "900"]


def test_a_box_in_between_has_a_clock_of_its_own(ask, account):
    """Its Date is its own, for that answer alone."""
    account.fault("503", path="/api/v3/time", date_offset_ms=-3_600_000)

    dates = [ask.http.get("/api/v3/time").headers["Date"] for _ in range(2)]

    wrong, right = (parsedate_to_datetime(date).timestamp() * 1000 for date in dates)
    assert 3_595_000 < right - wrong < 3_605_000
    assert abs(right - account.now_ms()) < 5_000


def test_a_redirect_leads_away(ask, account):
    account.fault("redirect", location="http://example.com/")

    assert ask().headers["Location"] == "http://example.com/"


def test_a_connection_is_reset_before_the_answer(ask, account):
    account.fault("reset")

    with pytest.raises(httpx.ReadError):
        ask()

    assert account.requests[0].status == 0
    assert ask().status_code == 200
    assert account.connections == 2


def test_a_connection_is_reset_in_the_middle_of_the_body(ask, account):
    account.fault("reset-body")

    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        ask()


def test_json_is_cut_off_where_nobody_notices(ask, account):
    """The length that is stated is that of the cut body, so only the JSON tells."""
    account.fault("cut", keep=0.9)

    answer = ask()

    assert answer.status_code == 200
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    with pytest.raises(ValueError):
        answer.json()


@pytest.mark.parametrize("name", ["slow-head", "slow-body"])
def test_an_answer_takes_its_time_and_holds_up_nobody_else(ask, account, name):
    account.fault(name, seconds=3)
    began = time.monotonic()

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask)
        while not account.requests:
            time.sleep(0.005)
        assert httpx.get(account.url + "/api/v3/ping", trust_env=False).status_code == 200
        assert not slow.done()

    assert slow.result().json()["total"] == 250
    assert time.monotonic() - began >= 3


def test_latency_is_added_to_every_answer(ask, account):
    account.latency = 0.1
    began = time.monotonic()

    ask()
    ask()

    assert time.monotonic() - began >= 0.2


def test_a_slow_body_drips(ask, account):
    """Piece by piece: no single read takes long, the whole does."""
    account.fault("slow-body", seconds=3, pieces=10)

    with ask.http.stream("GET", "/api/v3/time", timeout=2) as answer:
        body = b"".join(answer.iter_raw())

    assert b"serverTime" in body
    assert account.requests[0].fault == "slow-body"


@pytest.mark.parametrize(
    ("name", "options", "change"),
    [
        ("rows-null", {}, lambda page: {**page, "rows": None}),
        ("no-total", {}, lambda page: {"rows": page["rows"]}),
        ("total", {"value": 7}, lambda page: {**page, "total": 7}),
        ("total", {"off": -2}, lambda page: {**page, "total": 248}),
        ("short", {"n": 3}, lambda page: {**page, "rows": page["rows"][:-3]}),
        ("total", {"value": 0}, lambda page: {**page, "total": 0}),
        ("total", {"value": -1}, lambda page: {**page, "total": -1}),
        ("total", {"value": "250"}, lambda page: {**page, "total": "250"}),
        ("empty", {}, lambda page: {**page, "rows": []}),
        ("more-rows", {"n": 2, "row": {}}, lambda page: {**page, "rows": [*page["rows"], {}, {}]}),
        ("duplicate", {}, lambda page: {**page, "rows": [*page["rows"], page["rows"][-1]]}),
    ],
)
def test_a_page_is_wrong(ask, account, name, options, change):
    right = ask(2).json()
    account.fault(name, current=2, **options)

    assert ask(1).json()["total"] == 250
    assert ask(2).json() == change(right)
    assert ask(2).json() == right


def test_a_page_comes_twice(ask, account):
    account.fault("repeat", current=2)

    assert ask(1).json() == ask(2).json()


def test_the_page_asked_for_is_ignored(ask, account):
    account.fault("first-page", times=None)

    assert ask(1).json() == ask(2).json() == ask(3).json() == ask(9).json()


@pytest.mark.parametrize("n", [1, 60, 400])
def test_a_page_holds_more_than_was_asked_for(ask, account, n):
    """The rows that follow, then made-up ones, which nobody else has."""
    account.fault("more-rows", n=n, current=2)

    rows = ask(2).json()["rows"]

    assert len(rows) == 100 + n
    assert rows[: 100 + min(n, 50)] == account.records(AT, AT + 150)[::-1][: 100 + min(n, 50)]
    assert len({row["orderId"] for row in rows}) == 100 + n
    assert account.count() == 250


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("rows-twice", {}, '"total":250,"rows":[]}'),
        ("rows-twice", {"at": "start"}, '{"rows":[],"rows":[{'),
        ("total-twice", {}, '"total":250,"total":0}'),
        ("total-twice", {"at": "start", "value": 7}, '{"total":7,"rows":[{'),
        ("field-twice", {}, ',"orderId":0},{'),
        ("field-twice", {"at": "start"}, '{"rows":[{"orderId":0,"avgPrice":'),
        ("field-twice", {"field": "qty", "value": "1"}, ',"qty":"1"},{'),
    ],
)
def test_an_answer_says_two_things(ask, account, name, options, said):
    """A key stands in it twice, so that what is read depends on the reader."""
    account.fault(name, **options)

    text = ask().text

    assert said in text
    assert text.count('"total"') == (2 if name == "total-twice" else 1)
    assert ask().json()["total"] == 250


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, '"orderId":' + "9" * 5000 + ","),
        ({"digits": 30, "field": "updatedTime"}, '"updatedTime":' + "9" * 30 + "}"),
        ({"literal": "1e99999999999999999999", "field": "qty"}, '"qty":1e99999999999999999999,'),
        ({"literal": "NaN", "field": "orderId"}, '"orderId":NaN,'),
    ],
)
def test_a_number_is_none_that_fits(ask, account, options, said):
    """In the first row, and in no other."""
    account.fault("huge-number", **options)

    text = ask().text

    assert text.index(said) < text.index("}")
    assert text.count(said) == 1


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_is_compressed_unasked(ask, account, encoding):
    account.fault("gzip", encoding=encoding)
    ask.http.headers["Accept-Encoding"] = "identity"

    answer = ask()

    assert (answer.headers["Content-Encoding"], answer.json()["total"]) == (encoding, 250)


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_an_answer_is_followed_by_one_that_nobody_asked_for(account, seconds):
    """On the same connection, at once or a little later."""
    account.fault("second-answer", path="/api/v3/ping", seconds=seconds)
    with socket.create_connection(httpx.URL(account.url).netloc.decode().split(":"), timeout=10) as peer:
        peer.sendall(b"GET /api/v3/ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 2 or not received.endswith(b"}"):
            received += peer.recv(4096)
        peer.sendall(b"GET /api/v3/time HTTP/1.1\r\nHost: localhost\r\n\r\n")
        after = peer.recv(4096)

    assert received.index(b"{}") < received.index(b'{"rows":[],"total":0}')
    assert b"serverTime" in after
    assert len(account.requests) == 2


def test_two_rows_have_one_id(ask, account):
    account.fault("twin")

    *_, one, other = ask().json()["rows"]

    assert one["orderId"] == other["orderId"]
    assert one != other


@pytest.mark.parametrize(
    ("options", "page_two", "total"),
    [
        ({"when": "before"}, 152, 253),
        ({"when": "after"}, 149, 250),
        ({"when": "before", "at": "tail"}, 149, 253),
        ({"when": "before", "at": AT - 1}, 149, 250),
    ],
)
def test_records_enter_while_one_pages(ask, account, options, page_two, total):
    """New records at the head push the others down, at the tail or outside they do not."""
    account.fault("enter", n=3, current=2, **options)

    ask(1)
    second = ask(2)

    assert (times(second)[0], second.json()["total"]) == (page_two, total)
    assert account.count() == 253


def test_a_record_leaves_while_one_pages(ask, account):
    account.fault("leave", current=2)

    ask(1)

    assert (times(ask(2))[0], ask(3).json()["total"]) == (148, 249)


def test_a_row_leaves_while_another_comes(ask, account):
    """The total stays, each page is full, and a row that was there all the time is on none."""
    account.fault("swap", current=2)

    pages = [ask(page) for page in (1, 2, 3)]

    assert [page.json()["total"] for page in pages] == [250] * 3
    assert [len(page.json()["rows"]) for page in pages] == [100, 100, 50]
    seen = {row["orderId"] for page in pages for row in page.json()["rows"]}
    assert [each["updatedTime"] - AT for each in account.records() if each["orderId"] not in seen] == [149]


@pytest.mark.parametrize(("to", "there"), [("before", AT - 1), ("after", LAST + 1), (AT - 5_000, AT - 5_000)])
def test_a_record_moves_into_another_window(ask, account, to, there):
    newest = account.records(LAST, LAST + 1)[0]
    account.fault("update", at="head", to=to)

    assert ask().json()["total"] == 249
    assert account.records(there, there + 1) == [{**newest, "updatedTime": there}]


def test_an_updated_record_moves_to_the_head(ask, account):
    """The oldest record becomes the newest: the total stays, all others move down by one."""
    oldest = account.records(AT, AT + 1)[0]
    account.fault("update", current=2)

    first, second = ask(1), ask(2)

    assert (times(first)[-1], times(second)[0]) == (150, 150)
    assert second.json()["total"] == 250
    assert ask(1).json()["rows"][0]["orderId"] == oldest["orderId"]


def test_faults_follow_each_other(ask, account):
    """What is asked for first is met first; a fault that was not reached is not used up."""
    account.fault("429", times=2)
    account.fault("500", skip=1)
    account.fault("total", value=1)

    assert [ask().status_code for _ in range(5)] == [429, 429, 200, 500, 200]
    assert [entry.fault for entry in account.requests] == ["429", "429", "total", "500", ""]


def test_faults_combine(ask, account):
    account.fault("slow-head", seconds=0.01, times=None)
    account.fault("short", times=None)

    ask()

    assert account.requests[0].fault == "slow-head+short"


def test_a_fault_can_be_for_one_path_and_for_ever(ask, account):
    account.fault("503", times=None, path="/api/v3/time")

    assert [ask.http.get("/api/v3/time").status_code for _ in range(3)] == [503] * 3
    assert ask().status_code == 200
    account.clear_faults()
    assert ask.http.get("/api/v3/time").status_code == 200


def test_a_refused_request_is_refused_under_faults_too(ask, account):
    account.fault("enter")
    account.fault("total")

    assert ask(size=101).json()["code"] == -1102
    assert account.count() == 250


def test_a_misspelt_fault_is_an_error_at_once(account):
    with pytest.raises(ValueError, match="no such fault"):
        account.fault("430")
    with pytest.raises(TypeError):
        account.fault("429", retry=3)


def test_every_fault_is_tried_in_this_file():
    """A new kind of fault comes with its test."""
    text = Path(__file__).read_text()

    assert [name for name in KINDS if f'"{name}"' not in text] == []
