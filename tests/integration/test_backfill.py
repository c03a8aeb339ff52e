"""Wide backfills: the same bytes however they are written, in each format; and what moves meanwhile is noticed."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from pyarrow import parquet

from airflow_provider_binance_margin.exchange.force_liquidation import FORCE_LIQUIDATION

SUFFIXES = [".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet"]
TYPES = {
    ".jsonl": "application/x-ndjson",
    ".jsonl.gz": "application/gzip",
    ".csv": "text/csv; charset=utf-8",
    ".csv.gz": "application/gzip",
    ".parquet": "application/vnd.apache.parquet",
}
DAYS = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 11, tzinfo=UTC)
DAY = 86_400_000
HOUR = 3_600_000
#: day -> records, of which some take several pages and one is full to the last row
BUSY = {1: 1, 2: 100, 5: 257, 10: 101}


def at(day):
    return int(datetime(2026, 1, day, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def days(sandbox):
    """Ten days of which most are empty and some have ties, several pages and odd rows."""
    for day, number in BUSY.items():
        sandbox.add(n=number // 2, at=at(day), step_ms=0, symbol="ETHUSDT")
        sandbox.add(n=number - number // 2, at=at(day), step_ms=DAY // number, symbol="币安人生USDT")
    sandbox.add({"updatedTime": at(10) + 5, "note": {"a": [1, None, '"']}, "orderId": 2**63 - 1, "side": None})
    return sandbox


def by_id(records):
    return sorted(records, key=lambda record: int(record["orderId"]))


def records_of(body, suffix):
    """What an independent reader finds, in the terms of the exchange."""
    columns = FORCE_LIQUIDATION.columns
    if suffix == ".parquet":
        table = parquet.read_table(io.BytesIO(body))
        table = table.rename_columns([*columns, "extra"])
        rows = table.set_column(9, "updatedTime", table["updatedTime"].cast("int64")).to_pylist()
        decimals = [name for name, kind in columns.items() if kind == "decimal"]
        rows = [{**row, **{name: f"{row[name]:.8f}" for name in decimals}} for row in rows]
    else:
        text = (gzip.decompress(body) if suffix.endswith(".gz") else body).decode()
        if suffix.startswith(".jsonl"):
            return [json.loads(line) for line in text.splitlines()]
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        integers = [name for name, kind in columns.items() if kind in ("integer", "timestamp")]
        rows = [
            {
                **{name: value or None for name, value in row.items()},
                **{name: int(row[name]) for name in integers},
                "isIsolated": row["isIsolated"] == "true",
            }
            for row in rows
        ]
    extras = [row.pop("extra") for row in rows]
    return [{**row, **json.loads(extra or "{}")} for row, extra in zip(rows, extras, strict=True)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_bytes_under_a_key_do_not_depend_on_how_they_were_written(operator, run_task, days, s3, suffix):
    """By a wide run, by a daily one, again, by one worker or by 64, in windows of an hour: always the same."""
    options = {"s3_key": "{start:%Y-%m-%d}" + suffix, "grain": "day"}
    done = run_task(operator(**options), interval=DAYS, run_id="wide")
    written = s3.objects()

    assert (done.state, 10, 460) == ("success", done.result["objects"], done.result["records"]), done.error
    assert sum(BUSY.values()) + 1 == done.result["records"]
    for key, body in written.items():
        start = int(datetime.fromisoformat(key[:10]).replace(tzinfo=UTC).timestamp() * 1000)
        assert by_id(days.records(start, start + DAY)) == by_id(records_of(body, suffix))
    assert {TYPES[suffix]} == {
        s3.client.head_object(Bucket=s3.name, Key=key)["ContentType"] for key in (next(iter(written)), key)
    }
    for number, more in enumerate([{}, {"max_workers": 1}, {"max_workers": 64}], 1):
        assert (
            run_task(operator(**options, **more), interval=DAYS, run_id="wide", clear_number=number).state == "success"
        )
        assert written == s3.objects()
    for number, (day, more) in enumerate([(5, {"max_span": 3 * 3600}), (10, {"grain": None}), (4, {})]):
        start = datetime(2026, 1, day, tzinfo=UTC)
        task = operator(**{**options, **more})
        done = run_task(task, interval=(start, start + timedelta(days=1)), run_id=f"daily__{number}")
        assert done.state == "success", done.error
        assert done.result["requests"] >= 1
        assert written == s3.objects()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_digest_is_the_same_whatever_the_format(operator, run_task, days, s3, suffix):
    """Objects of one interval can be compared across formats by their metadata."""
    interval = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 6, tzinfo=UTC)
    run_task(operator(s3_key=f"x{suffix}"), interval=interval)
    run_task(operator(s3_key="y.jsonl"), interval=interval)

    same = ("records", "total", "records-sha256", "first-updated-time", "last-updated-time")
    assert [s3.metadata("y.jsonl")[name] for name in same] == [s3.metadata(f"x{suffix}")[name] for name in same]


MISFITS = [
    {"price": "0.123456789"},
    {"price": "1" * 31},
    {"qty": "1E-9"},
    {"avgPrice": ""},
    {"price": f"0.{'0' * 46}1"},
    {"symbol": 7},
    {"isIsolated": 0},
]


@pytest.mark.parametrize("misfit", MISFITS, ids=lambda misfit: "-".join(map(str, *misfit.items()))[:24])
def test_what_parquet_cannot_hold_fails_at_once_and_leaves_the_lake_alone(operator, run_task, sandbox, s3, day, misfit):
    """Nothing is rounded: the record is named, no object appears, nothing is retried; other formats hold it."""
    sandbox.add(n=5, at=day.ms[0])
    (base,) = sandbox.records(day.ms[0], day.ms[0] + 1)
    sandbox.clear()
    sandbox.load([{**base, **misfit, "orderId": 1234567890123456789}])
    s3.put("other", b"x")

    done = run_task(operator(s3_key="x.parquet"), interval=day.interval, retries=3)
    held = run_task(operator(s3_key="x.csv.gz"), interval=day.interval, retries=3)

    assert ("failed", ["other", "x.csv.gz"]) == (done.state, sorted(s3.objects()))
    assert "orderId 1234567890123456789" in str(done.error)
    assert next(iter(misfit)) in str(done.error)
    assert "Use .jsonl.gz or .csv.gz" in str(done.error)
    assert held.state == "success", held.error
    (row,) = csv.DictReader(io.StringIO(gzip.decompress(s3.get("x.csv.gz")).decode()))
    assert {name: str(value) for name, value in misfit.items()} == {name: row[name] for name in misfit}


def test_what_parquet_cannot_hold_replaces_nothing(operator, run_task, sandbox, s3, day):
    """An object of an earlier run stays as it was."""
    sandbox.add(n=5, at=day.ms[0])
    run_task(operator(s3_key="x.parquet"), interval=day.interval)
    before = s3.objects()
    sandbox.add({"updatedTime": day.ms[0], "price": "0.000000001"})

    done = run_task(operator(s3_key="x.parquet"), interval=day.interval, clear_number=1, retries=3)

    assert ("failed", before) == (done.state, s3.objects())


def test_a_sum_over_parquet_is_exact(operator, run_task, sandbox, s3, day):
    """Decimals stay decimals: a tenth and two make three tenths, and no digit of a large number is lost."""
    for price in ("0.10000000", "0.20000000", "123456789012345678901234567.00000001"):
        sandbox.add({"updatedTime": day.ms[0], "price": price})

    run_task(operator(s3_key="x.parquet"), interval=day.interval)

    values = parquet.read_table(io.BytesIO(s3.get("x.parquet")))["price"].to_pylist()
    assert sorted(values) == [Decimal("0.1"), Decimal("0.2"), Decimal("123456789012345678901234567.00000001")]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_object_is_not_replaced_by_a_smaller_one(operator, run_task, sandbox, s3, day, suffix):
    """The error names both counts and the key, whatever the format; with leave to shrink it is."""
    sandbox.add(n=103, at=day.ms[0])
    run_task(operator(s3_key=f"x{suffix}"), interval=day.interval)
    before = s3.objects()
    sandbox.clear()
    sandbox.add(n=101, at=day.ms[0])

    kept = run_task(operator(s3_key=f"x{suffix}"), interval=day.interval, clear_number=1, retries=3)
    held = s3.objects()
    shrunk = run_task(operator(s3_key=f"x{suffix}", allow_shrink=True), interval=day.interval, clear_number=2)

    assert ("failed", before) == (kept.state, held)
    assert f"s3://{s3.name}/x{suffix} holds 103 records, and the exchange now answers 101" in str(kept.error)
    assert ("success", "101") == (shrunk.state, s3.metadata(f"x{suffix}")["records"])


# While pages are in flight

FAULTS = [
    ("enter", {}),
    ("enter", {"when": "after"}),
    ("enter", {"at": "tail"}),
    ("enter", {"at": "middle", "n": 99}),
    ("leave", {}),
    ("leave", {"at": "tail", "when": "after"}),
    ("leave", {"n": 150}),
    ("update", {}),
    ("update", {"at": "head", "when": "after"}),
    ("duplicate", {}),
    ("short", {}),
    ("short", {"n": 50}),
    ("empty", {}),
    ("repeat", {}),
    ("twin", {}),
    ("total", {}),
    ("cut", {}),
    ("slow-body", {"seconds": 0.2}),
]


@pytest.mark.parametrize("page", [2, 10])
@pytest.mark.parametrize(
    ("fault", "options"),
    FAULTS,
    ids=[f"{name}-{'-'.join(map(str, more.values()))}".strip("-") for name, more in FAULTS],
)
def test_what_moves_while_pages_are_in_flight_is_noticed(operator, run_task, sandbox, s3, day, fault, options, page):
    """Something happens at one of ten pages at once: what is written is what the exchange held at one moment."""
    sandbox.add(n=985, at=day.ms[0] + 1000)
    before = by_id(sandbox.records(*day.ms))
    sandbox.latency = 0.003
    sandbox.fault(fault, **{"current": page, **options})

    done = run_task(operator(s3_key="x.jsonl"), interval=day.interval)

    assert done.state == "success", done.error
    assert by_id(records_of(s3.get("x.jsonl"), ".jsonl")) in (by_id(sandbox.records(*day.ms)), before)
    assert any(entry.fault for entry in sandbox.requests)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("short", "distinct records seen, total stated as 985"),
        ("repeat", "distinct records seen, total stated as 985"),
        ("duplicate", "the answer could not be read"),  # it has more rows than were asked for
    ],
)
def test_pages_that_are_always_wrong_end_in_a_clear_error(operator, run_task, sandbox, s3, day, fault, words):
    """Read again a few times, then an error with both numbers; nothing is written, and Airflow may try later."""
    sandbox.add(n=985, at=day.ms[0])
    sandbox.fault(fault, current=5, times=None)

    done = run_task(operator(grain="day"), interval=day.interval, retries=1)

    assert ("up_for_retry", []) == (done.state, s3.keys())
    assert words in str(done.error)


@pytest.mark.parametrize(("fault", "page"), [("duplicate", 10), ("empty", 5)])
def test_pages_that_are_always_wrong_are_made_up_for(operator, run_task, sandbox, s3, day, fault, page):
    """A row that is there twice is taken once; where a page brings nothing, the window is read by its halves."""
    sandbox.add(n=985, at=day.ms[0], step_ms=DAY // 985)
    sandbox.fault(fault, current=page, times=None)

    done = run_task(operator(s3_key="x.jsonl"), interval=day.interval)

    assert done.state == "success", done.error
    assert by_id(sandbox.records(*day.ms)) == by_id(records_of(s3.get("x.jsonl"), ".jsonl"))


def test_grains_are_read_apart_while_one_of_them_moves(operator, run_task, sandbox, s3, day):
    """Of a day in hours, only the hour that moved is read again."""
    sandbox.add(n=24 * 150, at=day.ms[0], step_ms=DAY // (24 * 150))
    sandbox.fault("leave", current=2, skip=7)

    done = run_task(operator(grain="hour", s3_key="{start}.csv.gz"), interval=day.interval)

    assert (done.state, done.result["records"]) == ("success", 3599), done.error
    asked = Counter(entry.params["startTime"] for entry in sandbox.requests)
    *still, moved = sorted(asked.values())
    assert still == [4] * 23  # two pages, and the same two to confirm them
    assert moved in (6, 8)  # it moved while it was read, or while it was confirmed
    assert done.result["requests"] == asked.total()
    written = [row for body in s3.objects().values() for row in records_of(body, ".csv.gz")]
    assert by_id(sandbox.records(*day.ms)) == by_id(written)
