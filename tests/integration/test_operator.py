"""The operator in Airflow's task runner, against the sandbox over real sockets and a real S3 server."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate
from urllib.parse import quote, unquote

import pytest
from airflow.sdk import Asset
from versions import PARTITIONS

from airflow_provider_binance_margin import __version__
from airflow_provider_binance_margin.lake.spool import Spool
from airflow_provider_binance_margin.transfers.bounded_map import OBJECTS_AT_ONCE

PREFIX = "binance/margin/force_liquidation/"
HOUR = 3_600_000
RECORDS = "/sapi/v1/margin/forceLiquidationRec"


def at(*when):
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000)


def at_compact(text):
    return int(datetime.strptime(text, "%Y%m%dT%H%M%S%z").timestamp() * 1000)


def pages(sandbox):
    return [entry for entry in sandbox.requests if entry.path == RECORDS]


def by_id(records):
    return sorted(records, key=lambda record: record["orderId"])


# What arrives


def test_a_day_arrives_whole(operator, run_task, sandbox, s3, day, rows):
    """Every record of the day, its first and last millisecond included, is in one object, oldest first."""
    for moment in (day.ms[0] - 1, day.ms[0], day.ms[1] - 1, day.ms[1]):
        sandbox.add(n=1, at=moment)
    sandbox.add(n=350, at=day.ms[0] + HOUR)

    done = run_task(operator(), interval=day.interval)

    assert done.state == "success", done.error
    assert [day.key] == s3.keys()
    loaded = rows(s3.get(day.key))
    assert len(loaded) == 352
    assert by_id(sandbox.records(*day.ms)) == by_id(loaded)
    assert [r["updatedTime"] for r in loaded] == sorted(r["updatedTime"] for r in loaded)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250, 1000])
def test_no_more_requests_than_the_records_need(operator, run_task, sandbox, day, count):
    """A day of n records takes one request for each hundred, one if there are none, and two more to confirm several.

    Where their number looks like a limit, the halves of the day are counted, and their halves if they look like one.
    """
    sandbox.add(n=count, at=day.ms[0])

    done = run_task(operator(), interval=day.interval)

    expected = max(1, math.ceil(count / 100))
    expected += 2 if expected > 1 else 0
    if count == 1000:  # all in one second: each half of the day, of the half day, ... is counted
        assert expected < done.result["requests"] <= expected + 2 * 20
        expected = done.result["requests"]
    assert (expected, expected) == (len(pages(sandbox)), done.result["requests"])
    assert len(sandbox.requests) == expected


@pytest.mark.parametrize(
    ("grain", "interval", "keys"),
    [
        (
            "hour",
            (datetime(2026, 1, 15, 6, tzinfo=UTC), datetime(2026, 1, 15, 8, tzinfo=UTC)),
            [
                "dt=2026-01-15/20260115T060000Z_20260115T070000Z.jsonl.gz",
                "dt=2026-01-15/20260115T070000Z_20260115T080000Z.jsonl.gz",
            ],
        ),
        (
            "day",
            (datetime(2026, 2, 28, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)),
            [
                "dt=2026-02-28/20260228T000000Z_20260301T000000Z.jsonl.gz",
                "dt=2026-03-01/20260301T000000Z_20260302T000000Z.jsonl.gz",
            ],
        ),
        (
            "month",
            (datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)),
            [
                "dt=2025-12-01/20251201T000000Z_20260101T000000Z.jsonl.gz",
                "dt=2026-01-01/20260101T000000Z_20260201T000000Z.jsonl.gz",
                "dt=2026-02-01/20260201T000000Z_20260301T000000Z.jsonl.gz",
            ],
        ),
    ],
    ids=["hour", "day", "month"],
)
def test_a_grain_cuts_the_interval(operator, run_task, sandbox, s3, rows, grain, interval, keys):
    """One object for each whole hour, day or month of the interval, each with its own records and no other's."""
    start, end = (int(bound.timestamp() * 1000) for bound in interval)
    sandbox.add(n=120, at=start, step_ms=(end - start) // 119)
    sandbox.add(n=1, at=end - 1)

    done = run_task(operator(grain=grain), interval=interval)

    assert done.state == "success", done.error
    assert [f"{PREFIX}account=binance_default/scope=cross/{key}" for key in keys] == s3.keys() == done.result["keys"]
    assert by_id(sandbox.records(start, end)) == by_id(row for key in s3 for row in rows(s3.get(key)))
    for key in s3:
        bounds = [at_compact(bound) for bound in key.rpartition("/")[2].split(".")[0].split("_")]
        assert by_id(sandbox.records(*bounds)) == by_id(rows(s3.get(key)))


def test_long_windows_are_cut_and_joined(operator, run_task, sandbox, s3, rows, day):
    """A month in one object is asked for in windows of a week and holds every record once, at the cuts too."""
    month = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    start = int(month[0].timestamp() * 1000)
    for week in range(5):
        for moment in (start + week * 7 * 24 * HOUR - 1, start + week * 7 * 24 * HOUR):
            sandbox.add(n=1, at=moment)

    run_task(operator(s3_key="m.jsonl"), interval=month)

    asked = [(int(e.params["startTime"]), int(e.params["endTime"])) for e in pages(sandbox)]
    windows = [(start + w * 7 * 24 * HOUR, min(start + (w + 1) * 7 * 24 * HOUR, at(2026, 2, 1)) - 1) for w in range(5)]
    # all but the last are looked at once more, side by side
    assert (windows, windows[:-1]) == (asked[: len(windows)], sorted(asked[len(windows) :]))
    assert by_id(sandbox.records(start, at(2026, 2, 1))) == by_id(rows(s3.get("m.jsonl")))


def test_a_window_the_exchange_finds_too_long_is_halved(operator, run_task, sandbox, s3, rows):
    """An exchange that allows a day at most is asked for what it allows, and the records are all there."""
    sandbox.settings.change(max_span_ms=24 * HOUR)
    start, end = at(2026, 1, 1), at(2026, 1, 8)
    sandbox.add(n=500, at=start, step_ms=(end - start) // 500)

    done = run_task(operator(s3_key="w.jsonl", start="2026-01-01", end="2026-01-08"))

    assert done.state == "success", done.error
    assert by_id(sandbox.records(start, end)) == by_id(rows(s3.get("w.jsonl")))


def test_rows_keep_the_exchanges_literals(operator, run_task, sandbox, s3, day):
    """A number is written as it was sent, an unknown field is kept, a big id is not rounded."""
    sandbox.add({"orderId": 2**63 - 1, "price": "0.10000000", "note": 1.50, "updatedTime": day.ms[0]})

    run_task(operator(s3_key="x.jsonl"), interval=day.interval)

    line = s3.get("x.jsonl")
    assert b'"orderId":9223372036854775807' in line
    assert b'"price":"0.10000000"' in line
    assert b'"note":1.5}' in line


def test_the_metadata_prove_the_object(operator, run_task, sandbox, s3, day):
    """What an object says of itself is complete and true."""
    sandbox.add(n=101, at=day.ms[0] + 5)
    before = sandbox.now_ms()

    run_task(operator(), interval=day.interval, run_id="scheduled__2026-01-15T00:00:00+00:00", clear_number=2)

    metadata = s3.metadata(day.key)
    fetched = datetime.fromisoformat(metadata.pop("fetched-at"))
    attempt = metadata["attempt"]
    assert len(attempt) == len(hashlib.sha256().hexdigest())
    assert before - 1000 <= fetched.timestamp() * 1000 <= sandbox.now_ms() + 1000
    assert metadata == {
        "dataset": "force_liquidation",
        "interval-start": "2026-01-15T00:00:00Z",
        "interval-end": "2026-01-16T00:00:00Z",
        "scope": "cross",
        "account": "binance_default",
        "dag-id": "a_dag",
        "run-id": "scheduled__2026-01-15T00:00:00+00:00",
        "clear-number": "2",
        "attempt": attempt,
        "records": "101",
        "rows": "101",
        "total": "101",
        "proof": "total",
        "records-sha256": hashlib.sha256(gzip.decompress(s3.get(day.key))).hexdigest(),
        "body-sha256": hashlib.sha256(s3.get(day.key)).hexdigest(),
        "body-size": str(len(s3.get(day.key))),
        "first-updated-time": "2026-01-15T00:00:00.005Z",
        "last-updated-time": "2026-01-15T00:00:00.105Z",
        "provider-version": __version__,
    }


@pytest.mark.parametrize(
    ("suffix", "content_type"), [("jsonl", "application/x-ndjson"), ("jsonl.gz", "application/gzip")]
)
def test_content_type_is_set_and_content_encoding_is_not(operator, run_task, s3, day, suffix, content_type):
    """A file stays the file it is: no client unpacks it on the way."""
    run_task(operator(s3_key=f"x.{suffix}"), interval=day.interval)

    head = s3.client.head_object(Bucket=s3.name, Key=f"x.{suffix}")
    assert content_type == head["ContentType"]
    assert "ContentEncoding" not in head


# Which interval


def test_explicit_bounds_are_templated_and_win(operator, run_task, sandbox, s3, day):
    """`start` and `end` may be templates, and are loaded whatever the run's own interval is."""
    task = operator(start="{{ data_interval_start - macros.timedelta(days=1) }}", end="{{ data_interval_start | ts }}")

    done = run_task(task, interval=day.interval)

    assert done.state == "success", done.error
    assert ("2026-01-14T00:00:00Z", "2026-01-15T00:00:00Z") == (done.result["start"], done.result["end"])
    assert done.result["source"] == "arguments"


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 1, 16, tzinfo=UTC)),
        (datetime(2026, 1, 15), datetime(2026, 1, 16)),  # noqa: DTZ001 - what a user may give
        ("2026-01-15", "2026-01-16"),
        ("2026-01-15T01:00:00+01:00", datetime(2026, 1, 16, 5, tzinfo=timezone(timedelta(hours=5)))),
    ],
    ids=["utc", "naive", "dates", "zones"],
)
def test_bounds_come_in_many_forms(operator, run_task, s3, day, start, end):
    """Datetimes and ISO 8601 text mean the same; what names no zone is UTC."""
    done = run_task(operator(start=start, end=end, grain="day"))

    assert done.state == "success", done.error
    assert [day.key] == s3.keys()


def test_a_bound_finer_than_a_second_is_in_the_key(operator, run_task, s3, sandbox, rows):
    """Milliseconds are kept, in the request, in the key and in the metadata."""
    start, end = at(2026, 1, 15) + 745, at(2026, 1, 15) + 2_000
    sandbox.add(n=3, at=start - 1)

    run_task(operator(start="2026-01-15T00:00:00.745Z", end="2026-01-15T00:00:02Z"))

    (key,) = s3.keys()
    assert key.endswith("/20260115T000000.745Z_20260115T000002Z.jsonl.gz")
    assert sandbox.records(start, end) == rows(s3.get(key))
    assert s3.metadata(key)["interval-start"] == "2026-01-15T00:00:00.745Z"


def test_templated_fields_reach_the_object(operator, run_task, api, s3, sandbox):
    """Bucket, key, connections, pair and the permission to shrink may all be templates."""
    api.conns["other"] = api.conns.pop("binance_default")
    api.conns["lake"] = api.conns.pop("aws_default")
    sandbox.add(n=2, at=at(2026, 1, 15), symbol="ETHUSDT", isolated=True)
    task = operator(
        s3_bucket="{{ params.bucket }}",
        s3_key="{{ params.folder }}/{scope}/{start:%Y%m}.jsonl",
        isolated_symbol="{{ params.pair }}",
        allow_shrink="{{ params.shrink }}",
        binance_conn_id="{{ params.exchange }}",
        aws_conn_id="{{ params.lake }}",
        params={
            "bucket": s3.name,
            "folder": "f",
            "pair": "ETHUSDT",
            "shrink": False,
            "exchange": "other",
            "lake": "lake",
        },
    )

    done = run_task(task, interval=(datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 1, 16, tzinfo=UTC)))

    assert done.state == "success", done.error
    assert ["f/ETHUSDT/202601.jsonl"] == s3.keys()
    assert done.result["records"] == 2


@pytest.mark.parametrize(
    ("key", "date", "grain", "interval"),
    [
        ("2026-01-15", "2026-01-15T00:00:00+00:00", "day", ("2026-01-15T00:00:00Z", "2026-01-16T00:00:00Z")),
        ("2026-01-15T07", "2026-01-15T07:00:00+00:00", "hour", ("2026-01-15T07:00:00Z", "2026-01-15T08:00:00Z")),
        ("2026-02", "2026-02-01T00:00:00+00:00", None, ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")),
        ("2026-01-15", None, None, ("2026-01-15T00:00:00Z", "2026-01-16T00:00:00Z")),
        ("whatever", "2026-01-15T00:00:00+00:00", "day", ("2026-01-15T00:00:00Z", "2026-01-16T00:00:00Z")),
        ("2026-01-15", None, "hour", ("2026-01-15T00:00:00Z", "2026-01-16T00:00:00Z")),
    ],
    ids=["day", "hour", "month", "key-alone", "own-key-form", "day-in-hours"],
)
def test_a_partitioned_run_loads_its_partition(operator, run_task, key, date, grain, interval):
    """The partition of a run is its interval: from its date, or from a key in one of our forms."""
    done = run_task(
        operator(grain=grain), partition_key=key, partition_date=date and datetime.fromisoformat(date), run_id="p"
    )

    assert done.state == "success", done.error
    assert (*interval, "partition") == (done.result["start"], done.result["end"], done.result["source"])


def test_an_interval_of_no_length_with_a_grain_is_the_last_whole_one(operator, run_task):
    """A bare cron string, which gives Airflow 3 runs an interval of no length, works with a grain."""
    tick = datetime(2026, 1, 16, 5, 30, tzinfo=UTC)

    done = run_task(operator(grain="day"), interval=(tick, tick))

    assert ("2026-01-15T00:00:00Z", "2026-01-16T00:00:00Z", "last_grain") == (
        done.result["start"],
        done.result["end"],
        done.result["source"],
    )


def event(extra):
    source = dict.fromkeys(("source_task_id", "source_dag_id", "source_run_id", "source_map_index"))
    return {
        "asset": {"name": "liquidations", "uri": "s3://lake/liquidations", "extra": {}},
        "extra": extra,
        **source,
        "source_aliases": [],
        "timestamp": "2026-01-20T00:00:00Z",
    }


def test_an_asset_run_loads_the_windows_of_its_events(operator, run_task, sandbox, s3, rows):
    """Windows of our own events and of a watcher's are joined where they touch and loaded one by one where not."""
    sandbox.add(n=3, at=at(2026, 1, 15))
    sandbox.add(n=4, at=at(2026, 1, 20))
    sandbox.add(n=5, at=at(2026, 1, 18))
    ours = {"start": "2026-01-15T00:00:00Z", "end": "2026-01-16T00:00:00Z", "records": 1}
    watched = {"from_trigger": True, "payload": {"start": "2026-01-20T00:00:00Z", "end": "2026-01-20T01:00:00Z"}}
    touching = {"start": "2026-01-16T00:00:00Z", "end": "2026-01-17T00:00:00Z"}

    done = run_task(operator(), events=[event(ours), event(watched), event(touching)], run_id="asset_triggered__1")

    assert done.state == "success", done.error
    assert done.result["source"] == "asset_events"
    assert [key.rpartition("/")[2] for key in s3] == [
        "20260115T000000Z_20260117T000000Z.jsonl.gz",
        "20260120T000000Z_20260120T010000Z.jsonl.gz",
    ]
    assert [3, 4] == [len(rows(s3.get(key))) for key in s3]


def test_windows_of_events_are_widened_to_whole_grains(operator, run_task, s3):
    """With a grain, what an event names is loaded as the whole grains that hold it."""
    watched = {
        "from_trigger": True,
        "payload": {"start": "2026-01-20T22:59:59.999Z", "end": "2026-01-21T00:00:00.001Z"},
    }

    done = run_task(operator(grain="hour"), events=[event(watched)], run_id="asset_triggered__1")

    assert done.state == "success", done.error
    assert ("2026-01-20T22:00:00Z", "2026-01-21T01:00:00Z", 3) == (
        done.result["start"],
        done.result["end"],
        done.result["objects"],
    )


def test_an_event_of_ours_is_the_interval_of_the_next_run(operator, run_task, sandbox, s3, day):
    """The outlet event carries the result without its keys, and a run that it triggers loads the same interval."""
    asset = Asset(name="liquidations", uri="s3://lake/liquidations")
    sandbox.add(n=7, at=day.ms[0])
    first = run_task(operator(outlets=[asset]), interval=day.interval)
    (told,) = first.final["outlet_events"]

    second = run_task(operator(s3_key="live/{start}.jsonl"), events=[event(told["extra"])], run_id="asset_triggered__1")

    assert told["extra"].pop("symbols") == {"force_liquidation": {"BTCUSDT": 7}}
    assert {name: value for name, value in first.result.items() if name != "keys"} == told["extra"]
    assert second.state == "success", second.error
    assert (first.result["start"], first.result["end"], 7) == (
        second.result["start"],
        second.result["end"],
        second.result["records"],
    )


# Settling


@pytest.mark.parametrize("offset_hours", [-1, 0, 1])
def test_settling_is_by_the_exchanges_clock(operator, run_task, sandbox, s3, rows, offset_hours):
    """An interval that ends now by the exchange's clock is read once it has settled, whatever this machine says."""
    sandbox.clock_offset_ms = offset_hours * HOUR
    end = sandbox.now_ms()
    sandbox.add(n=1, at=end - 5000)
    sandbox.add(n=1, at=end - 1)
    bounds = [datetime.fromtimestamp(bound / 1000, UTC) for bound in (end - 60_000, end)]

    done = run_task(operator(s3_key="now.jsonl", settle=0.3), interval=bounds)

    assert done.state == "success", done.error
    assert by_id(sandbox.records(end - 60_000, end)) == by_id(rows(s3.get("now.jsonl")))
    assert end + 300 <= datetime.fromisoformat(s3.metadata("now.jsonl")["fetched-at"]).timestamp() * 1000
    assert end + 300 <= pages(sandbox)[-1].time


def test_an_interval_that_ends_shortly_is_waited_for(operator, run_task, sandbox, s3):
    """An end that is near is waited for."""
    end = sandbox.now_ms() + 700
    bounds = [datetime.fromtimestamp(bound / 1000, UTC) for bound in (end - 60_000, end)]

    done = run_task(operator(s3_key="soon.jsonl", settle=timedelta(0)), interval=bounds)

    assert done.state == "success", done.error
    assert pages(sandbox)[-1].time >= end


# Doing it again


def test_a_run_again_gives_the_same_bytes(operator, run_task, sandbox, s3, day):
    """A run that was cleared fetches anew and writes the very bytes again."""
    sandbox.add(n=250, at=day.ms[0])
    run_task(operator(), interval=day.interval, clear_number=0)
    etag = s3.client.head_object(Bucket=s3.name, Key=day.key)["ETag"]
    sandbox.clear_log()

    done = run_task(operator(max_workers=1, max_span=3600), interval=day.interval, clear_number=1)

    assert done.state == "success", done.error
    assert etag == s3.client.head_object(Bucket=s3.name, Key=day.key)["ETag"]
    assert s3.metadata(day.key)["clear-number"] == "1"
    assert pages(sandbox)


def test_a_retry_does_not_fetch_what_is_done(operator, run_task, sandbox, s3, day):
    """A second try of the same run leaves finished objects alone, and tells the same result."""
    sandbox.add(n=250, at=day.ms[0])
    first = run_task(operator(grain="hour"), interval=day.interval, retries=3)
    s3.client.delete_object(Bucket=s3.name, Key=s3.keys()[7])
    sandbox.clear_log()

    second = run_task(operator(grain="hour"), interval=day.interval, try_number=2, retries=3)

    assert len(s3.keys()) == 24
    assert len(pages(sandbox)) == 1
    differing = {"requests"}
    assert {k: v for k, v in first.result.items() if k not in differing} == {
        k: v for k, v in second.result.items() if k not in differing
    }


def test_replace_false_leaves_what_is_there_alone(operator, run_task, sandbox, s3, day):
    """An object that exists is counted as done and its records are not asked for, by any run."""
    sandbox.add(n=5, at=day.ms[0])
    run_task(operator(), interval=day.interval)
    sandbox.add(n=5, at=day.ms[0])
    sandbox.clear_log()

    done = run_task(operator(replace=False), interval=day.interval, run_id="another", clear_number=3)

    assert done.state == "success", done.error
    assert ([], 5, 1) == (sandbox.requests, done.result["records"], done.result["objects"])
    assert s3.metadata(day.key)["records"] == "5"


# Nothing there


@pytest.mark.parametrize(
    ("on_empty", "state", "objects"), [("write", "success", 1), ("none", "success", 0), ("skip", "skipped", 0)]
)
def test_an_empty_interval(operator, run_task, s3, day, on_empty, state, objects):
    """An interval without records is written as an empty object, not written, or skips the task."""
    asset = Asset(name="liquidations", uri="s3://lake/liquidations")

    done = run_task(operator(on_empty=on_empty, outlets=[asset]), interval=day.interval)

    assert (state, objects) == (done.state, len(s3.keys()))
    if state == "success":
        assert (0, objects) == (done.result["records"], done.result["objects"])
    else:
        assert not (done.final or {}).get("outlet_events")
    if objects:
        assert gzip.decompress(s3.get(day.key)) == b""
        assert (s3.metadata(day.key)["records"], s3.metadata(day.key)["first-updated-time"]) == ("0", "")


def test_skip_is_for_runs_that_are_empty_as_a_whole(operator, run_task, sandbox, s3, day):
    """With a grain, empty hours are left out and the others are written."""
    sandbox.add(n=1, at=day.ms[0] + 3 * HOUR)

    done = run_task(operator(on_empty="skip", grain="hour"), interval=day.interval)

    assert ("success", 1, 1) == (done.state, done.result["objects"], len(s3.keys()))


# Isolated pairs


@pytest.mark.parametrize("pair", ["BTCUSDT", "币安人生USDT"])
def test_an_isolated_pair_has_objects_of_its_own(operator, run_task, sandbox, s3, rows, day, pair):
    """The pair is asked for by name, stands in the key as it is and in the metadata percent-encoded."""
    sandbox.add(n=101, at=day.ms[0], symbol=pair, isolated=True)
    sandbox.add(n=5, at=day.ms[0], symbol=pair)

    done = run_task(operator(isolated_symbol=pair), interval=day.interval)

    assert done.state == "success", done.error
    key = day.key.replace("scope=cross", f"scope={pair}")
    assert [key] == s3.keys()
    assert by_id(sandbox.records(*day.ms, pair)) == by_id(rows(s3.get(key)))
    assert quote(pair) == s3.metadata(key)["scope"]
    again = run_task(operator(isolated_symbol=pair), interval=day.interval, clear_number=1)
    assert again.state == "success", again.error


# What it leaves with Airflow


def test_the_result_is_small_and_says_what_was_done(operator, run_task, sandbox, s3, day):
    """The result names interval, source, counts and keys."""
    sandbox.add(n=3, at=day.ms[0])

    done = run_task(operator(), interval=day.interval)

    assert done.result == {
        "start": "2026-01-15T00:00:00Z",
        "end": "2026-01-16T00:00:00Z",
        "source": "data_interval",
        "dataset": "force_liquidation",
        "account": "binance_default",
        "scope": "cross",
        "bucket": s3.name,
        "records": 3,
        "objects": 1,
        "requests": 1,
        "bytes": len(s3.get(day.key)),
        "uri": f"s3://{s3.name}/{day.key}",
        "keys": [day.key],
    }


def test_the_result_names_a_hundred_keys_at_most(operator, run_task, day):
    """A run of many objects does not fill the database with their names."""
    done = run_task(operator(grain="hour", start="2026-01-01", end="2026-01-06"))

    assert (120, 100) == (done.result["objects"], len(done.result["keys"]))


@pytest.mark.parametrize(
    ("grain", "shown"),
    [
        (None, "/20260115T000000Z_20260116T000000Z.jsonl.gz"),
        ("hour", "/"),
    ],
    ids=["object", "folder"],
)
def test_the_links_open_what_was_written_and_the_page(operator, run_task, s3, day, grain, shown):
    """One leads to the object, or the folder of several, at the store's own address; one to the page."""
    done = run_task(operator(grain=grain), interval=day.interval)

    links = {name: json.dumps(value).strip('"') for name, value in done.xcom.items() if "link" in name.lower()}
    object_link, page_link = (links[f"_link_{name}"] for name in ("S3ConsoleLink", "CoverageLink"))
    assert object_link == f"{s3.url}/{s3.name}/{quote(day.key.rpartition('/')[0])}{shown}"
    assert page_link.endswith("/binance-margin/page")
    assert done.result["uri"] == "s3://" + unquote(object_link.removeprefix(s3.url + "/"))


@pytest.mark.parametrize(
    ("endpoint", "uri", "shown"),
    [
        (
            "https://s3.eu-west-1.amazonaws.com",
            "s3://b/a b/k.gz",
            "https://console.aws.amazon.com/s3/object/b?prefix=a%20b/k.gz",
        ),
        ("https://s3.amazonaws.com", "s3://b/a/", "https://console.aws.amazon.com/s3/buckets/b?prefix=a/"),
        ("https://s3.cn-north-1.amazonaws.com.cn", "s3://b/", "https://console.aws.amazon.com/s3/buckets/b"),
        ("http://minio:9000", "s3://b/a b/k.gz", "http://minio:9000/b/a%20b/k.gz"),
        ("https://x.r2.cloudflarestorage.com/", "s3://b/a/", "https://x.r2.cloudflarestorage.com/b/a/"),
        ("https://amazonaws.com.example:443", "s3://b/k", "https://amazonaws.com.example:443/b/k"),
    ],
)
def test_the_link_is_the_stores_own(endpoint, uri, shown):
    """AWS has a console; another store is not AWS's, and is opened at its own address."""
    from airflow_provider_binance_margin.transfers.margin_history_to_s3 import _object_url

    assert shown == _object_url(endpoint, uri)


def test_the_log_says_what_was_loaded(operator, run_task, sandbox, s3, day, told):
    """Short lines, the answer first: one for each object, folded where there are several, and the sums as the last."""
    sandbox.add(n=5, at=day.ms[0])
    run_task(operator(), interval=day.interval)
    one = told()
    run_task(operator(grain="hour", s3_key="hours/{start}.jsonl"), interval=day.interval)

    assert (
        f"Loaded 5 records to s3://{s3.name}/{day.key} (objects: 1, requests: 1, bytes: {len(s3.get(day.key))})" in one
    )
    assert "::group::24 objects" not in one
    several = told().removeprefix(one)
    places = [
        several.rindex(each)
        for each in ("::group::24 objects", f"0 records: s3://{s3.name}/hours/20260115T050000Z", "Loaded 5 records to ")
    ]
    assert places == sorted(places)


# While it runs


@pytest.mark.parametrize("workers", [1, 4])
def test_no_more_calls_at_once_than_asked_for(operator, run_task, sandbox, day, workers):
    """`max_workers` is the most calls in flight, over all objects of the run."""
    sandbox.add(n=3000, at=day.ms[0], step_ms=28_800)
    sandbox.latency = 0.002

    done = run_task(operator(grain="hour", max_workers=workers), interval=day.interval)

    assert done.state == "success", done.error
    assert 1 <= sandbox.connections <= workers


def test_a_timeout_ends_a_wait(operator, run_task, sandbox, s3, day):
    """A task that Airflow's timeout ends while it waits does not wait on."""
    sandbox.fault("429", times=None, retry_after=50)

    done = run_task(operator(execution_timeout=timedelta(seconds=1)), interval=day.interval, retries=1)

    assert (done.state, s3.keys(), len(sandbox.requests)) == ("up_for_retry", [], 1)
    assert "Timeout" in type(done.error).__name__


def test_a_killed_task_stops_waiting(operator, sandbox, monkeypatch):
    """`on_kill` ends what a task is waiting for."""
    from airflow_provider_binance_margin.hooks.binance import BinanceHook

    monkeypatch.setenv("AIRFLOW_CONN_BINANCE_DEFAULT", json.dumps(sandbox.connection()))
    sandbox.fault("429", times=None, retry_after=50)
    task = operator()
    task._hook = BinanceHook()

    def kill():
        while not sandbox.requests:
            time.sleep(0.01)
        task.on_kill()

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(Exception, match="closed while a call was waiting"):
        task._hook.force_liquidation_page()
    thread.join()

    assert len(sandbox.requests) == 1


# What is odd


def test_an_exchange_that_mixes_isolated_records_in_is_told_of_once(
    operator, run_task, sandbox, s3, caplog, monkeypatch, day
):
    """Isolated rows in an unfiltered answer are kept, and logged once, though several objects find them at once."""
    holds, barrier, met = Spool.holds, threading.Barrier(OBJECTS_AT_ONCE), threading.Event()

    def hold_together(spool, column, value):
        if not met.is_set():
            barrier.wait(60)  # the first objects, which are made side by side
            met.set()
        return holds(spool, column, value)

    monkeypatch.setattr(Spool, "holds", hold_together)
    sandbox.settings.change(unfiltered="all")
    sandbox.add(n=24, at=day.ms[0], step_ms=HOUR, isolated=True)

    done = run_task(operator(grain="hour"), interval=day.interval)

    assert done.result["records"] == 24
    (said,) = [message for message in caplog.messages if "isolated" in message]
    assert "go on loading each pair" in said
    assert "not needed" not in said


def test_rows_outside_the_window_are_kept_and_told_of(operator, run_task, sandbox, serve, connect, s3, caplog, day):
    """Which field the exchange filters on is not documented: a row whose time lies elsewhere is not dropped."""
    (row,) = sandbox.add(n=1, at=day.ms[0] - 5)
    page = json.dumps({"rows": [row], "total": 1}).encode()
    connect(host=serve(lambda _: (200, {"Date": formatdate(usegmt=True)}, page)))

    done = run_task(operator(), interval=day.interval)

    assert done.result["records"] == 1, done.error
    assert any("lie outside of it" in message for message in caplog.messages)


def test_without_an_aws_connection_botos_own_chain_is_used(operator, run_task, s3, day, monkeypatch):
    """`aws_conn_id=None` takes credentials and endpoint from where boto finds them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret-key")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)

    done = run_task(operator(aws_conn_id=None), interval=day.interval)

    assert done.state == "success", done.error
    assert [day.key] == s3.keys()


@PARTITIONS
def test_partitions_are_told_where_asked_for(operator, run_task, day):
    """With `emit_partitions`, outlets get one partition key for each grain; in a partitioned run, and else, none."""
    asset = Asset(name="liquidations", uri="s3://lake/liquidations")

    def keys(run=None, **options):
        done = run_task(operator(grain="hour", outlets=[asset], **options), **(run or {"interval": day.interval}))
        assert done.state == "success", done.error
        return json.dumps(done.final["outlet_events"])

    told = keys(emit_partitions=True)
    assert [f"2026-01-15T{hour:02d}" in told for hour in range(24)] == [True] * 24
    assert "2026-01-15T07" not in keys()
    assert "2026-01-15T07" not in keys({"partition_key": "2026-01-15"}, emit_partitions=True)
