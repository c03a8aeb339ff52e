"""A plain date as a bound is its midnight in UTC, whichever way it comes in."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime

import pendulum
import pytest

from airflow_provider_binance_margin.hooks.binance import BinanceHook
from airflow_provider_binance_margin.operators.margin_history_audit import MarginHistoryAuditOperator
from airflow_provider_binance_margin.sensors.margin_history import MarginHistorySensor
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import MarginHistoryToS3Operator
from airflow_provider_binance_margin.triggers.margin_history import MarginHistoryEventTrigger

DAY = 86_400_000
DATES = {
    "date": (date(2026, 1, 15), date(2026, 1, 16)),
    "pendulum": (pendulum.date(2026, 1, 15), pendulum.date(2026, 1, 16)),
    "date and datetime": (date(2026, 1, 15), datetime(2026, 1, 16, tzinfo=UTC)),
}


@pytest.fixture
def ask(connect, run_task, s3, monkeypatch):
    """Ask for an interval in one way; return the number of records found."""

    def by_hook(name):
        def call(start, end):
            hook = BinanceHook("binance_default")
            try:
                if name == "force_liquidations":
                    return len(hook.force_liquidations(start, end))
                if name == "records":
                    return len(hook.records("force_liquidation", start, end))
                if name == "page":
                    return hook.page("force_liquidation", startTime=start, endTime=end)["total"]
                return hook.force_liquidation_page(start_time=start, end_time=end)["total"]
            finally:
                hook.close()

        return call

    def by_task(kind, **options):
        def run(start, end):
            done = run_task(kind(task_id="task", dataset="force_liquidation", start=start, end=end, **options))
            assert done.state == "success", done.error
            return done.result

        return run

    monkeypatch.setenv("AIRFLOW_CONN_BINANCE_DEFAULT", json.dumps(connect()))
    place = {"s3_bucket": s3.name, "s3_key": "{start}.jsonl.gz", "grain": "day"}
    load = by_task(MarginHistoryToS3Operator, **place)
    audit = by_task(MarginHistoryAuditOperator, on_gap="report", **place)
    sense = by_task(MarginHistorySensor)

    def loaded(start, end):
        load(start, end)
        (key,) = s3.keys()
        return len(gzip.decompress(s3.get(key)).splitlines())

    def audited(start, end):
        load(start, end)
        return 2 * audit(start, end)["counts"]["complete"]

    hooks = {name: by_hook(name) for name in ("force_liquidations", "records", "page", "force_liquidation_page")}
    return {**hooks, "operator": loaded, "audit": audited, "sensor": lambda *bounds: sense(*bounds)["total"]}


WAYS = ("force_liquidations", "records", "page", "force_liquidation_page", "operator", "audit", "sensor")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bounds", DATES.values(), ids=DATES)
def test_a_plain_date_is_its_midnight_in_utc(ask, sandbox, day, bounds, way):
    """The day's first and last millisecond are in it, its neighbours' are not."""
    for at in (day.ms[0] - 1, day.ms[0], day.ms[1] - 1, day.ms[1] + 1):
        sandbox.add(at=at)

    assert ask[way](*bounds) == 2

    asked = {int(entry.params["startTime"]) for entry in sandbox.requests if "startTime" in entry.params}
    assert asked == {day.ms[0]}


@pytest.mark.parametrize("since", [bounds[0] for bounds in DATES.values()], ids=DATES)
def test_a_plain_date_is_where_announcements_begin(since):
    trigger = MarginHistoryEventTrigger(dataset="force_liquidation", since=since)
    assert trigger.since == "2026-01-15T00:00:00Z"
