"""Child processes that never outlive this one, with a log each."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from local_stack.watchdog import GRACE, Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# The child reports itself before it becomes the program: a parent killed before it could do so would leave it behind.
# The pipe is the shell's standard input and ends there: an end held by the program would keep the watchdog waiting.
_REPORT_AND_BECOME = 'echo "+$$" >&0 && exec "$@" </dev/null'
_WATCHDOG = Path(__file__).with_name("watchdog.py")


class StackError(RuntimeError):
    """A part of the stack could not be started, ended, or did not answer as it must."""


class ProcessError(StackError):
    """A child process ended before its time; `log` is the end of what it said."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(f"{message}\n{log}" if log else message)
        self.log = log


class Process:
    """One running program, the leader of a session of its own."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path, log_start: int) -> None:
        self.name = name
        self.pid = popen.pid
        self.log = log
        self._popen = popen
        self._log_start = log_start

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def returncode(self) -> int | None:
        """The status it ended with, None while it runs."""
        return self._popen.poll()

    def output(self) -> str:
        """What this process has written so far (an earlier one of the same name may have written to the same file)."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def tail(self, lines: int = 25) -> str:
        """The last lines of its log, for an error message."""
        said = self.output().splitlines()[-lines:]
        return "\n".join([f"--- the end of {self.log}", *said])

    def wait(self, seconds: float) -> int:
        """Wait for its end and return its status."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{self.name} still runs after {seconds:.0f} s.", self.tail()) from None

    def check(self) -> None:
        """An error, with the end of the log, when it has ended."""
        if not self.running():
            raise ProcessError(f"{self.name} ended with status {self.returncode()}.", self.tail())

    def until(self, ready: Callable[[], bool], seconds: float, *, pause: float = 0.1) -> None:
        """Wait until `ready` says so; an error with the end of the log when the process ends or the time is up."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() >= deadline:
                raise ProcessError(f"{self.name} was not ready within {seconds:.0f} s.", self.tail())
            time.sleep(pause)


class Processes:
    """Programs that end when the context is left, and by a watchdog should this process be killed."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._all: list[Process] = []
        reading, self._pipe = os.pipe()
        try:
            self._watchdog = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_WATCHDOG)], stdin=reading, start_new_session=True, cwd="/"
            )
        finally:
            os.close(reading)

    def start(self, name: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None) -> Process:
        """Start a program in a session of its own, its output going to NAME.log."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        with log.open("ab") as out:
            begin = out.tell()  # before the program writes: its place in the file is this one's too
            popen = subprocess.Popen(
                ["/bin/sh", "-c", _REPORT_AND_BECOME, name, *argv],
                stdin=self._pipe,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=dict(env),
                cwd=cwd,
            )
            process = Process(name, popen, log, begin)
        self._all.append(process)
        return process

    def stop(self, *processes: Process, grace: float = GRACE) -> None:
        """End these programs and everything they started; an error when something stays."""
        sessions = Sessions()
        for process in processes:
            sessions.add(process.pid)
        ended = sessions.end(grace)
        for process in processes:
            self._forget(process)
        if not ended:
            raise StackError(f"These could not be ended: {sorted(sessions.members())}")

    def finish(self, process: Process, command: str, seconds: float) -> str:
        """Let a program come to its end and return what it said; an error when it fails."""
        try:
            status = process.wait(seconds)
        finally:
            self.stop(process)
        if status:
            raise StackError(f"{command} ended with status {status}.\n{process.tail()}")
        return process.output()

    def members(self, process: Process) -> set[int]:
        """The ids of this program and of everything it started."""
        sessions = Sessions()
        sessions.add(process.pid)
        return set(sessions.members())

    def kill(self, process: Process) -> None:
        """End this program and everything it started as a machine that fails does: at once, without a word."""
        sessions = Sessions()
        sessions.add(process.pid)
        # all at once: none must see another die and tell of it
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        ended = sessions.kill()
        self._forget(process)
        if not ended:
            raise StackError(f"These could not be killed: {sorted(sessions.members())}")

    def _forget(self, process: Process) -> None:
        with contextlib.suppress(ProcessError):
            process.wait(1)
        self._all.remove(process)
        with contextlib.suppress(OSError):
            os.write(self._pipe, b"-%d\n" % process.pid)

    def close(self, grace: float = GRACE) -> None:
        """End everything that was started here, and the watchdog with it."""
        try:
            self.stop(*self._all, grace=grace)
        finally:
            with contextlib.suppress(OSError):
                os.close(self._pipe)
            # it may still have to end what this process could not
            self._watchdog.wait(2 * GRACE + grace)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
