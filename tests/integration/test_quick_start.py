"""The quick start of the documentation does what it says: its commands are run, its output is compared."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from quick_start import PAGE, PORTS, follow, steps
from versions import needs


def test_every_command_of_the_page_is_run():
    """Only the installation is not: the environment of the tests is there already (see `tests/system`)."""
    text = PAGE.read_text()
    shown = len(re.findall("^```bash", text, re.MULTILINE))

    assert shown == len(steps(text, install=True)) == len(steps(text)) + 1
    assert all(port in text for port in PORTS)


@needs("airflow.sdk.RetryPolicy")  # before 3.3 Airflow prints lines of its log among the output
@pytest.mark.slow
def test_the_quick_start_leads_to_the_first_object(tmp_path):
    """The commands, in one shell and an empty folder, print what the page says."""
    follow(tmp_path, path=str(Path(sys.executable).parent), PYTHONWARNINGS="")
