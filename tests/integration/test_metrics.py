"""Metrics, as a statsd server on this machine hears them, and without one."""

from __future__ import annotations

import re
import socket
from contextlib import contextmanager
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import Stats

from airflow_provider_binance_margin import metrics
from airflow_provider_binance_margin.exchange.messages import Reply
from airflow_provider_binance_margin.lake.coverage import LETTERS
from airflow_provider_binance_margin.operators.margin_history_audit import MarginHistoryAuditOperator
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import MarginHistoryToS3Operator

pytest.importorskip("statsd")

PAIR = "币安人生USDT"
SUBJECT = "account=binance_default,dataset=force_liquidation,scope={}"
CROSS, ISOLATED = SUBJECT.format("cross"), SUBJECT.format("_E5_B8_81_E5_AE_89_E4_BA_BA_E7_94_9FUSDT")


@contextmanager
def configured():
    """Airflow's metrics as configured, which the task runner's own process does before a task."""
    made = []

    def make(*arguments):
        made.append(factory(*arguments))
        return made[-1]

    try:
        from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
        from airflow.sdk.observability.metrics.stats_utils import get_stats_factory
    except ImportError:  # before Airflow 3.2 that is done where the first is sent
        from airflow.metrics.statsd_logger import get_statsd_logger as factory

        kind = type(Stats)
        before, kind.factory, Stats.instance = kind.factory, make, None
        yield
        kind.factory, Stats.instance = before, None
    else:
        factory = get_stats_factory()
        Stats.initialize(factory=make, export_legacy_names=False)
        yield
        Stats.initialize(factory=NoStatsLogger, export_legacy_names=False)
    for logger in made:
        logger.statsd.close()


@pytest.fixture
def heard(monkeypatch):
    """What was sent so far, by name and tags: the sum of counts, the last of gauges."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.5)
        options = {"STATSD_ON": "True", "STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(server.getsockname()[1])}
        options |= {"STATSD_PREFIX": "airflow", "STATSD_INFLUXDB_ENABLED": "True"}
        for name, value in options.items():
            monkeypatch.setenv(f"AIRFLOW__METRICS__{name}", value)
        found = {}

        def read():
            while True:
                try:
                    sent = server.recv(65_536).decode()
                except TimeoutError:
                    return found
                name, tags, number, kind = re.fullmatch(r"airflow\.([^,:]+),?([^:]*):([^|]+)\|(\w+)", sent).groups()
                key = name.removeprefix("binance_margin."), ",".join(sorted(tags.split(",")))
                if name.startswith("binance_margin."):
                    found[key] = float(number) + (found.get(key, 0) if kind == "c" else 0)

        with configured():
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


def test_nothing_is_sent_and_nothing_fails_without_a_client(connect, s3, run_task, day, monkeypatch):
    """Nor where a backend of metrics is broken."""
    assert run_task(MarginHistoryToS3Operator(**options(s3, day))).state == "success"

    def broken(*_, **__):
        raise RuntimeError("no backend")

    monkeypatch.setattr(Stats, "incr", broken, raising=False)
    metrics.send_reply_metrics("c", "https://api/sapi/v1/x?signature=1", Reply(429))
