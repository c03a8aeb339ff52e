"""`make setup` makes the environment once, and again when it has to."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

import setup_env


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose environment is this Python's, and whose installations are only counted."""
    venv = tmp_path / ".venv"
    paths = {
        "ROOT": tmp_path,
        "VENV": venv,
        "PYTHON": venv / "bin" / "python",
        "STAMP": venv / "setup-done.json",
        "UNFINISHED": venv / "setup-unfinished",
        "CONSTRAINTS": tmp_path / "constraints.txt",
        "SOURCES": (tmp_path / "constraints.txt", tmp_path / "pyproject.toml"),
    }
    for name, value in paths.items():
        monkeypatch.setattr(setup_env, name, value)
    for source in paths["SOURCES"]:
        source.write_text("a==1\n")
    done = SimpleNamespace(made=0, installed=0, interrupt=False, **paths)

    def make_venv():
        done.made += 1
        done.UNFINISHED.unlink(missing_ok=True)
        done.PYTHON.parent.mkdir(parents=True, exist_ok=True)
        if not done.PYTHON.exists():
            done.PYTHON.symlink_to(sys.executable)

    def install():
        done.installed += 1
        if done.interrupt:
            raise KeyboardInterrupt

    monkeypatch.setattr(setup_env, "make_venv", make_venv)
    monkeypatch.setattr(setup_env, "install", install)
    return done


def made_by_setup(done, *, same_python=False):
    setup_env.setup(same_python=same_python)
    return done.made, done.installed


def test_nothing_is_done_twice(project):
    assert made_by_setup(project) == (1, 1)
    assert made_by_setup(project) == (1, 1)


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml"])
def test_a_change_is_installed_into_what_is_there(project, name):
    made_by_setup(project)
    (project.ROOT / name).write_text("a==2\n")
    assert made_by_setup(project) == (1, 2)


def test_an_interrupted_one_begins_anew(project):
    project.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        made_by_setup(project)
    project.interrupt = False
    assert made_by_setup(project) == (2, 2)
    assert made_by_setup(project) == (2, 2)


def test_an_environment_made_by_hand_is_completed(project):
    setup_env.make_venv()
    assert made_by_setup(project) == (1, 1)


def test_a_tree_that_was_moved_begins_anew(project):
    made_by_setup(project)
    project.STAMP.write_text(json.dumps({**json.loads(project.STAMP.read_text()), "root": "/elsewhere"}))
    assert made_by_setup(project) == (2, 2)


def test_another_python_begins_anew_only_when_it_was_asked_for(project, monkeypatch):
    made_by_setup(project)
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    assert made_by_setup(project) == (1, 1)
    assert made_by_setup(project, same_python=True) == (2, 2)


def test_an_old_python_is_told_what_to_do(project, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    with pytest.raises(setup_env.SetupError, match=r"Python 3\.11 or newer is needed.*make setup PYTHON="):
        made_by_setup(project)
    assert not project.made


def test_missing_constraints_are_named(project):
    project.CONSTRAINTS.unlink()
    with pytest.raises(setup_env.SetupError, match=r"constraints\.txt is not there"):
        made_by_setup(project)
