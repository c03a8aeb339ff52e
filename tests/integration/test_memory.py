"""Memory and temporary files stay flat, however many records or objects there are.

Run as a program, this file is the process that is measured: exchange and S3 server are others.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from airflow_provider_binance_margin.sandbox import Sandbox

MIB = 1 << 20
DAY = 86_400_000
START = 1_767_225_600_000  # 2026-01-01
RECORDS = "/sapi/v1/margin/forceLiquidationRec"


def peak():
    """The most memory this process has held since `forget_peak`, in bytes."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def forget_peak():
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def temporary_bytes():
    """What this process's temporary files take, those that have no name any more too."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            if link.readlink().is_relative_to(tempfile.gettempdir()):
                found += link.stat().st_blocks * 512
        except OSError:
            continue  # closed meanwhile
    return found


def work(options):
    from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import ForceLiquidationToS3Operator

    task = ForceLiquidationToS3Operator(task_id="load", **options)
    return task.execute({"run_id": "r", "dag_run": SimpleNamespace(clear_number=0), "outlet_events": {}})


def measure(empty, full):
    """Peaks of an empty run and of a full one, the seconds that one took, and its largest temporary files."""
    told_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for _ in range(2):
        forget_peak()
        work(empty)
    before, most, over = peak(), [0], threading.Event()

    def watch():
        while not over.wait(0.02):
            most[0] = max(most[0], temporary_bytes())

    forget_peak()
    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    result = work(full)
    took = time.monotonic() - began
    over.set()
    watcher.join()
    told = {"added": peak() - before, "temporary": most[0], "seconds": took, "result": result}
    print(json.dumps(told), file=told_to, flush=True)


@pytest.fixture
def measured(s3, tmp_path):
    """Runs a task in a process of its own against an exchange, and tells what it took; its log is beside it."""

    def run(exchange, empty, full):
        env = {**os.environ, **exchange.airflow_env(), "TMPDIR": str(tmp_path)}
        env["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(s3.connection())
        arguments = [json.dumps({"s3_bucket": s3.name, **options}) for options in (empty, full)]
        command = [sys.executable, __file__, *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return SimpleNamespace(**json.loads(done.stdout), log=done.stderr)

    return run


@pytest.fixture(scope="module")
def many(sandbox_home):
    """100,000 records in a day."""
    with Sandbox(days=0, home=sandbox_home) as exchange:
        exchange.add(n=100_000, at=START, step_ms=800)
        yield exchange


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jsonl.gz", ".csv.gz", ".parquet"])
def test_a_hundred_thousand_records_take_little_memory(many, measured, suffix):
    """In one object; temporary files take at most twice what the rows take. (See benchmarks/memory.py for more.)"""
    empty = {"s3_key": f"empty{suffix}", "start": "2025-01-01", "end": "2025-01-02"}
    full = {"s3_key": f"full{suffix}", "start": "2026-01-01", "end": "2026-01-02"}

    told = measured(many, empty, full)

    assert told.result["records"] == 100_000
    assert told.added / MIB <= 16
    rows = 100_000 * (len(json.dumps(many.records(START, START + 1)[0], separators=(",", ":"))) + 1)
    assert told.temporary <= 2 * rows


@pytest.mark.slow
def test_many_objects_take_no_more_memory_than_one(sandbox, measured):
    """Hundreds of hours, each with an object of its own."""
    empty = {"s3_key": "{start}.jsonl.gz", "start": "2025-01-01", "end": "2025-01-02", "grain": "hour"}
    full = {**empty, "start": "2025-02-01", "end": "2025-02-22"}

    told = measured(sandbox, empty, full)

    assert told.result["objects"] == 504
    assert told.added / MIB <= 6


if __name__ == "__main__":
    measure(*map(json.loads, sys.argv[1:]))
