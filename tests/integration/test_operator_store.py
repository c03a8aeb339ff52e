"""What the operator does to a bucket, and what it never does to it."""

from __future__ import annotations

import gzip
import io
import json
import re
import threading
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk import Asset
from botocore.awsrequest import AWSResponse
from serving import forward, s3_error
from urllib3 import HTTPResponse

from airflow_provider_binance_margin.hooks.binance import BinanceHook
from airflow_provider_binance_margin.lake.interval import Interval
from airflow_provider_binance_margin.lake.object_metadata import ObjectIdentity, Run
from airflow_provider_binance_margin.operators.force_liquidation_audit import ForceLiquidationAuditOperator
from airflow_provider_binance_margin.transfers.object_store import ObjectStore, write_body

SSE_C_KEY = "0123456789abcdef0123456789abcdef"


def snapshot(s3):
    return {key: (s3.get(key), s3.metadata(key)) for key in s3}


# Never deleted


def test_nothing_is_deleted_and_three_rights_are_enough(operator, run_task, sandbox, s3, s3_proxy, day):
    """Load, replace, shrink, audit: HEAD and GET of an object, PUT of one, HEAD of the bucket, as the policy allows."""
    asked = set()
    s3_proxy(lambda handler: asked.add((handler.command, of_the_bucket(handler, s3))))
    sandbox.add(n=2, at=day.ms[0])
    run_task(operator(), interval=day.interval)
    sandbox.add(n=1, at=day.ms[0] + 1)
    run_task(operator(), interval=day.interval, clear_number=1)
    sandbox.clear()
    run_task(operator(allow_shrink=True), interval=day.interval, clear_number=2)
    audit = ForceLiquidationAuditOperator(task_id="audit", s3_bucket=s3.name, verify_content=True)

    done = run_task(audit, interval=day.interval)

    assert done.state == "success", done.error
    assert asked == {("HEAD", False), ("GET", False), ("PUT", False), ("HEAD", True)}


# Never fewer


def test_an_object_is_never_replaced_by_a_smaller_one(operator, run_task, sandbox, s3, day):
    """The exchange that forgot records makes the task fail for good, naming both counts and the key."""
    sandbox.add(n=250, at=day.ms[0])
    run_task(operator(), interval=day.interval)
    before = snapshot(s3)
    sandbox.clear()
    sandbox.add(n=249, at=day.ms[0])

    done = run_task(operator(), interval=day.interval, clear_number=1, retries=3)

    assert done.state == "failed"
    for said in ("250", "249", f"s3://{s3.name}/{day.key}", "allow_shrink"):
        assert said in str(done.error)
    assert before == snapshot(s3)


@pytest.mark.parametrize("allow", [True, "{{ 'true' }}"], ids=["value", "template"])
def test_allow_shrink_lets_it_be_replaced(operator, run_task, sandbox, s3, day, rows, allow):
    """With allow_shrink, the smaller answer is taken."""
    sandbox.add(n=3, at=day.ms[0])
    run_task(operator(), interval=day.interval)
    sandbox.clear()
    sandbox.add(n=2, at=day.ms[0])

    done = run_task(operator(allow_shrink=allow), interval=day.interval, clear_number=1)

    assert done.state == "success", done.error
    assert sandbox.records(*day.ms) == rows(s3.get(day.key))


@pytest.mark.parametrize("on_empty", ["write", "none", "skip"])
def test_an_empty_answer_replaces_nothing(operator, run_task, sandbox, s3, day, on_empty):
    """An exchange that answers nothing where records were known makes the task fail, whatever on_empty says."""
    sandbox.add(n=3, at=day.ms[0])
    run_task(operator(), interval=day.interval)
    before = snapshot(s3)
    sandbox.clear()

    done = run_task(operator(on_empty=on_empty), interval=day.interval, clear_number=1, retries=3)

    assert done.state == "failed"
    assert "holds 3 records, and the exchange now answers 0" in str(done.error)
    assert before == snapshot(s3)


def test_an_empty_answer_that_is_right_is_written(operator, run_task, sandbox, s3, day, rows):
    """With allow_shrink, an object that held records is emptied and not left standing, whatever on_empty says."""
    sandbox.add(n=3, at=day.ms[0])
    run_task(operator(), interval=day.interval)
    sandbox.clear()

    done = run_task(operator(on_empty="none", allow_shrink=True), interval=day.interval, clear_number=1)

    assert done.state == "success", done.error
    assert (rows(s3.get(day.key)), s3.metadata(day.key)["records"]) == ([], "0")


def test_an_empty_object_may_become_full(operator, run_task, sandbox, s3, day, rows):
    """Records that turn up later replace an object that had none."""
    run_task(operator(), interval=day.interval)
    sandbox.add(n=3, at=day.ms[0])

    done = run_task(operator(on_empty="none"), interval=day.interval, clear_number=1)

    assert done.state == "success", done.error
    assert sandbox.records(*day.ms) == rows(s3.get(day.key))


@pytest.fixture
def month(operator, run_task, sandbox):
    """Loads January by days, of which each had two records."""
    first = datetime(2026, 1, 1, tzinfo=UTC)
    interval = (first, datetime(2026, 2, 1, tzinfo=UTC))

    def hold(**fewer):
        sandbox.clear()
        for day in range(31):
            at = int((first + timedelta(days=day)).timestamp() * 1000)
            sandbox.add(n=fewer.get(f"day{day + 1}", 2), at=at, step_ms=1000)
        sandbox.clear_log()

    def load(**options):
        run = {name: options.pop(name) for name in ("clear_number", "try_number") if name in options}
        options = {"grain": "day", "s3_key": "{start:%d}.jsonl", **options}
        return run_task(operator(**options), interval=interval, retries=3, **run)

    hold()
    assert load().result["records"] == 62
    return SimpleNamespace(hold=hold, load=load)


@pytest.mark.parametrize("workers", [1, 16])
@pytest.mark.parametrize(
    "fewer", [{"day5": 1}, {"day1": 0, "day31": 1}, {f"day{day}": 1 for day in range(1, 29)}], ids=len
)
def test_objects_that_must_not_shrink_keep_no_others_away(month, sandbox, s3, fewer, workers):
    """All others are loaded; the error names some of those that were not, and the way out that loses nothing first."""
    before = snapshot(s3)
    month.hold(**{f"day{day}": 3 for day in range(1, 32)} | fewer)

    done = month.load(clear_number=1, max_workers=workers)
    after = snapshot(s3)
    sandbox.clear_log()
    kept = month.load(clear_number=2, replace=False)

    text = str(done.error)
    changed = {key for key in after if after[key] != before[key]}
    assert (done.state, len(changed)) == ("failed", 31 - len(fewer))
    assert {s3.metadata(key)["records"] for key in changed} == {"3"}
    assert f"{len(fewer)} of 31 objects could not be loaded, the others are" in text
    assert 0 < text.index("replace=False") < text.index("allow_shrink=True")
    assert text.count(" holds 2 records, and the exchange now answers ") == min(len(fewer), 10)
    assert ("; and 18 more" in text) == (len(fewer) == 28)
    assert len(text) < 3000
    assert (kept.state, kept.result["objects"], sandbox.requests) == ("success", 31, []), kept.error


def test_a_retry_resumes_beside_what_must_stay(month, sandbox, s3):
    """What was loaded before something else failed is not asked for again."""
    month.hold(**{f"day{day}": 3 for day in range(1, 32)} | {"day2": 1})
    sandbox.fault("error", code=-1002, status=401, skip=20)

    first = month.load(clear_number=1, max_workers=1)
    loaded = sum(s3.metadata(key)["records"] == "3" for key in s3)
    sandbox.clear_log()
    second = month.load(clear_number=1, try_number=2)

    assert (first.state, second.state) == ("failed", "failed")
    assert "not authorised" in str(first.error)
    assert "1 of 31 objects" in str(second.error)
    assert loaded >= 15
    assert len(sandbox.requests) == 31 - loaded
    assert sum(s3.metadata(key)["records"] == "3" for key in s3) == 30


def test_what_parquet_cannot_hold_keeps_no_other_object_away(month, sandbox, s3):
    """The record is named, and the days without it are there."""
    sandbox.add({"updatedTime": int(datetime(2026, 1, 9, tzinfo=UTC).timestamp() * 1000), "price": "0.123456789"})

    done = month.load(s3_key="{start:%d}.parquet")

    assert (done.state, sorted(key for key in s3 if key.endswith(".parquet"))) == (
        "failed",
        [f"{day:02d}.parquet" for day in range(1, 32) if day != 9],
    )
    assert "1 of 31 objects could not be loaded" in str(done.error)
    assert "price 0.123456789" in str(done.error) or "0.123456789" in str(done.error)
    assert "allow_shrink" not in str(done.error)


@pytest.mark.parametrize("fault", ["418", "-2015"])
def test_what_concerns_all_ends_all(month, sandbox, s3, fault):
    """A ban or a rejected key is no matter of one object."""
    before = snapshot(s3)
    sandbox.clear_log()
    options = {"code": -2015, "status": 401} if fault == "-2015" else {}
    sandbox.fault("error" if options else fault, times=None, **options)

    done = month.load(clear_number=1, max_workers=1)

    assert done.state in ("failed", "up_for_retry")
    assert "objects could not be loaded" not in str(done.error)
    assert snapshot(s3) == before
    assert len(sandbox.requests) <= (1 if fault == "418" else 4)  # objects are made four side by side


# Never another's


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        ({}, "something this package did not write"),
        (
            {
                "dataset": "force_liquidation",
                "interval-start": "2026-01-15T00:00:00Z",
                "interval-end": "2026-01-16T00:00:00Z",
                "scope": "BTCUSDT",
            },
            "of scope BTCUSDT",
        ),
        (
            {
                "dataset": "force_liquidation",
                "interval-start": "2026-01-14T00:00:00Z",
                "interval-end": "2026-01-16T00:00:00Z",
                "scope": "account",
                "account": "binance_default",
            },
            "[2026-01-14T00:00:00Z, 2026-01-16T00:00:00Z)",
        ),
        (
            {
                "dataset": "interest_history",
                "interval-start": "2026-01-15T00:00:00Z",
                "interval-end": "2026-01-16T00:00:00Z",
                "scope": "account",
            },
            "interest_history",
        ),
    ],
    ids=["foreign", "other-scope", "other-interval", "other-dataset"],
)
@pytest.mark.parametrize("options", [{}, {"replace": False}, {"allow_shrink": True}], ids=["", "keep", "shrink"])
def test_what_another_wrote_stays(operator, run_task, sandbox, s3, day, metadata, named, options):
    """An object of another interval, scope or origin is neither replaced nor taken for ours; the error names both."""
    s3.put("shared.jsonl", b"theirs", **metadata)
    before = snapshot(s3)

    done = run_task(operator(s3_key="shared.jsonl", **options), interval=day.interval, retries=3)

    assert done.state == "failed"
    for said in ("s3://" + s3.name + "/shared.jsonl", named, "[2026-01-15T00:00:00Z, 2026-01-16T00:00:00Z)"):
        assert said in str(done.error)
    assert before == snapshot(s3)
    assert len(sandbox.requests) <= options.get("replace", True)  # its one page, asked for while S3 is connected to


@pytest.mark.parametrize("key", ["{start:%Y-%m}.jsonl", "x.jsonl", "{scope}.jsonl"])
def test_two_objects_under_one_key_are_refused_before_anything_is_asked(operator, run_task, sandbox, s3, day, key):
    """A key that does not tell the objects of a run apart fails for good, with no request and no object."""
    done = run_task(operator(s3_key=key, grain="hour"), interval=day.interval, retries=3)

    assert done.state == "failed"
    assert "to more than one interval, [2026-01-15T" in str(done.error)
    assert ([], []) == (sandbox.requests, s3.keys())


# Somebody else writes at the same time


def test_an_object_that_appears_meanwhile_is_noticed(operator, run_task, s3, s3_proxy, day):
    """What another wrote between our look and our put is seen, and left alone since it is not ours."""
    seen = []

    def meddle(handler):
        if handler.command == "PUT" and not seen:
            seen.append(handler.headers["If-None-Match"])
            s3.put("x.jsonl", b"theirs")

    s3_proxy(meddle)

    done = run_task(operator(s3_key="x.jsonl"), interval=day.interval, retries=3)

    assert (["*"], "failed") == (seen, done.state)
    assert "something this package did not write" in str(done.error)
    assert s3.get("x.jsonl") == b"theirs"


def put_a_row(store, key, judge, **options):
    """An object of one row, put as the operator does."""
    identity, run = ObjectIdentity("interest", Interval(0, 1), "cross", "a"), Run("run", 0)
    stated = {"records": 1, "total": 1, "proof": "total", "first": 0, "last": 0, "fetched_at": 1}
    with write_body(key, [b"{}"], {}) as body:
        assert store.put(key, body, judge, identity=identity, run=run, **stated, **options) == len(b"{}\n")


@pytest.mark.parametrize("counts", [True, False], ids=["conditions-count", "conditions-are-ignored"])
def test_what_was_not_there_is_put_without_another_look(api, s3, s3_proxy, monkeypatch, counts):
    """A store that refuses a put over what has appeared meanwhile is not asked; any other is, right before."""
    asked, seen = [], []

    def meddle(handler):
        asked.append(handler.command)
        if handler.command == "PUT" and not counts:
            without(handler, CONDITIONS)

    s3_proxy(meddle)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(api.conns["aws_default"]))
    store = ObjectStore(S3Hook(), s3.name, {})
    put_a_row(store, "first.jsonl", seen.append, is_new=True)  # by which the store is put to the test
    asked.clear()

    put_a_row(store, "second.jsonl", seen.append, is_new=True)
    s3.put("third.jsonl", b"of another")
    put_a_row(store, "third.jsonl", seen.append, is_new=True)

    by_way = ["PUT", "PUT", "HEAD", "PUT"] if counts else ["HEAD", "PUT", "HEAD", "PUT"]
    assert asked == [*by_way, "PUT"]  # by which If-Match is put to the test
    assert [each and each.size for each in seen] == ([None] * 3 + [10] if counts else [None, None, 10])


def test_of_new_objects_each_is_looked_for_once(operator, run_task, s3, s3_proxy, day):
    """One HEAD for each; an object that another writes before the put is noticed all the same."""
    asked = []

    def meddle(handler):
        asked.append((handler.command, handler.path.rpartition("/")[2]))
        if asked.count(("PUT", "20.jsonl")) == 1 and asked[-1] == ("PUT", "20.jsonl"):
            s3.put("20.jsonl", b"theirs")

    s3_proxy(meddle)

    done = run_task(operator(grain="hour", s3_key="{start:%H}.jsonl"), interval=day.interval, retries=3)

    assert done.state == "failed"
    assert "20.jsonl holds something this package did not write" in str(done.error)
    assert s3.get("20.jsonl") == b"theirs"
    assert len(s3.keys()) == 24
    assert [command for command, name in asked if name == "23.jsonl"] == ["HEAD", "PUT"]


def test_an_object_that_grows_meanwhile_is_not_shrunk(operator, run_task, sandbox, s3, s3_proxy, day):
    """A run that read fewer records than another wrote meanwhile does not put its own over them."""
    sandbox.add(n=2, at=day.ms[0])
    run_task(operator(s3_key="x.jsonl"), interval=day.interval)
    metadata = {**s3.metadata("x.jsonl"), "records": "9", "body-size": str(len(b"newer"))}

    def meddle(handler):
        if handler.command == "PUT" and s3.get("x.jsonl") != b"newer":
            s3.put("x.jsonl", b"newer", **metadata)

    s3_proxy(meddle)

    done = run_task(operator(s3_key="x.jsonl"), interval=day.interval, clear_number=1, retries=3)

    assert done.state == "failed"
    assert "holds 9 records, and the exchange now answers 2" in str(done.error)
    assert s3.get("x.jsonl") == b"newer"


@pytest.mark.parametrize("change", ["appears", "changes", "vanishes"])
def test_a_change_that_may_be_replaced_is_replaced(operator, run_task, sandbox, s3, s3_proxy, day, rows, change):
    """A put that met another state than it had seen looks again and, if it may, puts again."""
    sandbox.add(n=2, at=day.ms[0])
    run_task(operator(s3_key="x.jsonl"), interval=day.interval)
    metadata, meddled = s3.metadata("x.jsonl"), []
    if change == "appears":
        s3.client.delete_object(Bucket=s3.name, Key="x.jsonl")

    def meddle(handler):
        if handler.command == "PUT" and not meddled:
            meddled.append(1)
            if change == "vanishes":
                s3.client.delete_object(Bucket=s3.name, Key="x.jsonl")
            else:
                s3.put("x.jsonl", b"another", **metadata)

    s3_proxy(meddle)

    done = run_task(operator(s3_key="x.jsonl"), interval=day.interval, clear_number=1)

    assert done.state == "success", done.error
    assert sandbox.records(*day.ms) == rows(s3.get("x.jsonl"))


@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
@pytest.mark.parametrize("ways", [[0, 1, 2], [0, 1, 1]], ids=["always", "at-first"])
def test_a_key_that_never_rests_is_for_a_retry(operator, run_task, s3, s3_proxy, day, there, ways):
    """If others write the key, the task fails in a way that Airflow tries again, and says that it was changed."""
    run_task(operator(s3_key="x.jsonl"), interval=day.interval)
    metadata, versions = s3.metadata("x.jsonl"), iter(ways)
    if not there:
        s3.client.delete_object(Bucket=s3.name, Key="x.jsonl")

    def meddle(handler):
        if handler.command != "PUT":
            return None
        s3.put("x.jsonl", b"%d" % next(versions), **metadata)
        return s3_proxy.error(412, "PreconditionFailed")

    s3_proxy(meddle)

    done = run_task(operator(s3_key="x.jsonl"), interval=day.interval, clear_number=1, retries=3)

    assert done.state == "up_for_retry"
    assert "was changed by somebody else" in str(done.error)


@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
@pytest.mark.parametrize(
    ("status", "code"), [(412, "PreconditionFailed"), (409, "ConditionalRequestConflict"), (404, "NoSuchKey")]
)
def test_a_condition_that_is_refused_of_an_unchanged_object(operator, run_task, s3, s3_proxy, day, status, code, there):
    """Nobody is blamed whose trace is not there: it is the store, or a gateway before it."""
    if there:
        run_task(operator(s3_key="x.jsonl"), interval=day.interval)
    before = snapshot(s3)
    s3_proxy(lambda handler: s3_proxy.error(status, code) if handler.command == "PUT" else None)

    done = run_task(operator(s3_key="x.jsonl"), interval=day.interval, clear_number=1, retries=3)

    assert (done.state, before) == ("up_for_retry", snapshot(s3))
    assert "somebody" not in str(done.error)
    for said in (f"s3://{s3.name}/x.jsonl", "ETag", "gateway", "If-None-Match"):
        assert said in str(done.error)


def test_a_store_without_conditions_gets_a_plain_put_and_one_warning(
    operator, run_task, sandbox, s3, s3_proxy, day, caplog
):
    """A store that answers 501 to a condition is written to without, which is told once."""
    puts = []

    def meddle(handler):
        if handler.command == "PUT":
            condition = handler.headers["If-None-Match"] or handler.headers["If-Match"]
            puts.append(condition)
            return s3_proxy.error(501, "NotImplemented") if condition else None
        return None

    s3_proxy(meddle)
    sandbox.add(n=2, at=day.ms[0])

    done = run_task(operator(grain="hour"), interval=day.interval)

    assert done.state == "success", done.error
    assert len(s3.keys()) == 24
    assert puts.count(None) == 24
    warnings = [r for r in caplog.records if "does not support conditional puts" in r.getMessage()]
    assert len(warnings) == 1


def without(handler, names):
    """A request without some of its headers."""
    for name in names:
        del handler.headers[name]


CONDITIONS = ("If-None-Match", "If-Match")


@pytest.mark.parametrize(
    ("ignored", "there", "warned"),
    [
        (CONDITIONS, False, True),
        (CONDITIONS, True, True),
        (CONDITIONS[:1], False, True),
        (CONDITIONS[:1], True, False),
        (CONDITIONS[1:], False, False),
        (CONDITIONS[1:], True, True),
        ((), False, False),
        ((), True, False),
    ],
)
def test_a_store_that_ignores_conditions_in_silence(
    operator, run_task, sandbox, s3, s3_proxy, day, rows, caplog, ignored, there, warned
):
    """It is found out by a condition that nothing fulfils, and told once; what is written is right in any case."""
    if there:
        run_task(operator(grain="hour"), interval=day.interval)
    puts = []

    def meddle(handler):
        if handler.command == "PUT":
            puts.append(handler.path)
            without(handler, ignored)

    s3_proxy(meddle)
    sandbox.add(n=48, at=day.ms[0], step_ms=1_800_000)

    done = run_task(operator(grain="hour"), interval=day.interval, clear_number=1)

    assert done.state == "success", done.error
    assert sandbox.records(*day.ms) == [row for key in sorted(s3) for row in rows(s3.get(key))]
    assert len(puts) == 25
    warnings = [r for r in caplog.records if "does not support conditional puts" in r.getMessage()]
    assert len(warnings) == warned


@pytest.mark.parametrize("host", ["s3.eu-central-1.amazonaws.com", "bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com"])
def test_aws_is_not_put_to_the_test(monkeypatch, host):
    """What it is known to do costs no request."""
    asked = []

    def answer(request, **_):
        asked.append(request.method)
        return AWSResponse(
            request.url, 404 if len(asked) == 1 else 200, {}, HTTPResponse(io.BytesIO(), preload_content=False)
        )

    extra = {"endpoint_url": f"https://{host}", "region_name": "eu-central-1"}
    conn = {"conn_type": "aws", "login": "a", "password": "b", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(conn))
    store = ObjectStore(S3Hook(), "a-bucket", {})
    store._client.meta.events.register("before-send.s3", answer)

    put_a_row(store, "x.jsonl", lambda _: None)
    assert asked == ["HEAD", "HEAD", "PUT"]

    put_a_row(store, "x.jsonl", lambda _: None, is_new=True)
    assert asked[3:] == ["PUT"]


def framed(handler):
    """A body as it is with the framing of a checksum that follows it."""
    body = handler.body
    checksum = b"\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    handler.__dict__["body"] = b"%x\r\n%b%b" % (len(body), body, checksum)
    del handler.headers["Content-MD5"]
    handler.headers.replace_header("Content-Length", str(len(handler.body)))
    for name in [name for name in handler.headers if name.lower().startswith(("x-amz-checksum", "x-amz-sdk"))]:
        del handler.headers[name]


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "parquet"])
def test_a_store_that_keeps_the_framing_of_checksums(operator, run_task, sandbox, s3, s3_proxy, day, suffix):
    """An object that is longer than what was put is noticed, and the cure is named."""
    sandbox.add(n=2, at=day.ms[0])
    s3_proxy(lambda handler: framed(handler) if handler.command == "PUT" else None)

    done = run_task(operator(s3_key=f"x.{suffix}"), interval=day.interval, retries=3)

    assert done.state == "failed"
    size = len(s3.get(f"x.{suffix}"))
    for said in (f"s3://{s3.name}/x.{suffix}", f"has {size}", '"request_checksum_calculation": "when_required"'):
        assert said in str(done.error)


def test_an_object_that_another_replaced_meanwhile_is_not_measured(operator, run_task, s3, s3_proxy, day):
    """It may have any length."""
    put = []

    def meddle(handler):
        if handler.command == "PUT":
            put.append(1)
        elif put:
            s3.put("x.jsonl", b"longer than nothing", records="7")

    s3_proxy(meddle)

    assert run_task(operator(s3_key="x.jsonl"), interval=day.interval).state == "success"


@pytest.mark.parametrize("attempts", [1, 3], ids=["by-airflow", "by-boto"])
def test_a_put_whose_answer_was_lost(operator, run_task, sandbox, s3, s3_proxy, day, rows, attempts):
    """A put that arrived, though the answer said otherwise, is not mistaken for another's when it is tried again."""
    sandbox.add(n=2, at=day.ms[0])
    lost = []

    def meddle(handler):
        if handler.command == "PUT" and not lost:
            lost.append(s3_proxy.forward(handler))
            return s3_proxy.error(500, "InternalError")
        return None

    s3_proxy(meddle, attempts)

    done = run_task(operator(s3_key="x.jsonl"), interval=day.interval, retries=3)
    if attempts == 1:
        assert done.state == "up_for_retry"
        done = run_task(operator(s3_key="x.jsonl"), interval=day.interval, try_number=2, retries=3)

    assert done.state == "success", done.error
    assert sandbox.records(*day.ms) == rows(s3.get("x.jsonl"))


# What a store answers


CHECKSUMS = ('"request_checksum_calculation": "when_required"', '"response_checksum_validation": "when_required"')


@pytest.mark.parametrize(
    ("status", "code", "state"),
    [
        (400, "InvalidArgument", "failed"),
        (400, "InvalidRequest", "failed"),
        (411, "MissingContentLength", "failed"),
        (411, None, "failed"),
        (501, "NotImplemented", "failed"),
        (501, None, "failed"),
        (403, "SignatureDoesNotMatch", "failed"),
        (400, "XAmzContentSHA256Mismatch", "up_for_retry"),
        (400, "BadDigest", "up_for_retry"),
        (400, None, "up_for_retry"),
    ],
)
def test_a_store_that_does_not_know_the_checksums_of_newer_boto3(
    operator, run_task, s3, s3_proxy, day, status, code, state
):
    """Whatever it answers, the setting that helps is named."""
    answer = (status, {}, b"") if code is None else s3_proxy.error(status, code)
    s3_proxy(lambda handler: answer if handler.command == "PUT" else None)

    done = run_task(operator(), interval=day.interval, retries=3)

    assert (done.state, []) == (state, s3.keys())
    assert all(said in str(done.error) for said in ("PUT s3://", code or str(status), "boto3", *CHECKSUMS))


def test_the_setting_for_such_a_store_helps(operator, run_task, connect, sandbox, s3, serve, day, rows):
    """A store that refuses the headers of checksums is written to with the connection's extra as it is documented."""

    def answer(handler):
        if any(
            name.lower().startswith(("x-amz-checksum", "x-amz-sdk-checksum", "x-amz-trailer"))
            for name in handler.headers
        ):
            return s3_error(400, "InvalidArgument")
        return forward(handler, s3.url)

    sandbox.add(n=2, at=day.ms[0])
    extra = {"endpoint_url": serve(answer), "region_name": "us-east-1"}
    connect(aws={**s3.connection(), "extra": json.dumps(extra)})
    refused = run_task(operator(), interval=day.interval)
    (cure,) = re.findall(r"\{.*\}", str(refused.error))
    connect(aws={**s3.connection(), "extra": json.dumps({**extra, **json.loads(cure)})})

    done = run_task(operator(), interval=day.interval)

    assert (refused.state, done.state) == ("failed", "success"), (refused.error, done.error)
    assert sandbox.records(*day.ms) == rows(s3.get(day.key))


@pytest.mark.parametrize(
    ("status", "state", "causes"),
    [(400, "up_for_retry", ("token has expired", "region_name")), (403, "failed", ("s3:GetObject", "key", "token"))],
)
def test_a_head_without_a_reason_names_the_likely_ones(operator, run_task, s3_proxy, day, status, state, causes):
    """S3 answers no body to it."""
    s3_proxy(lambda handler: (status, {}, b"") if handler.command == "HEAD" else None)

    done = run_task(operator(), interval=day.interval, retries=3)

    assert done.state == state
    assert all(said in str(done.error) for said in ("HEAD s3://", f"({status})", *causes))


def of_the_bucket(handler, s3):
    return handler.command == "HEAD" and urlsplit(handler.path).path.strip("/") == s3.name


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_a_bucket_that_may_not_be_looked_at_is_used(operator, run_task, sandbox, s3, s3_proxy, day, rows, status):
    """A policy may allow to read and write objects and nothing else: that proves nothing."""
    looks = []

    def meddle(handler):
        if of_the_bucket(handler, s3):
            looks.append(1)
            return status, {}, b""
        return None

    s3_proxy(meddle)
    sandbox.add(n=48, at=day.ms[0], step_ms=1_800_000)

    done = run_task(operator(grain="hour"), interval=day.interval)

    assert done.state == "success", done.error
    assert sandbox.records(*day.ms) == [row for key in sorted(s3) for row in rows(s3.get(key))]
    assert looks == [1]


@pytest.mark.parametrize(
    ("status", "said"), [(404, "the bucket does not exist"), (301, "the bucket is in another region")]
)
def test_a_bucket_that_is_not_there_is_told_beside_the_first_page(
    operator, run_task, sandbox, s3, s3_proxy, day, status, said
):
    """To look for an object in it is answered as if only that were missing."""
    region = {"x-amz-bucket-region": "eu-west-1"}
    s3_proxy(lambda handler: (status, region, b"") if of_the_bucket(handler, s3) else None)

    done = run_task(operator(), interval=day.interval, retries=3)

    assert (done.state, len(sandbox.requests) <= 1, s3.keys()) == ("failed", True, [])
    assert f"s3://{s3.name}/" in str(done.error)
    assert said in str(done.error)


@pytest.mark.parametrize("on_gap", ["fail", "report"])
def test_a_lake_without_a_bucket_has_no_gaps(run_task, connect, day, on_gap):
    """It is an error, whatever is to become of gaps."""
    task = ForceLiquidationAuditOperator(task_id="audit", s3_bucket="there-is-no-such-bucket", on_gap=on_gap)

    done = run_task(task, interval=day.interval, retries=3)

    assert (done.state, done.result) == ("failed", None)
    assert "the bucket does not exist" in str(done.error)


def test_as_many_connections_as_workers(api, s3, s3_proxy, caplog, monkeypatch):
    """None is thrown away to be opened anew, which urllib3 would warn of each time."""
    everybody = threading.Barrier(64, timeout=60)

    def meddle(handler):
        if handler.command == "HEAD" and not of_the_bucket(handler, s3):
            everybody.wait()

    s3.put("x", b"")
    s3_proxy(meddle)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(api.conns["aws_default"]))
    store = ObjectStore(S3Hook(), s3.name, {})
    with ThreadPoolExecutor(64) as threads:
        assert all(threads.map(lambda _: store.head("x"), range(128)))

    assert "Connection pool is full" not in caplog.text


# Never what is not over


@pytest.mark.parametrize("ahead", [400, 3600])
def test_what_the_exchanges_clock_has_not_reached_is_not_written(operator, run_task, sandbox, s3, monkeypatch, ahead):
    """This machine's clock, which is ahead, says that the interval is over: what is read tells otherwise."""

    def wait(_, seconds, reason):
        raise AssertionError(f"{seconds:.0f} s are waited: {reason}")

    monkeypatch.setattr(BinanceHook, "wait", wait)
    end = datetime.now(UTC) - timedelta(seconds=120)
    sandbox.clock_offset_ms = -(120 + ahead) * 1000

    done = run_task(operator(s3_key="x.jsonl"), interval=(end - timedelta(days=1), end), retries=3)

    assert (done.state, s3.keys()) == ("failed", []), done.error
    assert "ends in the future (the exchange's clock says" in str(done.error)


# How it is put


@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
def test_a_key_of_the_users_own_goes_with_every_request(operator, run_task, sandbox, s3, s3_proxy, day, there):
    """S3 lets an object encrypted by it neither be looked at nor be read without it, as an audit does too."""
    lacking = []

    def meddle(handler):
        names = ("algorithm", "key", "key-md5")
        sent = [handler.headers[f"x-amz-server-side-encryption-customer-{name}"] for name in names]
        if not of_the_bucket(handler, s3) and (None in sent or b64decode(sent[1]).decode() != SSE_C_KEY):
            lacking.append(handler.command)
            return 400, {}, b""
        for name in names:  # which the server behind takes over https only
            del handler.headers[f"x-amz-server-side-encryption-customer-{name}"]
        return None

    s3_proxy(meddle)
    sandbox.add(n=2, at=day.ms[0])
    extra = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": SSE_C_KEY}
    for clear_number in range(1 + there):
        done = run_task(operator(s3_extra_args=extra), interval=day.interval, clear_number=clear_number)
        assert (done.state, lacking) == ("success", []), done.error
    task = ForceLiquidationAuditOperator(task_id="audit", s3_bucket=s3.name, s3_extra_args=extra, verify_content=True)

    done = run_task(task, interval=day.interval)

    assert (done.state, lacking) == ("success", []), done.error
    assert done.result["counts"]["complete"] == 1


def test_extra_arguments_reach_s3(operator, run_task, s3, day):
    """Encryption, storage class, ACL and metadata of the user's own are handed to S3, beside our metadata."""
    extra = {
        "ServerSideEncryption": "AES256",
        "StorageClass": "STANDARD_IA",
        "ACL": "public-read",
        "Metadata": {"team": "risk"},
        "CacheControl": "no-store",
    }

    done = run_task(operator(s3_extra_args=extra), interval=day.interval)

    assert done.state == "success", done.error
    head = s3.client.head_object(Bucket=s3.name, Key=day.key)
    assert ("AES256", "STANDARD_IA", "no-store") == (
        head["ServerSideEncryption"],
        head["StorageClass"],
        head["CacheControl"],
    )
    assert ("risk", "cross") == (head["Metadata"]["team"], head["Metadata"]["scope"])
    grants = s3.client.get_object_acl(Bucket=s3.name, Key=day.key)["Grants"]
    assert any(grant["Grantee"].get("URI", "").endswith("AllUsers") for grant in grants)


def test_a_template_in_extra_arguments_is_rendered_and_stored_nowhere(operator, run_task, s3, day, api):
    """A key that is named, not written, stands neither in the DAG nor among the rendered fields."""
    api.conns["lake_key"] = {"conn_type": "generic", "password": SSE_C_KEY}
    extra = {"CacheControl": "{{ conn.lake_key.password }}", "Metadata": {"day": "{{ data_interval_start | ds }}"}}
    task = operator(s3_extra_args=extra)

    done = run_task(task, interval=day.interval)

    assert done.state == "success", done.error
    head = s3.client.head_object(Bucket=s3.name, Key=day.key)
    assert (SSE_C_KEY, f"{day.start:%Y-%m-%d}") == (head["CacheControl"], head["Metadata"]["day"])
    assert "s3_extra_args" not in type(task).template_fields
    assert SSE_C_KEY not in repr((api.calls, done.xcom, done.result))


@pytest.mark.parametrize("name", ["records", "Records", "SCOPE", "Account", "attempt", "Body-Size"])
def test_metadata_of_the_users_own_cannot_fake_the_proof(operator, run_task, sandbox, s3, day, name):
    """Names that the proof uses stay ours, in whatever case they are given."""
    sandbox.add(n=2, at=day.ms[0])

    done = run_task(operator(s3_extra_args={"Metadata": {name: "7"}}), interval=day.interval)

    assert done.state == "success", done.error
    assert ("2", "cross") == (s3.metadata(day.key)["records"], s3.metadata(day.key)["scope"])


def test_extra_arguments_that_s3_does_not_have_are_told(operator, run_task, s3, day):
    """A misspelt argument is an error that says so, not a retry, and does not blame the store's conditions."""
    done = run_task(operator(s3_extra_args={"StorageKlass": "X"}), interval=day.interval, retries=3)

    assert done.state == "failed"
    assert "s3_extra_args" in str(done.error)
    assert s3.keys() == []


def test_a_misspelt_argument_is_not_taken_for_a_store_without_conditions(operator, run_task, day, caplog):
    """What boto itself refuses says nothing about the store."""
    run_task(operator(s3_extra_args={"StorageKlass": "X"}), interval=day.interval)

    assert "conditional" not in caplog.text


# Where it is put


def test_a_full_url_names_bucket_and_key(operator, run_task, s3, day):
    """An s3:// URL as the key needs no bucket beside it."""
    done = run_task(operator(s3_bucket=None, s3_key=f"s3://{s3.name}/a/{{start}}.jsonl"), interval=day.interval)

    assert done.state == "success", done.error
    assert ["a/20260115T000000Z.jsonl"] == s3.keys()


@pytest.mark.parametrize("folder", ["a b+c%20", "über/日本", "x=1&y=2?#"])
def test_a_key_may_hold_any_letters(operator, run_task, s3, day, folder):
    """Blanks, signs and letters of all scripts stand in the key as they were given."""
    for _ in range(2):
        done = run_task(operator(s3_key=f"{folder}/{{start}}.jsonl"), interval=day.interval, clear_number=5)

    assert done.state == "success", done.error
    assert [f"{folder}/20260115T000000Z.jsonl"] == s3.keys() == done.result["keys"]


@pytest.mark.parametrize("run_id", ["manual__ü ✓", " blanks ", "100%"])
def test_any_run_id_can_stand_in_the_metadata(operator, run_task, s3, day, run_id):
    """A run may be called what its user likes."""
    done = run_task(operator(), interval=day.interval, run_id=run_id)

    assert done.state == "success", done.error
    assert unquote(s3.metadata(day.key)["run-id"]).strip() == run_id.strip()


def test_a_window_that_never_agrees_with_its_total_keeps_no_others_away(month, sandbox, s3):
    """All others are loaded; the task is tried again, and then asks for what is missing alone."""
    before = snapshot(s3)
    month.hold(**{f"day{day}": 3 for day in range(1, 32)} | {"day5": 150, "day30": 1})
    sandbox.fault("repeat", current=2, times=None)

    done = month.load(clear_number=1)
    after = snapshot(s3)
    sandbox.clear_faults()
    sandbox.clear_log()
    again = month.load(clear_number=1, try_number=2)

    assert (done.state, {key for key in after if after[key] == before[key]}) == (
        "up_for_retry",
        {"05.jsonl", "30.jsonl"},
    )
    assert "2 of 31 objects could not be loaded, the others are" in str(done.error)
    assert "total stated as 150" in str(done.error)
    assert 0 < str(done.error).index("replace=False") < str(done.error).index("allow_shrink=True")
    assert (again.state, s3.metadata("05.jsonl")["records"]) == ("failed", "150")
    assert "2 records, and the exchange now answers 1" in str(again.error)
    assert len(sandbox.requests) == 2 + 2 + 1


def test_an_exchange_that_never_agrees_with_its_totals_is_left_alone(month, sandbox, s3):
    """Soon, and not asked for each object of a long run."""
    month.hold(**{f"day{day}": 150 for day in range(1, 32)})
    sandbox.fault("repeat", current=2, times=None)

    done = month.load(clear_number=1)

    assert done.state == "up_for_retry"
    assert "of 31 objects could not be loaded, and the run was given up" in str(done.error)
    assert len(sandbox.requests) <= 4 * 2 * (6 + 4)


def test_the_bucket_may_be_the_connections(operator, run_task, connect, s3, day):
    """Without a bucket, the one that the AWS connection names for S3 is taken."""
    extra = {**json.loads(s3.connection()["extra"]), "service_config": {"s3": {"bucket_name": s3.name}}}
    connect(aws={**s3.connection(), "extra": json.dumps(extra)})

    done = run_task(operator(s3_bucket=None), interval=day.interval)

    assert done.state == "success", done.error
    assert [day.key] == s3.keys()


def test_one_object_that_must_stay_fails_the_run_and_keeps_none_of_the_others_away(
    operator, run_task, sandbox, s3, day
):
    """All others are whole, nothing is told to the outlets, and the error says how many and which."""
    taken = "20260115T120000Z.jsonl.gz"
    s3.put(taken, b"theirs")
    sandbox.add(n=48, at=day.ms[0], step_ms=1_800_000)
    asset = Asset(name="liquidations", uri="s3://lake/liquidations")

    done = run_task(
        operator(grain="hour", s3_key="{start}.jsonl.gz", outlets=[asset]), interval=day.interval, retries=3
    )

    assert ("failed", b"theirs") == (done.state, s3.get(taken))
    assert [2] * 23 == [len(gzip.decompress(s3.get(key)).splitlines()) for key in s3 if key != taken]
    assert "1 of 24 objects could not be loaded, the others are" in str(done.error)
    assert f"s3://{s3.name}/{taken} holds something this package did not write" in str(done.error)
    assert "allow_shrink" not in str(done.error)
    assert not (done.final or {}).get("outlet_events")
