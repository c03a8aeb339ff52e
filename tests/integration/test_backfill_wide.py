"""A wide interval in one task: fast, no request too many, and its progress is told."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pytest

from airflow_provider_binance_margin.sandbox import Sandbox

RECORDS = "/sapi/v1/margin/forceLiquidationRec"
FIRST = date(2024, 1, 1)
DAYS = 731
DAY = 86_400_000


def work(options):
    """The task, in a process of its own: exchange and S3 server are others, as they are in life."""
    told_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # where Airflow logs to
    from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import ForceLiquidationToS3Operator

    task = ForceLiquidationToS3Operator(task_id="load", **options)
    began = time.monotonic()
    context = {"run_id": "r", "dag_run": SimpleNamespace(clear_number=0), "outlet_events": {}}
    result = task.execute(context)
    print(json.dumps({"seconds": time.monotonic() - began, "result": result}), file=told_to, flush=True)


@pytest.fixture
def years(sandbox_home):
    """Two years of an account, 50 ms away."""
    with Sandbox(start=FIRST, days=DAYS, home=sandbox_home, latency=0.05) as exchange:
        yield exchange


@pytest.mark.slow
def test_two_years_in_one_task(years, s3, record_property):
    """731 objects with the exact records, no request more than their pages and the confirmation of several take."""
    from programs import python  # this file is also the program

    options = {"s3_bucket": s3.name, "start": "2024-01-01", "end": "2026-01-01", "grain": "day"}
    options["s3_key"] = "{start:%Y-%m-%d}.jsonl"
    env = {**os.environ, **years.airflow_env(), "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(s3.connection())}

    done = python(__file__, json.dumps(options), env=env)

    told = json.loads(done.stdout)
    record_property("seconds", told["seconds"])
    midnight = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1000)
    counts = {
        f"{FIRST + timedelta(days=day)}.jsonl": years.count(midnight + day * DAY, midnight + (day + 1) * DAY)
        for day in range(DAYS)
    }
    pages = [max(1, -(-count // 100)) for count in counts.values()]
    needed = sum(number + 2 * (number > 1) for number in pages)  # of several, the first and the last once more
    requests = [entry for entry in years.requests if entry.path == RECORDS]
    assert (needed, needed, needed) == (len(requests), len(years.requests), told["result"]["requests"])
    assert len({entry.query.partition("&timestamp")[0] for entry in requests}) == sum(pages)
    assert (731, sum(counts.values())) == (told["result"]["objects"], told["result"]["records"])
    assert counts == {key: body.count(b"\n") for key, body in s3.objects().items()}
    written = [json.loads(line) for key in sorted(counts) for line in s3.get(key).splitlines()]
    order = ("updatedTime", "orderId")
    assert sorted(written, key=lambda row: [row[name] for name in order]) == sorted(
        years.records(midnight, midnight + DAYS * DAY), key=lambda row: [row[name] for name in order]
    )
    progress = re.findall(
        r"(\d+) of 731 objects, (\d+) records, ([\d.]+) objects a second, about (\d+) s left", done.stderr
    )
    assert len(progress) >= int(told["seconds"] // 10) - 1
    assert [int(line[0]) for line in progress] == sorted({int(line[0]) for line in progress})


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
