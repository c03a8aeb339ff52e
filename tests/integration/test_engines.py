"""The snippets of docs/engines.md, run against objects that the operator wrote: what users paste gives what it says."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "engines.md"
SNIPPETS = {
    tuple(what.split()): code
    for what, code in re.findall(r"<!-- run: ([^>]*?) -->\n```(?:sql|python)\n(.*?)```", DOCS.read_text(), re.DOTALL)
}
SUFFIX = {"parquet": ".parquet", "jsonl": ".jsonl.gz", "csv": ".csv.gz", "any": ".parquet"}
PREFIX = "binance/margin/force_liquidation"
DAY = 86_400_000
FIRST = 1_768_435_200_000  # 2026-01-15
#: of the third of four days there is no object, and the second is empty
ROWS = [
    {"symbol": "BTCUSDT", "side": "SELL", "avgPrice": "67000.12345678", "executedQty": "0.00000003"},
    {"symbol": "BTCUSDT", "side": "SELL", "avgPrice": "0.12345678", "executedQty": "1.97487654"},
    {"symbol": "BTCUSDT", "side": "BUY", "avgPrice": "1.00000000", "executedQty": "2.00000000"},
    {"symbol": "币安人生USDT", "side": "SELL", "avgPrice": "0.00000931", "executedQty": "90000000000.00000001"},
]


def notional():
    """By hand, exact."""
    sums = {}
    for row in ROWS:
        records, total = sums.get((row["symbol"], row["side"]), (0, Decimal(0)))
        total += Decimal(row["avgPrice"]) * Decimal(row["executedQty"])
        sums[row["symbol"], row["side"]] = (records + 1, total)
    return sorted(((*key, *value) for key, value in sums.items()), key=lambda row: (-row[3], row[0], row[1]))


@pytest.fixture
def lake(operator, run_task, sandbox, s3, tmp_path):
    """A copy of what the operator wrote to S3, in a folder of the same layout."""

    def copy(kind, *, empty=False, twice=False):
        suffix = SUFFIX[kind]
        if not empty:
            for number, row in enumerate(ROWS):
                moment = FIRST + (number if number < 3 else 3 * DAY)
                sandbox.add({**row, "updatedTime": moment, "orderId": 7 + number})
        key = f"{PREFIX}/scope={{scope}}/dt={{start:%Y-%m-%d}}/{{start}}_{{end}}{suffix}"
        done = run_task(operator(s3_key=key, grain="day", start="2026-01-15", end="2026-01-19"))
        assert done.state == "success", done.error
        if twice:
            hourly = operator(s3_key=key, grain="hour", start="2026-01-15T00:00", end="2026-01-15T01:00")
            assert run_task(hourly).state == "success"
        s3.client.delete_object(Bucket=s3.name, Key=next(filter(re.compile("dt=2026-01-17").search, s3.keys())))
        for name, body in s3.objects().items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        return tmp_path / PREFIX

    return copy


def run(engine, kind, what, folder):
    """The rows a snippet gives."""
    code = SNIPPETS[engine, kind, what].replace("LAKE", str(folder))
    if engine == "duckdb":
        import duckdb

        with duckdb.connect() as connection:
            return connection.execute(code).fetchall()
    names = {}
    exec(compile(code, str(DOCS), "exec"), names)
    return names["result"].rows()


BY_ENGINE = sorted(key for key in SNIPPETS if key[2] == "notional")


def test_every_engine_has_its_snippets():
    """Nothing that the page offers goes untested by a slip of a name."""
    assert sorted(SNIPPETS) == [
        ("boto3", "any", "totals"),
        ("duckdb", "csv", "notional"),
        ("duckdb", "jsonl", "duplicates"),
        ("duckdb", "jsonl", "notional"),
        ("duckdb", "jsonl", "places"),
        ("duckdb", "parquet", "counts"),
        ("duckdb", "parquet", "duplicates"),
        ("duckdb", "parquet", "gaps"),
        ("duckdb", "parquet", "notional"),
        ("polars", "jsonl", "notional"),
        ("polars", "parquet", "duplicates"),
        ("polars", "parquet", "notional"),
    ]


@pytest.mark.parametrize(("engine", "kind", "what"), BY_ENGINE, ids=["-".join(key) for key in BY_ENGINE])
def test_price_times_quantity_is_exact(lake, engine, kind, what):
    """To the sixteenth place, in each engine and format; what it gives are decimals."""
    found = run(engine, kind, what, lake(kind))

    assert notional() == found
    assert {Decimal} == {type(row[3]) for row in found}


READING = sorted(key for key in SNIPPETS if key[0] != "boto3" and key[2] not in ("gaps", "counts"))


@pytest.mark.parametrize(("engine", "kind", "what"), READING, ids=["-".join(key) for key in READING])
def test_an_empty_lake_can_be_queried(lake, engine, kind, what):
    """Every snippet runs where every day is empty, and finds nothing."""
    assert run(engine, kind, what, lake(kind, empty=True)) == []


@pytest.mark.parametrize("empty", [False, True], ids=["rows", "empty"])
def test_a_missing_day_is_found(lake, empty):
    """A day without records is no gap, since it has an object."""
    assert run("duckdb", "parquet", "gaps", lake("parquet", empty=empty)) == [("cross", date(2026, 1, 17))]


DUPLICATES = sorted(key for key in SNIPPETS if key[2] == "duplicates")


@pytest.mark.parametrize(("engine", "kind", "what"), DUPLICATES, ids=["-".join(key) for key in DUPLICATES])
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_records_that_are_there_twice_are_found(lake, engine, kind, what, twice):
    """As when two grains lie under one prefix; a lake as it should be has none."""
    found = run(engine, kind, what, lake(kind, twice=twice))

    expected = [("BTCUSDT", 7, False, 2), ("BTCUSDT", 8, False, 2), ("BTCUSDT", 9, False, 2)] if twice else []
    assert expected == [row[:4] for row in found]


def test_values_with_more_places_are_found(lake, sandbox):
    """A cast would round them."""
    sandbox.add({"updatedTime": FIRST, "avgPrice": "0.123456789", "orderId": 99})
    sandbox.add({"updatedTime": FIRST, "executedQty": "0.1234567800", "orderId": 100})

    assert [99] == [row[1] for row in run("duckdb", "jsonl", "places", lake("jsonl"))]


def test_rows_can_be_counted_object_by_object(lake):
    """From the files' own footers."""
    found = run("duckdb", "parquet", "counts", lake("parquet"))

    assert [("20260115T000000Z_20260116T000000Z.parquet", 3), 0, 1] == [found[0], *(row[1] for row in found[1:])]


def test_counts_are_held_against_totals(lake, s3, monkeypatch):
    """By the metadata alone; what does not agree is listed."""
    lake("any")
    for name, value in {
        "AWS_ENDPOINT_URL": s3.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test-secret-key",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    code = SNIPPETS["boto3", "any", "totals"].replace("BUCKET", s3.name)
    found = []
    for metadata in ({}, {"records": "3", "total": "4"}):
        if metadata:
            s3.put(f"{PREFIX}/x", **metadata)
        names = {}
        exec(compile(code, str(DOCS), "exec"), names)
        names["s3"].close()
        found.append(names["result"])

    assert found == [[], [(f"{PREFIX}/x", "3", "4")]]
