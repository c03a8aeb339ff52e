"""The local stack as it is run in earnest: Celery workers fed by Redis, the database a PostgreSQL."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from local_stack.servers import Redis, start_postgres
from local_stack.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from local_stack.processes import Process

WORKERS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
# how long a running task may be silent, and how long a worker may have its message without having done it
HEARTBEAT_SECONDS = 20
VISIBILITY_SECONDS = 40
_BROKER = "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__"
_WORKER_SECONDS = 90.0
_AWAY_SECONDS = 3.0
_STOP_SECONDS = 3.0


def celery_env(database: str, broker: str, workers: int, concurrency: int) -> dict[str, str]:
    """Airflow's settings for it; what is lost must be missed in seconds, for which a user would allow minutes."""
    return {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        # two tasks more than the workers take at once, so that some wait in Redis
        "AIRFLOW__CORE__PARALLELISM": str(workers * concurrency + 2),
        "AIRFLOW__CELERY__BROKER_URL": broker,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(concurrency),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_SECONDS),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        # A task in a dead worker's hands that had not begun has no heartbeat to miss: Redis gives its message to
        # another. It gives out those of the lost ones as well, after they have been missed, and they must do no harm.
        f"{_BROKER}VISIBILITY_TIMEOUT": str(VISIBILITY_SECONDS),
        f"{_BROKER}UNACKED_RESTORE_INTERVAL": "5",
        f"{_BROKER}UNACKED_RESTORE_THROTTLE": "1",
    }


class CeleryStack(Stack):
    """A stack whose folder others may pass through: PostgreSQL's user must reach its own folder in it.

    So many workers, each with so many tasks at once.
    """

    def __init__(self, workdir: Path, *, dags: Path, env: dict[str, str], workers: int, concurrency: int) -> None:
        super().__init__(workdir / "stack", dags=dags, env=env)
        self.names = WORKERS[:workers]
        self.concurrency = concurrency
        self._servers = workdir
        # what a worker that is killed leaves in it goes with the rest
        self._env["TMPDIR"] = str(self.workdir / "tmp")
        (self.workdir / "tmp").mkdir()
        self.workers: dict[str, Process] = {}
        # what each has written to its log: it outlives the worker
        self.said: dict[str, Callable[[], str]] = {}

    def start_servers(self) -> None:
        """Start PostgreSQL and Redis, and make them Airflow's."""
        database = start_postgres(self.processes, self._servers / "postgres")
        self._redis = Redis(self.processes, self._servers / "redis")
        self._env |= celery_env(database, self._redis.start(), len(self.names), self.concurrency)

    def restart_broker(self) -> None:
        """Restart Redis, which loses all messages: those in its queue, and those that the workers have not finished."""
        self._redis.restart(_AWAY_SECONDS)

    def start_workers(self) -> None:
        """Start the workers, each in a session of its own, and wait until they take tasks."""
        for name in self.names:
            pid = ["--pid", str(self.workdir / f"worker-{name}.pid")]
            told = ["--celery-hostname", name, "--skip-serve-logs", "--without-mingle", "--without-gossip"]
            self.workers[name] = self.airflow.start_program(f"worker-{name}", "celery", "worker", *pid, *told)
            self.said[name] = self.workers[name].output
        for name in self.names:
            self.workers[name].until(partial(self._ready, name), _WORKER_SECONDS)

    def _ready(self, name: str) -> bool:
        return f"celery@{name} ready." in self.said[name]()

    def kill_worker(self, name: str) -> None:
        """Kill one worker with all that it runs, as a failing machine would."""
        self.processes.kill(self.workers.pop(name))

    def pids(self, name: str) -> set[int]:
        """The processes of one worker."""
        return self.processes.members(self.workers[name])

    def close(self) -> None:
        """End everything, PostgreSQL and Redis last: none of the others must be kept by a server that is gone."""
        clients = [*self.workers.values(), *self.airflow.components.values()]
        try:
            self.processes.stop(*clients, grace=_STOP_SECONDS)
        finally:
            self.workers.clear()
            self.airflow.components.clear()
            super().close()
