"""Which processes work in a folder: to see that none is left there."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path


def processes_in(folder):
    """Whatever runs with its working directory in this folder, as all parts of a stack do: its id and its command."""
    found = {}
    for each in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if each.name.isdigit() and (each / "cwd").readlink().is_relative_to(folder):
                found[int(each.name)] = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def nothing_runs_in(folder, seconds):
    """Whether that is so by then."""
    deadline = time.monotonic() + seconds
    while processes_in(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    return processes_in(folder) == {}
