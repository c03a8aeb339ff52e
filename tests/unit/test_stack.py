"""The local stack's processes and ports: they end, whatever happens, and they are tried again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest

from local_stack import ProcessError, Processes, Stack, StackError, watchdog
from local_stack.airflow_env import clean_env
from local_stack.ports import free_ports, with_free_ports

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ENV = {"PATH": os.environ["PATH"]}

# ignores SIGTERM, and has a child in a process group and one in a session of its own
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
far = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
near = os.fork()
if near == 0:
    os.setpgid(0, 0)
    time.sleep(60)
print("pids", os.getpid(), near, far.pid, flush=True)
time.sleep(60)
"""

PARENT = f"""
import os, sys, time
from pathlib import Path
sys.path.insert(0, {str(SCRIPTS)!r})
from local_stack import Processes
processes = Processes(Path(sys.argv[1]))
child = processes.start("child", [sys.executable, "-c", sys.argv[2]], env=dict(os.environ))
child.until(lambda: "pids" in child.output(), 20)
print(child.output().strip(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def processes(tmp_path):
    with Processes(tmp_path / "logs") as started:
        yield started


def run(processes, code, name="child"):
    return processes.start(name, [sys.executable, "-c", code], env=ENV)


def pids_of(text):
    return {int(each) for line in text.splitlines() if line.startswith("pids") for each in line.split()[1:]}


def running(pids):
    return pids & watchdog.process_table().keys()


def gone(pids, seconds):
    deadline = time.monotonic() + seconds
    while running(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not running(pids)


def test_closing_ends_everything_that_a_program_started(tmp_path):
    processes = Processes(tmp_path)
    child = run(processes, STUBBORN)
    child.until(lambda: "pids" in child.output(), 20)
    pids = pids_of(child.output())
    assert len(running(pids)) == 3
    processes.close(grace=0.3)
    assert not running(pids)


def test_stopping_one_program_leaves_the_others(processes):
    one, other = run(processes, "import time; time.sleep(60)", "one"), run(processes, STUBBORN, "other")
    other.until(lambda: "pids" in other.output(), 20)
    processes.stop(other, grace=0.2)
    assert one.running()
    assert not running(pids_of(other.output()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_parent_takes_everything_with_it(tmp_path, number):
    code = STUBBORN.replace("signal.SIGTERM, signal.SIG_IGN", "signal.SIGHUP, signal.SIG_IGN")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), code], stdout=subprocess.PIPE, text=True)
    with parent:
        pids = pids_of(parent.stdout.readline())
        assert len(running(pids)) == 3
        parent.send_signal(number)
    assert gone(pids, 10)


def test_an_error_inside_ends_everything(tmp_path):
    children = []

    def fail():
        with Processes(tmp_path) as processes:
            children.append(run(processes, "import time; time.sleep(60)").pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not running(set(children))


def test_a_program_that_ends_too_early_is_told_with_its_last_words(processes):
    child = run(processes, "print('first'); raise SystemExit('no more sugar')")
    with pytest.raises(ProcessError, match="child ended with status 1") as error:
        child.until(lambda: False, 20)
    assert "no more sugar" in str(error.value)


def test_a_program_that_is_never_ready_is_told(processes):
    child = run(processes, "import time; time.sleep(60)")
    with pytest.raises(ProcessError, match="not ready within"):
        child.until(lambda: False, 0.2)


def test_a_second_program_of_one_name_has_its_own_output(processes):
    for word in ("first", "second"):
        child = run(processes, f"print({word!r})")
        child.wait(20)
        assert child.output().strip() == word


def test_a_port_lost_to_somebody_else_is_picked_again(processes):
    numbers = count()

    def serve(port):
        code = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); print('up', flush=True)"
        child = run(processes, f"{code}; time.sleep(60)", f"server{next(numbers)}")
        child.until(lambda: "up" in child.output().splitlines(), 20)  # a traceback may show the program's text
        return port

    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        picks = iter([[taken], [taken], free_ports(1)])
        assert with_free_ports(1, serve, pick=lambda _: next(picks)) != taken
    assert next(numbers) == 3


def test_another_error_is_not_tried_again(processes):
    tried = []

    def fail(port):
        tried.append(port)
        run(processes, "raise SystemExit('no such module')").until(lambda: False, 20)

    with pytest.raises(ProcessError, match="no such module"):
        with_free_ports(1, fail)
    assert len(tried) == 1


def test_a_port_that_is_lost_each_time_ends_in_an_error(processes):
    def fail(_port):
        run(processes, "raise SystemExit('Address already in use')").until(lambda: False, 20)

    with pytest.raises(ProcessError, match="already in use"):
        with_free_ports(1, fail, tries=2)


def test_the_callers_settings_do_not_reach_the_stack(monkeypatch):
    foreign = ["AIRFLOW__CORE__EXECUTOR", "AIRFLOW_HOME", "AWS_PROFILE", "https_proxy", "ALL_PROXY", "PYTHONPATH"]
    for name in foreign:
        monkeypatch.setenv(name, "foreign")
    monkeypatch.setenv("HARMLESS", "kept")
    env = clean_env()
    assert not [name for name, value in env.items() if value == "foreign"]
    assert env["HARMLESS"] == "kept"
    assert "127.0.0.1" in env["NO_PROXY"]


def test_two_stacks_do_not_share_a_folder(tmp_path):
    with Stack(tmp_path / "work", dags=tmp_path), pytest.raises(StackError, match="Another stack"):
        Stack(tmp_path / "work", dags=tmp_path)
    with Stack(tmp_path / "work", dags=tmp_path) as stack:
        assert stack.start_program("hello", "-c", "print('hello')").wait(20) == 0


def test_what_an_earlier_stack_left_is_thrown_away(tmp_path):
    (tmp_path / "work" / "airflow").mkdir(parents=True)
    (tmp_path / "work" / "sandbox.url").write_text("http://old")
    with Stack(tmp_path / "work", dags=tmp_path) as stack:
        assert [each.name for each in stack.workdir.iterdir()] == ["lock"]


@pytest.mark.skipif(not Path("/bin/ps").exists() or not Path("/proc/self/stat").exists(), reason="needs both")
def test_both_ways_to_look_at_processes_see_the_same():
    me = os.getpid()
    by_proc, by_ps = watchdog._table_of_proc()[me], watchdog._table_of_ps()[me]
    assert by_proc[:3] == by_ps[:3] == (os.getppid(), os.getpgrp(), os.getsid(0))
