"""Ends sessions of processes: asked by their parent, or by itself once that parent is gone, however it went.

Run as a program it reads `+PID` and `-PID` lines (sessions to look after, sessions that have been ended) from a pipe.
Nobody but the parent holds the pipe's other end, so its end is the parent's, a SIGKILL of it included. It is run
without site-packages to be there at once: hence nothing but the standard library, and no other module of this package.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

GRACE = 5.0
_PROC = Path("/proc")


class Entry(NamedTuple):
    """What is known of one running process; `start` tells it from a later one of the same id."""

    parent: int
    group: int
    session: int
    start: str


def process_table() -> dict[int, Entry]:
    """Every process that runs (zombies only wait to be read) by id."""
    return _table_of_proc() if (_PROC / "self" / "stat").exists() else _table_of_ps()


def _table_of_proc() -> dict[int, Entry]:
    table = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                # the name in brackets may hold blanks and brackets of its own
                fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if fields[0] not in "ZX":
                    table[int(folder.name)] = Entry(int(fields[1]), int(fields[2]), int(fields[3]), fields[19])
    return table


def _table_of_ps() -> dict[int, Entry]:
    listing = subprocess.run(
        ["/bin/ps", "-A", "-o", "pid=,ppid=,pgid=,stat=,lstart="],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    table = {}
    for line in listing.stdout.splitlines():
        pid, parent, group, state, start = line.split(None, 4)
        with contextlib.suppress(OSError):
            if not state.startswith("Z"):
                table[int(pid)] = Entry(int(parent), int(group), os.getsid(int(pid)), start)
    return table


class Sessions:
    """Sessions to look after: whoever is in them, and what descends from those into sessions of its own."""

    def __init__(self) -> None:
        self._leaders: dict[int, str | None] = {}
        self._seen: dict[int, str] = {}

    def add(self, leader: int) -> None:
        """Look after the session that this process leads."""
        entry = process_table().get(leader)
        self._leaders[leader] = entry.start if entry else None

    def discard(self, leader: int) -> None:
        """Forget a session that has been ended."""
        self._leaders.pop(leader, None)

    def members(self) -> dict[int, Entry]:
        """Who of them still runs."""
        table = process_table()
        found = {pid for pid, entry in table.items() if self._owns(entry.session, table)}
        # one that left its session and lost its parent is known from an earlier look only
        found |= {pid for pid, start in self._seen.items() if pid in table and table[pid].start == start}
        while more := {pid for pid, entry in table.items() if entry.parent in found} - found:
            found |= more
        found -= {os.getpid()}
        self._seen.update((pid, table[pid].start) for pid in found)
        return {pid: table[pid] for pid in found}

    def _owns(self, session: int, table: dict[int, Entry]) -> bool:
        """A leader's id is not given away while its session lives: a leader with another start is a stranger."""
        if session not in self._leaders:
            return False
        leader = table.get(session)
        return leader is None or leader.start == self._leaders[session]

    def end(self, grace: float = GRACE) -> bool:
        """Ask all of them to stop, wait so many seconds, then kill; tell whether nobody is left."""
        return not self._send(signal.SIGTERM) or self._gone(grace) or self.kill()

    def kill(self) -> bool:
        """Kill all of them, unasked; tell whether nobody is left."""
        # again and again: a process may fork between the look and the signal
        return any(not self._send(signal.SIGKILL) or self._gone(0.2) for _ in range(20))

    def _send(self, number: signal.Signals) -> bool:
        members = self.members()
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        return bool(members)

    def _gone(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.members():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        return True


def main(lines: Iterable[str]) -> None:
    """Follow the parent's lines, and end what is left when they end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions = Sessions()
    for line in lines:
        change = sessions.add if line.startswith("+") else sessions.discard
        change(int(line[1:]))
    sessions.end()


if __name__ == "__main__":
    main(sys.stdin)
