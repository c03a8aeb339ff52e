"""`make test-distributed`: a backfill over Celery workers, one killed half way; nothing missing, nothing twice."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_binance_margin.sandbox.client import SandboxControl
from airflow_provider_binance_margin.sandbox.datasets import DATASETS
from demo_lake import CROSS, at_the_edges, compare, midnight, s3_client, stored_objects, wanted_rows
from demo_screen import Screen
from distributed_stories import PAIRS, REMEMBERED, Story, daily, everything, quick_dags
from distributed_tasks import Tasks
from local_stack import Backfill, StackError
from local_stack.celery_stack import HEARTBEAT_SECONDS, WORKERS, CeleryStack
from local_stack.signals import ended_by_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributed_tasks import Try

BUCKET = "distributed-lake"
SETTINGS = {"AIRFLOW_VAR_BINANCE_LAKE_BUCKET": BUCKET}
# a task whose message was lost is noticed after so long in the queue, for which Airflow's default is ten minutes
QUEUED = {
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
}
KILL_AFTER = 6
LATENCY_MS = 200
BACKFILL_SECONDS = 1800.0
KILL_SECONDS = 120.0
HELD_SECONDS = 5.0
# of each limit: the default of the connection's `weight_share`
SHARE = 0.6
REFUSED = {418, 429}
_RECEIVED = re.compile(r"execute_workload\[([0-9a-f-]+)\] received")


class Distributed:
    """The story, told part by part."""

    def __init__(self, stack: CeleryStack, screen: Screen, story: Story, *, restart_broker: bool) -> None:
        self._stack = stack
        self._screen = screen
        self._story = story
        self._tasks = Tasks(stack.airflow.api, story.loads[0].dag_id)
        self._restart = restart_broker
        self._lost: list[Try] = []
        self._dead: set[int] = set()
        self._seconds: list[int] = []

    def run(self) -> bool:
        """Everything in its order; tells whether every record arrived, once, though a worker died."""
        self._start()
        self._sandbox = SandboxControl(self._stack.sandbox_url)
        self._backfill()
        verdicts = [self._check_retries(), self._check_lake(), self._check_exchange()]
        if self._story.outlet:
            verdicts.append(self._check_events())
        return all(verdicts)

    def _start(self) -> None:
        screen, stack, story = self._screen, self._stack, self._story
        screen.heading("Starting, on this machine only")
        with screen.step("PostgreSQL and Redis"):
            stack.start_servers()
        migration = stack.airflow.begin_migration()
        with screen.step("S3 server and sandbox of Binance"):
            s3_client(stack.start_s3()).create_bucket(Bucket=BUCKET)
            url = stack.start_sandbox("--days", str(story.history), "--latency-ms", str(LATENCY_MS))
            if len(story.days) > 1:
                SandboxControl(url).tell("all", days=REMEMBERED)
        with screen.step("Airflow: database"):
            stack.airflow.end_migration(migration)
        with screen.step("Airflow: API server, scheduler, DAG processor, triggerer"):
            stack.airflow.start()
        with screen.step(f"Airflow: {len(stack.names)} Celery workers, each with {stack.concurrency} tasks at once"):
            stack.start_workers()
        with screen.step("Airflow: reading the DAGs"):
            for load in story.loads:
                stack.airflow.api.wait_dag(load.dag_id)

    def _backfill(self) -> None:
        airflow, loads = self._stack.airflow, self._story.loads
        self._tasks.api = airflow.api
        began = time.monotonic()
        backfills = [
            Backfill(airflow.api, load.dag_id, midnight(load.first), midnight(load.last), max_active_runs=load.at_once)
            for load in loads
        ]
        for load, backfill in zip(loads, backfills, strict=True):
            self._screen.heading(f"Backfill: {load.dag_id}, from {load.first} to {load.last}")
            backfill.start()
        for load, backfill in zip(loads, backfills, strict=True):
            with self._screen.step(load.dag_id), self._screen.runs("Backfill") as tell:

                def follow(states: Counter[str], total: int) -> None:
                    tell(states, total)
                    self._disturb(states["success"], total)

                states = backfill.wait(BACKFILL_SECONDS, follow, meanwhile=airflow.check)
            if states["failed"]:
                raise StackError(f"{states['failed']} runs failed.\n{airflow.api.first_failure(load.dag_id)}")
            self._seconds.append(round(time.monotonic() - began))

    def _disturb(self, done: int, total: int) -> None:
        """Kill a worker after a few runs, and restart the broker half way, if it is to be."""
        if done >= KILL_AFTER and not self._dead:
            self._kill(WORKERS[0])
        elif done >= total // 2 and self._restart:
            self._restart = False
            self._stack.restart_broker()
            self._screen.say(f"  Redis restarted with {done} of {total} runs done: all messages are lost", "yellow")

    def _kill(self, name: str) -> None:
        """Kill a worker while it has its hands full, and note what it had."""
        # however busy this machine, a task that waits for the exchange is still there when it is looked for
        self._sandbox.settings(latency=HELD_SECONDS)
        deadline = time.monotonic() + KILL_SECONDS
        while len(self._tasks.running(pids := self._stack.pids(name))) < self._stack.concurrency:
            if time.monotonic() >= deadline:
                raise StackError(f"The {name} worker did not have {self._stack.concurrency} tasks at once.")
            time.sleep(0.05)
        self._stack.kill_worker(name)
        self._dead = pids
        self._lost = self._tasks.running(pids)
        self._sandbox.settings(latency=LATENCY_MS / 1_000)
        self._screen.say(f"  kill -9 of the {name} worker, {len(pids)} processes; tasks that it ran:", "yellow")
        for each in self._lost:
            self._screen.say(f"    {each}", "yellow")

    def _worker_of(self, each: Try) -> str:
        if each.pid in self._dead:
            return WORKERS[0]
        # a message that was taken back from the dead worker is in its log as well
        return next((name for name in self._stack.workers if each.uid and each.uid in self._stack.said[name]()), "?")

    def _check_retries(self) -> bool:
        """Each task that died with its worker was tried again, and done by another."""
        screen = self._screen
        screen.heading(f"What was tried again (a task is missed after {HEARTBEAT_SECONDS} s without a heartbeat)")
        retried = self._tasks.retried()
        for tries in retried:
            told = "; ".join(each.outcome(self._worker_of(each)) for each in tries)
            screen.say(f"  {tries[-1].name}: {told}")
        last = {tries[-1].name: (tries[-1].state, self._worker_of(tries[-1])) for tries in retried}
        lost = {each.name for each in self._lost}
        living = {("success", name) for name in self._stack.workers}
        screen.say(f"  {len(lost)} lost with their worker, {len(retried) - len(lost & last.keys())} others tried again")
        self._tell_messages()
        return bool(lost) and lost <= last.keys() and set(last.values()) <= living

    def _tell_messages(self) -> None:
        """Tell how many messages each worker was given: what two had is what Redis took back from the dead one."""
        given = {name: set(_RECEIVED.findall(self._stack.said[name]())) for name in self._stack.names}
        first = given[WORKERS[0]]
        taken_back = sum(len(first & given[name]) for name in self._stack.workers)
        told = ", ".join(f"{len(messages)} to the {name}" for name, messages in given.items())
        self._screen.say(f"  messages: {told} worker; {taken_back} of them taken back from the first")

    def _check_lake(self) -> bool:
        screen, stack = self._screen, self._stack
        screen.heading("What arrived, read back and compared with the sandbox's own records")
        s3 = s3_client(stack.s3_url)
        right = True
        for dataset, days in self._story.days.items():
            scopes = [CROSS, *(PAIRS if DATASETS[dataset].pair else ())]
            stored = stored_objects(s3, BUCKET, dataset)
            cells = compare(days, scopes, wanted_rows(stack.sandbox_url, days, dataset), stored, dataset)
            if len(self._story.days) > 1:
                screen.say(f"{dataset}:")
            screen.verdict(cells, at_the_edges(days, stored, dataset))
            right = right and all(cell.right for cell in cells)
        unfinished = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        screen.say(f"  unfinished uploads: {len(unfinished)}")
        return right and not unfinished

    def _check_exchange(self) -> bool:
        """No request was refused; the time is told beside that which the share of the limit needs for the weight."""
        settings, requests = self._sandbox.settings(), [each for each in self._sandbox.requests if each.dataset]
        spent: Counter[str] = Counter()
        shares: defaultdict[tuple[str, int], float] = defaultdict(float)
        for each in requests:
            kind = DATASETS[each.dataset]
            spent[kind.path] += kind.weight
            shares[kind.path, each.time // 60_000] += kind.weight / _limit(kind.path, settings)
        needed, path = max((60 * spent[path] / (SHARE * _limit(path, settings)), path) for path in spent)
        refused = sum(each.status in REFUSED for each in requests)
        self._screen.heading("What the exchange saw")
        self._screen.say(
            f"  {len(requests):,} requests, {refused} refused by a limit; most of one used in a minute: "
            f"{max(shares.values()):.1%}\n  weight {spent[path]:,} on {path}, for which the share of the limit needs "
            f"{needed:.0f} s; backfills were done after {', '.join(f'{each} s' for each in self._seconds)}"
        )
        return not refused

    def _check_events(self) -> bool:
        """The lake's asset was told of each day once: who listens to it must not load a day twice either."""
        days = len(next(iter(self._story.days.values())))
        told = Counter(self._tasks.asset_events().values())
        right = told == {1: days}
        self._screen.say(f"  asset events: {sum(told.elements())} for {days} days" + ("" if right else f": {told}"))
        return right


def _limit(path: str, settings: dict[str, int]) -> int:
    (whose,) = {kind.whose for kind in DATASETS.values() if kind.path == path}
    return settings["uid_limit" if whose == "UID" else "limit"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the story; the status tells whether the lake is what it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    parser.add_argument("--workers", type=int, default=2, choices=range(2, len(WORKERS) + 1), help="Celery workers")
    parser.add_argument("--concurrency", type=int, default=2, help="tasks that each of them runs at once")
    parser.add_argument("--everything", action="store_true", help="all datasets of 89 days, and five years of one")
    parser.add_argument("--restart-broker", action="store_true", help="restart Redis half way")
    options = parser.parse_args(argv)
    screen = Screen()
    began = time.monotonic()
    workdir = Path(tempfile.mkdtemp(prefix="binance-distributed-"))
    story = everything() if options.everything else daily()
    crew = {"workers": options.workers, "concurrency": options.concurrency}
    try:
        # PostgreSQL is not run by root, and must get through
        workdir.chmod(0o711)
        quick_dags(story, workdir / "dags")
        env = SETTINGS | (QUEUED if options.restart_broker else {})
        with ended_by_signals(), CeleryStack(workdir, dags=workdir / "dags", env=env, **crew) as stack:
            right = Distributed(stack, screen, story, restart_broker=options.restart_broker).run()
    except StackError as error:
        screen.say(f"\n{error}", "red")
        right = False
    finally:
        if options.keep:
            screen.say(f"Data and logs are in {workdir}")
        else:
            shutil.rmtree(workdir)
    screen.say(f"{'All right' if right else 'NOT RIGHT'}, in {time.monotonic() - began:.0f} s.")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
