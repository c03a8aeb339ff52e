"""The demo and its stack with a real Airflow: nothing stays behind, however it ends, and what is lost is replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from leftovers import nothing_runs_in, processes_in

from local_stack import Stack
from local_stack.ports import free_ports, with_free_ports

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "scripts" / "demo.py"
SECONDS = 150

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def lines_until(demo, word):
    """Read the demo's output until a line has this word, and return what was read."""
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if word in line:
            return lines
    raise AssertionError("".join(lines))


@pytest.mark.parametrize(
    ("number", "word", "at_least"),
    [
        pytest.param(signal.SIGINT, "runs done, 4 running", 6, id="Ctrl-C in the middle of the backfill"),
        pytest.param(signal.SIGTERM, "database:", 2, id="terminated while Airflow starts"),
        pytest.param(signal.SIGKILL, "reading the DAG:", 6, id="killed as soon as Airflow is up"),
    ],
)
def test_nothing_stays_behind(tmp_path, number, word, at_least):
    command = [sys.executable, str(DEMO), "--workdir", str(tmp_path / "work")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        try:
            lines_until(demo, word)
            assert len(processes_in(tmp_path)) >= at_least
            demo.send_signal(number)
            rest, _ = demo.communicate(timeout=SECONDS)
        finally:
            demo.kill()
    assert nothing_runs_in(tmp_path, 15), processes_in(tmp_path)
    assert "Traceback" not in rest
    assert demo.returncode == (-number if number == signal.SIGKILL else 128 + number)


def test_a_lost_port_and_a_dead_component_are_replaced(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other, Stack(tmp_path / "work", dags=ROOT / "dags") as stack:
        taken = other.getsockname()[1]
        picks = iter([[taken], free_ports(1)])
        monkeypatch.setattr(
            "local_stack.airflow_parts.with_free_ports",
            lambda number, start: with_free_ports(number, start, pick=lambda _: next(picks)),
        )
        assert not stack.start_airflow().endswith(f":{taken}")
        assert stack.airflow.api.wait_dag("binance_force_liquidation_daily")["is_paused"]
        assert "binance" in stack.airflow.cli("providers", "hooks")

        stack.airflow.tend()
        assert stack.airflow.restarts == 0
        dead = stack.airflow.components["triggerer"]
        os.kill(dead.pid, signal.SIGKILL)
        dead.wait(5)
        stack.airflow.tend()
        assert stack.airflow.restarts == 1
        assert stack.airflow.components["triggerer"].running()
    assert nothing_runs_in(tmp_path, 1)
