"""The published queries, run against lakes of many kinds: what users paste counts each record once."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import msgspec
import pytest

from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.lake.formats import write_rows

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "engines.md"
READMES = ("README.md", "README.zh-CN.md")
FENCE = re.compile(r"(?:<!-- run: ([^>]*?) -->\n)?```(sql|python)\n(.*?)```", re.DOTALL)
SNIPPETS = {tuple(what.split()): code for what, _, code in FENCE.findall(DOCS.read_text()) if what}
PREFIX = "binance/margin/force_liquidation"
KEY = "account={account}/scope={scope}/dt={dt}/{dt}{suffix}"
SUFFIX = {"parquet": ".parquet", "jsonl": ".jsonl.gz", "csv": ".csv.gz"}
QUERIES = sorted(key for key in SNIPPETS if key[2] == "notional")
each_query = pytest.mark.parametrize(("engine", "kind", "what"), QUERIES, ids=["-".join(key) for key in QUERIES])


def ms(*when):
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000)


def row(order, at, *, symbol="BTCUSDT", side="SELL", isolated=False, price="2.00000000", qty="3.00000001"):
    return {
        "avgPrice": price,
        "executedQty": qty,
        "orderId": order,
        "price": price,
        "qty": qty,
        "side": side,
        "symbol": symbol,
        "timeInForce": "GTC",
        "isIsolated": isolated,
        "updatedTime": at,
    }


FIRST, SECOND, LAST, NEXT = "2026-01-15", "2026-01-16", "2026-01-31", "2026-02-01"
AT_FIRST, AT_SECOND, AT_LAST, AT_NEXT = ms(2026, 1, 15), ms(2026, 1, 16, 9), ms(2026, 1, 31, 23), ms(2026, 2, 1, 1)
ISOLATED = row(1, AT_FIRST, isolated=True, price="67000.12345678", qty="0.00000003")
#: seen on the first day, then executed further on the second
UPDATED = [row(2, AT_FIRST, isolated=True, qty="1.00000000"), row(2, AT_SECOND, isolated=True, qty="9.87654321")]
#: the same across the months: January does not count it any more
MOVED = [row(3, AT_LAST, qty="4.00000000"), row(3, AT_NEXT, qty="5.00000000")]
CROSS = [row(1, AT_FIRST), row(1, AT_FIRST, symbol="币安人生USDT", price="0.00000931", qty="90000000000.00000001")]
BUY = row(4, AT_SECOND, side="BUY", qty="0.12345678", price="0.87654321")

#: (account, scope, day) -> rows of the object there
LAKES = {
    # an unfiltered answer that holds the isolated rows too, updates within and across months, a row in a later window
    "mixed scopes": {
        ("main", "cross", FIRST): [*CROSS, ISOLATED, UPDATED[0]],
        ("main", "cross", SECOND): [BUY, CROSS[0], UPDATED[1]],
        ("main", "BTCUSDT", FIRST): [ISOLATED, UPDATED[0]],
        ("main", "BTCUSDT", SECOND): [UPDATED[1]],
        ("main", "cross", LAST): [MOVED[0]],
        ("main", "cross", NEXT): [MOVED[1]],
    },
    # the newer version lies before the older one in the order of the names
    "newest first": {
        ("main", "BTCUSDT", FIRST): [UPDATED[1], ISOLATED],
        ("main", "cross", SECOND): [UPDATED[0], ISOLATED],
    },
    "isolated pairs": {
        ("main", "cross", FIRST): CROSS,
        ("main", "cross", SECOND): [],
        ("main", "BTCUSDT", FIRST): [ISOLATED],
        ("main", "BTCUSDT", SECOND): [UPDATED[1]],
        ("main", "ETHUSDT", FIRST): [row(1, AT_FIRST, symbol="ETHUSDT", isolated=True)],
    },
    # ids are the exchange's, and another account's with the same one is another record; 7 looks like a number
    "two accounts": {
        ("main", "cross", FIRST): [*CROSS, ISOLATED],
        ("main", "BTCUSDT", FIRST): [ISOLATED],
        ("7", "cross", FIRST): [CROSS[0], ISOLATED],
        ("7", "cross", SECOND): [row(1, AT_SECOND, qty="8.00000000")],
    },
    "empty days": {
        ("main", "cross", FIRST): [],
        ("main", "cross", SECOND): [],
        ("main", "BTCUSDT", FIRST): [],
        ("second", "cross", FIRST): [],
    },
}
JANUARY = date(2026, 1, 1), date(2026, 1, 31)
each_lake = pytest.mark.parametrize("name", LAKES)


def newest(objects):
    """Each record of a lake, in its latest version, with the day of the object that holds it: by hand."""
    found = {}
    for (account, _, day), rows in objects.items():
        for each in rows:
            key = (account, each["symbol"], each["orderId"], each["isIsolated"])
            version = (each["updatedTime"], day, each)
            found[key] = max(found.get(key, version), version, key=lambda one: one[:2])
    return {key: (date.fromisoformat(day), each) for key, (_, day, each) in found.items()}


def notional(objects, *names, days=(date.min, date.max)):
    """Number and exact notional of the records of these days by these columns, largest first."""
    sums = defaultdict(lambda: (0, Decimal(0)))
    for (account, *_), (day, each) in newest(objects).items():
        if days[0] <= day <= days[1]:
            columns = {**each, "account": account, "dt": day}
            place = tuple(columns[name] for name in names)
            number, total = sums[place]
            sums[place] = (number + 1, total + Decimal(each["avgPrice"]) * Decimal(each["executedQty"]))
    return largest_first((*place, *value) for place, value in sums.items())


def largest_first(rows):
    return sorted(rows, key=lambda one: (-one[-1], *one[:-2]))


def body_of(rows, suffix):
    body = BytesIO()
    write_rows(map(msgspec.json.encode, rows), suffix, FORCE_LIQUIDATION.columns, body)
    return body.getvalue()


@pytest.fixture
def lake(tmp_path):
    """Writes a lake into a folder, an object for each of these."""

    def write(objects, kind):
        folder = tmp_path / PREFIX
        for (account, scope, dt), rows in objects.items():
            file = folder / KEY.format(account=account, scope=scope, dt=dt, suffix=SUFFIX[kind])
            file.parent.mkdir(parents=True)
            file.write_bytes(body_of(rows, SUFFIX[kind]))
        return folder

    return write


def run(engine, kind, what, folder):
    """The rows a snippet gives, after its section's view."""
    view = SNIPPETS.get((engine, kind, "view"), "")
    view, code = (text.replace("LAKE", str(folder)) for text in (view, SNIPPETS[engine, kind, what]))
    if engine == "polars":
        names = {}
        exec(compile(view + code, str(DOCS), "exec"), names)
        return names["result"].rows()
    import duckdb

    with duckdb.connect() as connection:
        if engine == "athena":
            files = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true, hive_types_autocast = false)"
            connection.execute(f"CREATE VIEW force_liquidation AS FROM {files}")
        connection.execute(view)
        return connection.execute(code).fetchall()


# What is published


def test_every_engine_has_its_snippets():
    """Nothing that the page offers goes untested by a slip of a name."""
    assert sorted(SNIPPETS) == [
        ("athena", "parquet", "notional"),
        ("athena", "parquet", "view"),
        ("boto3", "any", "totals"),
        ("duckdb", "csv", "notional"),
        ("duckdb", "csv", "view"),
        ("duckdb", "jsonl", "notional"),
        ("duckdb", "jsonl", "places"),
        ("duckdb", "jsonl", "view"),
        ("duckdb", "parquet", "copies"),
        ("duckdb", "parquet", "counts"),
        ("duckdb", "parquet", "gaps"),
        ("duckdb", "parquet", "notional"),
        ("duckdb", "parquet", "view"),
        ("polars", "jsonl", "notional"),
        ("polars", "jsonl", "view"),
        ("polars", "parquet", "notional"),
        ("polars", "parquet", "view"),
    ]


def test_no_page_has_a_query_that_is_not_run():
    """Whatever reads the lake, on whichever page, is a snippet of this file's or one of those that cannot be run."""
    pages = [ROOT / name for name in READMES] + sorted((ROOT / "docs").glob("*.md"))
    reads = re.compile(r"\b(?:SELECT|FROM|read_json|read_csv|read_parquet|scan_\w+|read_ndjson|spark)\b|duckdb|polars")
    found = {
        page.name: [code for what, language, code in FENCE.findall(page.read_text()) if not what and language == "sql"]
        + [code for what, _, code in FENCE.findall(page.read_text()) if not what and "import" in code]
        for page in pages
    }
    queries = {
        name: sum(bool(reads.search(code)) for code in codes if "airflow" not in code) for name, codes in found.items()
    }

    assert {name: number for name, number in queries.items() if number} == {
        "README.md": 1,
        "README.zh-CN.md": 1,
        "engines.md": 1,
    }


@pytest.mark.parametrize("page", READMES)
@each_lake
def test_the_readmes_query_counts_each_record_once(lake, page, name):
    """By day, symbol and side, each in its latest version; of a lake without records there are no rows."""
    import duckdb

    folder = lake(LAKES[name], "jsonl")
    (code,) = (code for _, language, code in FENCE.findall((ROOT / page).read_text()) if language == "sql")
    with duckdb.connect() as connection:
        found = connection.execute(code.replace(f"s3://my-lake/{PREFIX}", str(folder))).fetchall()

    assert notional(LAKES[name], "dt", "symbol", "side") == largest_first(found)


@each_query
@each_lake
def test_every_record_is_counted_once(lake, engine, kind, what, name):
    """Whatever the scopes hold, and exact to the sixteenth place, in each engine and format."""
    found = run(engine, kind, what, lake(LAKES[name], kind))

    assert notional(LAKES[name], "symbol", "side", days=JANUARY) == found
    assert {type(each[-1]) for each in found} <= {Decimal}


@pytest.fixture
def example(s3, monkeypatch):
    """Calls the example DAG's task and returns what it returns."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(s3.connection()))
    file = ROOT / "dags" / "binance_force_liquidation_query.py"
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda: module.dag.get_task("query").python_callable(s3.name)


@each_lake
def test_the_example_dag_counts_each_record_once(s3, example, name):
    """Its gaps and doubles are those of each scope, its sums those of the records."""
    objects = LAKES[name]
    for (account, scope, dt), rows in objects.items():
        s3.put(
            f"{PREFIX}/{KEY.format(account=account, scope=scope, dt=dt, suffix='.jsonl.gz')}",
            body_of(rows, ".jsonl.gz"),
        )

    found = example()

    sums = notional(objects, "account", "symbol")
    assert sorted((account, symbol, n, f"{total:.16f}") for account, symbol, n, total in sums) == found["notional"]
    assert found["gaps"] == [("main", "cross", f"2026-01-{day}") for day in range(17, 31) if name == "mixed scopes"]
    doubled = [("main", "cross", "BTCUSDT", 1, 2)] if name == "mixed scopes" else []
    assert doubled == found["doubles"]


def test_the_example_dag_bears_a_lake_without_objects(example):
    """As where `on_empty="none"` writes nothing for empty days."""
    assert example() == {"gaps": [], "doubles": [], "notional": []}


# What the operator writes


#: of the third of four days there is no object, and the second is empty
DAY = 86_400_000
WRITTEN = [
    {"symbol": "BTCUSDT", "price": "67000.12345678", "qty": "0.00000003"},
    {"symbol": "BTCUSDT", "price": "0.12345678", "qty": "1.97487654"},
    {"symbol": "BTCUSDT", "side": "BUY", "price": "1.00000000", "qty": "2.00000000"},
    {"symbol": "币安人生USDT", "price": "0.00000931", "qty": "90000000000.00000001"},
]


@pytest.fixture
def loaded(operator, run_task, sandbox, s3, tmp_path):
    """A copy of what the operator wrote to S3, in a folder of the same layout."""

    def copy(kind, *, twice=False):
        for number, each in enumerate(WRITTEN):
            moment = AT_FIRST + (number if number < 3 else 3 * DAY)
            sandbox.add(row(7 + number, moment, **each))
        key = f"{PREFIX}/account=main/scope={{scope}}/dt={{start:%Y-%m-%d}}/{{start}}_{{end}}{SUFFIX[kind]}"
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


@each_query
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_what_the_operator_wrote_is_counted_once(loaded, engine, kind, what, twice):
    """Also where two grains lie under one prefix."""
    rows = [row(order, 0, **each) for order, each in enumerate(WRITTEN)]
    expected = notional({("main", "cross", FIRST): rows}, "symbol", "side")

    assert expected == run(engine, kind, what, loaded(kind, twice=twice))


def test_copies_within_a_scope_are_found(lake, loaded):
    """Two grains under one prefix are copies of one version; an order that was updated has two."""
    expected = [("main", "BTCUSDT", "BTCUSDT", 2, True, 2, 2), ("main", "cross", "BTCUSDT", 1, False, 2, 1)]
    expected += [("main", "cross", "BTCUSDT", order, isolated, 2, 2) for order, isolated in ((2, True), (3, False))]

    found = run("duckdb", "parquet", "copies", lake(LAKES["mixed scopes"], "parquet"))

    assert expected == [each[:7] for each in found]
    assert [2] * 4 == [len(each[7]) for each in found]


def test_two_grains_under_one_prefix_are_found(loaded):
    """Each record of the hour that lies in the day too."""
    found = run("duckdb", "parquet", "copies", loaded("parquet", twice=True))

    assert [(7, 2, 1), (8, 2, 1), (9, 2, 1)] == [(each[3], *each[5:7]) for each in found]


@pytest.mark.parametrize("what", ["copies", "gaps"])
def test_a_lake_of_empty_days_has_neither_copies_nor_gaps(lake, what):
    """The queries run where no object has rows."""
    assert run("duckdb", "parquet", what, lake(LAKES["empty days"], "parquet")) == []


@pytest.mark.parametrize("rows", [[], CROSS], ids=["empty", "rows"])
def test_a_missing_day_is_found(lake, rows):
    """In each account and scope; a day without records is no gap, since it has an object."""
    days = [("a", "cross", 15), ("a", "cross", 16), ("a", "cross", 18), ("a", "BTCUSDT", 16), ("b", "cross", 17)]
    objects = {(account, scope, f"2026-01-{day}"): rows for account, scope, day in [*days, ("b", "cross", 15)]}

    found = run("duckdb", "parquet", "gaps", lake(objects, "parquet"))

    assert found == [("a", "cross", date(2026, 1, 17)), ("b", "cross", date(2026, 1, 16))]


@pytest.mark.parametrize("name", ["isolated pairs", "empty days"])
def test_values_with_more_places_are_found(lake, name):
    """A cast would round them."""
    more = {
        "isolated pairs": [row(99, AT_FIRST, price="0.123456789"), row(100, AT_FIRST, qty="0.1234567800")],
        "empty days": [],
    }
    objects = {**LAKES[name], ("main", "cross", "2026-01-20"): more[name]}

    assert [each["orderId"] for each in more[name][:1]] == [
        each[1] for each in run("duckdb", "jsonl", "places", lake(objects, "jsonl"))
    ]


def test_rows_can_be_counted_object_by_object(loaded):
    """From the files' own footers."""
    found = run("duckdb", "parquet", "counts", loaded("parquet"))

    assert [("20260115T000000Z_20260116T000000Z.parquet", 3), 0, 1] == [found[0], *(each[1] for each in found[1:])]


def test_counts_are_held_against_totals(loaded, s3, monkeypatch):
    """By the metadata alone; what does not agree is listed."""
    loaded("parquet")
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
