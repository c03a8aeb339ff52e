"""Several datasets and pairs in one task: as many mapped tasks would do, in one."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset

from airflow_provider_binance_margin.exchange.datasets import DATASETS
from airflow_provider_binance_margin.operators.force_liquidation_audit import ForceLiquidationAuditOperator
from airflow_provider_binance_margin.operators.margin_history_audit import MarginHistoryAuditOperator
from airflow_provider_binance_margin.sandbox.market import ISOLATED, PRICES
from airflow_provider_binance_margin.sensors.margin_history import MarginHistorySensor
from airflow_provider_binance_margin.transfers.bounded_map import MOST_OBJECTS_AT_ONCE
from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import ForceLiquidationToS3Operator
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import MarginHistoryToS3Operator

MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAY = MIDNIGHT - timedelta(days=5), MIDNIGHT - timedelta(days=4)
START, END = (int(bound.timestamp() * 1000) for bound in DAY)
DAY_MS = END - START
ALL = list(DATASETS)
PAIRS = ["BTCUSDT", "ETHUSDT", "币安人生USDT"]
GAPS = ("fail", "report")
SCOPES = [None, *PAIRS]
PAIRED = [name for name, dataset in DATASETS.items() if dataset.pair_param]
SERIES = [(name, pair) for name in ALL for pair in (SCOPES if name in PAIRED else [None])]
NOT_ISOLATED = next(pair for pair in PRICES if pair not in ISOLATED)
KEY = "{dataset}/{scope}/{start:%Y-%m-%d}.jsonl"


def key(dataset, pair=None, day=0):
    return f"{dataset}/{pair or 'cross'}/{DAY[0] + timedelta(days=day):%Y-%m-%d}.jsonl"


def fill(sandbox, series=SERIES, day=0):
    """A different number of rows for each series; returns the numbers."""
    numbers = {}
    for place, (name, pair) in enumerate(series):
        numbers[name, pair] = place % 5 + 1
        scope = {"isolated_symbol": pair} if pair else {}
        sandbox.add(n=place % 5 + 1, at=START + day * DAY_MS, step_ms=1000, dataset=name, **scope)
    return numbers


def expected(sandbox, dataset, pair, start=START, end=END):
    declared = DATASETS[dataset]
    rows = sandbox.records(start, end, pair, dataset=dataset)
    ordered = sorted(rows, key=lambda row: (row[declared.time_field], *(row[name] for name in declared.record_key)))
    return [{name: row[name] for name in declared.columns if name in row} for row in ordered]


def lines(body):
    return [json.loads(line) for line in body.splitlines()]


@pytest.fixture
def options(connect, s3):
    return {"task_id": "task", "s3_bucket": s3.name, "s3_key": KEY, "settle": 0, "retries": 0}


@pytest.fixture
def load(run_task, options):
    def load(dataset=ALL, isolated_symbol=SCOPES, *, interval=DAY, clear_number=0, try_number=1, **more):
        task = MarginHistoryToS3Operator(**{**options, "dataset": dataset, "isolated_symbol": isolated_symbol, **more})
        run = {"clear_number": clear_number, "try_number": try_number, "retries": more.get("retries", 0)}
        return run_task(task, interval=interval, **run)

    return load


@pytest.fixture
def audit(run_task, options):
    def audit(dataset=ALL, isolated_symbol=SCOPES, *, interval=DAY, **more):
        task = MarginHistoryAuditOperator(**{**options, "dataset": dataset, "isolated_symbol": isolated_symbol, **more})
        return run_task(task, interval=interval)

    return audit


# -- loading -----------------------------------------------------------------------------------------------------------


def test_a_day_of_everything_in_one_task(sandbox, s3, load):
    """Each series under its own key, with its own proof, once and exact; again, the same bytes."""
    numbers = fill(sandbox)

    done = load()

    assert done.state == "success", done.error
    before = s3.objects()
    assert {key(*series) for series in SERIES} == set(before)
    for name, pair in SERIES:
        assert expected(sandbox, name, pair) == lines(before[key(name, pair)])
        stated = s3.metadata(key(name, pair))
        assert (name, pair or "cross") == (stated["dataset"], unquote(stated["scope"]))
        assert stated["proof"] == ("exhausted" if DATASETS[name].is_ledger else "total")
    totals = {name: sum(n for (dataset, _), n in numbers.items() if dataset == name) for name in ALL}
    assert done.result["records_of"] == totals
    assert (done.result["records"], done.result["objects"]) == (sum(totals.values()), len(SERIES))
    assert (done.result["dataset"], done.result["scope"]) == (ALL, [pair or "cross" for pair in SCOPES])
    assert load(clear_number=1).state == "success"
    assert before == s3.objects()


def test_an_event_counts_the_rows_of_each_symbol(sandbox, run_task, options):
    """Of each dataset, those that were written: the fifty greatest and the rest; none of what was there already."""
    from airflow.sdk import Asset

    first, *others = [f"A{n:02}USDT" for n in range(53)]
    sandbox.add(n=2, at=START, symbol=others[-1])
    for symbol in [first, *others[:-1]]:
        sandbox.add(n=1, at=START, symbol=symbol)
    fill(sandbox, [("interest", None), ("interest", PAIRS[0])])
    names = ["force_liquidation", "interest", "repay"]
    task = {**options, "dataset": names, "isolated_symbol": [None, PAIRS[0]], "outlets": [Asset("lake")]}

    def symbols(**more):
        done = run_task(MarginHistoryToS3Operator(**task, **more), interval=DAY)
        assert done.state == "success", done.error
        (event,) = done.final["outlet_events"]
        return event["extra"].get("symbols")

    assert symbols() == {
        "force_liquidation": {others[-1]: 2, **dict.fromkeys([first, *others[:48]], 1), "other": 3},
        "interest": {PAIRS[0]: 2, "cross": 1},
    }
    assert symbols(replace=False) is None


@pytest.mark.parametrize(
    ("dataset", "pair", "loaded"),
    [
        (["interest"], None, [("interest", None)]),
        (("interest", "interest"), None, [("interest", None)]),
        ("interest", [None, "BTCUSDT", "", None, "BTCUSDT"], [("interest", None), ("interest", "BTCUSDT")]),
        ({"interest", "borrow"}, {"BTCUSDT"}, [("borrow", "BTCUSDT"), ("interest", "BTCUSDT")]),
        ("liquidation_loan_repayment", [None, *PAIRS], [("liquidation_loan_repayment", None)]),
        ("liquidation_loan_repayment", PAIRS, [("liquidation_loan_repayment", None)]),
        (
            ["liquidation_loan_repayment", "capital_flow"],
            PAIRS[:1],
            [("liquidation_loan_repayment", None), ("capital_flow", "BTCUSDT")],
        ),
    ],
    ids=["one", "twice", "pairs-twice", "sets", "no-pairs", "no-pairs-listed", "mixed"],
)
def test_the_product_of_the_lists_is_loaded_once(sandbox, s3, load, dataset, pair, loaded):
    """In whatever kind of list they are given."""
    fill(sandbox)

    done = load(dataset, pair)

    assert done.state == "success", done.error
    assert sorted(key(*series) for series in loaded) == sorted(s3.keys())
    assert done.result["objects"] == len(loaded)


def test_a_list_of_one_is_as_a_single_value(sandbox, s3, load):
    """In the result, the key and the metadata; a key need not tell apart what is one."""
    fill(sandbox)
    single = load("borrow", "BTCUSDT", s3_key="{start}.jsonl")
    before = {each: (s3.get(each), s3.metadata(each)["records-sha256"]) for each in s3}

    listed = load(["borrow"], ["BTCUSDT"], s3_key="{start}.jsonl", clear_number=1)

    assert single.result == listed.result
    assert before == {each: (s3.get(each), s3.metadata(each)["records-sha256"]) for each in s3}


def test_a_thousand_pairs(sandbox, s3, load):
    """Each has its object; what is returned stays small."""
    pairs = [f"A{number}USDT" for number in range(1000)]
    for pair in pairs:
        sandbox.add(at=START if pair == pairs[7] else START - DAY_MS, isolated_symbol=pair)

    done = load("force_liquidation", pairs, s3_key="{scope}.jsonl")

    assert done.state == "success", done.error
    assert len(s3.keys()) == done.result["objects"] == 1000
    assert done.result["records"] == s3.get(f"{pairs[7]}.jsonl").count(b"\n") == 1
    assert len(json.dumps(done.result)) < 10_000
    assert done.result["scope"] == pairs[:100]


@pytest.mark.parametrize("where", ["native", "entries"])
def test_lists_from_elsewhere(sandbox, s3, connect, options, run_task, api, where):
    """A template that gives a list, and templates in a list."""
    fill(sandbox)
    with DAG("d", schedule=None, start_date=DAY[0], render_template_as_native_obj=where == "native"):
        values = {
            "native": {"dataset": "{{ params.datasets }}", "isolated_symbol": "{{ [none, params.pair] }}"},
            "entries": {
                "dataset": ["{{ params.datasets[0] }}", "borrow"],
                "isolated_symbol": ["{{ params.pair }}", None],
            },
        }[where]
        params = {"datasets": ["interest", "borrow"], "pair": "BTCUSDT"}
        task = MarginHistoryToS3Operator(**options, **values, params=params)

    done = run_task(task, interval=DAY)

    assert done.state == "success", done.error
    loaded = [(name, pair) for name in ("interest", "borrow") for pair in (None, "BTCUSDT")]
    assert sorted(key(*series) for series in loaded) == sorted(s3.keys())


def test_what_another_task_returns_is_a_list_too(options):
    """It is not judged while the DAG is parsed; mapping takes lists, and lists of lists."""
    with DAG("d", schedule=None):
        before = EmptyOperator(task_id="before")
        for number, kind in enumerate((MarginHistoryToS3Operator, MarginHistoryAuditOperator)):
            given = {**options, "task_id": f"task_{number}", "isolated_symbol": [before.output, "BTCUSDT"]}
            task = kind(dataset=before.output, **given)
            assert task.upstream_task_ids == {"before"}
            mapped = kind.partial(**{**options, "task_id": f"mapped_{number}"}, isolated_symbol=SCOPES)
            mapped.expand(dataset=[["interest", "borrow"], "transfer"])


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "given", "says"),
    [
        ("{scope}/{start}.jsonl", {}, "must hold {dataset}"),
        ("{dataset}/{start}.jsonl", {}, "must hold {scope}"),
        ("{start}.jsonl", {}, "must hold {dataset} and {scope}"),
        ("{start}.jsonl", {"isolated_symbol": None}, "must hold {dataset}"),
        (KEY, {"dataset": []}, "empty list"),
        (KEY, {"isolated_symbol": []}, "empty list"),
        (KEY, {"dataset": ["interest", "interests"]}, "dataset must be one of"),
        (KEY, {"dataset": ["interest", None]}, "dataset must be one of"),
        (KEY, {"dataset": "['interest']"}, "render_template_as_native_obj"),
        (KEY, {"isolated_symbol": "BTCUSDT"}, "of the cross account only"),
        (KEY, {"isolated_symbol": [None, "btcusdt"]}, "the exchange spells it BTCUSDT"),
        (KEY, {"filters": {"asset": "BTC"}}, "force_liquidation can be filtered by nothing"),
    ],
)
@pytest.mark.parametrize("kind", [MarginHistoryToS3Operator, MarginHistoryAuditOperator], ids=["load", "audit"])
def test_what_cannot_work_is_refused_at_once(sandbox, s3, options, run_task, kind, template, given, says):
    """While the DAG is parsed; from a mapped task or a template, before the first request."""
    given = {"dataset": ALL, "isolated_symbol": SCOPES, "s3_key": template, **given}
    with pytest.raises(ValueError, match=re.escape(says)):
        kind(**{**options, **given})

    done = run_task(kind(_airflow_from_mapped=True, **{**options, **given}), interval=DAY)

    assert (done.state, s3.keys(), sandbox.requests) == ("failed", [], [])
    assert says in str(done.error)


def test_an_object_that_must_stay_keeps_no_others_away(sandbox, s3, load):
    """It is named with the way out, and the task fails at the end."""
    fill(sandbox)
    load()
    for name in ("borrow", "capital_flow"):
        sandbox.clear(dataset=name)
    before = s3.objects()
    sandbox.add(at=START + 5000, dataset="interest")

    done = load(clear_number=1)

    assert done.state == "failed"
    refused = [series for series in SERIES if series[0] in ("borrow", "capital_flow")]
    assert f"{len(refused)} of {len(SERIES)} objects could not be loaded, the others are" in str(done.error)
    assert "replace=False" in str(done.error)
    now = s3.objects()
    assert {each for each in now if now[each] != before[each]} == {key("interest")}


@pytest.mark.parametrize(("pair", "says"), [("NOSUCHUSDT", "code -1121"), (NOT_ISOLATED, "code -11001")])
def test_a_pair_that_the_exchange_rejects_keeps_no_others_away(sandbox, s3, load, audit, pair, says):
    """It is asked for a few times, however many objects it has, and named at the end; so in an audit."""
    fill(sandbox)
    datasets, days = ["interest", "force_liquidation", "liquidation_loan_repayment"], 8
    bounds = DAY[1] - timedelta(days=days), DAY[1]

    done = load(datasets, [pair, None, "BTCUSDT"], interval=bounds, grain="day")

    assert done.state == "failed"
    assert f"{2 * days} of {7 * days} objects could not be loaded, the others are" in str(done.error)
    assert all(f"{name} of scope {pair}: " in str(done.error) for name in datasets[:2])
    assert says in str(done.error)
    assert len(s3.keys()) == 5 * days
    assert 2 <= len([entry for entry in sandbox.requests if pair in entry.query]) <= 2 * 4

    for audited in (audit(datasets[:2], [None, pair], interval=bounds, grain="day", on_gap=on) for on in GAPS):
        assert audited.state == "failed"
        assert all(f"{name} of scope {pair}: " in str(audited.error) for name in datasets[:2])
        assert says in str(audited.error)


def test_a_dataset_that_never_agrees_with_its_total_keeps_no_others_away(sandbox, s3, load):
    """It is given up after six days, and tried again with the task; all days of the others are there."""
    datasets, days = ["interest", "force_liquidation"], 20
    for day in range(days):
        fill(sandbox, [("interest", None)], day - days)
    sandbox.fault("total", dataset="interest", value=7, times=None)
    bounds = DAY[0] - timedelta(days=days), DAY[0]

    done = load(datasets, [None], interval=bounds, grain="day", retries=1)

    assert done.state == "up_for_retry"
    assert f"{days} of {2 * days} objects could not be loaded, the others are" in str(done.error)
    assert "interest of scope cross, [" in str(done.error)
    assert sorted(s3.keys()) == [key("force_liquidation", day=day - days) for day in range(days)]
    asked = {entry.query.partition("&endTime")[0] for entry in sandbox.requests if "interest" in entry.path}
    assert 6 <= len(asked) <= 6 + MOST_OBJECTS_AT_ONCE


def test_a_rejected_key_ends_the_run_at_once(sandbox, s3, load):
    """It concerns all that there is."""
    sandbox.fault("error", code=-2015, status=401, times=None)

    done = load()

    assert done.state == "failed"
    assert "permissions were rejected" in str(done.error)
    assert len(sandbox.requests) <= 16
    assert s3.keys() == []


def test_what_is_beyond_memory_keeps_no_others_away(sandbox, s3, load):
    """Datasets that the exchange remembers for ever are loaded; the others are named with the day to begin on."""
    days = (MIDNIGHT - timedelta(days=101), MIDNIGHT - timedelta(days=99))

    done = load(isolated_symbol=[None, "BTCUSDT"], interval=days, grain="day")

    kept = [name for name in ALL if DATASETS[name].memory is None]
    forgotten = [name for name in ALL if DATASETS[name].memory is not None]
    assert done.state == "failed"
    assert {each.partition("/")[0] for each in s3} == set(kept)
    assert len(s3.keys()) == sum(2 if DATASETS[name].pair_param else 1 for name in kept) * 2
    remembered = {name: DATASETS[name].memory.days for name in forgotten}
    assert all(f"the exchange remembers {name} for {n} days" in str(done.error) for name, n in remembered.items())
    assert 'beyond_memory="claim"' in str(done.error)
    assert not [each for each in sandbox.requests if any(each.path == DATASETS[name].path for name in forgotten)]
    assert load(forgotten, [None], interval=days).state == "failed"
    claimed = load(forgotten, [None], interval=days, beyond_memory="claim")
    assert claimed.state == "success", claimed.error
    assert {s3.metadata(f"{name}/cross/{days[0]:%Y-%m-%d}.jsonl")["proof"] for name in forgotten} == {"claim"}


def test_a_retry_loads_what_is_left(sandbox, s3, load, options, run_task):
    """What the same task has finished is not asked for again."""
    fill(sandbox)
    assert load(retries=1).state == "success"
    sandbox.clear_log()
    for each in [key("borrow"), key("interest", "BTCUSDT")]:
        s3.client.delete_object(Bucket=s3.name, Key=each)

    done = load(try_number=2, retries=1)

    assert done.state == "success", done.error
    asked = sorted(entry.path for entry in sandbox.requests if "sapi" in entry.path)
    assert asked == sorted(DATASETS[name].path for name in ("borrow", "interest"))
    assert len(s3.keys()) == len(SERIES)


def test_outlets_and_lineage_of_lists(sandbox, s3, options, run_task):
    """One event with the summary; each endpoint once as an input."""
    numbers = fill(sandbox)
    task = MarginHistoryToS3Operator(
        **options, dataset=ALL, isolated_symbol=SCOPES, outlets=[Asset(name="lake", uri="s3://lake/all")]
    )

    done = run_task(task, interval=DAY)

    assert done.state == "success", done.error
    [event] = done.final["outlet_events"]
    symbols = event["extra"].pop("symbols")
    assert event["extra"] == {name: value for name, value in done.result.items() if name != "keys"}
    assert {name: sum(counts.values()) for name, counts in symbols.items()} == {
        name: sum(number for (each, _), number in numbers.items() if each == name) for name in ALL
    }
    found = task.get_openlineage_facets_on_complete(None)
    assert sorted(each.name for each in found.inputs) == sorted({DATASETS[n].path.lstrip("/") for n in ALL})


# -- audits ------------------------------------------------------------------------------------------------------------


def test_an_audit_of_lists_finds_each_gap_and_loads_it_again(sandbox, s3, load, audit, options, run_task):
    """Its gaps are the arguments of tasks that load what is missing, and nothing else."""
    datasets = ["interest", "liquidation_loan_repayment", "borrow"]
    given = {"dataset": datasets, "grain": "day", "interval": (DAY[0], DAY[1] + timedelta(days=2))}
    number = 3 * len([series for series in SERIES if series[0] in datasets])
    fill(sandbox)
    fill(sandbox, day=1)
    assert load(**given).state == "success"
    whole = audit(**given)
    assert whole.state == "success", whole.error
    assert number == whole.result["counts"]["complete"] == whole.result["checked"]
    before = s3.objects()
    gone = [key("borrow"), key("borrow", day=1), key("interest", "ETHUSDT", 2), key("liquidation_loan_repayment")]
    for each in gone:
        s3.client.delete_object(Bucket=s3.name, Key=each)

    found = audit(**given, on_gap="report").result

    assert (found["counts"]["missing"], found["counts"]["complete"]) == (4, number - 4)
    assert sorted(each["key"] for each in found["missing"]) == sorted(gone)
    gaps = [{name: gap[name] for name in ("dataset", "isolated_symbol")} for gap in found["gaps"]]
    assert sorted(gaps, key=str) == [
        {"dataset": "borrow", "isolated_symbol": None},
        {"dataset": "interest", "isolated_symbol": "ETHUSDT"},
        {"dataset": "liquidation_loan_repayment", "isolated_symbol": None},
    ]
    for gap in found["gaps"]:
        done = run_task(MarginHistoryToS3Operator(**options, grain="day", _airflow_from_mapped=True, **gap))
        assert done.state == "success", done.error
    assert before == s3.objects()


@pytest.mark.parametrize("template", [None, "{{ task.task_id }}"], ids=["", "template"])
@pytest.mark.parametrize(
    ("what", "shown"),
    [
        ({"dataset": "interest", "isolated_symbol": "BTCUSDT"}, "interest BTCUSDT"),
        ({"dataset": "repay"}, "repay cross"),
        ({"dataset": "repay", "start": "2026-01-15", "end": "2026-01-16"}, "repay cross 2026-01-15"),
    ],
)
@pytest.mark.parametrize("kind", [MarginHistoryToS3Operator, MarginHistoryAuditOperator, MarginHistorySensor])
def test_a_mapped_task_is_named_by_what_it_is_of(options, run_task, kind, what, shown, template):
    """Not 0, 1, 2 in the grid, unless the DAG names it itself."""
    own = {"task_id": "t", "on_empty": "pass"} if kind is MarginHistorySensor else {**options, "task_id": "t"}

    done = run_task(kind(**own, **what, map_index_template=template), interval=DAY, map_index=0)

    assert done.final["rendered_map_index"] == ("t" if template else shown), done.error


@pytest.mark.parametrize("pair", [None, "BTCUSDT"])
@pytest.mark.parametrize("is_mapped", [True, False], ids=["mapped", "alone"])
@pytest.mark.parametrize("is_fixed", [True, False], ids=["fixed", "any-dataset"])
def test_a_gap_of_one_of_several_tasks_says_whose_it_is(sandbox, s3, options, run_task, pair, is_mapped, is_fixed):
    """A mapped audit has one series, as one alone has; its gaps are loaded together with those of the others."""
    dataset = {} if is_fixed else {"dataset": "borrow"}
    audits, loads = (
        (ForceLiquidationAuditOperator, ForceLiquidationToS3Operator)
        if is_fixed
        else (MarginHistoryAuditOperator, MarginHistoryToS3Operator)
    )
    task = audits(**options, **dataset, isolated_symbol=pair, on_gap="report")
    task._BaseOperator__from_mapped = is_mapped  # as Airflow marks what it makes of a mapped task
    (gap,) = run_task(task, interval=DAY).result["gaps"]

    done = run_task(loads(**{**options, **({} if is_mapped else dataset), **gap}))

    assert ("dataset" in gap, gap.get("isolated_symbol")) == (is_mapped and not is_fixed, pair)
    assert done.state == "success", done.error
    assert s3.keys() == [key(dataset.get("dataset", "force_liquidation"), pair)]


def test_gaps_of_pairs_alone_name_no_dataset(sandbox, s3, options, run_task):
    """They are for an operator of one dataset."""
    done = run_task(
        ForceLiquidationAuditOperator(**options, isolated_symbol=[None, "BTCUSDT"], on_gap="report"), interval=DAY
    )

    assert [sorted(gap) for gap in done.result["gaps"]] == [["end", "isolated_symbol", "start"]] * 2
    for gap in done.result["gaps"]:
        assert run_task(ForceLiquidationToS3Operator(**options, **gap)).state == "success"
    assert sorted(s3.keys()) == sorted(key("force_liquidation", pair) for pair in (None, "BTCUSDT"))
