"""`make test-distributed`: a backfill over two Celery workers, one killed half way; nothing missing, nothing twice."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_binance_margin.sandbox import SandboxControl
from demo_lake import CROSS, at_the_edges, compare, midnight, s3_client, stored_objects, wanted_rows
from demo_screen import Screen
from distributed_tasks import Tasks
from local_stack import Backfill, StackError
from local_stack.celery_stack import CONCURRENCY, HEARTBEAT_SECONDS, WORKERS, CeleryStack
from local_stack.signals import ended_by_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributed_tasks import Try

ROOT = Path(__file__).resolve().parent.parent
DAG_ID = "binance_force_liquidation_daily"
BUCKET = "distributed-lake"
SETTINGS = {"AIRFLOW_VAR_BINANCE_LAKE_BUCKET": BUCKET}
DAYS = 20
KILL_AFTER = 6
MAX_ACTIVE_RUNS = 4
LATENCY_MS = 200
BACKFILL_SECONDS = 600.0
KILL_SECONDS = 120.0
HELD_SECONDS = 5.0
_RECEIVED = re.compile(r"execute_workload\[([0-9a-f-]+)\] received")
# what a user would change who cannot wait a minute for a second try
_SLOW, _QUICK = "timedelta(minutes=1)", "timedelta(seconds=2)"


class Distributed:
    """The story, told part by part."""

    def __init__(self, stack: CeleryStack, screen: Screen) -> None:
        self._stack = stack
        self._screen = screen
        today = datetime.now(UTC).date()
        self._days = [today - timedelta(days=back) for back in range(DAYS, 0, -1)]
        self._tasks = Tasks(stack.airflow.api, DAG_ID)
        self._lost: list[Try] = []
        self._dead: set[int] = set()

    def run(self) -> bool:
        """Everything in its order; tells whether every record arrived, once, though a worker died."""
        self._start()
        self._backfill()
        verdicts = [self._check_retries(), self._check_lake(), self._check_events()]
        return all(verdicts)

    def _start(self) -> None:
        screen, stack = self._screen, self._stack
        screen.heading("Starting, on this machine only")
        with screen.step("PostgreSQL and Redis"):
            stack.start_servers()
        migration = stack.airflow.begin_migration()
        with screen.step("S3 server and sandbox of Binance"):
            s3_client(stack.start_s3()).create_bucket(Bucket=BUCKET)
            stack.start_sandbox("--days", str(DAYS + 5), "--latency-ms", str(LATENCY_MS))
        with screen.step("Airflow: database"):
            stack.airflow.end_migration(migration)
        with screen.step("Airflow: API server, scheduler, DAG processor, triggerer"):
            stack.airflow.start()
        with screen.step("Airflow: two Celery workers"):
            stack.start_workers()
        with screen.step("Airflow: reading the DAG"):
            stack.airflow.api.wait_dag(DAG_ID)

    def _backfill(self) -> None:
        airflow, days = self._stack.airflow, self._days
        self._tasks.api = airflow.api
        self._screen.heading(f"Backfill: {DAG_ID}, {len(days)} daily intervals from {days[0]} to {days[-1]}")
        backfill = Backfill(airflow.api, DAG_ID, midnight(days[0]), midnight(days[-1]), max_active_runs=MAX_ACTIVE_RUNS)
        with self._screen.step("Backfill"), self._screen.runs("Backfill") as tell:

            def follow(states: Counter[str], total: int) -> None:
                tell(states, total)
                if states["success"] >= KILL_AFTER and not self._dead:
                    self._kill(WORKERS[0])

            backfill.start()
            states = backfill.wait(BACKFILL_SECONDS, follow, meanwhile=airflow.check)
        if states["failed"]:
            raise StackError(f"{states['failed']} runs failed.\n{airflow.api.first_failure(DAG_ID)}")

    def _kill(self, name: str) -> None:
        """Kill a worker while it has its hands full, and note what it had."""
        # however busy this machine, a task that waits for the exchange is still there when it is looked for
        sandbox = SandboxControl(self._stack.sandbox_url)
        sandbox.settings(latency=HELD_SECONDS)
        deadline = time.monotonic() + KILL_SECONDS
        while len(self._tasks.running(pids := self._stack.pids(name))) < CONCURRENCY:
            if time.monotonic() >= deadline:
                raise StackError(f"The {name} worker did not have {CONCURRENCY} tasks at once.")
            time.sleep(0.05)
        self._stack.kill_worker(name)
        self._dead = pids
        self._lost = self._tasks.running(pids)
        sandbox.settings(latency=LATENCY_MS / 1_000)
        self._screen.say(f"  kill -9 of the {name} worker, {len(pids)} processes; tasks that it ran:", "yellow")
        for each in self._lost:
            self._screen.say(f"    {each}", "yellow")

    def _worker_of(self, each: Try) -> str:
        if each.pid in self._dead:
            return WORKERS[0]
        return next((name for name in WORKERS if each.uid and each.uid in self._stack.said[name]()), "?")

    def _check_retries(self) -> bool:
        """Each task that died with its worker was tried again, and done by the other."""
        screen = self._screen
        screen.heading(f"What was tried again (a task is missed after {HEARTBEAT_SECONDS} s without a heartbeat)")
        retried = self._tasks.retried()
        for tries in retried:
            told = "; ".join(each.outcome(self._worker_of(each)) for each in tries)
            screen.say(f"  {tries[-1].name}: {told}")
        last = {tries[-1].name: (tries[-1].state, self._worker_of(tries[-1])) for tries in retried}
        lost = {each.name for each in self._lost}
        right = bool(lost) and lost <= last.keys() and set(last.values()) == {("success", WORKERS[1])}
        screen.say(f"  {len(lost)} lost with their worker, {len(retried) - len(lost & last.keys())} others tried again")
        self._tell_messages()
        return right

    def _tell_messages(self) -> None:
        """How many messages each worker was given: what both had is what Redis took back from the dead one."""
        first, second = (set(_RECEIVED.findall(self._stack.said[name]())) for name in WORKERS)
        taken_back = f"{len(first & second)} of them taken back from the first"
        self._screen.say(f"  messages: {len(first)} to the first worker, {len(second)} to the second, {taken_back}")

    def _check_lake(self) -> bool:
        screen, stack = self._screen, self._stack
        screen.heading("What arrived, read back and compared with the sandbox's own records")
        s3 = s3_client(stack.s3_url)
        scopes = [CROSS, *sorted(stack.airflow.api.rendered(DAG_ID, "isolated_symbol"))]
        stored = stored_objects(s3, BUCKET)
        cells = compare(self._days, scopes, wanted_rows(stack.sandbox_url, self._days), stored)
        screen.verdict(cells, at_the_edges(self._days, stored))
        unfinished = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        screen.say(f"  unfinished uploads: {len(unfinished)}")
        return all(cell.right for cell in cells) and not unfinished

    def _check_events(self) -> bool:
        """The lake's asset was told of each day once: who listens to it must not load a day twice either."""
        told = Counter(self._tasks.asset_events().values())
        right = told == {1: DAYS}
        self._screen.say(f"  asset events: {sum(told.elements())} for {DAYS} days" + ("" if right else f": {told}"))
        return right


def quick_dag(target: Path) -> None:
    """The daily example as it is but for the wait before a second try."""
    source = ROOT / "dags" / f"{DAG_ID}.py"
    text = source.read_text()
    if _SLOW not in text:
        raise StackError(f"{source.name} has no {_SLOW} to shorten.")
    target.mkdir()
    (target / source.name).write_text(text.replace(_SLOW, _QUICK))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the story; the status tells whether the lake is what it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    keep = parser.parse_args(argv).keep
    screen = Screen()
    began = time.monotonic()
    workdir = Path(tempfile.mkdtemp(prefix="binance-distributed-"))
    try:
        # PostgreSQL is not run by root, and must get through
        workdir.chmod(0o711)
        quick_dag(workdir / "dags")
        with ended_by_signals(), CeleryStack(workdir, dags=workdir / "dags", env=SETTINGS) as stack:
            right = Distributed(stack, screen).run()
    except StackError as error:
        screen.say(f"\n{error}", "red")
        right = False
    finally:
        if keep:
            screen.say(f"Data and logs are in {workdir}")
        else:
            shutil.rmtree(workdir)
    screen.say(f"{'All right' if right else 'NOT RIGHT'}, in {time.monotonic() - began:.0f} s.")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
