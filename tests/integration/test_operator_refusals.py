"""What cannot work is told at once, in words that say what to do; nothing is written and nothing is retried."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_provider_binance_margin.operators.force_liquidation_audit import ForceLiquidationAuditOperator
from airflow_provider_binance_margin.transfers.bounded_map import OBJECTS_AT_ONCE

BERLIN = ZoneInfo("Europe/Berlin")


def refused(done, s3, *says):
    """The task failed for good in spite of retries, says all of this, and has written nothing."""
    assert done.state == "failed", (done.state, done.error)
    for said in says:
        assert said in str(done.error)
    assert s3.keys() == []


# The interval


@pytest.mark.parametrize(
    ("options", "run", "says"),
    [
        ({}, {}, ["no data interval", "by hand a logical date", "start= and end="]),
        ({}, {"interval": (datetime(2026, 1, 15, tzinfo=UTC),) * 2}, ["no data interval", "no length"]),
        ({"start": "2026-01-16", "end": "2026-01-15"}, {}, ["reversed", "start must be before its end"]),
        ({"start": "2026-01-16", "end": "2026-01-16"}, {}, ["is empty"]),
        ({"start": "2026-01-15"}, {}, ["start is given and end is not", "give both"]),
        ({"end": "2026-01-15"}, {}, ["end is given and start is not"]),
        ({"start": "2026-01-15", "end": "{{ None }}"}, {}, ["start is given and end is not"]),
        ({"start": "yesterday", "end": "today"}, {}, ["'yesterday' is not a point in time", "ISO 8601"]),
        ({"start": 5, "end": 6}, {}, ["is not a point in time"]),
        ({"start": "0001-01-01", "end": "2026-01-15"}, {}, ["the year 1"]),
        ({"start": "2190-01-01", "end": "2190-01-02"}, {}, ["starts in the future", "the exchange's clock says"]),
        ({"start": "2026-01-15", "end": "2190-01-02"}, {}, ["ends in the future"]),
        (
            {"grain": "day"},
            {"interval": (datetime(2026, 1, 15, 6, tzinfo=UTC), datetime(2026, 1, 16, 6, tzinfo=UTC))},
            ["does not consist of whole days in UTC", "leave grain out"],
        ),
        (
            {"grain": "month"},
            {"interval": (datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))},
            ["whole months"],
        ),
        (
            {"grain": "day"},
            {
                "interval": (datetime(2026, 3, 29, tzinfo=BERLIN), datetime(2026, 3, 30, tzinfo=BERLIN)),
                "timezone": BERLIN,
            },
            ["2026-03-28T23:00:00Z, 2026-03-29T22:00:00Z", "zone Europe/Berlin", 'timezone="UTC"'],
        ),
        (
            {"grain": "day", "start": datetime(2026, 7, 1, tzinfo=BERLIN), "end": datetime(2026, 7, 2, tzinfo=BERLIN)},
            {},
            ["zone Europe/Berlin"],
        ),
        ({}, {"partition_key": "north", "run_id": "p"}, ["partition 'north'", "pass grain="]),
        ({}, {"partition_key": "2026-02-30", "run_id": "p"}, ["'2026-02-30' is not a date"]),
    ],
    ids=[
        "none", "no-length", "reversed", "empty", "start-alone", "end-alone", "end-rendered-away", "words", "numbers",
        "year-1", "future", "ends-in-future", "off-grain", "half-month", "summer-time-dag", "summer-time-arguments",
        "partition-without-length", "partition-no-date",
    ],
)  # fmt: skip
def test_an_interval_that_cannot_be_loaded(operator, run_task, sandbox, s3, options, run, says):
    """The error says what is wrong with the interval and how to give one; no record is asked for."""
    done = run_task(operator(**options), retries=3, **run)

    refused(done, s3, *says)
    assert {entry.path for entry in sandbox.requests} <= {"/api/v3/time"}


# The key


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("x.txt", ["'x.txt'", "no known format", ".jsonl.gz"]),
        ("x", ["no known format"]),
        ("{start.__class__}.jsonl", ["brace"]),
        ("{0}.jsonl", ["brace"]),
        ("{start!r}.jsonl", ["brace"]),
        ("{run_id}/{start}.jsonl", ["brace", "{start:%Y-%m-%d}"]),
        ("{start:{end}}.jsonl", ["brace"]),
        ("{{start}}.jsonl", None),
    ],
    ids=["suffix", "no-suffix", "attribute", "number", "conversion", "unknown-name", "nested", "double"],
)
def test_a_key_that_cannot_be_filled(operator, run_task, sandbox, s3, day, key, says):
    """A key in plain text is refused when the DAG is parsed; from a template, before the first request."""
    if says is not None:
        with pytest.raises(ValueError, match=r"brace|format"):
            operator(s3_key=key)
    rendered = operator(s3_key="{{ params.key }}", params={"key": key})

    done = run_task(rendered, interval=day.interval, retries=3)

    refused(done, s3, *(says or ["brace"]))
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"s3_bucket": None}, ["no bucket", "s3_bucket"]),
        ({"s3_key": "s3://other/x.jsonl"}, ["named twice"]),
        ({"s3_bucket": None, "s3_key": "s3://only.jsonl"}, ["not a full s3:// URL"]),
        ({"allow_shrink": "perhaps"}, ["allow_shrink must be true or false"]),
    ],
    ids=["no-bucket", "two-buckets", "half-url", "maybe"],
)
def test_options_that_cannot_work(operator, run_task, sandbox, s3, day, options, says):
    """What a template rendered to is checked before anything is asked."""
    done = run_task(operator(**options), interval=day.interval, retries=3)

    refused(done, s3, *says)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"grain": "week"}, "grain must be one of hour, day, month"),
        ({"on_empty": "fail"}, "on_empty must be"),
        ({"max_workers": 0}, "max_workers must be from 1"),
        ({"settle": -1}, "settle must not be negative"),
        ({"max_span": 60}, "max_span must be an hour or more"),
    ],
)
def test_options_that_are_wrong_in_the_dag(operator, options, says):
    """What is plain in the DAG file is refused when it is parsed."""
    with pytest.raises(ValueError, match=says):
        operator(**options)


NO_FIELDS = [
    *(
        ("isolated_symbol", value, "isolated_symbol must be a pair")
        for value in ("", " ", "None", "btcusdt", "BTC/USDT", "../account", "..", "account", "cross", "A\0B", "A\x1bB",
                      "A\\B", "A" * 900)
    ),
    *(("account", value, "account must be a name") for value in ("", "None", "a/b", "..", "a{b", "a\nb", "a" * 201)),
    *(("s3_bucket", value, "the bucket's name alone") for value in ("s3://lake", "s3://lake/x", "lake/folder")),
    ("binance_conn_id", "team/main", "give account="),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "says"), NO_FIELDS, ids=[ascii(case[:2])[:40] for case in NO_FIELDS])
@pytest.mark.parametrize("audits", [False, True], ids=["load", "audit"])
def test_a_field_that_cannot_work(operator, run_task, sandbox, s3, day, audits, field, value, says):
    """In plain text it is refused when the DAG is parsed; from a template or mapped, for good, before any request."""

    def make(**options):
        if not audits:
            return operator(**options)
        return ForceLiquidationAuditOperator(**{"task_id": "audit", "s3_bucket": s3.name, **options})

    with pytest.raises(ValueError, match=says):
        make(**{field: value})
    rendered = make(**{field: "{{ params.value }}"}, params={"value": value})
    mapped = make(_airflow_from_mapped=True, **{field: value})

    for task in (rendered, mapped):
        refused(run_task(task, interval=day.interval, retries=3), s3, says)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (7, "must be a pair"),
        ({"BTCUSDT": 1}, "must be a pair"),
        ([["BTCUSDT"]], "must be a pair"),
        ([7], "must be a pair"),
        (["btcusdt"], "the exchange spells it BTCUSDT"),
        (["BTCUSDT", "None"], "pass None"),
        ([" "], "pass None"),
        ([], "empty list"),
        ((), "empty list"),
        (set(), "empty list"),
        ("['BTCUSDT']", "render_template_as_native_obj"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("audits", [False, True])
def test_pairs_that_are_none(operator, run_task, sandbox, s3, day, audits, pairs, says):
    """While the DAG is parsed, or, from elsewhere, before the first request."""

    def make(**options):
        kind = ForceLiquidationAuditOperator if audits else operator
        return kind(**{"task_id": "task", "s3_bucket": s3.name, **options})

    with pytest.raises(ValueError, match=says):
        make(isolated_symbol=pairs)
    refused(run_task(make(_airflow_from_mapped=True, isolated_symbol=pairs), interval=day.interval), s3, says)
    assert sandbox.requests == []


def test_what_comes_from_elsewhere_is_not_judged_when_the_dag_is_parsed(operator):
    """A template, or what another task returns."""
    with DAG("d", schedule=None):
        before = EmptyOperator(task_id="before")
        for field in ("isolated_symbol", "account", "s3_bucket", "s3_key", "binance_conn_id"):
            operator(task_id=f"xcom_{field}", **{field: before.output})
            operator(task_id=f"template_{field}", **{field: "{{ '/' }}"})


# The store


@pytest.mark.parametrize("options", [{}, {"on_empty": "none"}, {"grain": "hour"}, {"replace": False}], ids=str)
def test_a_missing_bucket(operator, run_task, sandbox, s3, day, options):
    """A bucket that does not exist is named, once; the exchange is asked for what is read while S3 is connected to."""
    done = run_task(operator(s3_bucket="there-is-no-such-bucket", **options), interval=day.interval, retries=3)

    refused(done, s3, "s3://there-is-no-such-bucket/", "the bucket does not exist")
    assert len(sandbox.requests) <= (OBJECTS_AT_ONCE if options.get("replace", True) else 0)


def test_no_right_to_look(operator, run_task, sandbox, s3, s3_proxy, day):
    """A HEAD that is forbidden names the permissions that are needed."""
    s3_proxy(lambda handler: (403, {}, b"") if handler.command == "HEAD" else None)

    done = run_task(operator(), interval=day.interval, retries=3)

    refused(done, s3, "HEAD s3://", "is not allowed", "s3:GetObject", "s3:ListBucket")
    assert len(sandbox.requests) <= 1


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (403, "AccessDenied", "s3:PutObject"),
        (403, "InvalidAccessKeyId", "the access key is unknown"),
        (403, "SignatureDoesNotMatch", "the secret access key is wrong"),
        (400, "ExpiredToken", "token has expired"),
    ],
)
def test_no_right_to_write(operator, run_task, s3, s3_proxy, day, status, code, says):
    """A put that is refused says why."""
    s3_proxy(lambda handler: s3_proxy.error(status, code) if handler.command == "PUT" else None)

    refused(run_task(operator(), interval=day.interval, retries=3), s3, "PUT s3://", says)


def test_no_aws_credentials(operator, run_task, connect, s3, day):
    """Without any credentials, the connection to correct is named."""
    connect(aws={"conn_type": "aws", "extra": s3.connection()["extra"]})

    refused(run_task(operator(), interval=day.interval, retries=3), s3, "without credentials", "aws_conn_id")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "http://", "nonsense"])
def test_an_s3_endpoint_that_is_no_url(operator, run_task, connect, s3, day, endpoint):
    """An endpoint that boto cannot use is the connection's fault, not a reason to retry."""
    connect(aws={**s3.connection(), "extra": json.dumps({"endpoint_url": endpoint, "region_name": "us-east-1"})})

    refused(run_task(operator(), interval=day.interval, retries=3), s3, "aws_default")


@pytest.mark.parametrize("status", [500, 503])
def test_a_store_that_fails_for_the_moment_is_for_a_retry(operator, run_task, s3, s3_proxy, day, status):
    """Where trying again may help, Airflow tries again."""
    s3_proxy(lambda handler: s3_proxy.error(status, "SlowDown") if handler.command == "PUT" else None)

    done = run_task(operator(), interval=day.interval, retries=3)

    assert ("up_for_retry", []) == (done.state, s3.keys())


def test_a_store_that_is_not_there_is_for_a_retry(operator, run_task, connect, s3, day):
    """A store that cannot be reached may be reached later."""
    extra = {
        "endpoint_url": "http://127.0.0.1:9",
        "region_name": "us-east-1",
        "config_kwargs": {"retries": {"total_max_attempts": 1}},
    }
    connect(aws={**s3.connection(), "extra": json.dumps(extra)})

    done = run_task(operator(), interval=day.interval, retries=3)

    assert ("up_for_retry", "S3 could not be reached (EndpointConnectionError)") == (done.state, str(done.error))


# The exchange


def test_a_missing_connection(operator, run_task, api, s3, day):
    """A connection that does not exist is named."""
    del api.conns["binance_default"]

    done = run_task(operator(), interval=day.interval, retries=3)

    refused(done, s3, "binance_default", "create the connection")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"host": "http://api.binance.com", "login": "k" * 64}, ["http://", "in the clear", "https://"]),
        ({"host": "https://user:word@api.binance.com"}, ["login and password"]),
        ({"host": "https://api.binance.com/sapi"}, ["no path"]),
        ({"host": "ftp://api.binance.com"}, ["https://"]),
        ({"login": None}, ["no API key", "login"]),
        ({"password": None}, ["neither an API secret nor a private key"]),
        ({"extra": {"private_key": "MC4CAQAwBQYDK2VwBCIEIA=="}}, ["both an API secret and a private key"]),
        ({"password": None, "extra": {"key_file": "/no/such/file"}}, ["key file", "FileNotFoundError"]),
        ({"extra": {"recv_window": 60000}}, ["recv_window", "59999"]),
        ({"extra": {"timeout": "soon"}}, ["timeout must be a number"]),
    ],
    ids=[
        "http", "user", "path", "scheme", "no-key", "no-secret", "both", "no-file", "recv-window", "timeout",
    ],
)  # fmt: skip
def test_a_connection_that_cannot_be_used(operator, run_task, connect, sandbox, s3, day, changes, says):
    """Each way a connection can be wrong is told before anything is sent."""
    connect(**changes)

    refused(run_task(operator(), interval=day.interval, retries=3), s3, *says)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("key", "changes", "says"),
    [
        ("hmac", {"password": "w" * 64}, ["signature is not valid", "code -1022"]),
        ("hmac", {"login": "sandbox" + "x" * 57}, ["-2015", "IP list"]),
        ("hmac", {"login": "sandbox"}, ["malformed", "-2014"]),
        ("no-margin", {}, ["no margin account", "-3003", "open one"]),
    ],
    ids=["wrong-secret", "unknown-key", "half-a-key", "no-margin"],
)
def test_a_key_that_the_exchange_refuses(operator, run_task, connect, sandbox, s3, day, key, changes, says):
    """One request is enough to know that a key is wrong."""
    connect(key, **changes)

    refused(run_task(operator(), interval=day.interval, retries=3), s3, *says)
    assert len(sandbox.requests) == 1


def test_a_key_of_another_kind(operator, run_task, connect, sandbox, s3, day):
    """An API key that was registered with another kind of key is told from the signature."""
    connect("rsa", login=sandbox.connection("ed25519")["login"])

    refused(run_task(operator(), interval=day.interval, retries=3), s3, "is of another kind", "-1022")


@pytest.mark.parametrize(
    ("pair", "says"),
    [("NOSUCHPAIR", ["-1121", "check isolated_symbol"]), ("BNBUSDT", ["-11001", "check isolated_symbol"])],
)
def test_a_pair_that_the_account_has_not(operator, run_task, sandbox, s3, day, pair, says):
    """An unknown pair, or one without an isolated account, is refused by the exchange in one request."""
    sandbox.add(n=1, at=day.ms[0], symbol="BNBUSDT")

    refused(run_task(operator(isolated_symbol=pair), interval=day.interval, retries=3), s3, *says)
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_an_hour_off_is_set_right(operator, run_task, sandbox, s3, day, hours):
    """This machine's clock may be wrong: the exchange's is taken over."""
    sandbox.clock_offset_ms = hours * 3_600_000

    done = run_task(operator(), interval=day.interval)

    assert ("success", 1) == (done.state, len(s3.keys())), done.error


def test_a_clock_that_stays_wrong(operator, run_task, sandbox, s3, day):
    """If requests are refused for their time even so, that is told after five attempts, and is for a retry."""
    sandbox.fault("-1021", times=None)

    done = run_task(operator(), interval=day.interval, retries=3)

    assert ("up_for_retry", []) == (done.state, s3.keys())
    assert "recv_window (5000 ms)" in str(done.error)
    assert [entry.status for entry in sandbox.requests] == [400, 200] * 5 + [400]


@pytest.mark.parametrize(
    ("fault", "options", "says"),
    [
        ("451", {}, ["region"]),
        ("error", {"code": -9999, "msg": "who knows"}, ["code -9999", "unknown to this package"]),
        ("error", {"code": -2015, "msg": "Invalid API-key, IP, request ip: 10.1.2.3", "status": 401}, ["-2015"]),
    ],
    ids=["451", "unknown-code", "-2015"],
)
def test_an_answer_that_cannot_be_helped(operator, run_task, sandbox, s3, day, fault, options, says):
    """Answers that will be the same the next time end the task with one request, quoting nothing of their bodies."""
    sandbox.fault(fault, times=None, **options)

    done = run_task(operator(), interval=day.interval, retries=3)

    refused(done, s3, *says)
    assert len(sandbox.requests) == 1
    assert not any(quoted in str(done.error) for quoted in ("who knows", "10.1.2.3", "http://"))


@pytest.mark.parametrize(
    ("fault", "options", "status"),
    [("redirect", {"location": "http://127.0.0.1:1/"}, 302), ("html", {"status": 404}, 404)],
    ids=["redirect", "404"],
)
def test_an_answer_of_a_box_in_between_is_for_a_retry(operator, run_task, sandbox, s3, day, fault, options, status):
    """Balancers and portals answer for the exchange for seconds; where it lasts, the error says where to look."""
    sandbox.fault(fault, times=None, **options)

    done = run_task(operator(), interval=day.interval, retries=3)

    assert ("up_for_retry", [], 5) == (done.state, s3.keys(), len(sandbox.requests))
    assert f"if this lasts, check the connection's host and any proxy (HTTP {status})" in str(done.error)
    assert "http://" not in str(done.error)


def test_an_exchange_that_is_not_there_is_for_a_retry(operator, run_task, connect, s3, day):
    """A host that cannot be reached may be reached later; the error names the fault, not the URL."""
    connect(host="http://127.0.0.1:9")

    done = run_task(operator(), interval=day.interval, retries=3)

    assert ("up_for_retry", []) == (done.state, s3.keys())
    assert "could not be reached (ConnectionError)" in str(done.error)
