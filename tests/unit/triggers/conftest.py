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
        said.append("".join(capsys.readouterr()))
        return caplog.text + "".join(said)

    return read
