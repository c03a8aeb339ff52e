"""A backfill through the REST API: created once, whatever SQLite answers, and followed to its end."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from local_stack.airflow_api import AirflowApi, ApiError, Json
from local_stack.processes import StackError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

PAUSE = 0.5
RUNS_SECONDS = 10.0
_CONFLICT = 409
_FINAL = {"success", "failed"}


class Backfill:
    """The runs of one DAG between two dates, both inclusive, in the scheduler's hands."""

    def __init__(
        self, api: AirflowApi, dag_id: str, from_date: datetime, to_date: datetime, *, max_active_runs: int = 4
    ) -> None:
        self._api = api
        self._dag_id = dag_id
        self._order: Json = {
            "dag_id": dag_id,
            "from_date": from_date.isoformat(),
            "to_date": to_date.isoformat(),
            "max_active_runs": max_active_runs,
        }
        self.intervals: list[str] = []

    def start(self) -> None:
        """Create it while the DAG is paused, then let the scheduler at it.

        When SQLite is locked Airflow takes back a backfill that it has half made, and a scheduler that is already
        busy with one of its runs does not survive that. The file is read again so that a DAG with `catchup=True`
        goes on from here: unpaused for the first time, it would begin at its start date.
        """
        self._api.unpause(self._dag_id, paused=True)
        self._create()
        self._api.reparse(self._dag_id)
        self._api.unpause(self._dag_id)

    def again(self) -> None:
        """Clear its runs, so that they run again.

        A second backfill that reprocesses them would come to the same, but when SQLite is locked meanwhile Airflow
        takes it back, and runs of the first with it.
        """
        self._api.unpause(self._dag_id, paused=True)
        self._api.clear(self._dag_id, str(self._order["from_date"]), str(self._order["to_date"]))
        self._api.unpause(self._dag_id)

    def _create(self, tries: int = 5) -> None:
        """Create it once: what a failed answer left behind is found and taken, or cancelled when it has no runs."""
        self.intervals = [
            _interval(each) for each in self._api.api("POST", "backfills/dry_run", self._order)["backfills"]
        ]
        if not self.intervals:
            raise StackError(f"There is nothing to backfill for {self._dag_id} in {self._order}.")
        earlier = set(self._known())
        for left in reversed(range(tries)):
            made: int | None
            try:
                made = int(self._api.call("POST", "backfills", self._order)["id"])
            except ApiError as error:
                if not left or not (error.passing or error.status == _CONFLICT):
                    raise
                made = max(set(self._known()) - earlier, default=None)
            if made is not None:
                if self._has_runs():
                    return
                self._cancel(made)
            time.sleep(PAUSE)
        raise StackError(f"The backfill of {self._dag_id} has no runs.")

    def _cancel(self, number: int) -> None:
        """So that another can be made; one that was cancelled before stays so."""
        try:
            self._api.api("PUT", f"backfills/{number}/cancel")
        except ApiError as error:
            if error.status != _CONFLICT:
                raise

    def _known(self) -> list[int]:
        listing = self._api.api("GET", "backfills", dag_id=self._dag_id, limit=100, order_by="-id")
        return [each["id"] for each in listing["backfills"]]

    def _has_runs(self) -> bool:
        deadline = time.monotonic() + RUNS_SECONDS
        while len(self._states()) < len(self.intervals):
            if time.monotonic() >= deadline:
                return False
            time.sleep(PAUSE)
        return True

    def _states(self) -> dict[str, str]:
        """The state of each interval's newest run."""
        wanted = set(self.intervals)
        runs = self._api.runs(self._dag_id, run_type="backfill")
        return {_interval(run): run["state"] for run in runs if _interval(run) in wanted}

    def wait(
        self,
        seconds: float,
        progress: Callable[[Counter[str], int], None] | None = None,
        *,
        meanwhile: Callable[[], None] | None = None,
    ) -> Counter[str]:
        """Wait for all runs to end, telling the states and the number of runs now and then; return the last states."""
        deadline = time.monotonic() + seconds
        while True:
            states = Counter(self._states().values())
            if progress:
                progress(states, len(self.intervals))
            if sum(states[each] for each in _FINAL) == len(self.intervals):
                return states
            if meanwhile:
                meanwhile()
            if time.monotonic() >= deadline:
                raise StackError(f"The backfill of {self._dag_id} is not done after {seconds:.0f} s: {dict(states)}")
            time.sleep(PAUSE)


def _interval(run: Json) -> str:
    return str(run["logical_date"] or run["partition_key"])
