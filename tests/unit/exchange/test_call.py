"""One signed call: what is sent, what each answer leads to, and that nothing of an answer is ever shown."""

import hashlib
import hmac
import json
import traceback
from dataclasses import replace
from email.utils import formatdate
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from airflow_provider_binance_margin.exchange.call import Caller
from airflow_provider_binance_margin.exchange.credentials import load_credentials
from airflow_provider_binance_margin.exchange.errors import (
    ERRORS,
    BinanceBannedError,
    BinanceClockError,
    BinanceConfigError,
    BinanceCredentialError,
    BinanceError,
    BinanceRequestError,
    BinanceSpanError,
    BinanceThrottledError,
    BinanceTransientError,
    ErrorAction,
)
from airflow_provider_binance_margin.exchange.host import Host
from airflow_provider_binance_margin.exchange.messages import Reply, Request, Wait

NOW_MS = 1_760_000_000_000
HTML = b"<html><title>ERROR: The request could not be satisfied</title>Request ID: s3cr3t== 203.0.113.9</html>"
TIME = "/api/v3/time"
#: nothing of it may be found in any error: it is in every answer of these tests
LEAK = "something 203.0.113.9"


def query_of(url):
    return urlsplit(url).query


def params_of(url):
    return {name: value for name, [value] in parse_qs(query_of(url)).items()}


def failure(rig, answer, **params):
    """The error a call ends with, once it is sure that it shows neither answer nor request."""
    with pytest.raises(BinanceError) as caught:
        rig.call(answer, **params)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    hidden = [LEAK, "203.0.113.9", "<html", "s3cr3t", "signature=", "timestamp=", "exchange.test"]
    assert [piece for piece in hidden if piece in shown] == []
    return caught.value


def server(rig, ahead_ms=0, *, window=5_000, body=b'{"fine":true}'):
    """An exchange with a clock of its own that checks timestamps."""

    def answer(request):
        now = round(rig.clock.wall * 1_000) + ahead_ms
        if urlsplit(request.url).path == TIME:
            return Reply(200, {}, json.dumps({"serverTime": now}).encode())
        stamp = int(params_of(request.url)["timestamp"])
        if stamp >= now + 1_000 or now - stamp > window:
            return Reply(400, {}, b'{"code":-1021,"msg":"Timestamp for this request is outside of the recvWindow."}')
        return Reply(200, {}, body)

    return answer


# -- what is sent ----------------------------------------------------------------------------------------------------


def test_a_call_sends_every_parameter_its_key_and_its_signature(rig, ok):
    """Path, query and header are the exchange's, the signature is over the query before it and stands last."""
    rig.call([ok], startTime=1, endTime=2, isolatedSymbol="BTCUSDT", current=3, size=100, recvWindow=7_000)
    query = f"startTime=1&endTime=2&isolatedSymbol=BTCUSDT&current=3&size=100&recvWindow=7000&timestamp={NOW_MS}"
    signature = hmac.new(b"s3cr3t", query.encode(), hashlib.sha256).hexdigest()
    assert [(request.url, dict(request.headers)) for request in rig.sent] == [
        (f"https://exchange.test/sapi/v1/thing?{query}&signature={signature}", {"X-MBX-APIKEY": "key"})
    ]


def test_a_parameter_that_is_none_is_not_sent(rig, ok):
    """Nor is it sent empty, which the exchange refuses."""
    rig.call([ok], startTime=None, isolatedSymbol=None, current=0)
    assert list(params_of(rig.urls[0])) == ["current", "recvWindow", "timestamp", "signature"]


def test_a_call_without_parameters_is_signed_too(rig, ok):
    """Then the query is window and timestamp alone."""
    rig.call([ok])
    assert query_of(rig.urls[0]).startswith(f"recvWindow=5000&timestamp={NOW_MS}&signature=")


def test_what_is_signed_is_what_is_sent_percent_encoded_first(rig, ok):
    """A Chinese symbol is encoded before it is signed, as the exchange demands since 2026-01-15."""
    rig.call([ok], isolatedSymbol="币安人生USDT")
    signed, _, signature = query_of(rig.urls[0]).partition("&signature=")
    assert signed.startswith("isolatedSymbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT&")
    assert signature == hmac.new(b"s3cr3t", signed.encode(), hashlib.sha256).hexdigest()


@settings(deadline=None)
@given(
    st.dictionaries(st.text("abcXYZ", min_size=1), st.none() | st.integers() | st.text(st.characters(codec="utf-8")))
)
def test_no_parameter_can_break_out_of_its_place(params):
    """Whatever a value holds, the server reads back exactly what was given, and the signature covers it."""
    host = Host("https://exchange.test", type("Clock", (), {"time": lambda _: 1.0, "monotonic": lambda _: 1.0})())
    caller = Caller(host, load_credentials("key", secret="s3cr3t"), "/p", 1, json.loads)
    request = next(caller.call(params))
    signed, _, signature = request.url.partition("?")[2].rpartition("&signature=")
    read = {name: value for name, [value] in parse_qs(signed, keep_blank_values=True, strict_parsing=True).items()}
    expected = {name: str(value) for name, value in params.items() if value is not None}
    assert read == expected | {"recvWindow": "5000", "timestamp": "1000"}
    assert (signed.isascii(), signature) == (True, hmac.new(b"s3cr3t", signed.encode(), hashlib.sha256).hexdigest())


def test_each_attempt_is_signed_anew(rig, ok):
    """After a wait the timestamp is that of the new attempt, and so is the signature."""
    rig.call([Reply(503), Reply(None, fault="ConnectTimeout"), ok])
    stamps = [int(params_of(url)["timestamp"]) for url in rig.urls]
    started = [NOW_MS, NOW_MS + rig.waits[0] * 1_000, NOW_MS + sum(rig.waits[:2]) * 1_000]
    assert stamps == pytest.approx(started, abs=1)
    assert len({params_of(url)["signature"] for url in rig.urls}) == 3


def test_the_answer_is_what_decode_makes_of_the_body(rig, ok):
    """The call returns it as it is, falsy or not."""
    assert (rig.call([ok]), rig.call([Reply(200, {}, b"[]")]), rig.call([Reply(200, {}, b"null")])) == (
        {"fine": True},
        [],
        None,
    )


# -- the clock -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead_ms", [3_600_000, -3_600_000, 5_500, -1_500], ids=lambda ms: f"{ms}ms")
def test_a_wrong_clock_is_set_by_the_servers_and_the_call_goes_on(rig, ahead_ms):
    """-1021: the time is asked for once, without key or signature, and the request is signed again, all at once."""
    assert rig.call(server(rig, ahead_ms)) == {"fine": True}
    paths = [
        (urlsplit(request.url).path, bool(query_of(request.url)), "X-MBX-APIKEY" in request.headers)
        for request in rig.sent
    ]
    assert (paths, rig.waits) == (
        [("/sapi/v1/thing", True, True), (TIME, False, False), ("/sapi/v1/thing", True, True)],
        [],
    )
    assert rig.urls[1] == f"https://exchange.test{TIME}"


def test_the_offset_is_kept_for_the_calls_to_come(rig):
    """The next call is right at once."""
    exchange = server(rig, 3_600_000)
    rig.call(exchange)
    rig.sent.clear()
    rig.call(exchange)
    assert [urlsplit(url).path for url in rig.urls] == ["/sapi/v1/thing"]


def test_an_offset_of_half_an_hour_ago_is_measured_again_before_it_is_used(rig):
    """Clocks drift: the time is asked for first, so that no request is refused."""
    exchange = server(rig, 3_600_000)
    rig.call(exchange)
    rig.clock.sleep(1_801.0)
    rig.sent.clear()
    rig.call(exchange)
    rig.call(exchange)
    assert [urlsplit(url).path for url in rig.urls] == [TIME, "/sapi/v1/thing", "/sapi/v1/thing"]


@pytest.mark.parametrize("away_ms", [6_000, 30_000], ids=lambda ms: f"{ms}ms")
def test_requests_that_are_long_on_their_way_are_a_fault_that_may_pass(rig, away_ms):
    """With exact clocks, too: tried as often as any other, then told with what was measured and what to change."""

    def answer(request):
        exchange = server(rig)
        rig.clock.sleep(away_ms / 1_000)
        reply = exchange(request)
        rig.clock.sleep(0.001)
        # a clock set by a question that was as long on its way would make up for it: here it is not
        return Reply(200, {}, b'{"serverTime":%d}' % (NOW_MS - 999_999)) if "?" not in request.url else reply

    error = failure(rig, answer)
    assert (type(error), isinstance(error, BinanceTransientError), error.code) == (BinanceClockError, True, -1021)
    assert "takes longer than recv_window (5000 ms), or the exchange's clock jumps" in str(error)
    assert f"The time request took {away_ms / 1_000:.1f} s" in str(error)
    assert sum("?" in url for url in rig.urls) == 6
    assert [0.75 <= wait / base <= 1.25 for wait, base in zip(rig.waits, (0.5, 1, 2, 4), strict=True)] == [True] * 4


def test_requests_that_are_long_on_their_way_once_are_answered_in_the_end(rig):
    """Two are too late, the third is not."""
    exchange, delays = server(rig), iter([6.0, 6.0])

    def answer(request):
        if "?" in request.url:
            rig.clock.sleep(next(delays, 0.0))
        return exchange(request)

    assert rig.call(answer) == {"fine": True}


FAILING = {
    "no-answer": Reply(None, fault="ConnectTimeout"),
    "500": Reply(500, {}, HTML),
    "503": Reply(503, {}, HTML),
    "429": Reply(429, {"Retry-After": "1"}),
    "html": Reply(200, {}, HTML),
    "404": Reply(404, {}, HTML),
    "302": Reply(302, {"Location": "https://203.0.113.9/"}),
    "text": Reply(200, {}, b'{"serverTime":"1760000000000"}'),
}


@pytest.mark.parametrize("times", [1, 2, 4])
@pytest.mark.parametrize("fault", FAILING.values(), ids=FAILING)
@pytest.mark.parametrize("ahead_ms", [3_600_000, -3_600_000], ids=["behind", "ahead"])
def test_a_clock_that_cannot_be_set_at_once_is_set_later_in_the_call(rig, fault, times, ahead_ms):
    """A failure of the server's time is a failed attempt like any other."""
    exchange, faults = server(rig, ahead_ms), [fault] * times
    assert rig.call(lambda request: faults.pop() if "?" not in request.url and faults else exchange(request)) == {
        "fine": True
    }


@pytest.mark.parametrize("fault", [name for name in FAILING if name != "429"])
@pytest.mark.parametrize("attempts", [1, 5])
def test_a_clock_that_can_never_be_set_is_told_as_that(rig, refusal, fault, attempts):
    """Not as one that was: it may be tried again."""
    rig.caller = replace(rig.caller, attempts=attempts)
    error = failure(rig, lambda request: refusal(400, -1021) if "?" in request.url else FAILING[fault])
    assert (type(error), isinstance(error, BinanceTransientError)) == (BinanceClockError, True)
    assert ("could not be measured" in str(error), "just measured" in str(error)) == (True, False)
    assert len(rig.sent) == 2 * attempts


@pytest.mark.parametrize("kind", ["answer of a box", "success"])
@pytest.mark.parametrize("path", [TIME, "/sapi/v1/thing"])
def test_only_a_success_of_the_exchange_tells_its_time(rig, ok, kind, path):
    """A page, an error or a redirect of a box in between has a Date of its own, which is nobody's business."""
    date = {"Date": formatdate(NOW_MS / 1_000 - 3_600, usegmt=True)}
    boxes = [
        *(Reply(status, date, HTML) for status in (200, 202, 302, 400, 404, 407, 500, 503)),
        *(Reply(200, date, body) for body in (b"", b"[" * 100_000, b'{"rows":')),
        Reply(400, date, b'{"code":-9999,"msg":"m"}'),
        Reply(429, {**date, "Retry-After": "1"}),
    ]
    success = Reply(200, date, b'{"serverTime":%d}' % NOW_MS if path == TIME else ok.body)
    rig.caller = replace(rig.caller, attempts=1)
    for reply in [success] if kind == "success" else boxes:
        try:
            rig.drive(rig.caller.set_clock(), [reply]) if path == TIME else rig.call([reply])
        except BinanceError:
            rig.clock.sleep(2)
    told = NOW_MS / 1_000 - (0 if path == TIME else 3_600)
    assert rig.host.exchange_time() == (None if kind != "success" else pytest.approx(told))


@pytest.mark.parametrize("age", ["1", "30", "86400", "00", "-1", "x", "0, 30"])
@pytest.mark.parametrize("name", ["Age", "age", "AGE"])
def test_what_a_cache_has_kept_tells_no_time(rig, ok, name, age):
    """Its Date and its serverTime have passed: the one is left aside, the other is asked for again."""
    before = NOW_MS - 3_600_000
    kept = {name: age, "Date": formatdate(before / 1_000, usegmt=True)}
    assert rig.call([Reply(200, kept, ok.body)]) == {"fine": True}
    assert rig.host.exchange_time() is None
    time_kept = Reply(200, kept, b'{"serverTime":%d}' % before)
    with pytest.raises(BinanceTransientError, match="came from a cache"):
        rig.drive(rig.caller.set_clock(), lambda _: time_kept)
    assert (rig.host.exchange_time(), rig.host.server_ms()) == (None, int(rig.clock.time() * 1_000))
    exchange, answers = server(rig, 3_600_000), [time_kept] * 2
    rig.drive(rig.caller.set_clock(), lambda request: answers.pop() if answers else exchange(request))
    assert rig.host.exchange_time() == pytest.approx(rig.clock.time() + 3_600, abs=0.01)
    assert {request.headers.get("Cache-Control") for request in rig.sent if "?" not in request.url} == {"no-cache"}


@pytest.mark.parametrize("headers", [{}, {"Age": "0"}, {"Age": ""}], ids=str)
def test_an_answer_that_was_kept_for_no_time_tells_the_time(rig, ok, headers):
    date = {**headers, "Date": formatdate(NOW_MS / 1_000 - 3_600, usegmt=True)}
    rig.call([Reply(200, date, ok.body)])
    assert rig.host.exchange_time() == NOW_MS / 1_000 - 3_600


@pytest.mark.parametrize("attempts", [1, 5])
@pytest.mark.parametrize("status", [400, 503])
@pytest.mark.parametrize(
    "asked", ["7", "7.0", "3, 7", formatdate(NOW_MS / 1_000 + 7, usegmt=True)], ids=["s", "float", "twice", "date"]
)
def test_a_refused_timestamp_that_asks_to_wait_is_followed_by_nothing_before(rig, asked, status, attempts):
    """Neither the question for the time nor the request signed anew; after it, both are sent at once."""
    rig.caller = replace(rig.caller, attempts=attempts)
    exchange = server(rig, 3_600_000)
    date = formatdate(NOW_MS / 1_000, usegmt=True)

    def answer(request):
        reply = exchange(request)
        if reply.status != 200:
            return replace(reply, status=status, headers={"Retry-After": asked, "Date": date})
        return reply

    assert rig.call(answer) == {"fine": True}
    assert [request.at - rig.sent[0].at for request in rig.sent] == pytest.approx([0, 7, 7], abs=0.1)


@pytest.mark.parametrize(("asked", "longest"), [("61", 60.0), ("600", 60.0), ("1", 0.0), ("soon", 10.0)])
def test_a_refused_timestamp_that_asks_for_a_long_wait_is_raised_and_the_clock_set_after_it(rig, asked, longest):
    """As any wait that is too long; the next call begins with the time."""
    rig.caller = replace(rig.caller, longest_wait=longest)
    exchange = server(rig, 3_600_000)

    def answer(request):
        reply = exchange(request)
        return reply if reply.status == 200 else replace(reply, headers={"Retry-After": asked})

    error = failure(rig, answer)
    seconds = 60.0 if asked == "soon" else float(asked)
    assert (type(error), error.retry_after, error.code, len(rig.sent)) == (BinanceThrottledError, seconds, -1021, 1)
    rig.clock.sleep(seconds)
    assert rig.call(answer) == {"fine": True}
    assert [urlsplit(url).path for url in rig.urls[1:]] == [TIME, "/sapi/v1/thing"]


def test_the_time_is_asked_for_as_patiently_as_anything(rig, ok):
    """A fault is waited out; what is final is raised."""
    exchange, faults = server(rig, 3_600_000), [Reply(503, {}, HTML), Reply(None, fault="ReadTimeout")]
    rig.drive(rig.caller.set_clock(), lambda request: faults.pop() if faults else exchange(request))
    assert (len(rig.waits), rig.host.exchange_time()) == (2, pytest.approx(rig.clock.time() + 3_600, abs=0.01))
    with pytest.raises(BinanceTransientError):
        rig.drive(rig.caller.set_clock(), [Reply(404, {}, HTML)] * 5)
    with pytest.raises(BinanceConfigError):
        rig.drive(rig.caller.set_clock(), [Reply(451)])


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Reply(None, fault="ConnectTimeout"), id="no-answer"),
        pytest.param(Reply(500, {}, HTML), id="500"),
        pytest.param(Reply(200, {}, HTML), id="html"),
        pytest.param(Reply(200, {}, b'{"serverTime":"1760000000000"}'), id="text"),
        pytest.param(Reply(200, {}, b'{"serverTime":true}'), id="boolean"),
        pytest.param(Reply(200, {}, b'{"serverTime":1.5}'), id="fraction"),
        pytest.param(Reply(200, {}, b"{}"), id="missing"),
        pytest.param(Reply(200, {}, b"[]"), id="list"),
        pytest.param(Reply(200, {}, b"[" * 100_000), id="deep"),
        pytest.param(Reply(200, {}, b"\xff"), id="no-utf-8"),
    ],
)
def test_a_time_that_cannot_be_had_leaves_the_clock_as_it_is(rig, ok, refusal, answer):
    """Then the request is tried again as before, after a failed attempt's wait."""
    assert rig.call([refusal(400, -1021), answer, ok]) == {"fine": True}
    stamps = [int(params_of(url)["timestamp"]) for url in rig.urls if "?" in url]
    assert stamps == [NOW_MS, pytest.approx(NOW_MS + rig.waits[0] * 1_000, abs=1)]


@pytest.mark.parametrize(
    ("answer", "seconds", "kind"),
    [
        pytest.param(Reply(429, {"Retry-After": "90"}), 90.0, BinanceThrottledError, id="429"),
        pytest.param(Reply(418, {"Retry-After": "20"}), 20.0, BinanceBannedError, id="418"),
        pytest.param(Reply(403, {}, HTML), 300.0, BinanceBannedError, id="403"),
        pytest.param(
            Reply(
                418,
                {},
                json.dumps({"code": -1003, "msg": f"Way too much; IP banned until {NOW_MS + 700_000}."}).encode(),
            ),
            700.0,
            BinanceBannedError,
            id="418-in-the-text",
        ),
    ],
)
@pytest.mark.parametrize("when", ["after a refused timestamp", "when the offset is old"])
def test_a_limit_met_while_asking_for_the_time_holds_for_the_request_too(rig, refusal, when, *, answer, seconds, kind):
    """Nothing more is sent before its end, by whatever request it was met."""
    before = [refusal(400, -1021)]
    if when == "when the offset is old":
        rig.clock.sleep(-1_801.0)
        rig.host.server_clock.set(NOW_MS - 1_801_000, sent_at=rig.clock.time())
        rig.clock.sleep(1_801.0)
        before = []
    error = failure(rig, [*before, answer])
    assert (type(error), error.retry_after, len(rig.sent)) == (kind, pytest.approx(seconds), len(before) + 1)
    assert (error.status, error.code) == (answer.status, -1003 if answer.body.startswith(b"{") else None)


def test_while_nothing_may_be_sent_the_time_is_not_asked_for_either(rig, ok):
    """Neither during a ban nor before a 429 is over, however old the offset."""
    rig.host.server_clock.set(NOW_MS, sent_at=rig.clock.time())
    rig.clock.sleep(1_801.0)
    rig.host.record_throttle(429, "50", banned_until_ms=None)
    rig.call([Reply(500), ok])
    assert rig.sent[0].at == pytest.approx(5_000.0 + 1_801.0 + 50.0, abs=0.1)
    rig.host.server_clock.set(NOW_MS, sent_at=rig.clock.time())
    rig.clock.sleep(1_801.0)
    rig.sent.clear()
    rig.host.record_throttle(418, "20", banned_until_ms=None)
    assert (type(failure(rig, [ok])), rig.sent) == (BinanceBannedError, [])


def test_asking_for_the_time_takes_its_own_weight_from_the_pace(rig, ok):
    """It is 1, whatever that of the endpoint."""
    rig.caller = replace(rig.caller, weight=10)
    rig.host.server_clock.set(NOW_MS, sent_at=rig.clock.time())
    rig.clock.mono += 1_801.0
    weights, acquire = [], rig.host.acquire
    rig.host.acquire = lambda weight, *args, **options: weights.append(weight) or acquire(weight, *args, **options)
    rig.call([Reply(500), ok])
    assert weights == [1, 10]


def test_a_short_limit_met_while_asking_for_the_time_is_waited_out(rig, ok):
    """A 429 of some seconds holds the request back, and the clock is measured after it."""
    rig.host.server_clock.set(NOW_MS, sent_at=rig.clock.time())
    rig.clock.sleep(1_801.0)
    rig.call([Reply(429, {"Retry-After": "20"}), ok, ok])
    assert [round(request.at - rig.sent[0].at) for request in rig.sent[:2]] == [0, 20]


# -- what each answer leads to ---------------------------------------------------------------------------------------

CLASSES = {
    ErrorAction.RETRY: BinanceTransientError,
    ErrorAction.RETRY_SLOWLY: BinanceTransientError,
    ErrorAction.THROTTLE: BinanceThrottledError,
    ErrorAction.RESYNC: BinanceClockError,
    ErrorAction.KEY: BinanceCredentialError,
    ErrorAction.CONFIG: BinanceConfigError,
    ErrorAction.REQUEST: BinanceRequestError,
    ErrorAction.SPAN: BinanceSpanError,
}
SENT = {ErrorAction.RETRY: 5, ErrorAction.RETRY_SLOWLY: 5, ErrorAction.THROTTLE: 5, ErrorAction.RESYNC: 10}

#: the classes of the reference's table, code by code, written down once more by hand
TABLE = {
    ErrorAction.RETRY: [-1000, -1001, -1004, -1006, -1007, -3000, -3007, -3037, -3044],
    ErrorAction.RETRY_SLOWLY: [-1008],
    ErrorAction.THROTTLE: [-1003, -1015],
    ErrorAction.RESYNC: [-1021],
    ErrorAction.KEY: [-1002, -1022, -1099, -2008, -2014, -2015],
    ErrorAction.CONFIG: [-3001, -3003, -3004, -3014, -3018, -3019, -3022, -3999, -11001],
    ErrorAction.REQUEST: [
        *[-1016, -1020, -1101, -1102, -1103, -1104, -1105, -1106, -1108, -1111, -1121, -1128, -1130, -1131],
        *[-3002, -3021, -3026, -3027, -3028, -7001],
    ],
    ErrorAction.SPAN: [-1100, -1127, -3011, -3025, -4047],
}


def test_every_code_of_the_reference_has_its_class():
    """The table in the code is the one of the reference: no code missing, none of its own, none in another class."""
    assert {code: info.action for code, info in ERRORS.items()} == {
        code: action for action, codes in TABLE.items() for code in codes
    }


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 500, 503])
@pytest.mark.parametrize("code", ERRORS)
def test_a_code_decides_whatever_status_it_comes_with(rig, refusal, code, status):
    """Each code ends in its class, after as many attempts as the class is worth, with code and status on the error."""
    rig.caller = replace(rig.caller, decode=pages_only)
    error = failure(rig, lambda request: refusal(status, code, LEAK) if "?" in request.url else Reply(503))
    action = ERRORS[code].action
    banned = action is ErrorAction.THROTTLE and status == 403
    kind = BinanceBannedError if banned else CLASSES[action]
    assert (type(error), len(rig.sent)) == (kind, 1 if banned else SENT.get(action, 1))
    if action is not ErrorAction.THROTTLE:
        assert (error.code, error.status) == (code, status)
    if action not in (ErrorAction.THROTTLE, ErrorAction.RESYNC):
        assert ERRORS[code].text in str(error)


def pages_only(body):
    decoded = json.loads(body)
    if "code" in decoded:
        raise ValueError("no page")
    return decoded


@pytest.mark.parametrize(
    ("reply", "kind", "sent"),
    [
        pytest.param(Reply(400, {}, b'{"code":-9999,"msg":"m"}'), BinanceRequestError, 1, id="unknown-code-400"),
        pytest.param(Reply(403, {}, b'{"code":-9999,"msg":"m"}'), BinanceRequestError, 1, id="unknown-code-403"),
        pytest.param(Reply(200, {}, b'{"code":-9999,"msg":"m"}'), BinanceRequestError, 1, id="unknown-code-200"),
        pytest.param(Reply(500, {}, b'{"code":-9999,"msg":"m"}'), BinanceTransientError, 5, id="unknown-code-500"),
        pytest.param(Reply(408, {}, b""), BinanceTransientError, 5, id="408"),
        pytest.param(Reply(500, {}, HTML), BinanceTransientError, 5, id="500-html"),
        pytest.param(Reply(502, {}, b""), BinanceTransientError, 5, id="502-empty"),
        pytest.param(Reply(599, {}, b"\xff\xfe"), BinanceTransientError, 5, id="599-bytes"),
        pytest.param(Reply(451, {}, b'{"code":0,"msg":"restricted"}'), BinanceConfigError, 1, id="451-code-0"),
        pytest.param(Reply(451, {}, HTML), BinanceConfigError, 1, id="451-html"),
        pytest.param(Reply(400, {}, b'{"code":0,"msg":"m"}'), BinanceTransientError, 5, id="code-0"),
        pytest.param(Reply(404, {}, b'{"code":404,"message":"m"}'), BinanceTransientError, 5, id="code-of-a-gateway"),
        pytest.param(Reply(200, {}, b'{"code":502,"msg":"m"}'), BinanceTransientError, 5, id="code-of-a-gateway-200"),
        pytest.param(Reply(400, {}, b'{"code":51061,"msg":"m"}'), BinanceRequestError, 1, id="positive-code"),
        pytest.param(Reply(404, {}, HTML), BinanceTransientError, 5, id="404-html"),
        pytest.param(Reply(404, {}, b'{"status":404,"error":"Not Found"}'), BinanceTransientError, 5, id="404-spring"),
        pytest.param(Reply(400, {}, b""), BinanceTransientError, 5, id="400-empty"),
        pytest.param(Reply(400, {}, b'{"code":"-1021"}'), BinanceTransientError, 5, id="code-as-text"),
        pytest.param(Reply(400, {}, b'{"code":true}'), BinanceTransientError, 5, id="code-as-boolean"),
        pytest.param(Reply(400, {}, b'{"code":null}'), BinanceTransientError, 5, id="code-null"),
        pytest.param(Reply(400, {}, b'[{"code":-1021}]'), BinanceTransientError, 5, id="list"),
        pytest.param(Reply(400, {}, b'"code"'), BinanceTransientError, 5, id="text"),
        pytest.param(Reply(400, {}, b"[" * 100_000), BinanceTransientError, 5, id="deep"),
        pytest.param(Reply(400, {}, b'{"code":' + b"9" * 5_000 + b"}"), BinanceTransientError, 5, id="endless-code"),
        pytest.param(Reply(407, {}, HTML), BinanceTransientError, 5, id="proxy"),
        pytest.param(Reply(301, {"Location": "https://203.0.113.9/"}), BinanceTransientError, 5, id="301"),
        pytest.param(Reply(302, {"Location": "https://203.0.113.9/"}, HTML), BinanceTransientError, 5, id="302"),
        pytest.param(Reply(307, {}), BinanceTransientError, 5, id="307-nowhere"),
        pytest.param(Reply(204), BinanceTransientError, 5, id="204"),
        pytest.param(Reply(202, {}, HTML), BinanceTransientError, 5, id="202-html"),
        pytest.param(Reply(405, {}, HTML), BinanceTransientError, 5, id="405-html"),
        pytest.param(Reply(401, {}, HTML), BinanceTransientError, 5, id="401-html"),
        pytest.param(Reply(511, {}, HTML), BinanceTransientError, 5, id="511-html"),
        pytest.param(Reply(200, {}, HTML), BinanceTransientError, 5, id="200-html"),
        pytest.param(Reply(200, {}, b""), BinanceTransientError, 5, id="200-empty"),
        pytest.param(Reply(200, {}, b'{"rows":['), BinanceTransientError, 5, id="200-cut"),
        pytest.param(Reply(200, {}, b"[" * 100_000), BinanceTransientError, 5, id="200-deep"),
        pytest.param(Reply(None, fault="ConnectTimeout"), BinanceTransientError, 5, id="no-answer"),
    ],
)
def test_an_answer_without_a_known_code_is_never_swallowed(rig, reply, kind, sent):
    """It ends in an error that says whether trying again may help."""
    rig.caller = replace(rig.caller, decode=pages_only)
    error = failure(rig, [reply] * 5)
    assert (type(error), error.status, len(rig.sent)) == (kind, reply.status, sent)
    code = "" if error.code is None else f", code {error.code}"
    assert ("(no answer)" if reply.status is None else f"(HTTP {reply.status}{code})") in str(error)
    if error.code is None and (reply.status or 500) < 500 and reply.status not in (408, 451):
        assert "check the connection's host and any proxy" in str(error)


@pytest.mark.parametrize("reply", [Reply(status, {}, HTML) for status in (202, 302, 400, 404, 405, 407)], ids=repr)
def test_what_a_box_in_between_says_for_a_moment_passes(rig, ok, reply):
    """Balancers and portals answer for the exchange for seconds: then there is an answer."""
    assert rig.call([reply, reply, ok]) == {"fine": True}


def test_a_transport_fault_is_named_by_its_class(rig):
    """So that a refused connection can be told from a slow one."""
    assert "ConnectTimeout" in str(failure(rig, [Reply(None, fault="ConnectTimeout")] * 5))


def test_a_fault_that_passes_is_forgotten(rig, ok):
    """Four failures of four kinds and an answer are an answer."""
    assert rig.call([Reply(None, fault="x"), Reply(502, {}, HTML), Reply(200, {}, b"{"), Reply(500), ok]) == {
        "fine": True
    }


def test_the_waits_between_attempts_grow_and_are_spread(rig):
    """Half a second, doubled each time, a quarter more or less."""
    failure(rig, [Reply(500)] * 5)
    assert [0.75 <= wait / base <= 1.25 for wait, base in zip(rig.waits, (0.5, 1, 2, 4), strict=True)] == [True] * 4


def test_an_overloaded_exchange_is_left_alone_for_longer(rig, refusal):
    """-1008 asks for minutes: four waits of half a minute or so."""
    failure(rig, [refusal(503, -1008)] * 5)
    assert [22.5 <= wait <= 37.5 for wait in rig.waits] == [True] * 4


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_the_number_of_attempts_is_the_callers(rig, attempts):
    """A connection test does not try five times."""
    rig.caller = replace(rig.caller, attempts=attempts)
    told = str(failure(rig, [Reply(500)] * attempts))
    assert (f"{attempts} times in a row" in told, len(rig.sent)) == (attempts > 1, attempts)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        pytest.param({"Retry-After": "20"}, 20.0, id="seconds"),
        pytest.param({"retry-after": "60"}, 60.0, id="a-minute"),
        pytest.param({"Retry-After": formatdate(NOW_MS / 1_000 + 33, usegmt=True)}, 33.0, id="http-date"),
        *(pytest.param({"Retry-After": said}, 60.0, id=said) for said in ("soon", "-5", "1e3", "\u0665", "5, soon")),
    ],
)
@pytest.mark.parametrize("status", [400, 500, 503])
def test_a_failing_exchange_that_says_when_is_not_asked_before(rig, ok, status, headers, wait):
    """No ban: other calls go on, and this one after the wait, which is a minute where it cannot be read."""
    assert rig.call([Reply(status, headers), ok]) == {"fine": True}
    assert (rig.sent[1].at - rig.sent[0].at, rig.waits) == (wait, [wait])


@pytest.mark.parametrize("said", ["0", "1", formatdate(NOW_MS / 1_000 - 99, usegmt=True), "", ","])
def test_a_retry_after_never_shortens_the_wait_of_an_overloaded_exchange(rig, refusal, ok, said):
    """Nor does one that has passed: half a minute or so it is."""
    rig.call([refusal(503, -1008, Retry_After=said), ok])
    assert [22.5 <= wait <= 37.5 for wait in rig.waits] == [True]


@pytest.mark.parametrize(("said", "seconds"), [("61", 61.0), ("99999999999999", 259_200.0)], ids=["61", "absurd"])
def test_a_failing_exchange_that_asks_for_more_than_a_minute_is_raised_with_it(rig, ok, said, seconds):
    """As a 429 is, but for this call alone: the host is not closed to others."""
    error = failure(rig, [Reply(503, {"Retry-After": said}, HTML)])
    assert (type(error), error.retry_after, error.status, rig.waits) == (BinanceThrottledError, seconds, 503, [])
    assert rig.call([ok]) == {"fine": True}


def test_the_wait_that_is_still_due_is_told_when_attempts_are_used_up(rig):
    """So that whoever tries again knows when."""
    error = failure(rig, [Reply(503, {"Retry-After": "5"})] * 5)
    assert (type(error), error.retry_after, len(rig.sent)) == (BinanceThrottledError, 5.0, 5)


# -- limits and bans -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        pytest.param({}, 10.0, id="without"),
        pytest.param({"Retry-After": "7"}, 7.0, id="seconds"),
        pytest.param({"retry-after": "7"}, 7.0, id="lower-case"),
        pytest.param({"RETRY-AFTER": "60"}, 60.0, id="a-minute"),
        pytest.param({"Retry-After": "12.5"}, 12.5, id="fraction"),
        pytest.param({"Retry-After": "never"}, 60.0, id="absurd"),
        pytest.param({"Retry-After": formatdate(NOW_MS / 1_000 + 33, usegmt=True)}, 33.0, id="http-date"),
    ],
)
def test_a_429_is_waited_out_and_not_a_moment_less(rig, ok, headers, wait):
    """Nothing is sent before its time, and then the call goes on."""
    rig.call([Reply(429, headers), ok])
    passed = rig.sent[1].at - rig.sent[0].at
    assert (passed >= wait, passed) == (True, pytest.approx(wait, abs=0.02))


def test_a_429_of_more_than_a_minute_is_raised_with_its_length(rig):
    """A worker is not held for it: whoever runs the task decides."""
    error = failure(rig, [Reply(429, {"Retry-After": "61"})])
    assert (type(error), error.retry_after, rig.waits) == (BinanceThrottledError, 61.0, [])


def test_a_429_that_comes_again_and_again_is_raised_after_five(rig):
    """Then the wait that is still due is told."""
    error = failure(rig, [Reply(429, {"Retry-After": "20"})] * 5)
    assert (type(error), error.retry_after, len(rig.sent)) == (BinanceThrottledError, pytest.approx(20.0), 5)


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        pytest.param(Reply(418, {"Retry-After": "120"}), 120.0, id="418"),
        pytest.param(Reply(418, {"Retry-After": "1"}), 1.0, id="418-short"),
        pytest.param(Reply(418, {}, HTML), 300.0, id="418-without"),
        pytest.param(Reply(418, {"Retry-After": "99999999999999"}), 259_200.0, id="418-absurd"),
        pytest.param(Reply(403, {}, HTML), 300.0, id="403"),
        pytest.param(Reply(403, {"Retry-After": "900"}, HTML), 900.0, id="403-seconds"),
        pytest.param(
            Reply(418, {}, json.dumps({"code": -1003, "msg": f"IP banned until {NOW_MS + 500_000}. Use"}).encode()),
            500.0,
            id="418-epoch-in-text",
        ),
        pytest.param(
            Reply(429, {}, json.dumps({"code": -1003, "msg": f"IP banned until {NOW_MS + 30_000}"}).encode()),
            30.0,
            id="429-epoch-in-text",
        ),
        pytest.param(
            Reply(418, {}, b'{"code":-1003,"msg":"IP banned until 1234567890123."}'), 300.0, id="418-past-epoch"
        ),
        pytest.param(Reply(418, CIMultiDict([("Retry-After", "600"), ("retry-after", "900")])), 900.0, id="418-twice"),
        pytest.param(
            Reply(418, {"Retry-After": formatdate(NOW_MS / 1e3, usegmt=True), "Date": formatdate(NOW_MS / 1e3 - 700)}),
            700.0,
            id="418-by-its-own-date",
        ),
        pytest.param(Reply(418, {}, b'{"code":-1003,"msg":"IP banned until %s."}'), 300.0, id="418-no-epoch"),
        pytest.param(Reply(418, {}, b'{"code":-1003,"msg":1760000500000}'), 500.0, id="418-number-as-text"),
        pytest.param(Reply(418, {}, b'{"code":-2015,"msg":"m"}'), 300.0, id="418-other-code"),
    ],
)
def test_a_ban_is_raised_at_once_and_for_every_later_call_until_it_ends(rig, ok, reply, seconds):
    """Not one more request reaches the host before its end, by any key or path; the first after it does."""
    error = failure(rig, [reply])
    assert (type(error), error.retry_after, rig.waits) == (BinanceBannedError, pytest.approx(seconds), [])
    other = Caller(rig.host, load_credentials("other", secret="other"), "/other", 1, json.loads)
    rig.clock.sleep(seconds - 0.5)
    with pytest.raises(BinanceBannedError) as caught:
        rig.drive(other.call({}), [ok])
    assert (caught.value.retry_after, len(rig.sent)) == (pytest.approx(0.5), 1)
    rig.clock.sleep(0.5)
    assert (rig.drive(other.call({}), [ok]), len(rig.sent)) == ({"fine": True}, 2)


def test_a_ban_of_one_host_is_none_of_another(rig, ok):
    """What one address said holds for that address."""
    failure(rig, [Reply(418)])
    rig.caller = replace(rig.caller, host=Host("https://other.test", rig.clock))
    assert rig.call([ok]) == {"fine": True}


def test_a_ban_in_the_middle_of_retries_ends_them(rig):
    """Attempts that are left are not made."""
    assert (type(failure(rig, [Reply(500), Reply(418)])), len(rig.sent)) == (BinanceBannedError, 2)


def test_a_throttling_code_in_an_unreadable_200_is_obeyed(rig, refusal, ok):
    """The code decides, not the status."""
    rig.caller = replace(rig.caller, decode=pages_only)
    rig.call([refusal(200, -1003), ok])
    assert rig.sent[1].at - rig.sent[0].at == pytest.approx(10.0, abs=0.02)


# -- the whole -------------------------------------------------------------------------------------------------------

headers = st.dictionaries(st.sampled_from(["Retry-After", "date", "X-SAPI-USED-IP-WEIGHT-1M", "Location"]), st.text())
bodies = (
    st.binary()
    | st.sampled_from([HTML, b"", b"{}", b'{"fine":true}'])
    | st.builds(
        lambda code, msg: json.dumps({"code": code, "msg": msg}).encode(),
        st.sampled_from(list(ERRORS)) | st.none() | st.integers() | st.text(),
        st.text() | st.integers() | st.none(),
    )
)
replies = st.builds(
    Reply, st.none() | st.sampled_from([200, 400, 403, 418, 429, 451, 503]) | st.integers(200, 599), headers, bodies
)


@settings(deadline=None, max_examples=150)
@given(st.lists(replies, min_size=13, max_size=13))
def test_whatever_comes_back_a_call_ends_in_an_answer_or_an_error_of_ours(answers):
    """In at most five attempts, each with a question for the time, and one more; and in a bounded time."""
    clock = Clock()
    host = Host("https://exchange.test", clock)
    call = Caller(host, load_credentials("key", secret="s3cr3t"), "/p", 1, json.loads).call({})
    sent, reply, given_answers = 0, None, iter(answers)
    try:
        while True:
            step = call.send(reply)
            if isinstance(step, Wait):
                assert 0 < step.seconds <= 60
                assert step.until is None  # it is alone
                clock.now += step.seconds
                reply = None
            else:
                assert isinstance(step, Request)
                reply, sent = next(given_answers), sent + 1
    except (StopIteration, BinanceError):
        pass
    assert (sent <= 12, clock.now - 1_760_000_000.0 <= 12 * 60) == (True, True)


class Clock:
    now = 1_760_000_000.0

    def time(self):
        return self.now

    monotonic = time


def test_requests_and_replies_show_nothing_of_themselves():
    """A signed URL, a key in a header or a body is in no representation."""
    request = Request("https://exchange.test/p?signature=s3cr3t", {"X-MBX-APIKEY": "s3cr3t"})
    reply = Reply(200, {"Set-Cookie": "s3cr3t"}, b"s3cr3t")
    assert "s3cr3t" not in f"{request!r} {request} {reply!r} {reply}"


def test_a_caller_shows_nothing_of_its_key(rig):
    """Its representation names kind and path, no more."""
    assert [piece for piece in ("'key'", "s3cr3t") if piece in repr(rig.caller)] == []
