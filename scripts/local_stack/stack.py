"""The whole local stack in one folder: S3 server, sandbox and Airflow, all on this machine only."""

from __future__ import annotations

import fcntl
import re
import shlex
import shutil
import sys
from typing import IO, TYPE_CHECKING, Self

import httpx

from local_stack.airflow_env import aws_connection, clean_env
from local_stack.airflow_parts import Airflow
from local_stack.ports import LOOPBACK
from local_stack.processes import Process, Processes, StackError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_START_SECONDS = 60.0
# what is shut down is thrown away: it need not tidy up for long
_CLOSE_SECONDS = 2.0
_S3_READY = re.compile(r"Running on (http://\S+:\d+)")
_CONNECTION = re.compile(r"^export (AIRFLOW_CONN_\w+=.*)$", re.MULTILINE)


class Stack:
    """Everything started piece by piece; leaving the context ends it all, whatever happened.

    The object `airflow` is there from the beginning, so that its database can be made while the other parts start; its
    components, started last, know all connections.
    """

    def __init__(self, workdir: Path, *, dags: Path, env: Mapping[str, str] | None = None) -> None:
        self.workdir = workdir.resolve()
        self.s3_url = ""
        self.sandbox_url = ""
        self._env = clean_env() | dict(env or {})
        self._lock = _take_over(self.workdir)
        self.processes = Processes(self.workdir / "logs")
        self.airflow = Airflow(self.processes, self.workdir / "airflow", dags.resolve(), self._env)

    def start_s3(self) -> str:
        """Start an S3 server, make it `aws_default`, and return its address."""
        # port 0: the server itself takes a free one, and nobody can come in between
        process = self.start_program("s3", "-m", "moto.server", "-H", LOOPBACK, "-p", "0")
        process.until(lambda: bool(_S3_READY.search(process.output())), _START_SECONDS)
        self.s3_url = _S3_READY.findall(process.output())[0]
        self._env |= aws_connection(self.s3_url)
        return self.s3_url

    def start_sandbox(self, *options: str) -> str:
        """Start the sandbox with these options, take over the connections it offers, and return its address."""
        url_file = self.workdir / "sandbox.url"
        where = ["--port", "0", "--home", str(self.workdir / "sandbox"), "--url-file", str(url_file)]
        process = self.start_program("sandbox", "-m", "airflow_provider_binance_margin.sandbox", *where, *options)
        process.until(url_file.exists, _START_SECONDS)
        self.sandbox_url = url_file.read_text().strip()
        process.until(self._sandbox_answers, _START_SECONDS)
        self._env |= _connections(process)
        return self.sandbox_url

    def _sandbox_answers(self) -> bool:
        try:
            return httpx.get(f"{self.sandbox_url}/sandbox/health", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def start_airflow(self) -> str:
        """Make Airflow's database, start its components, and return the address of its UI."""
        self.airflow.end_migration(self.airflow.begin_migration())
        return self.airflow.start()

    def start_program(self, name: str, *arguments: str) -> Process:
        """Start this Python with these arguments in the stack's environment."""
        return self.processes.start(name, [sys.executable, *arguments], env=self._env, cwd=self.workdir)

    def close(self) -> None:
        """End everything."""
        self.airflow.api.close()
        try:
            self.processes.close(_CLOSE_SECONDS)
        finally:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _take_over(workdir: Path) -> IO[str]:
    """Make the folder ours and empty; the open file is the claim, which ends with this process at the latest."""
    workdir.mkdir(mode=0o700, parents=True, exist_ok=True)
    claim = (workdir / "lock").open("w")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        claim.close()
        raise StackError(f"Another stack is running in {workdir}.") from None
    for entry in workdir.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()
    return claim


def _connections(sandbox: Process) -> dict[str, str]:
    """The connections that the sandbox prints to be pasted into a shell."""
    pairs = (shlex.split(line)[0].partition("=") for line in _CONNECTION.findall(sandbox.output()))
    return {name: value for name, _, value in pairs}
