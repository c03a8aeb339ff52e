"""What holds for every declared dataset: a new one is tested here without a line of its own."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from unit.triggers.triggerer import known, new_process  # noqa: F401 - fixtures

from airflow_provider_binance_margin.exchange.datasets import DATASETS
from airflow_provider_binance_margin.hooks.base import BinanceBaseHook
from airflow_provider_binance_margin.hooks.binance import BinanceHook
from airflow_provider_binance_margin.lake.interval import IntervalError
from airflow_provider_binance_margin.sandbox.datasets import DATASETS as THERE
from airflow_provider_binance_margin.sandbox.mishaps import KINDS

MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAY = MIDNIGHT - timedelta(days=5), MIDNIGHT - timedelta(days=4)
START, END = (int(bound.timestamp() * 1000) for bound in DAY)
PAIR = "BTCUSDT"
FORMATS = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet")


@pytest.fixture(params=sorted(DATASETS))
def dataset(request):
    return DATASETS[request.param]


@pytest.fixture
def paired(dataset):
    if dataset.pair_param is None:
        pytest.skip("of the cross account only")


def fill(sandbox, dataset, at=START, **scope):
    """A day of more than two pages, with rows a second around its bounds; returns how many are in it."""
    number = 2 * dataset.max_size + 30
    sandbox.add(n=number, at=at, step_ms=(END - START) // (number + 1), dataset=dataset.name, **scope)
    for moment in (at - 1000, at + END - START - 1000, at + END - START):
        sandbox.add(at=moment, dataset=dataset.name, **scope)
    return number + 1


def truth(sandbox, dataset, symbol=None, start=START, end=END):
    """The day's rows as the exchange has them, as the lake orders them and their fields."""
    rows = sandbox.records(start, end, symbol, dataset=dataset.name)
    ordered = sorted(rows, key=lambda row: (row[dataset.time_field], *(row[name] for name in dataset.record_key)))
    return [{name: row[name] for name in dataset.columns if name in row} for row in ordered]


@pytest.fixture
def task_options(connect, s3, dataset):
    return {"task_id": "task", "dataset": dataset.name, "s3_bucket": s3.name, "settle": 0, "retries": 0}


@pytest.fixture
def load(run_task, task_options):
    """Loads the day."""
    from airflow_provider_binance_margin.transfers.margin_history_to_s3 import MarginHistoryToS3Operator

    def load(*, interval=DAY, clear_number=0, **options):
        task = MarginHistoryToS3Operator(**{**task_options, **options})
        return run_task(task, interval=interval, clear_number=clear_number)

    return load


@pytest.fixture
def audit(run_task, task_options):
    """Audits the day and the two days beside it."""
    from airflow_provider_binance_margin.operators.margin_history_audit import MarginHistoryAuditOperator

    def audit(**options):
        bounds = {"start": DAY[0] - timedelta(days=1), "end": DAY[1] + timedelta(days=1)}
        task = MarginHistoryAuditOperator(**{**task_options, **bounds, "grain": "day", "on_gap": "report", **options})
        done = run_task(task)
        assert done.state == "success", done.error
        return {verdict: number for verdict, number in done.result["counts"].items() if number}, done.result["gaps"]

    return audit


# -- the declaration ---------------------------------------------------------------------------------------------------


def test_the_declaration_is_the_sandboxs(dataset):
    """Written twice from one page of the exchange."""
    there = THERE[dataset.name]
    assert (dataset.path, dataset.weight, dataset.weight_kind) == (there.path, there.weight, there.whose)
    assert (list(dataset.columns), set(dataset.optional)) == (list(there.fields), set(there.optional))
    assert (dataset.time_field, tuple(dataset.record_key)) == (there.time, there.ids)
    assert (dataset.pair_param, dict(dataset.params)) == (there.pair, dict(there.fixed))
    assert set(dataset.filters) <= set(there.filters)
    assert (dataset.is_ledger, dataset.max_size <= there.most) == (there.is_list, True)
    assert dataset.memory == (None if there.memory is None else timedelta(milliseconds=there.memory))
    assert there.longest is None or dataset.max_span <= timedelta(milliseconds=there.longest)
    assert dataset.newest_first <= there.newest_first
    kinds = {int: ("integer", "timestamp", "epoch"), str: ("string", "decimal"), bool: ("boolean",)}
    assert all(dataset.columns[name] in kinds[kind] for name, kind in there.fields.items())
    assert (dataset.columns[dataset.time_field] == "epoch") == there.in_seconds
    assert not set(dataset.record_key) & set(dataset.optional)
    assert not dataset.is_ledger or [dataset.columns[name] for name in dataset.record_key] == ["integer"]
    assert dataset.not_final.keys() <= dataset.columns.keys()


# -- loading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", [None, PAIR])
def test_a_day_is_loaded_once_and_exact_and_again_to_the_same_bytes(sandbox, dataset, load, s3, rows, request, symbol):
    scope = {}
    if symbol:
        request.getfixturevalue("paired")
        scope = {"isolated_symbol": symbol}
        fill(sandbox, dataset)
    number = fill(sandbox, dataset, **scope)
    done = load(**scope)
    assert done.state == "success", done.error
    [key] = s3.keys()
    assert (done.result["records"], done.result.get("rows", number)) == (number, number)
    assert key.startswith(
        f"binance/margin/{dataset.name}/account=binance_default/scope={symbol or 'cross'}/dt={DAY[0]:%Y-%m-%d}/"
    )
    assert rows(s3.get(key)) == truth(sandbox, dataset, symbol)
    meta = s3.metadata(key)
    assert (meta["dataset"], meta["scope"], meta["account"]) == (dataset.name, symbol or "cross", "binance_default")
    assert meta["proof"] == ("exhausted" if dataset.is_ledger else "total")
    assert meta["first-updated-time"].startswith(f"{DAY[0]:%Y-%m-%dT00:00:00}")
    before = s3.objects()
    assert load(clear_number=1, **scope).state == "success"
    assert before == s3.objects()


@pytest.mark.parametrize("suffix", FORMATS)
def test_each_format_holds_every_row(sandbox, dataset, load, s3, suffix):
    fill(sandbox, dataset)
    done = load(s3_key="{dataset}/{start}" + suffix)
    assert done.state == "success", done.error
    body = s3.get(s3.keys()[0])
    body = gzip.decompress(body) if suffix.endswith(".gz") else body
    expected = truth(sandbox, dataset)
    if "jsonl" in suffix:
        assert [json.loads(line) for line in body.splitlines()] == expected
    elif "csv" in suffix:
        header, *lines = body.decode().splitlines()
        assert header.split(",")[:-1] == list(dataset.columns)
        fields = [
            {name: field for name, field in zip(dataset.columns, line.split(","), strict=False) if field}
            for line in lines
        ]
        assert fields == [{name: _csv(value) for name, value in row.items()} for row in expected]
    else:
        from pyarrow import parquet

        table = parquet.read_table(io.BytesIO(body))
        for place, name in enumerate(dataset.columns):
            column = table.column(place)
            assert [value is None for value in column.to_pylist()] == [name not in row for row in expected]
            if dataset.columns[name] not in ("timestamp", "epoch"):
                assert [_plain(value) for value in column.to_pylist()] == [row.get(name) for row in expected]
        times = table.column(list(dataset.columns).index(dataset.time_field)).to_pylist()
        assert all(DAY[0] <= time < DAY[1] for time in times)


def _csv(value):
    return json.dumps(value) if isinstance(value, (bool, int)) else value


def _plain(value):
    return f"{value:f}" if isinstance(value, Decimal) else value


def test_an_empty_day_is_an_empty_object(load, s3, rows):
    assert load().result["records"] == 0
    assert [rows(s3.get(key)) for key in s3] == [[]]


def plays():
    """Each fault once per pager, the datasets of a pager in turn: all would take minutes."""
    by_pager = {}
    for name, dataset in sorted(DATASETS.items()):
        by_pager.setdefault(dataset.pager, []).append(name)
    faults = sorted(KINDS.keys() - {"error"})  # what the others are made of
    return [(names[n % len(names)], fault) for names in by_pager.values() for n, fault in enumerate(faults)]


@pytest.mark.parametrize(("dataset", "fault"), plays(), indirect=["dataset"])
def test_under_each_fault_the_day_is_exact_or_the_task_fails(sandbox, dataset, load, s3, rows, fault, monkeypatch):
    wait_for = BinanceBaseHook._wait_for
    monkeypatch.setattr(
        BinanceBaseHook,
        "_wait_for",
        lambda hook, awaited, seconds: wait_for(hook, awaited, seconds if awaited else min(seconds, 0.05)),
    )
    fill(sandbox, dataset)
    options = {"seconds": 0.05} if fault.startswith("slow") else {}
    if KINDS[fault].to != "any":
        options["dataset"] = dataset.name
    if dataset.is_ledger and KINDS[fault].to in ("pages", "total"):
        pytest.skip("the answers of a ledger have neither")
    sandbox.fault(fault, times=1, **options)
    before = truth(sandbox, dataset)
    done = load()
    assert fault in {entry.fault for entry in sandbox.requests}
    if done.state != "success":
        assert s3.keys() == []
        return
    [body] = s3.objects().values()
    got = rows(body)
    lines, before, after = ({json.dumps(row) for row in each} for each in (got, before, truth(sandbox, dataset)))
    # what entered or left while it was read is there or not
    assert before & after <= lines <= before | after
    assert len({tuple(row[name] for name in dataset.record_key) for row in got}) == int(done.result["records"])


def test_a_row_that_is_not_final_is_told_and_listed(sandbox, dataset, load, audit, s3):
    if not dataset.not_final:
        pytest.skip("has no such states")
    [(name, [state, *_])] = dataset.not_final.items()
    fill(sandbox, dataset)
    sandbox.add(at=START + 5000, dataset=dataset.name, **{name: state})
    assert load().state == "success"
    assert [s3.metadata(key)["not-final"] for key in s3] == ["1"]
    counts, gaps = audit(start=DAY[0], end=DAY[1])
    assert (counts, len(gaps)) == ({"unfinished": 1}, 1)


# -- what the exchange has forgotten -----------------------------------------------------------------------------------


def test_an_interval_beyond_the_memory_is_refused_or_a_claim(sandbox, dataset, load, audit, s3):
    old = MIDNIGHT - timedelta(days=100), MIDNIGHT - timedelta(days=99)
    if dataset.memory is None:
        assert load(interval=old).state == "success"
        return
    first = MIDNIGHT - dataset.memory + timedelta(days=1)
    sandbox.clear_log()
    done = load(interval=old)
    assert done.state == "failed"
    assert f"from {first:%Y-%m-%dT%H:%M:%SZ} on" in str(done.error)
    assert 'beyond_memory="claim"' in str(done.error)
    assert {request.path for request in sandbox.requests} <= {"/api/v3/time"}
    assert load(interval=old, beyond_memory="claim").state == "success"
    assert [s3.metadata(key)["proof"] for key in s3] == ["claim"]
    assert audit(start=old[0], end=old[1])[0] == {"claim": 1}


# -- the other readers -------------------------------------------------------------------------------------------------


def test_the_audit_tells_complete_missing_and_short(sandbox, dataset, load, audit):
    fill(sandbox, dataset)
    assert load().state == "success"
    assert audit()[0] == {"complete": 1, "missing": 2}
    sandbox.add(at=START + 7000, dataset=dataset.name)
    counts, gaps = audit()
    assert counts == {"short": 1, "missing": 2}
    assert len(gaps) == 1


@pytest.mark.parametrize("more", [0, 1])
def test_the_sensor_counts_what_is_there(sandbox, dataset, connect, run_task, more):
    from airflow_provider_binance_margin.sensors.margin_history import MarginHistorySensor

    number = fill(sandbox, dataset)
    sensor = MarginHistorySensor(task_id="wait", dataset=dataset.name, min_records=number + more, settle=0)
    done = run_task(sensor, interval=DAY)
    polls = [entry for entry in sandbox.requests if entry.path == dataset.path]
    halves = 1 + 2 + 4  # of a window of more than two full answers
    assert len(polls) == (halves if dataset.is_ledger else 1 if dataset.newest_first else 2)
    assert {entry.params.get("size") for entry in polls} == {None if dataset.is_ledger else "1"}
    assert done.state == ("skipped" if more else "success"), done.error
    if not more:
        assert done.result["total"] == number
        assert done.result["newest"][dataset.time_field] == truth(sandbox, dataset)[-1][dataset.time_field]


def test_the_event_trigger_announces_what_appears(sandbox, dataset, known):  # noqa: F811
    from airflow_provider_binance_margin.triggers.margin_history import MarginHistoryEventTrigger

    number = fill(sandbox, dataset)
    trigger = MarginHistoryEventTrigger(dataset=dataset.name, since=DAY[0])

    async def first():
        async for event in trigger.run():
            return event.payload
        raise AssertionError("the trigger ended without an event")

    payload = asyncio.run(asyncio.wait_for(first(), 20))
    assert (payload["total"], payload["dataset"]) == (number + 1, dataset.name)
    assert datetime.fromisoformat(payload["newest"]) == DAY[1]


def test_the_hook_returns_all_records(sandbox, dataset, known):  # noqa: F811
    fill(sandbox, dataset)
    hook = BinanceHook()
    assert [json.loads(json.dumps(row, default=str)) for row in hook.records(dataset.name, *DAY)] == truth(
        sandbox, dataset
    )
    page = hook.page(dataset.name, startTime=DAY[0], endTime=END - 1)
    assert 0 < len(page["rows"]) <= dataset.max_size
    assert (page["total"] is None) == dataset.is_ledger
    if dataset.memory is not None:
        with pytest.raises(IntervalError, match="remembers"):
            hook.records(dataset.name, MIDNIGHT - dataset.memory - timedelta(days=1), DAY[1])


# -- filters -----------------------------------------------------------------------------------------------------------


def test_a_filtered_day_is_an_object_of_its_own(sandbox, dataset, load, s3, rows):
    if "asset" not in dataset.filters:
        with pytest.raises(ValueError, match="can be filtered by"):
            load(filters={"asset": "BTC"})
        return
    fill(sandbox, dataset)
    sandbox.add(n=7, at=START + 3000, asset="DOGE", dataset=dataset.name)
    done = load(filters={"asset": "DOGE"})
    assert (done.state, done.result["records"]) == ("success", 7)
    [key] = s3.keys()
    assert "/scope=cross.asset-DOGE/" in key
    assert s3.metadata(key)["scope"] == "cross.asset-DOGE"
    assert rows(s3.get(key)) == [row for row in truth(sandbox, dataset) if row["asset"] == "DOGE"]
