"""A day of seven datasets and four scopes on a real Airflow: one task with lists beside one mapped task for each.

``python benchmarks/lists.py``: LocalExecutor, two tasks at once, the exchange 50 ms away. Worker seconds are the tasks'
durations as Airflow states them, from the start of their processes on: the median of the runs, taken in turns.
"""

# ruff: noqa: E402 - the path to `scripts` comes before the imports
from __future__ import annotations

import os
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "scripts")]

from demo_lake import s3_client
from local_stack import Stack, StackError

BUCKET = "lists-lake"
RUNS = 3
SECONDS = 300
DAG = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_binance_margin.exchange.datasets import DATASETS
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import MarginHistoryToS3Operator

SCOPES = [None, "BTCUSDT", "ETHUSDT", "币安人生USDT"]
# a dataset without pairs is one of the account
EACH = [
    {"dataset": name, "isolated_symbol": scope}
    for name, kind in DATASETS.items() for scope in SCOPES if kind.pair_param or not scope
]
DAY = {"s3_bucket": "lists-lake", "start": "{{ params.day }}", "end": "{{ macros.ds_add(params.day, 1) }}"}

for name, options in {
    "one": {"dataset": "force_liquidation"},
    "lists": {"dataset": list(DATASETS), "isolated_symbol": SCOPES},
    "mapped": None,
}.items():
    with DAG(name, schedule=None, params={"day": ""}, max_active_tasks=64) as dag:
        if options:
            MarginHistoryToS3Operator(task_id="load", **DAY, **options)
        else:
            MarginHistoryToS3Operator.partial(task_id="load", **DAY).expand_kwargs(EACH)
    globals()[name] = dag
"""


def main() -> None:
    """Print a row for each way."""
    day = f"{datetime.now(UTC) - timedelta(days=3):%Y-%m-%d}"
    with tempfile.TemporaryDirectory(prefix="lists-") as folder:
        dags = Path(folder) / "dags"
        dags.mkdir()
        (dags / "lists.py").write_text(DAG, encoding="utf-8")
        env = {"AIRFLOW__CORE__PARALLELISM": "2"}
        with Stack(Path(folder) / "stack", dags=dags, env=env) as stack:
            s3_client(stack.start_s3()).create_bucket(Bucket=BUCKET)
            stack.start_sandbox("--stories", "all", "--days", "30", "--latency-ms", "50")
            stack.start_airflow()
            seconds: dict[str, list[tuple[int, float, float]]] = {"one": [], "lists": [], "mapped": []}
            for way in seconds:
                stack.airflow.api.wait_dag(way)
                stack.airflow.api.unpause(way)
                _run(stack, way, day)  # byte code and caches
            for _ in range(RUNS):
                for way, done in seconds.items():
                    done.append(_run(stack, way, day))
    print(f"load {os.getloadavg()[0]:.1f}\n| way | tasks | worker seconds | the longest task | \n|---|---:|---:|---:|")
    for way, done in seconds.items():
        tasks, total, longest = (median(column) for column in zip(*done, strict=True))
        print(f"| {way} | {tasks:.0f} | {total:.2f} | {longest:.2f} |")


def _run(stack: Stack, way: str, day: str) -> tuple[int, float, float]:
    """One run: its tasks, what they took together, and the longest."""
    api = stack.airflow.api
    run = api.trigger(way, conf={"day": day})
    deadline = time.monotonic() + SECONDS
    while (state := api.api("GET", f"dags/{way}/dagRuns/{run}")["state"]) not in {"success", "failed"}:
        if time.monotonic() >= deadline:
            raise StackError(f"The run of {way} is {state} after {SECONDS} s.")
        time.sleep(0.5)
    if state == "failed":
        raise StackError(api.first_failure(way))
    took = [float(task["duration"]) for task in api.tasks(way) if task["dag_run_id"] == run]
    return len(took), sum(took), max(took)


if __name__ == "__main__":
    main()
