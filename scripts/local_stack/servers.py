"""A PostgreSQL and a Redis of one's own: free loopback ports, a password, and data in a folder to throw away."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from local_stack.airflow_env import clean_env
from local_stack.ports import LOOPBACK, with_free_ports
from local_stack.processes import StackError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local_stack.processes import Process, Processes

_START_SECONDS = 60.0
_DEBIAN = Path("/usr/lib/postgresql")
_DATABASE = "postgres"
_USER = "airflow"
_POSTGRES_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    # nothing outside its folder, and nothing that a power cut would have to leave intact
    "dynamic_shared_memory_type": "mmap",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
}


def postgres_program(name: str) -> str:
    """The path of one of PostgreSQL's programs: Debian keeps them, by version, out of the PATH; empty if not there."""
    installed = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3].partition(".")[0]))
    return str(installed[-1]) if installed else (shutil.which(name) or "")


def redis_program() -> str:
    """The path of Redis; empty if not there."""
    return shutil.which("redis-server") or ""


def start_postgres(processes: Processes, folder: Path) -> str:
    """Make a database, start its server, and return its address with user and password."""
    password = secrets.token_urlsafe(16)
    server = _Server(processes, folder, "postgres")
    secret = server.file("password", password)
    data = str(folder / "data")
    auth = ["-A", "scram-sha-256", "--pwfile", str(secret)]
    server.run(postgres_program("initdb"), "-D", data, "-U", _USER, "-E", "UTF8", "--locale=C", "--no-sync", *auth)
    secret.unlink()
    settings = [part for name, value in _POSTGRES_SETTINGS.items() for part in ("-c", f"{name}={value}")]

    def start(port: int) -> str:
        command = [postgres_program("postgres"), "-D", data, "-p", str(port), *settings]
        server.start("ready to accept connections", *command)
        return f"postgresql+psycopg2://{_USER}:{password}@{LOOPBACK}:{port}/{_DATABASE}"

    return with_free_ports(1, start)


class Redis:
    """A Redis that keeps everything in memory: when it is started again it has forgotten all that it held."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self._processes = processes
        self._server = _Server(processes, folder, "redis")
        self._folder = folder
        self._password = secrets.token_urlsafe(16)
        self._port = 0

    def start(self) -> str:
        """Start it, and return its address with its password."""
        self._port = with_free_ports(1, self._start)
        return f"redis://:{self._password}@{LOOPBACK}:{self._port}/0"

    def restart(self, away: float) -> None:
        """End it, and start it at the same address so many seconds later."""
        self._processes.stop(self._process)
        time.sleep(away)
        self._start(self._port)

    def _start(self, port: int) -> int:
        lines = [f"bind {LOOPBACK}", f"port {port}", f"requirepass {self._password}", 'save ""', f"dir {self._folder}"]
        settings = self._server.file("redis.conf", "\n".join(lines))
        self._process = self._server.start("Ready to accept connections", redis_program(), str(settings))
        return port


class _Server:
    """One server in a folder; root lets it run as the user that Debian made for it."""

    def __init__(self, processes: Processes, folder: Path, user: str) -> None:
        self._processes = processes
        self._folder = folder
        self._name = user
        self._user = pwd.getpwnam(user) if os.geteuid() == 0 else None
        folder.mkdir(mode=0o700)
        self._give(folder)

    def _give(self, path: Path) -> None:
        if self._user:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def file(self, name: str, text: str) -> Path:
        """A file that nobody else may read."""
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_text(f"{text}\n")
        self._give(path)
        return path

    def run(self, *command: str) -> None:
        """Run a program to its end."""
        process = self._begin(f"{self._name}-{Path(command[0]).name}", command)
        self._processes.finish(process, command[0], _START_SECONDS)

    def start(self, sign: str, *command: str) -> Process:
        """Start the server, and wait until it says that it is ready."""
        process = self._begin(self._name, command)
        try:
            process.until(lambda: bool(re.search(sign, process.output())), _START_SECONDS)
        except BaseException:
            self._processes.stop(process)
            raise
        return process

    def _begin(self, name: str, command: Sequence[str]) -> Process:
        if not command[0]:
            raise StackError(f"There is no program for {name}; Debian has it in postgresql and redis-server.")
        env = clean_env() | {"HOME": str(self._folder), "LC_ALL": "C"}
        return self._processes.start(name, [*self._as_user(), *command], env=env, cwd=self._folder)

    def _as_user(self) -> list[str]:
        if not self._user:
            return []
        return ["setpriv", f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--init-groups", "--"]
