"""`make demo`: a real Airflow loads two weeks and two years of a local Binance into a local S3, all counted."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from demo_lake import CROSS, Stored, at_the_edges, compare, midnight, s3_client, stored_objects, wanted_rows
from demo_more import LIVE_DAG_ID, POLL_SECONDS, REPORT_DAG_ID, damaged_lake, example_dags, live, takeover, wide_run
from demo_screen import Screen
from local_stack import Backfill, Stack, StackError
from local_stack.signals import ended_by_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

ROOT = Path(__file__).resolve().parent.parent
DAG_ID = "binance_force_liquidation_daily"
BUCKET = "demo-lake"
SETTINGS = {"AIRFLOW_VAR_BINANCE_LAKE_BUCKET": BUCKET}
DAYS = 14
WIDE_DAYS = 731
MAX_ACTIVE_RUNS = 4
BACKFILL_SECONDS = 300.0


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    keep: bool
    again: bool
    workdir: Path
    dags: Path


class Demo:
    """The story, told part by part."""

    def __init__(self, stack: Stack, screen: Screen, options: Options) -> None:
        self._stack = stack
        self._screen = screen
        self._options = options
        today = datetime.now(UTC).date()
        self._days = [today - timedelta(days=back) for back in range(DAYS, 0, -1)]

    def run(self) -> bool:
        """Everything in its order; tells whether every record arrived, once."""
        start = time.monotonic()
        self._start()
        backfill = self._backfill()
        if retried := self._stack.airflow.api.retried(DAG_ID):
            self._screen.say(f"  {retried} tasks needed more than one try; their logs say why", "yellow")
        first = self._stored()
        right = self._check(first)
        if self._options.again:
            right = self._again(backfill, first) and right
        right = self._wide() and right
        right = self._takeover() and right
        self._live()
        self._screen.summary()
        self._tell_total(time.monotonic() - start)
        if self._options.keep:
            self._stay()
        return right

    def _start(self) -> None:
        screen, stack = self._screen, self._stack
        screen.heading("Starting, on this machine only")
        migration = stack.airflow.begin_migration()
        with screen.step("S3 server and sandbox of Binance"):
            s3_client(stack.start_s3()).create_bucket(Bucket=BUCKET)
            stack.start_sandbox("--days", str(WIDE_DAYS))
            example_dags(self._options.dags, self._options.workdir / "dags")
        with screen.step("Airflow: database"):
            stack.airflow.end_migration(migration)
        with screen.step("Airflow: API server, scheduler, DAG processor, triggerer"):
            stack.airflow.start()
        with screen.step("Airflow: reading the DAG"):
            stack.airflow.api.wait_dag(DAG_ID)
        self._tell_addresses()

    def _tell_addresses(self) -> None:
        stack = self._stack
        self._screen.say(f"  UI       {stack.airflow.url}/dags/{DAG_ID} (no login)")
        self._screen.say(f"  sandbox  {stack.sandbox_url}/sandbox/health")
        self._screen.say(f"  S3       {stack.s3_url} (bucket {BUCKET}, any credentials)")

    def _backfill(self) -> Backfill:
        airflow, days = self._stack.airflow, self._days
        self._screen.heading(f"Backfill: {DAG_ID}, {len(days)} daily intervals from {days[0]} to {days[-1]}")
        backfill = Backfill(airflow.api, DAG_ID, midnight(days[0]), midnight(days[-1]), max_active_runs=MAX_ACTIVE_RUNS)
        self._follow("Backfill", backfill, backfill.start)
        return backfill

    def _follow(self, name: str, backfill: Backfill, begin: Callable[[], None]) -> None:
        airflow = self._stack.airflow
        with self._screen.step(name), self._screen.runs(name) as tell:
            begin()
            states = backfill.wait(BACKFILL_SECONDS, tell, meanwhile=airflow.tend)
        if states["failed"]:
            raise StackError(f"{states['failed']} runs failed.\n{airflow.api.first_failure(DAG_ID)}")

    def _stored(self) -> dict[str, Stored]:
        return stored_objects(s3_client(self._stack.s3_url), BUCKET)

    def _check(self, stored: dict[str, Stored]) -> bool:
        screen, scopes = self._screen, [CROSS, *self._pairs()]
        screen.heading("What arrived, read back and compared with the sandbox's own records")
        with screen.step("Check"):
            wanted = wanted_rows(self._stack.sandbox_url, self._days)
            cells = compare(self._days, scopes, wanted, stored)
        screen.table(cells, BUCKET)
        screen.chart(self._days, cells)
        screen.verdict(cells, at_the_edges(self._days, stored))
        if unasked := {scope for _, scope in wanted} - set(scopes):
            screen.say(f"Not asked for, since the DAG does not list it: isolated pair {', '.join(unasked)}", "dim")
        return all(cell.right for cell in cells)

    def _pairs(self) -> list[str]:
        """The isolated pairs that the DAG asks for, one mapped task each."""
        return sorted(self._stack.airflow.api.rendered(DAG_ID, "isolated_symbol"))

    def _again(self, backfill: Backfill, first: dict[str, Stored]) -> bool:
        self._screen.heading("The same runs, cleared: every day is loaded again")
        self._follow("Backfill again", backfill, backfill.again)
        second = self._stored()
        differ = [key for key in first.keys() | second.keys() if _sha(first, key) != _sha(second, key)]
        anew = sum(each.fetched_at != first[key].fetched_at for key, each in second.items() if key in first)
        for key in differ:
            self._screen.say(f"Other bytes at the second run: {key}", "red")
        if not differ:
            self._screen.say(f"{anew} objects fetched and written again: the same bytes, each of them", "bold green")
        return not differ and bool(anew)

    def _wide(self) -> bool:
        """Two years in one run, held against what as many daily runs would take at the rate just measured."""
        screen = self._screen
        days = self._years()
        screen.heading(f"Two years in one run: {len(days)} days from {days[0]} on, the exchange 50 ms away")
        with screen.step("Two years, one run"):
            result, task_seconds = wide_run(self._stack, days)
        daily = screen.seconds["Backfill"] / DAYS * len(days)
        screen.say(
            f"  {result['objects']} objects, {result['records']:,} records, {result['requests']} requests; the task "
            f"took {task_seconds:.1f} s, as many daily runs would take {daily / 60:.0f} min at the rate above"
        )
        with screen.step("Check of two years"):
            stored = {key: each for key, each in self._stored().items() if f"/scope={CROSS}/" in key}
            cells = compare(days, [CROSS], wanted_rows(self._stack.sandbox_url, days), stored)
        screen.verdict(cells, at_the_edges(days, stored))
        return all(cell.right for cell in cells)

    def _takeover(self) -> bool:
        """A liquidation without an order of the account's own: its records are empty, the ledger tells."""
        self._screen.heading(f"Taken over without an order: all datasets of three days, then {REPORT_DAG_ID}")
        with self._screen.step("Load and report"):
            result, at = takeover(self._stack)
        found = [(event["level"], event["first_time"]) for event in result["events"] if event["scope"] == CROSS]
        right = ("takeover", at) in found and at[:10] not in {doubt["day"] for doubt in result["doubts"]}
        told = ", ".join(f"{level} at {time}" for level, time in found) or "nothing"
        self._screen.say(f"Found: {told}; there was a takeover at {at}", "bold green" if right else "red")
        for doubt in result["doubts"]:
            self._screen.say(f"Cannot tell of {doubt['day']}, scope {doubt['scope']}: {doubt['reason']}")
        return right

    def _years(self) -> list[date]:
        return [self._days[-1] - timedelta(days=back) for back in range(WIDE_DAYS - 1, -1, -1)]

    def _live(self) -> None:
        """A record appears while a DAG watches."""
        self._screen.heading(f"Event-driven: {LIVE_DAG_ID} watches, one request of one row every {POLL_SECONDS} s")
        with self._screen.step("A new record, from the watcher's start on"):
            seconds, key = live(self._stack, s3_client(self._stack.s3_url), BUCKET)
        self._screen.say(f"A record that appeared was in S3 {seconds:.1f} s later: {key}", "bold green")

    def _tell_total(self, seconds: float) -> None:
        starting = sum(part for name, part in self._screen.seconds.items() if name.startswith("Airflow"))
        self._screen.say(f"In all {seconds:.0f} s, of which Airflow took {starting:.0f} s to start.")
        if self._stack.airflow.restarts:
            self._screen.say(f"Airflow components started again after a crash: {self._stack.airflow.restarts}")

    def _stay(self) -> None:
        self._screen.heading("Everything stays up until Ctrl-C")
        with self._screen.step("An audit of two years, of which three days were lost"):
            keys = sorted(key for key in self._stored() if f"/scope={CROSS}/" in key)[100:400:100]
            damaged_lake(self._stack, s3_client(self._stack.s3_url), BUCKET, self._years(), keys)
        self._screen.say(f"  page     {self._stack.airflow.url}/plugin/binance-margin (repairs them)", "bold green")
        self._tell_addresses()
        self._screen.say(f"  logs     {self._stack.processes.logs}")
        try:
            while True:
                self._stack.airflow.tend()
                time.sleep(1)
        except SystemExit:
            self._screen.say("Ending everything.")


def _sha(stored: dict[str, Stored], key: str) -> str:
    return stored[key].sha256 if key in stored else ""


def _options(argv: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="stay up at the end, until Ctrl-C")
    parser.add_argument("--once", dest="again", action="store_false", help="do not load everything a second time")
    parser.add_argument("--workdir", type=Path, default=ROOT / ".demo", help="default: %(default)s")
    parser.add_argument("--dags", type=Path, default=ROOT / "dags", help="default: %(default)s")
    return Options(**vars(parser.parse_args(argv)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; the status tells whether the lake is what it must be."""
    options = _options(argv)
    screen = Screen()
    try:
        with ended_by_signals(), Stack(options.workdir, dags=options.workdir / "dags", env=SETTINGS) as stack:
            right = Demo(stack, screen, options).run()
    except StackError as error:
        screen.say(f"\n{error}", "red")
        return 1
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
