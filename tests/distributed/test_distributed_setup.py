"""What the distributed test installs: plain pins that go with the project's, and servers only where that can be."""

from __future__ import annotations

import re

import pytest

import debian
import distributed
import distributed_setup
from debian import NotHereError
from distributed_setup import NOT_HERE
from local_stack import StackError

PIN = re.compile(r"([a-z0-9][a-z0-9.-]*)==[^\s;]+( ; .+)?")


def pins(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert all(map(PIN.fullmatch, lines))
    return {line.partition("==")[0] for line in lines}


def test_the_pins_add_to_those_of_the_project_and_repeat_none():
    more = pins(distributed_setup.MORE)
    assert {"apache-airflow-providers-celery", "redis", "psycopg2-binary", "asyncpg"} <= more
    assert not more & pins(distributed_setup.CONSTRAINTS)


def test_what_cannot_be_installed_is_said_and_told_from_a_failure(monkeypatch, capsys):
    monkeypatch.setattr(distributed_setup, "redis_program", lambda: "")
    monkeypatch.setattr(debian.os, "geteuid", lambda: 1000)
    monkeypatch.setattr("sys.argv", ["distributed_setup.py"])
    assert distributed_setup.main() == NOT_HERE
    assert "redis-server must be installed first" in capsys.readouterr().err


def test_an_apt_that_fails_is_no_failure_of_the_project(monkeypatch, tmp_path):
    calls = []

    def run(command, **_):
        calls.append(command)
        return distributed_setup.subprocess.CompletedProcess(command, 100, "", "no network")

    monkeypatch.setattr(distributed_setup, "redis_program", lambda: "")
    monkeypatch.setattr(debian.os, "geteuid", lambda: 0)
    monkeypatch.setattr(debian.shutil, "which", lambda _: "/usr/bin/apt-get")
    monkeypatch.setattr(debian, "_POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr(debian, "run", run)
    with pytest.raises(NotHereError, match="no network"):
        distributed_setup.install_servers()
    assert not (tmp_path / "policy-rc.d").exists()
    assert not any("disable" in command for command in calls)


def test_the_dag_is_the_example_but_for_the_wait(tmp_path):
    distributed.quick_dag(tmp_path / "dags")
    (copy,) = (tmp_path / "dags").iterdir()
    original = (distributed.ROOT / "dags" / copy.name).read_text()
    assert copy.read_text().replace("timedelta(seconds=2)", "timedelta(minutes=1)") == original


def test_a_dag_without_that_wait_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "_SLOW", "timedelta(years=1)")
    with pytest.raises(StackError, match="shorten"):
        distributed.quick_dag(tmp_path / "dags")
