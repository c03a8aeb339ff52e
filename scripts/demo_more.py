"""What the demo shows after the two weeks: two years in one run, a takeover found, and a DAG woken by a new record."""

from __future__ import annotations

import gzip
import json
import shutil
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from airflow_provider_binance_margin.sandbox.stories import tell
from demo_lake import midnight
from local_stack import StackError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from local_stack import Stack

WIDE_DAG_ID = "binance_force_liquidation_by_hand"
LIVE_DAG_ID = "binance_force_liquidation_live"
HISTORY_DAG_ID = "binance_margin_history_backfill"
REPORT_DAG_ID = "binance_liquidation_report"
AUDIT_DAG_ID = "binance_force_liquidation_audit"
LIVE_PREFIX = "binance/live/"
LATENCY = 0.05
POLL_SECONDS = 5
_PATH = "/sapi/v1/margin/forceLiquidationRec"
_WIDE_SECONDS = 300.0
_WATCHER_SECONDS = 90.0
_ARRIVAL_SECONDS = 120.0


def example_dags(source: Path, target: Path) -> None:
    """The example DAGs as a user would change them: a watcher that polls more often than once a minute."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    live = target / f"{LIVE_DAG_ID}.py"
    if live.exists():
        live.write_text(live.read_text().replace("poll_interval=60", f"poll_interval={POLL_SECONDS}"))


def wide_run(stack: Stack, days: Sequence[date]) -> tuple[dict[str, Any], float]:
    """Load all these days in one run of the DAG that is started by hand: the task's result, and its seconds."""
    api = stack.airflow.api
    _set(stack, latency=LATENCY)
    try:
        api.unpause(WIDE_DAG_ID)
        bounds = {"start": _iso(days[0]), "end": _iso(days[-1], after=1)}
        run_id = api.trigger(WIDE_DAG_ID, conf=bounds)
        _until_done(stack, WIDE_DAG_ID, run_id)
    finally:
        _set(stack, latency=0.0)
    task = next(task for task in api.tasks(WIDE_DAG_ID) if task["dag_run_id"] == run_id)
    return _result(stack, WIDE_DAG_ID, run_id, "load"), float(task["duration"])


def takeover(stack: Stack, days: int = 3) -> tuple[dict[str, Any], str]:
    """Have the account taken over two days ago, load the last days and report on them: the result, and when it was."""
    day, now = int(time.time()) // 86_400 - 2, int(time.time() * 1000)
    stories = ((seed, next(tell(seed, ["takeover"], day, 1, now)).story) for seed in range(100))
    seed = next(seed for seed, story in stories if not story.scope)  # of the cross account
    [story] = _post(stack, "stories", {"kinds": ["takeover"], "seed": seed, "first_day": day, "days": 1})
    for dag_id, conf in ((HISTORY_DAG_ID, {"days": days}), (REPORT_DAG_ID, {})):
        stack.airflow.api.unpause(dag_id)
        run_id = stack.airflow.api.trigger(dag_id, conf=conf)
        _until_done(stack, dag_id, run_id)
    return _result(
        stack, REPORT_DAG_ID, run_id, "report"
    ), f"{datetime.fromtimestamp(story['time'] / 1000, UTC):%FT%TZ}"


def damaged_lake(stack: Stack, s3: S3Client, bucket: str, days: Sequence[date], lost: Sequence[str]) -> None:
    """Lose these objects, and have an audit find that they are missing: something to repair on the page of the UI."""
    for key in lost:
        s3.delete_object(Bucket=bucket, Key=key)
    stack.airflow.api.wait_dag(AUDIT_DAG_ID)
    stack.airflow.api.unpause(AUDIT_DAG_ID)
    bounds = {"start": _iso(days[0]), "end": _iso(days[-1], after=1)}
    _until_done(stack, AUDIT_DAG_ID, stack.airflow.api.trigger(AUDIT_DAG_ID, conf={**bounds, "load": False}))


def live(stack: Stack, s3: S3Client, bucket: str) -> tuple[float, str]:
    """Put a new record into the sandbox while a DAG watches: the seconds until it is in S3, and its key."""
    api = stack.airflow.api
    httpx.delete(f"{stack.sandbox_url}/sandbox/log", timeout=10, trust_env=False).raise_for_status()
    api.unpause(LIVE_DAG_ID)
    _wait_for_poll(stack)
    record = _post(stack, "records", {"n": 1})[0]
    began = time.monotonic()
    while time.monotonic() - began < _ARRIVAL_SECONDS:
        for entry in s3.list_objects_v2(Bucket=bucket, Prefix=LIVE_PREFIX).get("Contents", []):
            lines = gzip.decompress(s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()).splitlines()
            if record in map(json.loads, lines):
                return time.monotonic() - began, entry["Key"]
        stack.airflow.tend()
        time.sleep(0.2)
    raise StackError(f"The new record was not in S3 after {_ARRIVAL_SECONDS:.0f} s.\n{api.first_failure(LIVE_DAG_ID)}")


def _result(stack: Stack, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
    path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
    value = stack.airflow.api.api("GET", path, deserialize=False)["value"]
    return dict(json.loads(value) if isinstance(value, str) else value)


def _until_done(stack: Stack, dag_id: str, run_id: str) -> None:
    deadline = time.monotonic() + _WIDE_SECONDS
    while time.monotonic() < deadline:
        state = stack.airflow.api.api("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"]
        if state == "success":
            return
        if state == "failed":
            raise StackError(f"The run failed.\n{stack.airflow.api.first_failure(dag_id)}")
        stack.airflow.tend()
        time.sleep(0.5)
    raise StackError(f"{dag_id} did not end within {_WIDE_SECONDS:.0f} s.")


def _wait_for_poll(stack: Stack) -> None:
    """Wait until the watcher has looked: what appears from then on is news."""
    deadline = time.monotonic() + _WATCHER_SECONDS
    while time.monotonic() < deadline:
        log = httpx.get(f"{stack.sandbox_url}/sandbox/log", timeout=10, trust_env=False).raise_for_status().json()
        if any(entry["path"] == _PATH for entry in log):
            return
        stack.airflow.tend()
        time.sleep(0.3)
    raise StackError(f"The watcher did not look within {_WATCHER_SECONDS:.0f} s.")


def _set(stack: Stack, **settings: float) -> None:
    _post(stack, "settings", settings)


def _post(stack: Stack, what: str, body: dict[str, Any]) -> Any:
    url = f"{stack.sandbox_url}/sandbox/{what}"
    return httpx.post(url, json=body, timeout=10, trust_env=False).raise_for_status().json()


def _iso(day: date, *, after: int = 0) -> str:
    return f"{midnight(type(day).fromordinal(day.toordinal() + after)):%Y-%m-%dT%H:%M:%SZ}"
