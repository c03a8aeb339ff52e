"""Metrics, as a statsd server on this machine hears them, and without one."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing, closing, contextmanager
from datetime import timedelta
from importlib import import_module
from inspect import signature

import pytest
from airflow.providers.common.compat.sdk import Stats
from statsd_server import statsd
from unit.triggers.model import Store
from unit.triggers.triggerer import known, until  # noqa: F401 - a fixture

from airflow_provider_binance_margin import metrics
from airflow_provider_binance_margin.exchange.messages import Reply
from airflow_provider_binance_margin.hooks.binance import BinanceHook
from airflow_provider_binance_margin.lake.coverage import LETTERS
from airflow_provider_binance_margin.operators.margin_history_audit import MarginHistoryAuditOperator
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import MarginHistoryToS3Operator
from airflow_provider_binance_margin.triggers.force_liquidation import ForceLiquidationEventTrigger
from airflow_provider_binance_margin.triggers.margin_history import MarginHistoryTrigger

pytest.importorskip("statsd")

PAIR = "币安人生USDT"
SUBJECT = "account=binance_default,dataset=force_liquidation,scope={}"
CROSS, ISOLATED = SUBJECT.format("cross"), SUBJECT.format("_E5_B8_81_E5_AE_89_E4_BA_BA_E7_94_9FUSDT")


@contextmanager
def configured(process):
    """Airflow's metrics as configured in a task's process, or in the triggerer's: each has a `Stats` of its own."""
    made = []

    def make(*arguments):
        made.append(factory(*arguments))
        return made[-1]

    root = "airflow.sdk" if process == "task" else "airflow"
    try:
        stats = import_module(f"{root}._shared.observability.metrics.stats").Stats
        nothing = import_module(f"{root}._shared.observability.metrics.base_stats_logger").NoStatsLogger
        factories = import_module(f"{root}.observability.metrics.stats_utils")
    except ImportError:  # before Airflow 3.2 there is one, and it is configured where the first is sent
        from airflow.metrics.statsd_logger import get_statsd_logger as factory

        kind = type(Stats)
        before, kind.factory, Stats.instance = kind.factory, make, None
        yield
        kind.factory, Stats.instance = before, None
    else:
        more = {"export_legacy_names": False} if "export_legacy_names" in signature(stats.initialize).parameters else {}
        factory = factories.get_stats_factory(*([stats] if signature(factories.get_stats_factory).parameters else []))
        stats.initialize(factory=make, **more)
        yield
        stats.initialize(factory=nothing, **more)
    for logger in made:
        logger.statsd.close()


@pytest.fixture
def heard(monkeypatch, request):
    """What was sent so far, by name and tags: the sum of counts, the last of gauges."""
    with statsd(STATSD_PREFIX="airflow", STATSD_INFLUXDB_ENABLED="True") as (heard, env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        found = {}

        def read():
            for sent in heard():
                name, tags, number, kind = re.fullmatch(r"airflow\.([^,:]+),?([^:]*):([^|]+)\|(\w+)", sent).groups()
                key = name.removeprefix("binance_margin."), ",".join(sorted(tags.split(",")))
                if name.startswith("binance_margin."):
                    found[key] = float(number) + (found.get(key, 0) if kind == "c" else 0)
            return found

        with configured(getattr(request, "param", "task")):
            yield read


def options(s3, day, **more):
    bounds = {"start": day.start.isoformat(), "end": day.end.isoformat()}
    more = {"dataset": "force_liquidation", "isolated_symbol": [None, PAIR], **more}
    return {"task_id": "task", "s3_bucket": s3.name, "grain": "day", **bounds, **more}


def test_a_load_and_an_audit_are_heard(connect, sandbox, s3, run_task, day, heard):
    """Names, tags and numbers, of each dataset, account and scope."""
    sandbox.add(n=120, at=day.ms[0])
    sandbox.add(n=3, at=day.ms[0], symbol=PAIR, isolated=True)
    sandbox.fault("429", retry_after=1)

    assert run_task(MarginHistoryToS3Operator(**options(s3, day))).state == "success"
    audit = MarginHistoryAuditOperator(**options(s3, day), on_gap="report", fresh=timedelta(9999))
    assert run_task(audit).state == "success"

    sent = heard()
    endpoint = "connection=binance_default,endpoint=forceLiquidationRec"
    assert (sent["records", CROSS], sent["records", ISOLATED]) == (120, 3)
    assert (sent["objects", CROSS], sent["objects", ISOLATED]) == (1, 1)
    asked = sum(number for (name, tags), number in sent.items() if name == "requests" and tags == endpoint)
    assert asked == sum(each.path.endswith("forceLiquidationRec") for each in sandbox.requests)
    assert sum(number for (name, _), number in sent.items() if name == "throttled") == 1
    assert sent["weight_used", f"{endpoint},kind=IP"] > 0
    assert sent["lag", CROSS] > 86_400
    verdicts = {name: number for (name, tags), number in sent.items() if tags == ISOLATED and "audit" in name}
    assert verdicts == {f"audit.{verdict}": verdict == "complete" for verdict in LETTERS}


async def first_event(trigger, sandbox):
    """The event of a record that comes after the first answer."""

    async def add():
        await until(lambda: len(sandbox.requests) > 2)
        sandbox.add(n=1)

    adding = asyncio.create_task(add())
    async with aclosing(trigger.run()) as events:
        await anext(events)
    await adding


def by_hook(sandbox):
    with closing(BinanceHook()) as hook:
        hook.force_liquidation_page()


def by_sensor(sandbox):
    end = {"end": None, "settle": 60.0, "max_span": None, "isolated_symbol": None, "min_records": 1}
    start = sandbox.now_ms() - 1000
    trigger = MarginHistoryTrigger(
        dataset="force_liquidation", binance_conn_id="binance_default", start=start, poke_interval=0.3, **end
    )
    asyncio.run(first_event(trigger, sandbox))


def by_watcher(sandbox):
    trigger = ForceLiquidationEventTrigger(poll_interval=1)
    trigger.asset_state_store = Store()
    asyncio.run(first_event(trigger, sandbox))


@pytest.mark.parametrize(
    ("heard", "ask"),
    [("task", by_hook), ("triggerer", by_sensor), ("triggerer", by_watcher)],
    indirect=["heard"],
)
def test_each_request_is_heard_wherever_it_is_made(heard, ask, sandbox, known):  # noqa: F811
    """In a worker, by a deferred sensor and by a watcher: requests, weight used and refusals, of each endpoint."""
    sandbox.fault("429", retry_after=1)

    ask(sandbox)

    sent = heard()
    for path in {each.path for each in sandbox.requests}:
        tags = f"connection=binance_default,endpoint={path.rpartition('/')[2]}"
        answers = [each.status for each in sandbox.requests if each.path == path]
        assert sent["requests", tags] == len(answers) > 0
        assert sent.get(("throttled", tags), 0) == answers.count(429)
        assert sent["weight_used", f"{tags},kind=IP"] > 0
    assert sum(each.status == 429 for each in sandbox.requests) == 1


def test_nothing_is_sent_and_nothing_fails_without_a_client(connect, s3, run_task, day, monkeypatch):
    """Nor where a backend of metrics is broken."""
    assert run_task(MarginHistoryToS3Operator(**options(s3, day))).state == "success"

    def broken(*_, **__):
        raise RuntimeError("no backend")

    monkeypatch.setattr(Stats, "incr", broken, raising=False)
    metrics.send_reply_metrics("c", "https://api/sapi/v1/x?signature=1", Reply(429))
