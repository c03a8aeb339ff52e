"""What all calls of a process to one host share: the pace that keeps it welcome, its bans, its clock."""

import threading
import time
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_binance_margin.exchange.errors import BinanceBannedError, BinanceThrottledError
from airflow_provider_binance_margin.exchange.host import Host
from airflow_provider_binance_margin.exchange.rate_limiter import Endpoint, WeightWindow

DAY = 86_400.0


class Minutes:
    """Many calls on one host, sent one after the other as soon as they are cleared."""

    def __init__(self, clock):
        self.clock = clock
        self.host = Host("https://exchange.test", clock)
        self.times = []

    def hear(self, **headers):
        names = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        self.host.record_response(200, names.get)

    def send(self, n, weight=1, used=None):
        for _ in range(n):
            for wait in self.host.acquire(weight, 60.0):
                self.clock.sleep(wait.seconds)
            self.times.append(self.clock.mono)
            if used is not None:
                self.hear(x_sapi_used_ip_weight_1m=used)


@pytest.fixture
def minutes(clock):
    return Minutes(clock)


def left(host):
    """What the host says must be waited, and whether it is a ban."""
    with pytest.raises(BinanceThrottledError) as caught:
        host.bans.raise_throttle()
    return round(caught.value.retry_after, 3), isinstance(caught.value, BinanceBannedError)


# -- pace ------------------------------------------------------------------------------------------------------------


def test_the_first_1200_calls_are_not_held_back(minutes):
    """A run of some hundred pages is never slowed."""
    minutes.send(1_200)
    assert (minutes.clock.mono, len(minutes.times)) == (5_000.0, 1_200)


def test_after_the_burst_calls_leave_at_100_a_second(minutes):
    """The pace is that of the bucket's refill."""
    minutes.send(1_200 + 500)
    assert minutes.clock.mono - 5_000.0 == pytest.approx(5.0)


def test_a_heavy_call_pays_its_whole_weight(minutes):
    """Ten calls of weight 100 take what a thousand light ones do."""
    minutes.send(22, weight=100)
    assert minutes.clock.mono - 5_000.0 == pytest.approx(10.0)


def test_no_minute_ever_sees_more_than_the_documented_share(minutes):
    """Whatever minute one looks at: at most 7,200 of the 12,000; all of them used, a burst being paid back in one."""
    minutes.send(1_200 + 3 * 6_000)
    most = max(in_a_minute(minutes.times))
    assert (most <= 7_201, minutes.times[-1] - minutes.times[0]) == (True, pytest.approx(160.0, abs=0.1))


def test_an_idle_host_saves_up_no_more_than_one_burst(minutes):
    """An hour of silence earns 1,200 calls, not an hour's worth of them."""
    minutes.send(2_000)
    minutes.clock.sleep(3_600.0)
    start = minutes.clock.mono
    minutes.send(1_300)
    assert minutes.clock.mono - start == pytest.approx(1.0)


def in_a_minute(times):
    first = 0
    for last, now in enumerate(times):
        while times[first] <= now - 60.0:
            first += 1
        yield last - first + 1


@pytest.mark.parametrize(
    ("used", "left", "rate"),
    [
        pytest.param(0, 60, 100, id="nothing"),
        pytest.param(1_200, 50, 100, id="as-planned"),
        pytest.param(3_600, 60, 60, id="half-at-once"),
        pytest.param(6_600, 60, 10, id="nearly-all-at-once"),
        pytest.param(6_600, 10, 60, id="nearly-all-late"),
    ],
)
def test_what_is_left_of_the_share_is_spread_over_what_is_left_of_the_minute(minutes, used, left, rate):
    """However much is used already; a process that is alone takes all of it."""
    window = WeightWindow(12_000, minutes.clock.mono)
    now, at = minutes.clock.mono, 1_760_000_040.0 - left
    window.pause(now, is_new_minute=False)  # no burst, and five sixths of the pace at most
    window.record_used(1, now - 30.0, at, at, accepted=True)
    window._own = window._all = 1.0
    window._used, window._left = used, left
    ticket = window.queue(1, now, at, 0.6)
    assert window.wait(ticket, 1, now, at, 0.6) == pytest.approx(1 / rate, rel=0.01)


@pytest.mark.parametrize("used", [7_200, 12_000, 999_999_999])
def test_a_share_that_is_used_up_is_waited_for_until_the_minute_ends(minutes, used):
    """However much others have used, each process gets its part of the next."""
    minutes.hear(x_sapi_used_ip_weight_1m=used)
    minutes.send(1)
    assert 5_040.0 <= minutes.times[0] < 5_041.0  # the clock began 20 s after a minute did


def test_the_burst_shrinks_with_what_others_have_used(minutes):
    """A worker that comes new to a busy address adds a sixth of what is left at once, by its part in the traffic."""
    minutes.hear(x_sapi_used_ip_weight_1m=6_000)
    assert sum(next(minutes.host.acquire(1, 60.0), None) is None for _ in range(300)) in range(60, 201)


def test_a_used_weight_is_forgotten_when_the_minute_ends(minutes):
    """The exchange counts by the minute of its clock, so an old number says nothing; a younger one does."""
    minutes.hear(x_sapi_used_ip_weight_1m=12_000)
    minutes.clock.sleep(39.9)
    assert next(minutes.host.acquire(1, 60.0)).seconds > 0
    minutes.clock.sleep(1.0)
    minutes.send(1)
    assert minutes.clock.mono < 5_042.0


@pytest.mark.parametrize("share", [0.05, 0.6, 0.95])
@pytest.mark.parametrize(("kind", "limit"), [("IP", 12_000), ("UID", 180_000)])
def test_a_share_is_that_of_the_limit_that_counts(clock, kind, limit, share):
    """Address and account have limits of their own; over minutes all of the share is used, in none more."""
    host, sent = Host("https://exchange.test", clock), []
    while clock.mono < 5_000.0 + 600.0:
        for wait in host.acquire(limit // 1_200, 60.0, Endpoint(kind=kind), share):
            clock.sleep(wait.seconds)
        sent.append(clock.mono)
    weight = limit // 1_200
    assert len(sent) * weight / (10 * limit * share) == pytest.approx(1.0, abs=0.03)
    assert max(in_a_minute(sent)) * weight <= limit * share + weight * 2


def test_accounts_have_limits_of_their_own(clock):
    """What one has used slows no other, on the same endpoint; what an address has used slows all."""
    host = Host("https://exchange.test", clock)
    host.record_response(200, {"x-sapi-used-uid-weight-1m": "120000"}.get, Endpoint("/p", account="one"))
    first = [next(host.acquire(100, 60.0, Endpoint("/p", "UID", name)), None) for name in ("one", "two")]
    assert (first[0] is not None, first[1]) == (True, None)
    host.record_response(200, {"x-sapi-used-ip-weight-1m": "12000"}.get, Endpoint("/p", account="one"))
    assert next(host.acquire(100, 60.0, Endpoint("/p", "UID", "two")), None) is not None


@pytest.mark.parametrize("header", ["", "-1", "1e9", "12,000", "²", "١٢٠٠٠", "9" * 10, "9" * 50, "nan", " "], ids=repr)
def test_a_used_weight_that_is_no_number_changes_nothing(minutes, header):
    """Headers come from outside."""
    minutes.hear(x_sapi_used_ip_weight_1m=header)
    minutes.send(1_200)
    assert minutes.clock.mono == 5_000.0


def throttle(minutes, path="", retry_after="30", **headers):
    """A 429, as a call tells the host of it."""
    names = {name.replace("_", "-"): str(value) for name, value in headers.items()}
    minutes.host.record_response(429, names.get, Endpoint(path))
    minutes.host.record_throttle(429, retry_after, Endpoint(path), banned_until_ms=None)
    minutes.clock.sleep(float(retry_after or 10))


def seconds_for(minutes, n, path=""):
    start = minutes.clock.mono
    for _ in range(n):
        for wait in minutes.host.acquire(1, 60.0, Endpoint(path)):
            minutes.clock.sleep(wait.seconds)
    return minutes.clock.mono - start


def test_what_is_used_on_one_endpoint_is_not_taken_for_another(minutes):
    """The exchange counts each endpoint by itself: a word of one neither slows another nor lets it go faster."""
    minutes.host.record_response(200, {"x-sapi-used-ip-weight-1m": "11400"}.get, Endpoint("/busy"))
    minutes.host.record_response(200, {"x-sapi-used-ip-weight-1m": "1"}.get, Endpoint("/idle"))
    assert seconds_for(minutes, 1_000, "/idle") == 0.0
    assert seconds_for(minutes, 1, "/busy") >= 30.0


def test_a_429_shows_a_limit_that_is_lower_than_documented(minutes):
    """The pace is then that limit's: a twentieth of the limit, a twentieth of the pace; other endpoints keep theirs."""
    throttle(minutes, "/p", x_sapi_used_ip_weight_1m=600)
    assert seconds_for(minutes, 10, "/p") == pytest.approx(10 / 5)
    assert seconds_for(minutes, 10, "/other") <= 10 / 100


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nothing-stated"),
        pytest.param({"x_sapi_used_ip_weight_1m": 3}, id="hardly-used"),
        pytest.param({"x_sapi_used_ip_weight_1m": 99}, id="little-used"),
        pytest.param({"x_sapi_used_ip_weight_1m": 15_000}, id="beyond-documented"),
    ],
)
def test_a_429_for_another_reason_shows_no_limit(minutes, headers):
    """It is waited out, and that is all."""
    throttle(minutes, **headers)
    assert seconds_for(minutes, 100) == pytest.approx(1.0)


def test_the_least_limit_that_is_believed(minutes):
    """It is a 120th of the documented one, and so is the pace."""
    throttle(minutes, x_sapi_used_ip_weight_1m=100)
    assert seconds_for(minutes, 10) == pytest.approx(10 * 120 / 100, rel=0.01)


def test_a_429_a_second_after_a_used_weight_was_stated_shows_no_limit(minutes):
    """It says nothing of what was used when it came."""
    minutes.hear(x_sapi_used_ip_weight_1m=600)
    minutes.clock.sleep(1.0)
    throttle(minutes)
    assert seconds_for(minutes, 100) == pytest.approx(1.0)


def test_a_limit_is_not_disproved_by_an_answer_within_it(minutes):
    """That it was given agrees with the limit."""
    throttle(minutes, x_sapi_used_ip_weight_1m=600)
    minutes.hear(x_sapi_used_ip_weight_1m=300)
    assert seconds_for(minutes, 10) == pytest.approx(10 / 5, rel=0.1)


def test_a_limit_is_disproved_by_an_answer_beyond_it(minutes):
    """Somebody was answered with more weight used: the refusal was about something else."""
    throttle(minutes, x_sapi_used_ip_weight_1m=600)
    minutes.hear(x_sapi_used_ip_weight_1m=601)
    assert seconds_for(minutes, 100) == pytest.approx(1.0, abs=0.05)


def test_a_limit_that_was_shown_is_forgotten_after_an_hour(minutes):
    """Limits change, but not before."""
    throttle(minutes, x_sapi_used_ip_weight_1m=600)
    minutes.clock.sleep(3_569.5)  # half a minute was waited already
    assert seconds_for(minutes, 62) >= 0.3  # a sixth of a share of 360 may leave at once
    minutes.clock.sleep(0.5)
    seconds_for(minutes, 1_200)
    assert seconds_for(minutes, 500) == pytest.approx(5.0, abs=0.5)


def test_what_was_used_before_a_429_counts_no_more_after_it(minutes):
    """Its Retry-After leads into a new minute; without one nobody knows, and what was used still holds back."""
    throttle(minutes, x_sapi_used_ip_weight_1m=12_000)
    assert seconds_for(minutes, 10) == pytest.approx(0.1)
    minutes.clock.sleep(10.0)
    throttle(minutes, retry_after=None, x_sapi_used_ip_weight_1m=12_000)
    assert seconds_for(minutes, 10) >= 39.0  # it is known to be used until the minute ends


def test_what_is_used_at_the_first_moment_after_a_429_counts(minutes):
    """It is of the new minute."""
    throttle(minutes)
    minutes.hear(x_sapi_used_ip_weight_1m=12_000)
    assert seconds_for(minutes, 10) >= 9.9


# -- throttling and bans ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "retry_after", "expected"),
    [
        pytest.param(429, None, (10.0, False), id="429-without"),
        pytest.param(418, None, (300.0, True), id="418-without"),
        pytest.param(403, None, (300.0, True), id="403-without"),
        pytest.param(200, None, (10.0, False), id="code-in-200"),
        pytest.param(429, "7", (7.0, False), id="429-seconds"),
        pytest.param(418, "120", (120.0, True), id="418-seconds"),
        pytest.param(429, " 7 ", (7.0, False), id="spaces"),
        pytest.param(429, "0", (1.0, False), id="zero"),
        pytest.param(429, "-5", (60.0, False), id="negative"),
        pytest.param(429, "1.5", (1.5, False), id="fraction"),
        pytest.param(418, "600.0", (600.0, True), id="fraction-of-none"),
        pytest.param(418, "600.", (600.0, True), id="no-fraction"),
        pytest.param(418, "600s", (600.0, True), id="unit"),
        pytest.param(418, "600 Seconds", (600.0, True), id="unit-in-words"),
        pytest.param(418, "\t600 ", (600.0, True), id="blanks"),
        pytest.param(418, "600, 900", (900.0, True), id="two"),
        pytest.param(418, "900,600", (900.0, True), id="two-falling"),
        pytest.param(418, "600, soon", (600.0, True), id="one-and-a-word"),
        pytest.param(418, "soon, 5", (300.0, True), id="a-word-and-a-short-one"),
        pytest.param(429, "5, soon", (60.0, False), id="a-short-one-and-a-word"),
        pytest.param(418, "600, " + formatdate(1_760_000_900.0, usegmt=True), (900.0, True), id="seconds-and-date"),
        pytest.param(418, formatdate(1_760_000_900.0, usegmt=True) + ", 600", (900.0, True), id="date-and-seconds"),
        pytest.param(418, "Thursday, 09-Oct-25 09:03:20 GMT", (600.0, True), id="rfc-850"),
        pytest.param(418, "Thu Oct  9 09:03:20 2025", (600.0, True), id="asctime"),
        pytest.param(418, "soon", (300.0, True), id="418-word"),
        pytest.param(429, "600ms", (60.0, False), id="other-unit"),
        pytest.param(429, "1e3", (60.0, False), id="exponent"),
        pytest.param(429, "nan", (60.0, False), id="nan"),
        pytest.param(429, "inf", (60.0, False), id="inf"),
        pytest.param(429, "soon", (60.0, False), id="word"),
        pytest.param(429, "\u0667", (60.0, False), id="arabic-digit"),
        pytest.param(429, "", (10.0, False), id="empty"),
        pytest.param(418, "9" * 400, (3 * DAY, True), id="absurd"),
        pytest.param(418, "1000000", (3 * DAY, True), id="longer-than-any-ban"),
        pytest.param(429, formatdate(1_760_000_030.0, usegmt=True), (30.0, False), id="http-date"),
        pytest.param(429, formatdate(1_700_000_000.0, usegmt=True), (10.0, False), id="past-http-date"),
        pytest.param(429, "Thu, 99 Foo 2026 99:99:99 GMT", (60.0, False), id="broken-http-date"),
        pytest.param(418, "Fri, 31 Dec 9999 23:59:59 GMT", (3 * DAY, True), id="far-http-date"),
    ],
)
def test_how_long_nothing_is_sent(minutes, status, retry_after, expected):
    """The latest end that can be read counts, three days at most.

    Without one a 429 is ten seconds, with one that cannot be read a minute at least; 418 and 403 are five minutes
    either way.
    """
    minutes.host.record_throttle(status, retry_after, banned_until_ms=None)
    assert left(minutes.host) == expected


@settings(deadline=None)
@given(retry_after=st.none() | st.text(), until=st.none() | st.integers(), date=st.text())
def test_no_header_makes_a_wait_shorter_than_a_second_or_longer_than_three_days(retry_after, until, date):
    """Whatever comes in, the wait is a sane one and nothing is raised."""
    host = Host("https://exchange.test", time)
    host.record_response(200, {"date": date}.get)
    host.record_throttle(429, retry_after, banned_until_ms=until)
    seconds, banned = left(host)
    assert (0.9 <= seconds <= 3 * DAY, banned) == (True, until is not None)


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        pytest.param(None, 600.0, id="text-alone"),
        pytest.param("30", 600.0, id="header-shorter"),
        pytest.param("900", 900.0, id="header-longer"),
    ],
)
def test_the_end_of_a_ban_in_the_text_counts_too(minutes, retry_after, seconds):
    """Where header and text name two ends, the later one is waited for: never early."""
    minutes.host.record_throttle(418, retry_after, banned_until_ms=1_760_000_600_000)
    assert left(minutes.host) == (seconds, True)


def test_the_end_of_a_ban_is_judged_by_the_exchanges_clock(minutes):
    """A worker whose clock is an hour fast does not come back an hour early."""
    minutes.hear(date=formatdate(1_760_000_000.0 - 3_600.0, usegmt=True))
    minutes.host.record_throttle(418, None, banned_until_ms=(1_760_000_000 - 3_600 + 60) * 1_000)
    assert left(minutes.host) == (60.0, True)


def test_a_ban_raises_at_once_without_waiting_a_moment(minutes):
    """Neither the first call after it nor a thousand more wait for anything, and they take nothing from the pace."""
    minutes.host.record_throttle(418, "120", banned_until_ms=None)
    for _ in range(1_000):
        with pytest.raises(BinanceBannedError):
            next(minutes.host.acquire(1, 60.0))
    minutes.clock.sleep(120.0 + 1.0)
    minutes.send(100)
    assert minutes.clock.mono == 5_121.0


def test_what_says_how_long_says_why(minutes):
    """Status and code of the answer that set the end are on the error, as on any other."""
    minutes.host.record_throttle(418, "30", banned_until_ms=None, code=-1003)
    minutes.host.record_throttle(429, "1", banned_until_ms=None, code=None)
    with pytest.raises(BinanceBannedError) as caught:
        next(minutes.host.acquire(1, 60.0))
    assert (caught.value.status, caught.value.code) == (418, -1003)


def test_of_two_answers_that_name_one_end_the_last_says_why(minutes):
    """A ban is not told with the status of a 429."""
    minutes.host.record_throttle(429, "30", banned_until_ms=None, code=None)
    minutes.host.record_throttle(418, "30", banned_until_ms=None, code=-1003)
    with pytest.raises(BinanceBannedError) as caught:
        next(minutes.host.acquire(1, 60.0))
    assert (caught.value.status, caught.value.code) == (418, -1003)


def test_a_429_after_a_ban_does_not_lift_it(minutes):
    """An answer that was under way when the ban came is not taken for leave to go on."""
    minutes.host.record_throttle(418, "30", banned_until_ms=None)
    minutes.host.record_throttle(429, "1", banned_until_ms=None)
    assert left(minutes.host) == (30.0, True)


def test_a_ban_after_a_429_holds_from_then_on(minutes):
    """The later end is kept, and it is a ban."""
    minutes.host.record_throttle(429, "50", banned_until_ms=None)
    minutes.host.record_throttle(418, "20", banned_until_ms=None)
    assert left(minutes.host) == (50.0, True)


def test_a_ban_ends_with_its_last_moment(minutes):
    """From then on a 429 is none, and what is left is nothing, never less."""
    minutes.host.record_throttle(418, "30", banned_until_ms=None)
    minutes.clock.sleep(30.0)
    minutes.host.record_throttle(429, "5", banned_until_ms=None)
    assert left(minutes.host) == (5.0, False)
    minutes.clock.sleep(6.0)
    assert left(minutes.host) == (0.0, False)


def test_a_429_long_after_a_ban_is_waited_out(minutes):
    """A ban that is over is over."""
    minutes.host.record_throttle(418, "30", banned_until_ms=None)
    minutes.clock.sleep(31.0)
    minutes.host.record_throttle(429, "5", banned_until_ms=None)
    minutes.send(1)
    assert minutes.times == pytest.approx([5_036.01])


@pytest.mark.parametrize(("asked", "longest"), [(61, 60.0), (3_600, 60.0), (6, 5.0)])
def test_a_longer_wait_than_a_call_takes_is_raised_with_its_length(minutes, asked, longest):
    """Waiting an hour in place would hold a worker."""
    minutes.host.record_throttle(429, str(asked), banned_until_ms=None)
    with pytest.raises(BinanceThrottledError) as caught:
        next(minutes.host.acquire(1, longest))
    assert (caught.value.retry_after, type(caught.value)) == (float(asked), BinanceThrottledError)


def test_a_wait_that_is_made_longer_meanwhile_is_waited_out_to_its_new_end(minutes):
    """What another thread hears while this one waits counts."""
    minutes.host.record_throttle(429, "10", banned_until_ms=None)
    clearance = minutes.host.acquire(1, 60.0)
    minutes.clock.sleep(next(clearance).seconds)
    minutes.host.record_throttle(429, "20", banned_until_ms=None)
    assert next(clearance).seconds == 20.0


def test_a_wait_of_which_the_clock_says_it_is_not_over_is_gone_on_with(minutes):
    """A sleep that ends early does not send early."""
    minutes.host.record_throttle(429, "10", banned_until_ms=None)
    clearance = minutes.host.acquire(1, 60.0)
    next(clearance)
    minutes.clock.sleep(9.0)
    assert next(clearance).seconds == pytest.approx(1.0)


def test_a_throttled_host_starts_again_without_a_burst(minutes):
    """What was saved up before a 429 or while waiting is gone: it goes on at 100 a second."""
    minutes.host.record_throttle(429, "30", banned_until_ms=None)
    minutes.send(200)
    assert minutes.clock.mono - 5_030.0 == pytest.approx(2.0)


def test_a_call_that_waits_for_its_pace_hears_of_a_ban_meanwhile(minutes):
    """What another thread is told while this one waits its turn is obeyed before anything is sent."""
    minutes.send(1_200)
    clearance = minutes.host.acquire(1, 60.0)
    minutes.clock.sleep(next(clearance).seconds)
    minutes.host.record_throttle(418, "30", banned_until_ms=None)
    with pytest.raises(BinanceBannedError):
        next(clearance)


# -- clock -----------------------------------------------------------------------------------------------------------


def test_the_offset_is_measured_half_way_between_question_and_answer(minutes):
    """The way there and back is not counted as a difference."""
    asked = minutes.clock.time()
    minutes.clock.sleep(2.0)
    minutes.host.server_clock.set(1_760_000_001_000 + 750, sent_at=asked)
    assert minutes.host.server_ms() == 1_760_000_002_000 + 750


def test_an_offset_is_old_after_half_an_hour(minutes):
    """Clocks drift; one never measured is not old."""
    ages = [minutes.host.server_clock.is_stale()]
    minutes.host.server_clock.set(1_760_000_000_000, sent_at=minutes.clock.time())
    for seconds in (1_800.0, 1.0):
        minutes.clock.sleep(seconds)
        ages.append(minutes.host.server_clock.is_stale())
    assert ages == [False, False, True]


def test_the_exchanges_time_is_the_last_date_it_sent_and_what_has_passed_since(minutes):
    """Not this machine's: its clock may be wrong."""
    before = minutes.host.exchange_time()
    minutes.hear(date="Wed, 21 Oct 2015 07:28:00 GMT")
    minutes.clock.sleep(10.0)
    at = minutes.host.exchange_time(at=5_002.0)
    assert (before, minutes.host.exchange_time(), at) == (None, 1_445_412_490.0, 1_445_412_482.0)


@pytest.mark.parametrize(
    "date",
    ["", "yesterday", "Wed, 32 Oct 2015 07:28:00 GMT", "\x00", "1", "Wed, 21 Oct 2015 07:28:00 +" + "9" * 20],
    ids=repr,
)
def test_a_date_that_is_none_changes_nothing(minutes, date):
    """Headers come from outside."""
    minutes.hear(date="Wed, 21 Oct 2015 07:28:00 GMT")
    minutes.hear(date=date)
    assert minutes.host.exchange_time() == 1_445_412_480.0


@pytest.fixture
def in_shanghai(monkeypatch):
    """A machine whose own zone is eight hours ahead."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Shanghai")
        time.tzset()
        yield
    time.tzset()


def test_a_date_without_a_zone_is_utc(minutes, in_shanghai):
    """As all HTTP dates are, wherever the worker is."""
    minutes.hear(date="Wed, 21 Oct 2015 07:28:00")
    assert minutes.host.exchange_time() == 1_445_412_480.0


def test_a_failed_transport_tells_nothing(minutes):
    """A reply without a status has no headers to believe."""
    minutes.host.record_response(
        None, {"date": "Wed, 21 Oct 2015 07:28:00 GMT", "x-sapi-used-ip-weight-1m": "12000"}.get
    )
    assert minutes.host.exchange_time() is None


# -- threads ---------------------------------------------------------------------------------------------------------


def in_threads(n, work):
    threads = [threading.Thread(target=work) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_share_one_bucket(clock):
    """Eight threads that never wait get between them what one would: no token is given twice, none is lost."""
    host, given = Host("https://exchange.test", clock), []
    in_threads(8, lambda: [given.append(next(host.acquire(1, 60.0), None) is None) for _ in range(250)])
    assert (len(given), sum(given)) == (2_000, 1_200)


def test_the_last_end_wins_whichever_thread_heard_it(clock):
    """Many answers of many threads at once: the latest end is the one that counts."""
    host, lengths = Host("https://exchange.test", clock), list(range(1, 401))
    in_threads(8, lambda: [host.record_throttle(429, str(lengths.pop()), banned_until_ms=None) for _ in range(50)])
    assert left(host) == (400.0, False)
