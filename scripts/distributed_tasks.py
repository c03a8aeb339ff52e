"""Which task was tried when, by which process, and how that ended: what Airflow remembers of one DAG."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from local_stack.airflow_api import AirflowApi, Json


@dataclass(frozen=True)
class Try:
    """One try of one task instance."""

    name: str
    uid: str
    number: int
    pid: int
    state: str
    began: str
    ended: str

    def __str__(self) -> str:
        return f"{self.name}, try {self.number}, process {self.pid}, since {self.began[11:19]}"

    def outcome(self, worker: str) -> str:
        """In a few words."""
        return f"try {self.number} on the {worker} worker, {self.began[11:19]} to {self.ended[11:19]}: {self.state}"


class Tasks:
    """The task instances of one DAG."""

    def __init__(self, api: AirflowApi, dag_id: str) -> None:
        self.api = api
        self._dag_id = dag_id

    def running(self, pids: Collection[int]) -> list[Try]:
        """The tasks that these processes look after just now."""
        found = [_try(each) for each in self.api.tasks(self._dag_id, state=["running"])]
        return [each for each in found if each.pid in pids]

    def retried(self) -> list[list[Try]]:
        """All tries of each task that needed more than one."""
        again = [each for each in self.api.tasks(self._dag_id) if each["try_number"] > 1]
        return sorted((self._tries(each) for each in again), key=lambda tries: tries[0].name)

    def _tries(self, task: Json) -> list[Try]:
        where = f"dags/{self._dag_id}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}"
        path = f"{where}/tries" if task["map_index"] < 0 else f"{where}/{task['map_index']}/tries"
        earlier = [_try(each) for each in self.api.api("GET", path)["task_instances"]]
        # the id that messages name is known of the newest try only
        return [*sorted((each for each in earlier if each.number < task["try_number"]), key=_number), _try(task)]

    def asset_events(self) -> Counter[str]:
        """How many asset events each run of a backfill has made; midnight may bring a run of the schedule's."""
        events = self.api.api("GET", "assets/events", source_dag_id=self._dag_id, limit=1000)["asset_events"]
        return Counter(run for each in events if (run := str(each["source_run_id"])).startswith("backfill__"))


def _number(each: Try) -> int:
    return each.number


def _try(task: Json) -> Try:
    index = "" if task["map_index"] < 0 else f"[{task['map_index']}]"
    return Try(
        name=f"{str(task['dag_run_id']).partition('__')[2][:10]} {task['task_id']}{index}",
        uid=str(task.get("id", "")),
        number=task["try_number"],
        pid=task["pid"] or 0,
        state=str(task["state"]),
        began=str(task["start_date"] or ""),
        ended=str(task["end_date"] or ""),
    )
