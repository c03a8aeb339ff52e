"""A real Airflow: database, API server, scheduler, DAG processor and triggerer, each a process of its own."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from local_stack.airflow_api import AirflowApi, ApiError
from local_stack.airflow_env import airflow_env, airflow_secrets
from local_stack.ports import LOOPBACK, with_free_ports
from local_stack.processes import Process, Processes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_START_SECONDS = 180.0
_RESTARTS = 3
# the servers of their log files are for workers on other machines
COMPONENTS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
# what the API server's health report calls those that it cannot speak for itself
_REPORTED = ("metadatabase", "scheduler", "dag_processor", "triggerer")


class Airflow:
    """One Airflow in a home folder of its own; `env` is read whenever something is started."""

    def __init__(self, processes: Processes, home: Path, dags: Path, env: Mapping[str, str]) -> None:
        self.url = ""
        self.api = AirflowApi(f"http://{LOOPBACK}")
        self.components: dict[str, Process] = {}
        self.restarts = 0
        self._processes = processes
        self._home = home
        self._dags = dags
        self._env = env
        self._secrets = airflow_secrets()
        self._port = 0

    def begin_migration(self) -> Process:
        """Start to make the database; other things can be done until `end_migration`."""
        self._home.mkdir(parents=True)
        return self._run("airflow-db", ["db", "migrate"])

    def end_migration(self, process: Process) -> None:
        """Wait until the database is made."""
        self._processes.finish(process, "airflow db migrate", _START_SECONDS)
        file = self._home / "airflow.db"
        if not file.exists():
            return  # another database than SQLite
        # without it whoever reads a file database and whoever writes it keep each other waiting
        with closing(sqlite3.connect(file, timeout=10)) as database:
            database.execute("PRAGMA journal_mode=WAL")

    def start_program(self, name: str, *arguments: str) -> Process:
        """Start an `airflow` command besides the components, such as a worker: after them, since it calls their API."""
        return self._run(name, arguments)

    def cli(self, *arguments: str, seconds: float = 120) -> str:
        """Run an `airflow` command to its end and return what it said; an error when it fails."""
        process = self._run(f"airflow-{arguments[0]}", arguments)
        return self._processes.finish(process, f"airflow {' '.join(arguments)}", seconds)

    def start(self) -> str:
        """Start the components, wait until each is healthy, and return the UI's address; again if the port is lost."""
        with_free_ports(1, self._start)
        return self.url

    def _start(self, port: int) -> None:
        self._port = port
        self.url = f"http://{LOOPBACK}:{port}"
        self.api.close()
        self.api = AirflowApi(self.url)
        try:
            for name in COMPONENTS:
                self.start_component(name)
            self.components["api-server"].until(self._healthy, _START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def start_component(self, name: str) -> Process:
        """Start one of the components, for the first time or again."""
        self.components[name] = self._run(name, COMPONENTS[name])
        return self.components[name]

    def stop_component(self, name: str) -> None:
        """End one of the components and everything it started."""
        self._processes.stop(self.components.pop(name))

    def stop(self) -> None:
        """End all components."""
        self._processes.stop(*self.components.values())
        self.components.clear()

    def check(self) -> None:
        """An error, with the end of its log, when one of the components has ended."""
        for process in self.components.values():
            process.check()

    def tend(self) -> None:
        """Start again what has ended by itself, as a lock of SQLite's can make a component do, but not for ever."""
        for name, process in list(self.components.items()):
            if process.running():
                continue
            self.restarts += 1
            if self.restarts > _RESTARTS:
                process.check()
            self.stop_component(name)
            self.start_component(name)

    def _run(self, name: str, arguments: Sequence[str]) -> Process:
        env = {**airflow_env(self._home, self._dags, self._port), **self._secrets, **self._env}
        return self._processes.start(name, [sys.executable, "-m", "airflow", *arguments], env=env, cwd=self._home)

    def _healthy(self) -> bool:
        self.check()
        try:
            report = self.api.health()
        except ApiError:
            return False
        return all(report[name]["status"] == "healthy" for name in _REPORTED)
