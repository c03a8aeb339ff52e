"""Memory and temporary files stay flat, however many records or objects there are.

Run as a program, this file is the process that is measured: exchange and S3 server are others.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from airflow_provider_binance_margin.sandbox import Sandbox

#: a process may grow by this for other reasons: several times what was measured
MOST = 12 << 20
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


def measure(small, large):
    """Print what a large run has at its peak beyond a small one, its seconds, and its largest temporary files."""
    told_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for _ in range(2):
        forget_peak()
        work(small)
    before, most, over = peak(), [0], threading.Event()

    def watch():
        while not over.wait(0.02):
            most[0] = max(most[0], temporary_bytes())

    forget_peak()
    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    result = work(large)
    took = time.monotonic() - began
    over.set()
    watcher.join()
    told = {"added": peak() - before, "temporary": most[0], "seconds": took, "result": result}
    print(json.dumps(told), file=told_to, flush=True)


@pytest.fixture
def measured(s3, tmp_path):
    """Runs a task in a process of its own against an exchange, and tells what it took; its log is beside it."""
    from programs import python  # this file is also the program

    def run(exchange, small, large):
        # one arena: how much of many is in use is up to the scheduler
        env = {**os.environ, **exchange.airflow_env(), "TMPDIR": str(tmp_path), "MALLOC_ARENA_MAX": "1"}
        env["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(s3.connection())
        arguments = [json.dumps({"s3_bucket": s3.name, **options}) for options in (small, large)]
        done = python(__file__, *arguments, env=env)
        return SimpleNamespace(**json.loads(done.stdout), log=done.stderr)

    return run


@pytest.fixture(scope="module")
def many(sandbox_home):
    """20,000 records in a day, 100,000 in the next."""
    with Sandbox(days=0, home=sandbox_home) as exchange:
        exchange.add(n=20_000, at=START - DAY, step_ms=800)
        exchange.add(n=100_000, at=START, step_ms=800)
        yield exchange


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jsonl.gz", ".csv.gz", ".parquet"])
def test_memory_does_not_grow_with_the_records_of_an_object(many, measured, suffix):
    """Rows wait in a temporary file: as Python's objects, those of the large run would add 40 MiB (20 as bytes)."""
    small = {"s3_key": f"small{suffix}", "start": "2025-12-31", "end": "2026-01-01"}
    large = {"s3_key": f"large{suffix}", "start": "2026-01-01", "end": "2026-01-02"}

    told = measured(many, small, large)

    assert told.result["records"] == 100_000
    assert told.added <= MOST
    rows = 100_000 * (len(json.dumps(many.records(START, START + 1)[0], separators=(",", ":"))) + 1)
    assert rows / 4 <= told.temporary <= 2 * rows


@pytest.mark.slow
def test_memory_does_not_grow_with_the_objects_of_a_run(sandbox, measured):
    """Hundreds of hours, each with an object of its own: spools that stayed open would add 75 MiB."""
    sandbox.add(n=504, at=START - 21 * DAY, step_ms=3_600_000)
    small = {"s3_key": "{start}.jsonl.gz", "start": "2025-12-11", "end": "2025-12-13", "grain": "hour"}
    large = {**small, "end": "2026-01-01"}

    told = measured(sandbox, small, large)

    assert told.result["objects"] == 504
    assert told.added <= MOST


if __name__ == "__main__":
    measure(*map(json.loads, sys.argv[1:]))
