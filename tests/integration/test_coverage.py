"""Coverage of a lake: what the audit stores for the page, in Airflow's state store or as an XCom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from versions import needs

from airflow_provider_binance_margin.lake.coverage import Coverage, Day, date_of

STORES = needs("airflow.sdk.execution_time.context.AssetStateStoreAccessors")
DAY = timedelta(days=1)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = NEW_YEAR - 2 * DAY
KEYS = [f"coverage/force_liquidation/binance_default/cross/{year}" for year in (2025, 2026)]
FOREVER = timedelta(days=10_000)


@pytest.fixture
def lake():
    from airflow.sdk import Asset

    return Asset("lake", uri="s3://lake/margin")


@pytest.fixture
def options(s3):
    return {"s3_bucket": s3.name, "s3_key": "{start:%Y-%m-%d}.jsonl.gz", "grain": "day"}


@pytest.fixture
def audit(connect, options, run_task):
    """Audits a number of days from one on."""
    from airflow_provider_binance_margin.operators.force_liquidation_audit import ForceLiquidationAuditOperator

    def audit(first=FIRST, days=4, **more):
        task = ForceLiquidationAuditOperator(task_id="audit", **{**options, "fresh": FOREVER, **more})
        return run_task(task, interval=(first, first + days * DAY), run_id=f"run {first}", map_index=0)

    return audit


@pytest.fixture
def _loaded(operator, options, run_task, sandbox):
    """Four days around New Year, 1, 2, 3 and no records."""
    for day in range(3):
        sandbox.add(n=day + 1, at=int((FIRST + day * DAY).timestamp() * 1000))
    done = run_task(operator(**options), interval=(FIRST, FIRST + 4 * DAY))
    assert done.state == "success", done.error


def by_date(*values):
    return {str(date_of(number)): day for value in values for number, day in Coverage.read(value).by_day().items()}


COMPLETE = {
    "2025-12-30": Day("c", 1, 1),
    "2025-12-31": Day("c", 2, 2),
    "2026-01-01": Day("c", 3, 3),
    "2026-01-02": Day("e"),
}


@STORES
@pytest.mark.usefixtures("_loaded")
def test_the_state_store_holds_a_value_a_year(audit, api, lake, s3):
    """Under the asset that the audit reads; an XCom beside it would be one too many."""
    done = audit(inlets=[lake])

    assert (done.state, "coverage" in done.xcom) == ("success", False), done.error
    assert [("lake", key) for key in KEYS] == list(api.asset_state)
    assert by_date(*api.asset_state.values()) == COMPLETE
    ((_, _, by),) = Coverage.read(api.asset_state["lake", KEYS[1]]).audits
    assert (by.dag_id, by.run_id, by.task_id, by.map_index) == ("a_dag", f"run {FIRST}", "audit", 0)
    assert (by.place, by.loads) == (f"s3://{s3.name}/{{start:%Y-%m-%d}}.jsonl.gz", False)


@STORES
@pytest.mark.usefixtures("_loaded")
def test_an_audit_of_some_days_leaves_the_others(audit, api, lake, s3):
    """What was found of them stands, and by whom."""
    audit(inlets=[lake])
    s3.client.delete_object(Bucket=s3.name, Key="2026-01-01.jsonl.gz")

    done = audit(first=NEW_YEAR, days=1, inlets=[lake], on_gap="report")

    assert done.result["counts"]["missing"] == 1
    assert by_date(*api.asset_state.values()) == COMPLETE | {"2026-01-01": Day("m", 0, 3)}
    spans = Coverage.read(api.asset_state["lake", KEYS[1]]).audits
    assert [(1, f"run {NEW_YEAR}"), (1, f"run {FIRST}")] == [(last - first + 1, by.run_id) for first, last, by in spans]


@pytest.mark.usefixtures("_loaded")
@pytest.mark.parametrize("inlets", [[], ["lake"]])
def test_without_a_store_an_xcom_holds_the_same(audit, api, lake, inlets, monkeypatch):
    """On Airflow before 3.3, of an audit that names no asset, of a store that refuses; a failing audit has told it."""
    store = api.store
    refused = httpx.Response(404, json={"detail": {"reason": "not_found", "message": "no active asset"}})
    monkeypatch.setattr(
        api, "store", lambda values, *more: refused if values is api.asset_state else store(values, *more)
    )

    done = audit(days=5, inlets=[lake] if inlets else [])

    assert (done.state, done.result) == ("failed", None)
    values = done.xcom["coverage"]
    assert by_date(*values) == COMPLETE | {"2026-01-03": Day("m")}
    assert [inlets, inlets] == [value["asset"] for value in values]


@STORES
@pytest.mark.usefixtures("_loaded")
@pytest.mark.parametrize("there", ["text", {"v": 7}, {"days": "c"}, ["c"]])
def test_what_somebody_else_wrote_is_replaced(audit, api, lake, there, told):
    """Any task may write an asset's state, and the UI edits it: the audit goes on."""
    api.asset_state["lake", KEYS[0]] = there

    assert audit(inlets=[lake]).state == "success"
    assert by_date(*api.asset_state.values()) == COMPLETE
    assert f"Coverage under {KEYS[0]} replaced" in told()


@pytest.mark.parametrize("base", ["http://127.0.0.1:8080", "https://host/airflow/"])
def test_the_audits_task_leads_to_the_page(monkeypatch, base):
    """Wherever the UI is mounted."""
    from airflow_provider_binance_margin.operators.margin_history_audit import MarginHistoryAuditOperator

    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base)
    (link,) = MarginHistoryAuditOperator.operator_extra_links

    assert link.get_link(None, ti_key=None) == f"{base.rstrip('/')}/binance-margin/page"
