"""What tests of triggers share."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture
def told(caplog, capsys):
    """What was logged so far, by either of Airflow's ways: the standard library's, and its own straight to stdout."""
    caplog.set_level(logging.DEBUG)
    said = []

    def read():
        # before Airflow 3.1 both ways are taken by one and the same message: it is counted once
        said.extend(line for part in capsys.readouterr() for line in part.splitlines(keepends=True))
        return caplog.text + "".join(line for line in said if not any(each in line for each in caplog.messages))

    return read
