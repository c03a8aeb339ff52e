"""Airflow's REST API, as far as a local stack needs it, patient with a database that is a file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx

from local_stack.processes import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

Json = dict[str, Any]
_PATIENCE = 30.0
_ANSWER_SECONDS = 30.0
_HEALTH_SECONDS = 3.0
_SERVER_ERROR = 500
_CONFLICT = 409
_LIMIT = 1000


class ApiError(StackError):
    """The API server said no; `status` is 0 when it could not be reached."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether the same call may go through later: SQLite was locked, or the server is not up yet."""
        return self.status == 0 or self.status >= _SERVER_ERROR


class AirflowApi:
    """Calls to one API server."""

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        self._client = httpx.Client(base_url=url, trust_env=False, transport=transport)

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def call(self, method: str, path: str, json: Json | None = None, **params: Any) -> Json:
        """One call, tried once; `path` is relative to /api/v2."""
        return self._call(method, path, json, params, _ANSWER_SECONDS)

    def health(self) -> Json:
        """How the components do; soon an error when it is not Airflow that listens there."""
        return self._call("GET", "monitor/health", None, {}, _HEALTH_SECONDS)

    def _call(self, method: str, path: str, json: Json | None, params: Json, seconds: float) -> Json:
        try:
            url = f"/api/v2/{path.lstrip('/')}"
            answer = self._client.request(method, url, json=json, params=params, timeout=seconds)
        except httpx.TransportError as error:
            raise ApiError(0, f"{method} {path}: {type(error).__name__}") from error
        if answer.is_error:
            raise ApiError(answer.status_code, f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return dict(answer.json() or {}) if answer.content else {}

    def api(self, method: str, path: str, json: Json | None = None, **params: Any) -> Json:
        """A call that may be repeated without harm, repeated while the failure is a passing one."""
        return _patiently(lambda: self.call(method, path, json, **params))

    def unpause(self, dag_id: str, *, paused: bool = False) -> None:
        """Let the scheduler run this DAG, or not."""
        self.api("PATCH", f"dags/{dag_id}", {"is_paused": paused}, update_mask="is_paused")

    def wait_dag(self, dag_id: str, seconds: float = 60) -> Json:
        """Wait until the DAG processor has read it; an error that quotes the import errors when it does not."""
        for _ in _ticks(seconds):
            try:
                return self.api("GET", f"dags/{dag_id}/details")
            except ApiError as error:
                if error.passing:
                    raise
            if errors := self.api("GET", "importErrors")["import_errors"]:
                raise StackError("\n".join(f"{each['filename']}:\n{each['stack_trace']}" for each in errors))
        raise StackError(f"DAG {dag_id!r} did not appear within {seconds:.0f} s.")

    def reparse(self, dag_id: str, seconds: float = 60) -> None:
        """Have the DAG's file read again, and wait for it; this is also what moves the DAG's next scheduled run."""
        before = self.api("GET", f"dags/{dag_id}/details")
        self.api("PUT", f"parseDagFile/{before['file_token']}")
        for _ in _ticks(seconds):
            if self.api("GET", f"dags/{dag_id}")["last_parsed_time"] != before["last_parsed_time"]:
                return
        raise StackError(f"The file of DAG {dag_id!r} was not read again within {seconds:.0f} s.")

    def clear(self, dag_id: str, from_date: str, to_date: str) -> None:
        """Clear all tasks of the runs between two logical dates, both inclusive: they run again."""
        bounds = {"start_date": from_date, "end_date": to_date}
        self.api(
            "POST",
            f"dags/{dag_id}/clearTaskInstances",
            {"dry_run": False, "only_failed": False, "reset_dag_runs": True, **bounds},
        )

    def trigger(self, dag_id: str, conf: Json | None = None, logical_date: datetime | None = None) -> str:
        """Start a run by hand and return its id."""
        when = logical_date.isoformat() if logical_date else None
        return str(
            self.call("POST", f"dags/{dag_id}/dagRuns", {"logical_date": when, "conf": conf or {}})["dag_run_id"]
        )

    def runs(self, dag_id: str, **params: Any) -> list[Json]:
        """The DAG's runs in the order of their making."""
        found = self.api("GET", f"dags/{dag_id}/dagRuns", limit=_LIMIT, order_by="id", **params)
        return list(found["dag_runs"])

    def task_logs(self, dag_id: str, run_id: str, task_id: str, *, try_number: int = 1, map_index: int = -1) -> str:
        """One try's log as the UI shows it."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        content = self.api("GET", path, map_index=map_index)["content"]
        return "\n".join(_text(line) for line in content)

    def tasks(self, dag_id: str, **params: Any) -> list[Json]:
        """The task instances of all runs."""
        found = self.api("GET", f"dags/{dag_id}/dagRuns/~/taskInstances", limit=_LIMIT, **params)
        return list(found["task_instances"])

    def rendered(self, dag_id: str, field: str) -> set[str]:
        """The values that a field of the DAG's operators had, over all runs."""
        fields = [task["rendered_fields"] for task in self.tasks(dag_id)]
        return {str(each[field]) for each in fields if each.get(field)}

    def retried(self, dag_id: str) -> int:
        """How many task instances were tried more than once."""
        return sum(task["try_number"] > 1 for task in self.tasks(dag_id))

    def first_failure(self, dag_id: str, lines: int = 25) -> str:
        """What the log of a failed task ends with."""
        found = self.tasks(dag_id, state=["failed"])
        if not found:
            return "No task has failed."
        run, task, number = found[0]["dag_run_id"], found[0]["task_id"], found[0]["try_number"]
        log = self.task_logs(dag_id, run, task, try_number=number, map_index=found[0]["map_index"])
        return "\n".join([f"--- the end of the log of {task} in {run}", *log.splitlines()[-lines:]])


def _text(line: Json | str) -> str:
    """A line of a log; what a structured one says besides its event (an error's traceback) is shown after it."""
    if isinstance(line, str):
        return line
    details = line.get("error_detail")
    return "\n".join([str(line.get("event", "")), *([str(details)] if details else [])])


def _patiently(call: Callable[[], Json], seconds: float = _PATIENCE) -> Json:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except ApiError as error:
            if not error.passing or time.monotonic() >= deadline:
                raise
        time.sleep(0.3)


def _ticks(seconds: float, pause: float = 0.3) -> Iterator[float]:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        yield left
        time.sleep(pause)
