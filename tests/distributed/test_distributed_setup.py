"""What the distributed test installs: plain pins that go with the project's, and servers only where that can be."""

from __future__ import annotations

import dataclasses
import re

import pytest

import debian
import distributed_setup
import distributed_stories
from airflow_provider_binance_margin.sandbox.datasets import DATASETS
from debian import NotHereError
from demo_lake import DATASET
from distributed_setup import NOT_HERE
from distributed_stories import daily, everything
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


@pytest.mark.parametrize("story", [daily(), everything()], ids=["daily", "everything"])
def test_the_dags_are_the_examples_but_for_their_changes(tmp_path, story):
    distributed_stories.quick_dags(story, tmp_path / "dags")
    for load in story.loads:
        text = (tmp_path / "dags" / f"{load.dag_id}.py").read_text()
        for old, new in load.changes.items():
            text = text.replace(new, old)
        original = (distributed_stories.ROOT / "dags" / f"{load.dag_id}.py").read_text()
        assert text == re.sub(r"timedelta\(minutes=[12]\)", "timedelta(seconds=2)", original)


@pytest.mark.parametrize("slow", ["timedelta(years=1)", "timedelta(minutes=1)"])
def test_a_dag_without_what_is_to_be_changed_is_noticed(tmp_path, monkeypatch, slow):
    story = distributed_stories.daily()
    (load,) = story.loads
    monkeypatch.setattr(distributed_stories, "_SLOW", re.compile(re.escape(slow)))
    changed = dataclasses.replace(story, loads=(dataclasses.replace(load, changes={"no such words": ""}),))
    with pytest.raises(StackError, match="to change"):
        distributed_stories.quick_dags(story if "years" in slow else changed, tmp_path / "dags")


def test_all_that_is_remembered_is_loaded_and_five_years():
    story = everything()
    assert {dataset: len(days) for dataset, days in story.days.items() if dataset != DATASET} == dict.fromkeys(
        set(DATASETS) - {DATASET}, 89
    )
    days = story.days[DATASET]
    assert days[0].day == 1
    assert 1826 <= len(days) <= 1826 + 31
    assert {(load.first <= load.last < days[-1] or load.last == days[-1]) for load in story.loads} == {True}
