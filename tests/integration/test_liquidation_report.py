"""The liquidation report: what it finds in a lake, and what it says it cannot tell."""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from programs import python

pytest.importorskip("duckdb")

from airflow_provider_binance_margin.exchange.datasets import DATASETS
from airflow_provider_binance_margin.lake.formats import FORMATS, write_rows
from airflow_provider_binance_margin.lake.interval import Interval, cut, floor, iso, utc, widen
from airflow_provider_binance_margin.lake.layout import DEFAULT_KEY, render, suffix_of
from airflow_provider_binance_margin.lake.object_metadata import ObjectIdentity, Run, object_metadata
from airflow_provider_binance_margin.operators.liquidation_report import (
    COLUMNS,
    LiquidationReportOperator,
    Report,
    Source,
)
from airflow_provider_binance_margin.sandbox import Sandbox

READ = tuple(DATASETS)
PAIRS = ("BTCUSDT", "ETHUSDT", "币安人生USDT")
LEVELS = {"liquidation": "certain", "deficit": "certain", "takeover": "takeover", "burst": "candidate"}
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
START = int(datetime(2026, 1, 15, tzinfo=UTC).timestamp() * 1000)
WHOLE = Interval(START, START + DAY)
MONTHLY = "lake/{dataset}/{account}/{scope}/{start:%Y-%m}.jsonl.gz"
DOCS = Path(__file__).parents[2] / "docs" / "report.md"


class Lake:
    """A lake written as the loading operator writes it, and reports on it."""

    def __init__(self, bucket, run_task, key=DEFAULT_KEY):
        self.bucket, self.run_task, self.key = bucket, run_task, key

    def put(self, dataset, scope="cross", interval=WHOLE, rows=(), *, fetched=MINUTE, key=None, otherwise=None):
        """An object, which states what it holds, but for some of it."""
        subject = ObjectIdentity(dataset, interval, scope, "binance_default")
        key = render(key or self.key, subject)
        body, declared = BytesIO(), DATASETS[dataset]
        written = write_rows(map(msgspec.json.encode, rows), suffix_of(key), declared.columns, body)
        metadata = object_metadata(
            subject,
            Run("load", 0),
            records=len(rows),
            rows=len(rows),
            total=len(rows),
            proof="exhausted" if declared.is_ledger else "total",
            sha256=written.sha256,
            body_sha256=hashlib.sha256(body.getvalue()).hexdigest(),
            body_size=body.tell(),
            first=None,
            last=None,
            fetched_at=interval.end + fetched,
            not_final=0 if declared.not_final else None,
            provider_version="1",
        )
        self.bucket.put(key, body.getvalue(), **metadata | (otherwise or {}))
        return key

    def fill(self, rows=None, *, days=(-1, 0, 1), scopes=("cross",), leave=(), **options):
        """All that a report on the day needs, with these rows by dataset, but for some (dataset, day, scope)."""
        for dataset in READ:
            for scope in scopes:
                if scope != "cross" and DATASETS[dataset].pair_param is None:
                    continue
                for day in days:
                    if (dataset, day, scope) in leave:
                        continue
                    bounds = Interval(START + day * DAY, START + (day + 1) * DAY)
                    field = DATASETS[dataset].time_field
                    held = [
                        row
                        for owner, row in (rows or {}).get(dataset, ())
                        if owner == scope and bounds.start <= row[field] < bounds.end
                    ]
                    self.put(dataset, scope, bounds, held, **options)

    def report(self, interval=WHOLE, **options):
        """The task's result, and the rows it wrote by scope and day."""
        options = {"task_id": "report", "s3_bucket": self.bucket.name, "s3_key": self.key, **options}
        bounds = {"start": iso(interval.start), "end": iso(interval.end)}
        done = self.run_task(LiquidationReportOperator(**{**bounds, **options}))
        assert done.state == "success", done.error
        return done.result

    def rows(self, *, scope="cross", day=0, account="binance_default"):
        bounds = Interval(START + day * DAY, START + (day + 1) * DAY)
        key = render(self.key, ObjectIdentity("liquidation_report", bounds, scope, account))
        return [json.loads(line) for line in gzip.decompress(self.bucket.get(key)).splitlines()]


@pytest.fixture
def lake(connect, s3, run_task):
    return Lake(s3, run_task)


def order(at, **more):
    row = {"avgPrice": "1", "executedQty": "1", "orderId": 7, "price": "1", "qty": "1", "side": "SELL"}
    return {**row, "symbol": "BTCUSDT", "timeInForce": "GTC", "isIsolated": False, "updatedTime": START + at, **more}


def entry(kind, at, number=1, **more):
    row = {"id": number, "tranId": 5, "timestamp": START + at, "asset": "USDT", "type": kind, "amount": "-1.00000000"}
    return {**row, **more}


def cross(**rows):
    return {dataset: [("cross", row) for row in given] for dataset, given in rows.items()}


def counts(result):
    names = ("certain", "takeover", "candidate", "cannot_tell", "none")
    return {name: result[name] for name in names if result[name]}


# -- against what is known to have happened ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told():
    """Two years of stories."""
    sandbox = Sandbox(days=0)
    sandbox.tell("all", seed=11, first_day=START // DAY - 365, days=730)
    sandbox.settings.change(unfiltered="all")
    return sandbox


def records_by(told, grain):
    """The records of each dataset by scope and grain, as loading would cut them."""
    from airflow_provider_binance_margin.sandbox.datasets import DATASETS as THERE

    found = defaultdict(list)
    for dataset in READ:
        there = THERE[dataset]
        for row in told.records(dataset=dataset):
            found[dataset, there.scope(row) or "cross", floor(there.ms(row), grain)].append(row)
    return found


def expected(stories):
    return sorted(
        (LEVELS[each.kind], each.scope or "cross", iso(each.time), iso(each.end))
        for each in stories
        if each.kind in LEVELS
    )


def put_all(lake, told, grain, interval, *, scopes=("cross", *PAIRS), without=None):
    records = records_by(told, grain)
    around = widen(Interval(interval.start - DAY, interval.end + 1), grain)
    for bounds in cut(around, grain):
        for dataset in READ:
            for scope in scopes:
                if (scope == "cross" or DATASETS[dataset].pair_param) and not (without and without(dataset, bounds)):
                    lake.put(dataset, scope, bounds, records[dataset, scope, bounds.start])


def test_two_years_of_stories_are_told_as_they_were(told, connect, s3, run_task, monkeypatch):
    """Each liquidation and takeover at its time, in its scope, with its records, and no other; and no day in doubt."""
    lake, rows = Lake(s3, run_task, MONTHLY), []
    span = Interval(START - 365 * DAY, START + 365 * DAY)
    put_all(lake, told, "month", span)
    # thousands of small objects, which the other tests write
    monkeypatch.setattr(LiquidationReportOperator, "_write", staticmethod(lambda *made: rows.extend(made[-1])))

    result = lake.report(span, grain="month", isolated_symbol=[None, *PAIRS], report_key="r/{scope}/{start}.jsonl")

    stories = [each for each in told.stories() if each.kind in LEVELS]
    assert len({each.kind for each in told.stories()}) == 7
    assert sorted(
        (row["level"], row["scope"], iso(row["first_time"]), iso(row["last_time"])) for row in rows
    ) == expected(stories)
    assert sorted(sorted(each["id"] for each in row["evidence"]) for row in rows) == sorted(
        sorted(number for name, ids in story.ids.items() if name != "repay" for number in ids) for story in stories
    )
    assert (result["cannot_tell"], result["objects"], result["none"]) == (0, 4 * 730, 4 * 730 - len(stories))
    assert [summed(row["activity"]) for row in rows] == list(activities(told, rows))


def summed(activity):
    return {
        (each["dataset"], each["type"], each["asset"]): (each["records"], Decimal(each["amount"])) for each in activity
    }


def activities(told, events):
    """What the exchange knows of the day before each event, and of its time."""
    from airflow_provider_binance_margin.sandbox.datasets import DATASETS as THERE

    known = defaultdict(list)
    for dataset in ("borrow", "repay", "transfer", "interest"):
        there, amount = THERE[dataset], "interest" if dataset == "interest" else "amount"
        for row in told.records(dataset=dataset):
            done = there.ms(row), (dataset, row["type"], row["asset"]), Decimal(row[amount])
            known[there.scope(row) or "cross", done[0] // DAY].append(done)
    for event in events:
        found, first = defaultdict(list), event["first_time"] - DAY
        for day in range(first // DAY, event["last_time"] // DAY + 1):
            for at, group, amount in known[event["scope"], day]:
                if first <= at <= event["last_time"]:
                    found[group].append(amount)
        yield {group: (len(amounts), sum(amounts)) for group, amounts in found.items()}


@pytest.mark.parametrize("dataset", READ)
def test_without_a_dataset_no_day_is_said_to_be_without_a_liquidation(told, connect, s3, run_task, dataset):
    """Nor is a takeover claimed that may be none; what can be told without it still is."""
    lake, span = Lake(s3, run_task, MONTHLY), Interval(START, START + 14 * DAY)
    put_all(lake, told, "month", span, without=lambda name, _: name == dataset)

    result = lake.report(span, grain="month", isolated_symbol=[None, *PAIRS], report_key="r/{scope}/{start}.jsonl")

    concerned = 1 if DATASETS[dataset].pair_param is None else 4
    assert (result["cannot_tell"], result["none"] == 0) == (14 * concerned, concerned == 4)
    assert {doubt["scope"] for doubt in result["doubts"]} == {"cross", *PAIRS[: concerned - 1]}
    assert all(
        f"{dataset} [" in doubt["reason"] and "is missing: load it" in doubt["reason"] for doubt in result["doubts"]
    )
    true = {(*each[:2], each[2][:10]) for each in expected(told.stories())}
    found = {(each["level"], each["scope"], each["first_time"][:10]) for each in result["events"]}
    assert {each for each in found if each[0] != "candidate"} <= true
    if dataset not in ("capital_flow", "force_liquidation"):
        during = {each for each in true if iso(span.start)[:10] <= each[2] < iso(span.end)[:10]}
        assert {each for each in during if each[0] != "candidate"} <= found


@pytest.mark.parametrize("dataset", READ)
def test_one_missing_day_leaves_the_others_told(told, lake, dataset):
    span, gap = Interval(START, START + 3 * DAY), START + DAY
    put_all(lake, told, "day", span, scopes=["cross"], without=lambda name, at: (name, at.start) == (dataset, gap))

    result = lake.report(span)

    assert [doubt["day"] for doubt in result["doubts"]] == [iso(gap)[:10]]


SUBJECT = ObjectIdentity("liquidation_report", WHOLE, "cross", "main")


def some_days(dataset, wrong, verdict, days=(-1, 0, 1)):
    """The objects of these days, one of which is not whole."""
    return [
        Source(name, "cross", bounds, verdict if (name, day) == (dataset, wrong) else "complete")
        for day in days
        for bounds in [Interval(START + day * DAY, START + (day + 1) * DAY)]
        for name in READ
    ]


# -- what cannot be told -----------------------------------------------------------------------------------------------


LOAD = "load it with MarginHistoryToS3Operator"
STATEMENT = "look at the account's statement"
#: what an object states otherwise -> the verdict, and what to do
WRONG = [
    ({"proof": "claim"}, "claim", STATEMENT),
    ({"proof": "pages"}, "claim", STATEMENT),
    ({"proof": ""}, "claim", STATEMENT),
    ({"fetched-at": "2026-09-15T00:00:00Z"}, "claim", STATEMENT),
    ({"not-final": "1"}, "unfinished", LOAD),
    ({"body-size": "9999"}, "corrupt", LOAD),
    ({"body-sha256": "0"}, "corrupt", LOAD),
    ({"account": "another"}, "foreign", "look at it"),
    ({"scope": "cross.asset-BTC"}, "foreign", "look at it"),
]


def test_a_day_of_which_an_object_proves_nothing_cannot_be_told(lake):
    """Each of these of each dataset on a day of its own."""
    cases = [(dataset, *wrong) for wrong in WRONG for dataset in READ]
    lake.fill(days=range(len(cases)))
    for day, (dataset, otherwise, _, _) in enumerate(cases):
        lake.put(dataset, interval=Interval(START + day * DAY, START + (day + 1) * DAY), otherwise=otherwise)

    result = lake.report(Interval(START, START + len(cases) * DAY))

    assert counts(result) == {"cannot_tell": len(cases)}
    for day, (dataset, _, verdict, cure) in enumerate(cases):
        [row] = lake.rows(day=day)
        start = START + day * DAY
        assert (row["level"], row["first_time"], row["last_time"]) == ("cannot_tell", start, start + DAY - 1)
        assert row["evidence"] == [{"dataset": dataset, "id": None, "symbol": None, "type": verdict, "time": start}]
        assert f"{dataset} [{iso(start)}, {iso(start + DAY)}) is {verdict}: " in row["reason"]
        assert cure in row["reason"]
        assert result["doubts"][day] == {"scope": "cross", "day": iso(start)[:10], "reason": row["reason"]}


def test_a_lake_without_anything_cannot_be_told(lake):
    result = lake.report(Interval(START, START + 2 * DAY), isolated_symbol=[None, "BTCUSDT"])

    assert counts(result) == {"cannot_tell": 4}
    assert [each["dataset"] for each in lake.rows()[0]["evidence"]] == sorted(READ)
    assert [each["dataset"] for each in lake.rows(scope="BTCUSDT")[0]["evidence"]] == sorted(
        name for name in READ if DATASETS[name].pair_param
    )


def test_a_quiet_day_is_none(lake, s3):
    """Whatever its neighbours: an event of theirs has left nothing at its edges."""
    lake.fill(days=[0])

    assert counts(lake.report()) == {"none": 1}
    assert lake.rows() == []
    [key] = [key for key in s3 if "liquidation_report" in key]
    metadata = s3.metadata(key)
    assert (metadata["proof"], metadata["records"], metadata["dataset"]) == ("derived", "0", "liquidation_report")


def test_what_was_forgotten_can_be_believed_on_ones_own_account(lake):
    lake.fill(fetched=30 * DAY)

    assert counts(lake.report()) == {"cannot_tell": 1}
    assert counts(lake.report(fresh=timedelta(days=31))) == {"none": 1}


def test_without_the_orders_a_fee_is_no_takeover(lake):
    """It may be a regular liquidation's."""
    lake.fill(cross(capital_flow=[entry("LIQUIDATION_FEE", HOUR)]), leave={("force_liquidation", 0, "cross")})

    assert counts(lake.report()) == {"candidate": 1, "cannot_tell": 1}
    assert "force_liquidation" in lake.rows()[1]["reason"]


@pytest.mark.parametrize("dataset", READ)
@pytest.mark.parametrize("verdict", ["missing", "claim", "foreign", "corrupt", "unfinished"])
@pytest.mark.parametrize(("day", "is_near"), [(-2, False), (-1, True), (0, True), (1, False)])
def test_an_activity_that_is_not_whole_is_not_told(dataset, verdict, day, is_near):
    """Of what may be half of it there is no sum; the event itself is told."""
    sources = some_days(dataset, day, verdict, days=range(-2, 2))
    event = {"scope": "cross", "level": "takeover", "first_time": START + HOUR, "last_time": START + 2 * HOUR}
    event |= {"evidence": [{"dataset": "capital_flow"}], "activity": []}

    told = Report(["cross"], sources, [event], []).rows_of(SUBJECT)[-1]

    is_half = is_near and dataset in ("borrow", "interest", "repay", "transfer")
    assert told["activity"] == (None if is_half else [])
    assert told["level"] in ("takeover", "candidate")


def test_a_pair_alone_is_reported_on(lake):
    """As text, as it was for loading; nothing of the cross account is asked for."""
    lake.fill({"capital_flow": [("BTCUSDT", entry("LIQUIDATION_FEE", HOUR))]}, scopes=("BTCUSDT",))

    assert counts(lake.report(isolated_symbol="BTCUSDT")) == {"takeover": 1}


# -- days and their neighbours -----------------------------------------------------------------------------------------


def test_an_event_over_midnight_is_of_the_day_it_begins(lake):
    """Whole, in one object."""
    ledger = [entry("LIQUIDATION_FEE", DAY - MINUTE, 1), entry("OTHER_LIQUIDATION", DAY + MINUTE, 2)]
    lake.fill(cross(capital_flow=ledger), days=range(-1, 3))

    result = lake.report(Interval(START, START + 2 * DAY))

    assert counts(result) == {"takeover": 1, "none": 1}
    [event] = lake.rows()
    assert (event["first_time"], event["last_time"]) == (START + DAY - MINUTE, START + DAY + MINUTE)
    assert counts(lake.report(Interval(START, START + DAY))) == {"takeover": 1}
    assert counts(lake.report(Interval(START + DAY, START + 2 * DAY))) == {"none": 1}
    assert lake.rows() == [event]


def test_an_order_across_midnight_explains_a_fee(lake):
    lake.fill(cross(capital_flow=[entry("LIQUIDATION_FEE", MINUTE)], force_liquidation=[order(-MINUTE)]))

    assert counts(lake.report()) == {"none": 1}
    assert counts(lake.report(Interval(START - DAY, START))) == {"certain": 1}


@pytest.mark.parametrize("dataset", READ)
@pytest.mark.parametrize("verdict", ["missing", "claim", "foreign", "corrupt", "unfinished"])
@pytest.mark.parametrize(
    ("at", "neighbour", "needed"),
    [
        (0, -1, True),
        (15 * MINUTE - 1, -1, True),
        (15 * MINUTE, -1, False),
        (DAY - 15 * MINUTE - 1, 1, False),
        (DAY - 15 * MINUTE, 1, True),
        (DAY - 1, 1, True),
    ],
)
def test_an_entry_at_the_edge_needs_the_neighbour(dataset, verdict, at, neighbour, needed):
    """An order, a repayment or an entry of the other day may make another event of it."""
    sources = some_days(dataset, neighbour, verdict)

    rows = Report(["cross"], sources, [], [("cross", START + at), ("BTCUSDT", START)]).rows_of(SUBJECT)

    assert [row["evidence"][0]["dataset"] for row in rows] == [dataset] * needed


def test_a_voluntary_repayment_at_the_edge_needs_the_neighbour(lake):
    """Nothing is told of it, but with a fee of the next day it would be an event of this one."""
    by_hand = {"type": "MANUAL", "status": "CONFIRMED", "txId": 1, "timestamp": START + DAY - MINUTE}
    ledger = [entry("SELL_LIQUIDATION", DAY - MINUTE)]
    lake.fill(cross(capital_flow=ledger, repay=[by_hand]), days=(-1, 0))
    assert counts(lake.report()) == {"cannot_tell": 1}

    lake.fill(cross(capital_flow=[*ledger, entry("LIQUIDATION_FEE", DAY + MINUTE, 2)], repay=[by_hand]))
    assert counts(lake.report()) == {"takeover": 1}


def test_repayments_of_a_loan_are_of_the_liquidation_of_the_day_before(lake):
    """Without that day nobody knows; there is a loan, in any case."""
    loan = {"repayId": 3, "asset": "USDC", "amount": "1", "status": "SUCCESS", "createTime": START + 12 * HOUR}
    rows = cross(force_liquidation=[order(-8 * HOUR)], liquidation_loan_repayment=[loan])
    lake.fill(rows, leave={("force_liquidation", -1, "cross")})
    assert counts(lake.report()) == {"certain": 1, "cannot_tell": 1}

    lake.fill(rows)
    assert counts(lake.report()) == {"none": 1}


# -- objects -----------------------------------------------------------------------------------------------------------


def test_the_same_bytes_whatever_the_lakes_format_and_grain(told, connect, s3, run_task):
    bodies = []
    for number, suffix in enumerate(FORMATS):
        grain = ("day", "hour", "month", "day", "month")[number]
        lake = Lake(s3, run_task, f"x{number}/{{dataset}}/{{scope}}/{{start}}{suffix}")
        put_all(lake, told, grain, WHOLE, scopes=["cross"])
        assert lake.report(grain=grain, report_key="report/{start}.jsonl")["cannot_tell"] == 0
        bodies.append(s3.get("report/20260115T000000Z.jsonl"))

    assert b'"activity":[{' in bodies[0]
    assert bodies == [bodies[0]] * len(FORMATS)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_report_in_each_format(lake, s3, suffix, tmp_path):
    lake.fill(cross(capital_flow=[entry("LIQUIDATION_FEE", HOUR)]))
    lake.report(report_key="report/{start}" + suffix)
    import duckdb

    body = s3.get(f"report/20260115T000000Z{suffix}")
    assert s3.metadata(f"report/20260115T000000Z{suffix}")["body-sha256"] == hashlib.sha256(body).hexdigest()
    reader = {"jsonl": duckdb.read_json, "csv": duckdb.read_csv, "parquet": duckdb.read_parquet}[suffix.split(".")[1]]
    file = tmp_path / f"report{suffix}"
    file.write_bytes(body)
    names, [row] = reader(str(file)).columns, reader(str(file)).fetchall()
    assert names[: len(COLUMNS)] == list(COLUMNS)
    assert row[:3] == ("binance_default", "cross", "takeover")
    assert "LIQUIDATION_FEE" in str(row[5])


def test_the_same_report_has_the_same_bytes_and_a_better_one_replaces_it(lake, s3):
    """Also by fewer rows: it is made of what the lake holds, and of nothing else."""
    lake.fill(cross(capital_flow=[entry("SELL_LIQUIDATION", HOUR)]), leave={("repay", 0, "cross")})
    lake.report()
    first = s3.objects()
    lake.report()
    assert s3.objects() == first
    assert [row["level"] for row in lake.rows()] == ["cannot_tell", "candidate"]

    by_hand = {"type": "MANUAL", "status": "CONFIRMED", "txId": 1, "timestamp": START + HOUR}
    lake.put("repay", rows=[by_hand])
    assert counts(lake.report()) == {"none": 1}
    assert lake.rows() == []


def test_anothers_object_is_not_replaced(lake, s3, run_task):
    lake.fill()
    key = "report/{start}.jsonl"
    lake.put("repay", key=key)

    options = {"s3_bucket": s3.name, "report_key": key, "start": iso(WHOLE.start), "end": iso(WHOLE.end)}
    done = run_task(LiquidationReportOperator(task_id="report", **options))

    assert done.state == "failed"
    assert "must not be replaced" in str(done.error)
    assert "report_key" in str(done.error)


def test_the_rule_run_by_hand_finds_the_same(lake, s3, tmp_path):
    """The page's own code, over a copy of the lake."""
    lake.fill(cross(capital_flow=[entry("LIQUIDATION_FEE", HOUR)], force_liquidation=[order(9 * HOUR)]))
    lake.report()
    for key, body in s3.objects().items():
        file = tmp_path / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    [code] = re.findall(r"<!-- run: report -->\n```python\n(.*?)```", DOCS.read_text(), re.DOTALL)

    done = python("-c", code.replace("s3://my-lake", str(tmp_path)))

    found = ast.literal_eval(done.stdout)
    names = [name for name in COLUMNS if name != "reason"]
    assert found == [tuple(row[name] for name in names) for row in lake.rows()]
    assert [row[2] for row in found] == ["takeover", "certain"]


def test_accounts_are_told_apart(lake):
    lake.fill(cross(capital_flow=[entry("LIQUIDATION_FEE", HOUR)]))

    assert counts(lake.report(account="another")) == {"cannot_tell": 1}
    assert counts(lake.report()) == {"takeover": 1}


def test_an_isolated_row_of_an_answer_without_a_pair_is_told_once(lake):
    isolated = order(HOUR, isIsolated=True)
    both = {"force_liquidation": [("cross", isolated), ("BTCUSDT", isolated)]}
    lake.fill(both, scopes=("cross", "BTCUSDT"))

    assert counts(lake.report(isolated_symbol=[None, "BTCUSDT"])) == {"certain": 1, "none": 1}
    assert lake.rows() == []
    assert counts(lake.report()) == {"certain": 1}
    assert [(row["scope"], row["level"]) for row in lake.rows()] == [("BTCUSDT", "certain")]


# -- the task ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"s3_key": "lake/{start}.jsonl"}, "must hold {dataset}"),
        ({"report_key": "s3://elsewhere/{start}.jsonl"}, "report_key must be a key alone"),
        ({"report_key": "report/{scope}.jsonl"}, "more than one interval"),
        ({"isolated_symbol": ["btcusdt"]}, "BTCUSDT"),
        ({"account": "a/b"}, "account must be"),
        ({"start": "2026-01-15T01:00:00Z"}, "whole days"),
        ({"end": None}, "start is given"),
    ],
)
def test_what_could_never_work_fails_at_once(connect, s3, run_task, options, told):
    bounds = {"start": iso(START), "end": iso(START + 2 * DAY)}

    done = run_task(
        LiquidationReportOperator(**{"task_id": "report", "s3_bucket": s3.name, **bounds, **options}), retries=3
    )

    assert done.state == "failed"
    assert told in str(done.error)


@pytest.mark.parametrize(
    "options", [{"grain": "week"}, {"s3_key": "lake/{x}.jsonl"}, {"report_key": "lake/{start}.txt"}]
)
def test_what_could_never_work_is_no_dag(options):
    with pytest.raises(ValueError, match=r"grain|brace|format"):
        LiquidationReportOperator(task_id="report", **options)


def test_without_duckdb_it_says_what_to_install(connect, s3, run_task, monkeypatch):
    monkeypatch.setattr("airflow_provider_binance_margin.operators.liquidation_report.find_spec", lambda _: None)
    bounds = {"start": iso(START), "end": iso(START + DAY)}

    done = run_task(LiquidationReportOperator(task_id="report", s3_bucket=s3.name, **bounds), retries=3)

    assert done.state == "failed"
    assert "airflow-provider-binance-margin[report]" in str(done.error)


def test_the_runs_interval_is_reported_on_and_the_outlet_is_told(lake, s3, run_task):
    from airflow.sdk import Asset

    lake.fill(cross(capital_flow=[entry("LIQUIDATION_FEE", HOUR, amount="-0.50000000")]))
    task = LiquidationReportOperator(task_id="report", s3_bucket=s3.name, outlets=[Asset("report")])

    done = run_task(task, interval=(utc(WHOLE.start), utc(WHOLE.end)))

    assert done.state == "success", done.error
    assert done.result["events"] == [
        {
            "scope": "cross",
            "level": "takeover",
            "fees": [{"asset": "USDT", "amount": "-0.50000000"}],
            "first_time": "2026-01-15T01:00:00Z",
            "last_time": "2026-01-15T01:00:00Z",
        }
    ]
    [event] = done.final["outlet_events"]
    assert event["extra"]["takeover"] == 1
