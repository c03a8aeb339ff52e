"""A worker that dies at any moment, without a word, leaves whole objects or none; the retry does the rest, once.

Run as a program, this file is the worker: it imports everything once and forks a process for each task it is told.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

RECORDS = "/sapi/v1/margin/forceLiquidationRec"
DAYS = 40
DAY_MS = 86_400_000
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
BOUNDS = {"start": "2026-01-01", "end": "2026-02-10", "grain": "day"}
#: day -> records, of which some take several pages and one is full to the last row
BUSY = {0: 1, 3: 250, 7: 100, 8: 101, 15: 7, 21: 350, 39: 2}
SUFFIXES = [".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet"]
KILLS = 20


def work(options, run_id, clear_number):
    """One attempt of the task."""
    from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import ForceLiquidationToS3Operator

    task = ForceLiquidationToS3Operator(task_id="load", **BOUNDS, **options)
    dag_run = SimpleNamespace(clear_number=clear_number, start_date="2026-02-11T00:00:00Z")
    return task.execute({"run_id": run_id, "dag_run": dag_run, "outlet_events": {}})


def serve():
    """Tell the id of each process that was forked, and then how it ended."""
    told_to = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where Airflow logs to
    import boto3
    import pyarrow.parquet  # noqa: F401 - what the forked processes need
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook  # noqa: F401
    from botocore.loaders import JSONFileLoader

    read, known = JSONFileLoader.load_file, {}
    JSONFileLoader.load_file = lambda self, path: (
        known[path] if path in known else known.setdefault(path, read(self, path))
    )
    boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x").close()
    print("ready", file=told_to, flush=True)
    for told in sys.stdin:
        pid = os.fork()
        if not pid:
            try:
                work(**json.loads(told))
            except BaseException as error:  # noqa: BLE001 - the forked process ends here, whatever happens
                sys.stderr.write(f"{error!r}\n")
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        print(pid, file=told_to, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=told_to, flush=True)


class Worker:
    """The other side of `serve`."""

    def __init__(self, process):
        self.process = process
        assert self.process.stdout.readline() == "ready\n"

    def start(self, **told):
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self):
        return int(self.process.stdout.readline())

    def run(self, **told):
        self.start(**told)
        return self.end()


@pytest.fixture(scope="module")
def exchange(sandbox_home):
    from airflow_provider_binance_margin.sandbox import Sandbox

    with Sandbox(days=0, home=sandbox_home, latency=0.005) as exchange:
        for day, number in BUSY.items():
            start = FIRST + timedelta(days=day)
            exchange.add(n=number, at=int(start.timestamp() * 1000), step_ms=DAY_MS // number, symbol="ETHUSDT")
        yield exchange


@pytest.fixture(scope="module")
def worker(exchange, s3_url):
    aws = {
        "conn_type": "aws",
        "login": "test",
        "password": "test-secret-key",
        "extra": {"endpoint_url": s3_url, "region_name": "us-east-1"},
    }
    env = {**os.environ, **exchange.airflow_env(), "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws)}
    command = [sys.executable, __file__]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=env, text=True, **pipes) as process:
        yield Worker(process)
        process.stdin.close()
        process.wait(30)


def asked(exchange):
    """Requests by the day that they asked for."""
    starts = (int(entry.params["startTime"]) for entry in exchange.requests if entry.path == RECORDS)
    return Counter((start - start_ms(0)) // DAY_MS for start in starts)


def needed(days):
    """Requests that loading each of these days once takes: its pages; of several, the first and the last once more."""
    pages = {day: max(1, -(-BUSY.get(day, 0) // 100)) for day in days}
    return {day: number + 2 * (number > 1) for day, number in pages.items()}


def key(day, suffix):
    return f"{FIRST + timedelta(days=day):%Y-%m-%d}{suffix}"


def start_ms(day):
    return int((FIRST + timedelta(days=day)).timestamp() * 1000)


@pytest.fixture(scope="module")
def undisturbed(worker, s3_client):
    """The bytes that a run writes to which nothing happens, and how long it took; made once for each format."""
    made = {}

    def run(suffix):
        if suffix not in made:
            bucket = f"undisturbed-{uuid.uuid4().hex[:12]}"  # the S3 server outlives this exchange and its records
            s3_client.create_bucket(Bucket=bucket)
            began = time.monotonic()
            options = {"s3_bucket": bucket, "s3_key": "{start:%Y-%m-%d}" + suffix}
            assert worker.run(options=options, run_id="r", clear_number=0) == 0
            took = time.monotonic() - began
            keys = [item["Key"] for item in s3_client.list_objects_v2(Bucket=bucket)["Contents"]]
            made[suffix] = {k: s3_client.get_object(Bucket=bucket, Key=k)["Body"].read() for k in keys}, took
        return made[suffix]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(KILLS))
def test_a_kill_at_any_moment_loses_nothing(trial, worker, exchange, undisturbed, s3):
    """Whole objects or none, no upload left open; the retry asks for what is missing alone; the bytes are the same."""
    suffix = SUFFIXES[trial % len(SUFFIXES)]
    expected, took = undisturbed(suffix)
    options = {"s3_bucket": s3.name, "s3_key": "{start:%Y-%m-%d}" + suffix, "max_workers": (2, 16, 64)[trial % 3]}
    attempt = {"options": options, "run_id": f"scheduled__{trial}", "clear_number": trial % 2}
    # spread over the whole run, so that each part of it is hit
    moment = took * (trial + random.Random(trial).random()) / KILLS

    pid = worker.start(**attempt)
    time.sleep(moment)
    with contextlib.suppress(ProcessLookupError):  # it was faster this time
        os.kill(pid, signal.SIGKILL)
    assert worker.end() in (-signal.SIGKILL, 0)
    present = s3.objects()
    uploads = s3.client.list_multipart_uploads(Bucket=s3.name).get("Uploads", [])
    exchange.clear_log()
    retried = worker.run(**attempt)

    assert [] == uploads
    assert {k: expected[k] for k in present} == present
    assert (0, expected) == (retried, s3.objects())
    requests = asked(exchange)
    missing = {day for day in range(DAYS) if key(day, suffix) not in present}
    assert missing.issuperset(requests)
    # what the S3 server was still taking in when the worker died may be there although it was not seen above
    assert len(missing) - len(requests) <= 4
    assert requests == needed(requests)


def test_clearing_starts_over(worker, exchange, undisturbed, s3):
    """A retry of a finished run asks for nothing; one that was cleared asks for everything, and so does another."""
    expected, _ = undisturbed(".jsonl.gz")
    options = {"s3_bucket": s3.name, "s3_key": "{start:%Y-%m-%d}.jsonl.gz"}
    asks = []
    for run_id, clear_number in [("a", 0), ("a", 0), ("a", 1), ("b", 1)]:
        exchange.clear_log()
        assert worker.run(options=options, run_id=run_id, clear_number=clear_number) == 0
        asks.append(asked(exchange))
        assert expected == s3.objects()

    assert [needed(range(DAYS)), {}, needed(range(DAYS)), needed(range(DAYS))] == asks


def test_without_clear_numbers_a_retry_starts_over(worker, exchange, undisturbed, s3):
    """On an Airflow that counts no clears, a retry cannot be told from a clear: nothing is taken for done."""
    expected, _ = undisturbed(".jsonl.gz")
    options = {"s3_bucket": s3.name, "s3_key": "{start:%Y-%m-%d}.jsonl.gz"}
    for _ in range(2):
        exchange.clear_log()
        assert worker.run(options=options, run_id="a", clear_number=None) == 0
        assert (needed(range(DAYS)), expected) == (asked(exchange), s3.objects())


if __name__ == "__main__":
    serve()
