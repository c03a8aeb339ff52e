"""Run by tests in a process with an AIRFLOW_HOME of its own: a database, then DAGs or commands. Prints JSON.

airflow_program.py dags '[[file, dag_id, logical_date, conf, run_after or nothing], ...]'
airflow_program.py commands '[[word, ...], ...]'
airflow_program.py runs '[[word, ...] or {dag_id, and the body of a request that makes a run}, ...]'
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import json
import logging
import sys
import traceback
from datetime import datetime
from pathlib import Path
from unittest import mock


def main():
    from airflow.utils.db import initdb

    with contextlib.redirect_stdout(sys.stderr):
        initdb()
        done = {"dags": run_dags, "commands": run_commands, "runs": make_runs}[sys.argv[1]](json.loads(sys.argv[2]))
    print(json.dumps(done))  # noqa: T201 - for the test that started this


def run_dags(runs):
    import airflow.sdk

    if not hasattr(airflow.sdk, "BaseHook"):  # before Airflow 3.1 `dag.test()` makes no outlet's asset known
        run_command(["dags", "reserialize"])
    return {" ".join([run[1], *run[4:]]): run_dag(*run) for run in runs}


def run_dag(file, dag_id, logical_date, conf, run_after=None):
    from airflow.sdk import DAG

    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (dag,) = {id(d): d for d in vars(module).values() if isinstance(d, DAG) and d.dag_id == dag_id}.values()
    said = Said()
    logging.getLogger(module.__name__).addHandler(said)
    run_after = run_after and datetime.fromisoformat(run_after)
    run = dag.test(logical_date=datetime.fromisoformat(logical_date), run_conf=conf, run_after=run_after)
    logging.getLogger(module.__name__).removeHandler(said)
    instances = run.get_task_instances()
    return {
        "state": str(run.state),
        "said": said.messages,
        "tasks": {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in instances},
        "results": {f"{ti.task_id}[{ti.map_index}]": result(ti) for ti in instances},
    }


class Said(logging.Handler):
    """Keeps what a DAG file's own code logs."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def result(ti):
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        where = {"run_id": ti.run_id, "key": "return_value", "task_ids": ti.task_id, "map_indexes": ti.map_index}
        found = session.scalar(XComModel.get_many(**where, dag_ids=ti.dag_id))
    value = getattr(found, "value", None)
    return json.loads(value) if isinstance(value, str) else value


def run_commands(commands):
    return [run_command(words) for words in commands]


def run_command(words):
    from airflow.__main__ import main as airflow

    out = io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), mock.patch("sys.argv", ["airflow", *words]):
        try:
            airflow()
        except SystemExit as ended:
            code = ended.code or 0
        except Exception:  # noqa: BLE001 - what a user would see
            code = 1
            traceback.print_exc(file=out)
    return {"code": code, "output": out.getvalue()}


def make_runs(ways):
    """What the database holds of each run that was made, as the task runner is told it; and what was said."""
    run_command(["dags", "reserialize"])
    said = [run_command(way)["output"] if isinstance(way, list) else request_run(**way) for way in ways]
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    times = ("logical_date", "data_interval_start", "data_interval_end", "run_after")
    with create_session() as session:
        runs = [
            {
                **{name: str(getattr(run, name)) for name in ("dag_id", "run_id", *times)},
                "run_type": getattr(run.run_type, "value", run.run_type),
                "state": str(run.state),
                "tasks": len(run.get_task_instances(session=session)),
            }
            for run in session.scalars(select(DagRun))
        ]
    return {"runs": runs, "said": said}


@functools.cache
def api():
    from airflow.api_fastapi.app import create_app

    return create_app(apps="core")


def request_run(dag_id, **body):
    from fastapi.testclient import TestClient

    with TestClient(api(), base_url="http://localhost") as client:
        token = client.get("/auth/token").json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return client.post(f"/api/v2/dags/{dag_id}/dagRuns", json=body, headers=headers).text


if __name__ == "__main__":
    main()
