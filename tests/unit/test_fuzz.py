"""Whatever comes over the wire or out of a connection: our own errors, in bounded time, showing no secret.

A short run in the tests; by hand a long one: ``FUZZ_EXAMPLES=100000 python -m pytest tests/unit/test_fuzz.py``.
"""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_binance_margin.exchange.call import Caller
from airflow_provider_binance_margin.exchange.counter import RecordCounter
from airflow_provider_binance_margin.exchange.credentials import load_credentials
from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.exchange.errors import ERRORS, BinanceConfigError, BinanceError
from airflow_provider_binance_margin.exchange.host import Host
from airflow_provider_binance_margin.exchange.messages import Reply, drive
from airflow_provider_binance_margin.exchange.paging import HOUR_MS, Reader, Span
from airflow_provider_binance_margin.exchange.scope import Scope
from airflow_provider_binance_margin.hooks.settings import read_settings, secrets_of
from airflow_provider_binance_margin.lake.spool import Spool
from airflow_provider_binance_margin.triggers.outcome import error_of, failure_of, outcome_of

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
fuzzed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

KEY, SECRET, CANARY = "k3y-of-the-account", "s3cr3t-of-the-account", "203.0.113.77"
NOW = 1_760_000_000.0

numbers = st.integers(-3, 3) | st.integers() | st.sampled_from([10**30, -1, 0, 1, 2**63, 1_760_000_600_000])
HUGE = "a number of more digits than Python writes"
rows = st.fixed_dictionaries(
    {},
    optional={
        "symbol": st.sampled_from(["BTCUSDT", CANARY]) | st.none(),
        "orderId": numbers | st.text(max_size=3),
        "isIsolated": st.booleans() | st.none() | st.just("yes"),
        "updatedTime": st.sampled_from([int(NOW * 1000) - 5, "soon", None, 10**40, HUGE]) | numbers,
        "note": st.recursive(st.none() | st.text(max_size=3), st.lists, max_leaves=3),
    },
)
pages = st.builds(
    lambda found, total: (
        json.dumps({"rows": found, **({} if total == "none" else {"total": total})})
        .replace(f'"{HUGE}"', "1" + "0" * 5000)
        .encode()
    ),
    st.lists(rows, max_size=3) | st.none() | st.just({}),
    st.just("none") | st.integers(0, 4) | numbers | st.none() | st.just("1") | st.just(1.5),
)
refusals = st.builds(
    lambda code, text: json.dumps({"code": code, "msg": f"{text} {CANARY}"}).encode(),
    st.sampled_from(sorted(ERRORS)) | numbers | st.none() | st.text(max_size=4) | st.booleans(),
    st.text(max_size=8) | st.sampled_from(["banned until 1760000600000.", "until 9999999999999", "0000000000000"]),
)
times = st.builds(lambda ms: json.dumps({"serverTime": ms}).encode(), numbers | st.text(max_size=3) | st.none())
broken = st.binary(max_size=40) | st.sampled_from([b"[" * 100_000, b'{"rows":' + b"[" * 100_000, b"null", b"\xff", b""])
bodies = pages | pages | refusals | times | broken | st.text(max_size=20).map(lambda text: (text + CANARY).encode())
words = st.text(max_size=12) | st.sampled_from(
    ["1", "0", "-1", "61", "9" * 400, "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "Fri, 31 Dec 9999 23:59:59 -2359", "\x00"]
)
headers = st.dictionaries(
    st.sampled_from(["Retry-After", "retry-after", "Date", "X-SAPI-USED-IP-WEIGHT-1M", "x-sapi-used-ip-weight-1m"]),
    words,
)
statuses = st.sampled_from([200, 200, 200, 400, 401, 403, 418, 429, 451, 500, 503]) | st.integers(100, 599)
replies = st.builds(Reply, statuses, headers, bodies) | st.builds(Reply, st.none(), fault=st.just("ReadTimeout"))


class Exchange:
    """Answers with one reply after the other, over and over, and keeps the time that is waited."""

    def __init__(self, answers):
        self.answers, self.sent, self.now = answers, 0, NOW
        self.host = Host("https://exchange.test", self)

    def time(self):
        return self.now

    monotonic = time

    def caller(self, **options):
        credentials = load_credentials(KEY, secret=SECRET)
        return Caller(self.host, credentials, FORCE_LIQUIDATION.path, 1, FORCE_LIQUIDATION.read_page, **options)

    def send(self, _):
        reply = self.answers[self.sent % len(self.answers)]
        self.sent += 1
        self.now += 0.01
        return reply

    def wait(self, pause):
        assert 0 < pause.seconds < 100
        self.now += pause.seconds

    def drive(self, call):
        return drive(call, self.send, self.wait)


def hides_secrets(error):
    """An error of ours, as a log shows it, and as a trigger's event carries it."""
    told = failure_of(error, "c")
    shown = f"{error} {error!r} {told} {error_of(told)!r} {error.__cause__}"
    assert [] == [secret for secret in (KEY, SECRET, CANARY, "signature=") if secret in shown]
    json.dumps(told)


@fuzzed
@given(answers=st.lists(replies, min_size=1, max_size=8))
def test_calls_in_sequence(answers):
    """Many calls on one host, whatever it answers: pages or our own errors, and a bounded time for each."""
    exchange = Exchange(answers)
    for _ in range(6):
        began, sent = exchange.now, exchange.sent
        try:
            page = exchange.drive(exchange.caller().call({"current": 1}))
        except BinanceError as error:
            hides_secrets(error)
        else:
            assert [True] * len(page.records) == [isinstance(json.loads(record.line), dict) for record in page.records]
        assert exchange.sent - sent <= 13
        assert exchange.now - began <= 15 * 100


@fuzzed
@given(answers=st.lists(replies, min_size=1, max_size=8), open_end=st.booleans())
def test_looks(answers, open_end):
    """A watch tells a number of records that is none below zero, with the newest where there are any, or fails."""
    exchange = Exchange(answers)
    start = int(NOW * 1000) - 3 * HOUR_MS
    end = None if open_end else start + HOUR_MS
    asked = {"dataset": FORCE_LIQUIDATION, "scope": Scope()}
    watch = RecordCounter(exchange.caller(attempts=1), start, end, span=Span(2 * HOUR_MS), settle=60.0, **asked)
    for _ in range(4):
        sent = exchange.sent
        try:
            seen = exchange.drive(watch.poll())
        except BinanceError as error:
            hides_secrets(error)
        else:
            assert (seen.total > 0) == (seen.newest is not None)
            json.dumps(outcome_of(seen, start, 1, "c", None))
        assert exchange.sent - sent <= 40


@fuzzed
@given(answers=st.lists(replies, min_size=1, max_size=8), require_total=st.booleans())
def test_whole_windows(answers, require_total):
    """Reading an interval ends with as many records as were stated, or in our own error, in few calls."""
    exchange = Exchange(answers)
    fetched = []

    def fetch(*window):
        fetched.append(window)
        assert len(fetched) < 1_000
        return exchange.drive(exchange.caller(attempts=1).call({"window": window}))

    with Spool(len(FORCE_LIQUIDATION.record_key)) as spool:
        try:
            reading = Reader(fetch, Span(2 * HOUR_MS), require_total).read(0, 3 * HOUR_MS, spool)
        except BinanceError as error:
            hides_secrets(error)
        else:
            # a record that several of the (at most three) windows have is one, and each of their totals counts it
            assert reading.proof == "pages" or reading.records <= reading.total <= 3 * reading.records
            assert len(list(spool.lines())) == reading.rows >= reading.records


@fuzzed
@given(retry_after=words | st.none(), date=words, until=numbers | st.none(), status=statuses)
def test_waits(retry_after, date, until, status):
    """No header and no text makes a wait shorter than a second, longer than three days, or anything but a number."""
    exchange = Exchange([])
    exchange.host.record_response(status, {"date": date}.get)
    exchange.host.record_throttle(status, retry_after, banned_until_ms=until)
    try:
        exchange.host.bans.raise_throttle()
    except BinanceError as error:
        assert 0.9 <= error.retry_after <= 3 * 86_400  # noqa: PT017 - it is raised in any case
        hides_secrets(error)


extras = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["1e400", SECRET]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
fields = st.sampled_from(
    ["private_key", "key_file", "private_key_passphrase", "recv_window", "timeout", "weight_share", "other"]
)


@fuzzed
@given(
    extra=st.dictionaries(fields, extras, max_size=5).map(json.dumps)
    | extras.map(json.dumps)
    | st.binary(max_size=30).map(lambda raw: raw.decode("latin-1"))
    | st.just("[" * 100_000),
    host=st.none() | st.text(max_size=20) | st.sampled_from(["http://[::1]", "https://exchange.test:0", "//", "a@b"]),
    port=st.none() | st.integers(),
    login=st.none() | st.text(max_size=8) | st.just(KEY),
    password=st.none() | st.just(SECRET),
)
def test_connections(extra, host, port, login, password):
    """Any connection is usable or refused in our own words; neither its error nor its settings show a secret."""

    class Connection(SimpleNamespace):
        @property
        def extra_dejson(self):
            return json.loads(self.extra)

    connection = Connection(conn_id="c", extra=extra, host=host, port=port, login=login, password=password)
    assert all(isinstance(secret, str) for secret in secrets_of(connection))
    try:
        shown = repr(read_settings(connection))
    except BinanceConfigError as error:
        shown = f"{error} {error!r} {error.__cause__}"
    assert SECRET not in shown
