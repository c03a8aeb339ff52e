"""What the exchange will soon have forgotten and nobody has loaded: told two weeks before, with the day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_binance_margin.exchange.datasets import DATASETS
from airflow_provider_binance_margin.operators.margin_history_audit import MarginHistoryAuditOperator
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import MarginHistoryToS3Operator

REMEMBERED = [name for name, dataset in DATASETS.items() if dataset.memory == timedelta(days=90)]
NOW = datetime.now(UTC)
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
MEMORY = timedelta(days=90)


def days_ago(number):
    return MIDNIGHT - timedelta(days=number)


def iso(when):
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture
def options(connect, s3):
    return {"task_id": "task", "s3_bucket": s3.name, "s3_key": "{dataset}/{scope}/{start}.jsonl", "grain": "day"}


@pytest.fixture
def audit(options, run_task):
    def audit(dataset, first, last, **more):
        bounds = {"start": days_ago(first), "end": days_ago(last)}
        return run_task(
            MarginHistoryAuditOperator(**{**options, **bounds, "on_gap": "report", **more}, dataset=dataset)
        )

    return audit


@pytest.fixture
def load(options, run_task):
    def load(dataset, day, **more):
        bounds = {"start": days_ago(day), "end": days_ago(day - 1)}
        done = run_task(MarginHistoryToS3Operator(**options, **bounds, dataset=dataset, **more))
        assert done.state == "success", done.error

    return load


@pytest.mark.parametrize("dataset", REMEMBERED)
def test_the_oldest_day_that_is_not_loaded_is_told_with_the_day_it_is_forgotten(sandbox, audit, load, told, dataset):
    """In result and log; what is loaded, or is not yet within two weeks of it, is not."""
    load(dataset, 85)

    done = audit(dataset, 85, 82)

    assert done.state == "success", done.error
    expected = {"start": iso(days_ago(84)), "end": iso(days_ago(83)), "load_before": iso(days_ago(84) + MEMORY)}
    assert done.result["expiring"] == [expected]
    assert done.result["counts"]["missing"] == 2
    said = f"expiring: [{expected['start']}, {expected['end']}) is not loaded, and the exchange forgets it from "
    assert f"{said}{expected['load_before']} on: load it before then" in told()


@pytest.mark.parametrize(
    ("day", "expires"),
    [(91, False), (90, False), (89, True), (77, True), (76, True), (75, False), (1, False)],
)
def test_two_weeks_before(sandbox, audit, day, expires):
    """Neither sooner nor, since it can no longer be proved, when it has begun to be forgotten."""
    sandbox.clock_offset_ms = int((MIDNIGHT + timedelta(hours=12) - datetime.now(UTC)).total_seconds() * 1000)

    [found] = [audit("interest", day, day - 1).result]

    assert found["counts"]["missing"] == 1
    assert [each["start"] for each in found["expiring"]] == ([iso(days_ago(day))] if expires else [])


@pytest.mark.parametrize("dataset", [name for name, dataset in DATASETS.items() if not dataset.memory])
def test_what_is_remembered_for_ever_does_not_expire(sandbox, audit, dataset):
    """As far as is documented."""
    found = audit(dataset, 85, 84).result

    assert (found["counts"]["missing"], found["expiring"]) == (1, [])


@pytest.mark.parametrize("fault", ["short", "corrupt", "missing"])
def test_whatever_has_to_be_loaded_again_expires(sandbox, s3, audit, load, fault):
    """Not only what was never loaded."""
    sandbox.add(n=3, at=int(days_ago(85).timestamp() * 1000), dataset="interest", step_ms=1000)
    load("interest", 85)
    [key] = s3.keys()
    meta = s3.metadata(key)
    if fault == "short":
        sandbox.add(at=int(days_ago(85).timestamp() * 1000) + 50_000, dataset="interest")
    elif fault == "corrupt":
        s3.put(key, b"{}\n", **meta)
    else:
        s3.client.delete_object(Bucket=s3.name, Key=key)

    found = audit("interest", 85, 84).result

    assert found["counts"][fault] == 1
    assert [each["start"] for each in found["expiring"]] == [iso(days_ago(85))]


def test_of_lists_each_dataset_and_pair_is_told(sandbox, audit, load, told):
    """With the arguments that load it, the first to be forgotten first."""
    load("interest", 85, isolated_symbol="BTCUSDT")

    found = audit(
        ["force_liquidation", "interest", "liquidation_loan_repayment"], 85, 83, isolated_symbol=[None, "BTCUSDT"]
    )

    assert [(each["dataset"], each["isolated_symbol"], each["start"]) for each in found.result["expiring"]] == [
        ("interest", None, iso(days_ago(85))),
        ("liquidation_loan_repayment", None, iso(days_ago(85))),
        ("interest", "BTCUSDT", iso(days_ago(84))),
    ]
    assert ", dataset interest, isolated_symbol BTCUSDT is not loaded" in told()
    assert ", dataset interest is not loaded" in told()


def test_an_audit_that_fails_says_until_when_it_can_be_mended(sandbox, audit):
    """In the error, which is what an alert shows."""
    done = audit("interest", 85, 84, on_gap="fail")

    assert done.state == "failed"
    assert f"before {iso(days_ago(85) + MEMORY)}: the exchange forgets it then" in str(done.error)
