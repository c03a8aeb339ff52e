"""Airflow's real task runner over an Execution API in memory: no database, 20 to 100 ms a task."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import get_args
from urllib.parse import unquote

import httpx
import pytest

NONE = httpx.Response(204)


class ExecutionAPI:
    """What a task may ask of Airflow, answered from dictionaries."""

    def __init__(self):
        self.xcom, self.task_state, self.asset_state, self.conns = {}, {}, {}, {}
        self.states, self.calls, self.run_context = [], [], {}
        self.first_rescheduled = None

    def __call__(self, request):
        path, method = request.url.path.strip("/"), request.method
        body = json.loads(request.content) if request.content else None
        self.calls.append((method, path, body))
        parts = path.split("/")
        answer = self.answer(request, method, parts, body)
        return answer if answer is not None else httpx.Response(404, json={"detail": {"reason": "not_found"}})

    def answer(self, request, method, parts, body):  # noqa: PLR0911 - one for each of its paths
        if parts[0] == "task-instances":
            return self.task_instance(method, parts, body)
        if parts[0] == "connections":
            conn = self.conns.get(unquote(parts[1]))
            empty = dict.fromkeys(("host", "schema", "login", "password", "port", "extra"))
            return conn and httpx.Response(200, json={**empty, **conn, "conn_id": unquote(parts[1])})
        if parts[0] == "task-reschedules":
            return httpx.Response(200, json=_iso(self.first_rescheduled))
        if parts[0] == "xcoms":
            return self.store(self.xcom, parts[-1], method, body, {"key": parts[-1]})
        if parts[:2] == ["store", "ti"]:
            return self.store(self.task_state, unquote(parts[3]), method, body and body["value"])
        if parts[:2] == ["store", "asset"]:
            params = request.url.params
            key = (params.get("name") or params.get("uri"), params.get("key"))
            return self.store(self.asset_state, key, method, body and body["value"])
        return NONE

    def task_instance(self, method, parts, body):
        if parts[-1] == "run":
            return httpx.Response(200, json=self.run_context)
        if parts[-1] == "state" and method == "PATCH":
            self.states.append(body)
        elif parts[-1] == "previous-successful-dagrun":
            names = ("data_interval_start", "data_interval_end", "start_date", "end_date")
            return httpx.Response(200, json=dict.fromkeys(names))
        elif parts[-1] == "validate-inlets-and-outlets":
            return httpx.Response(200, json={"inactive_assets": []})
        return NONE

    @staticmethod
    def store(values, key, method, value, more=None):
        if method == "GET":
            return httpx.Response(200, json={**(more or {}), "value": values[key]}) if key in values else None
        if method == "DELETE":
            values.pop(key, None)
        else:
            values[key] = value
        return NONE if method != "POST" else httpx.Response(201, json={"message": "ok"})


@pytest.fixture
def told(caplog, capsys):
    """What was logged so far, by either of Airflow's ways: the standard library's, and its own straight to stdout."""
    caplog.set_level(logging.DEBUG)
    said = []

    def read():
        # before Airflow 3.1 both ways are taken by one and the same message: it is counted once
        said.extend(line for part in capsys.readouterr() for line in part.splitlines(keepends=True))
        return caplog.text + "".join(line for line in said if not any(each in line for each in caplog.messages))

    return read


@pytest.fixture
def api():
    """The Execution API that `run_task` runs tasks against."""
    return ExecutionAPI()


@pytest.fixture
def run_task(api):
    """Run one operator in Airflow's task runner; the result says how it ended and what it left."""
    from airflow.sdk import DAG
    from airflow.sdk.api.client import Client
    from airflow.sdk.api.datamodels._generated import DagRun, TaskInstance, TIRunContext
    from uuid6 import uuid7
    from versions import run_task_in_process, stored

    def run(
        task,
        *,
        interval=(None, None),
        run_id="scheduled__1",
        clear_number=0,
        started="2026-11-22T00:00:00Z",
        run_after="2026-11-22T00:00:00Z",
        map_index=-1,
        partition_key=None,
        partition_date=None,
        events=(),
        try_number=1,
        retries=0,
        next_method=None,
        next_kwargs=None,
        timezone=UTC,
        first_rescheduled=None,
    ):
        if not task.has_dag():
            with DAG("a_dag", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone)) as dag:
                dag.add_task(task)
        partition = {"partition_key": partition_key, "partition_date": partition_date}
        if lacking := [name for name, value in partition.items() if value and name not in DagRun.model_fields]:
            pytest.skip(f"this Airflow has no {', '.join(lacking)}")
        if started is None and type(None) not in get_args(DagRun.model_fields["start_date"].annotation):
            pytest.skip("this Airflow has no run without a start")
        api.run_context = {
            "dag_run": {
                "dag_id": task.dag_id,
                "run_id": run_id,
                "logical_date": _iso(interval[0]),
                "data_interval_start": _iso(interval[0]),
                "data_interval_end": _iso(interval[1]),
                "run_after": run_after,
                "start_date": started,
                "end_date": None,
                "clear_number": clear_number,
                "run_type": "manual",
                "state": "running",
                "conf": {},
                "consumed_asset_events": list(events),
                "partition_key": partition_key,
                "partition_date": _iso(partition_date),
            },
            "max_tries": retries,
            "should_retry": try_number <= retries,
            "next_method": next_method,
            "next_kwargs": None if next_kwargs is None else stored(next_kwargs),
        }
        api.run_context["task_reschedule_count"] = int(first_rescheduled is not None)
        # an older Airflow refuses what it does not know
        api.run_context["dag_run"] = known(DagRun, api.run_context["dag_run"])
        api.run_context = known(TIRunContext, api.run_context)
        api.first_rescheduled = first_rescheduled
        api.states.clear()
        api.xcom.clear()
        client = Client(base_url=None, dry_run=True, token="", transport=httpx.MockTransport(api))
        instance = TaskInstance(
            id=uuid7(),
            task_id=task.task_id,
            dag_id=task.dag_id,
            run_id=run_id,
            try_number=try_number,
            map_index=map_index,
            dag_version_id=uuid7(),
        )
        done = run_task_in_process(ti=instance, task=task, client=client)
        return SimpleNamespace(
            state=done.state.value,
            error=done.error,
            result=api.xcom.get("return_value"),
            xcom=dict(api.xcom),
            final=api.states[-1] if api.states else None,
        )

    return run


def known(model, values):
    """What an API's model has of these values."""
    return {name: value for name, value in values.items() if name in model.model_fields}


def _iso(when):
    return when.isoformat() if when else None
