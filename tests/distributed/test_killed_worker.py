"""Celery, Redis and PostgreSQL: a worker dies in the middle of a backfill, and nothing is missing, nothing twice."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from leftovers import nothing_runs_in, processes_in

import distributed_setup

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [distributed_setup.PYTHON, ROOT / "scripts" / "distributed.py"]
SECONDS = 1200

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or bool(distributed_setup.missing_packages()) or not distributed_setup.PYTHON.exists(),
    reason="PostgreSQL, Redis or their environment is not there: make test-distributed",
)


@pytest.fixture
def folder():
    """Not pytest's own: PostgreSQL is run by a user that could not get into it."""
    path = Path(tempfile.mkdtemp(prefix="test-distributed-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def started(folder):
    env = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as story:
        try:
            yield story
        finally:
            story.kill()


def told(story, until=None):
    """Show what it says, and return it."""
    lines = []
    for line in story.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        lines.append(line)
        if until and until in line:
            break
    return "".join(lines)


def shared_memory(pids):
    """What these have made of it; PostgreSQL's outlives one that could not end in order."""
    rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    return [row[1] for row in rows if int(row[4]) in pids]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["terminated", "killed"])
def test_the_servers_end_with_the_story(folder, number):
    with started(folder) as story:
        told(story, until="PostgreSQL and Redis:")
        running = processes_in(folder)
        assert any("redis-server" in command for command in running.values())
        assert shared_memory(running)
        story.send_signal(number)
        rest, _ = story.communicate(timeout=60)
    assert nothing_runs_in(folder, 15), processes_in(folder)
    assert "Traceback" not in rest
    assert not shared_memory(running)
    if number == signal.SIGTERM:
        assert story.returncode == 128 + number
        assert list(folder.iterdir()) == []


def test_a_worker_is_killed_half_way(folder):
    with started(folder) as story:
        deadline = time.monotonic() + SECONDS
        said = told(story)
        status = story.wait(max(1, deadline - time.monotonic()))
    assert status == 0
    assert re.search(r"kill -9 of the first worker, \d+ processes", said)
    assert "none twice, none foreign" in said
    assert nothing_runs_in(folder, 1), processes_in(folder)
    assert list(folder.iterdir()) == []
