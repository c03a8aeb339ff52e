"""What differs between Airflow's versions: names that have moved, and what is skipped where Airflow lacks it."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

try:
    from airflow.sdk import CronDataIntervalTimetable
except ImportError:  # before Airflow 3.2
    from airflow.timetables.interval import CronDataIntervalTimetable

try:
    from airflow.sdk._shared.secrets_masker import redact, should_hide_value_for_key
except ImportError:  # before Airflow 3.1 or 3.2
    from airflow.sdk.execution_time.secrets_masker import redact, should_hide_value_for_key

try:
    from airflow.sdk.module_loading import import_string
except ImportError:  # before Airflow 3.2
    from airflow.utils.module_loading import import_string

__all__ = [
    "CronDataIntervalTimetable",
    "import_string",
    "needs",
    "needs_the_task_runner",
    "redact",
    "should_hide_value_for_key",
]


def has(path):
    """Whether this Airflow has what stands at a dotted path."""
    module, _, name = path.rpartition(".")
    try:
        return hasattr(import_module(module), name)
    except ImportError:
        return False


def needs(*paths):
    """Skips a test where Airflow lacks something that the test is about, or is done with."""
    lacking = [path for path in paths if not has(path)]
    return pytest.mark.skipif(bool(lacking), reason=f"this Airflow has no {', '.join(lacking)}")


def needs_the_task_runner():
    """Skip where Airflow's task runner cannot be run against an API in memory."""
    from airflow.sdk.execution_time.supervisor import run_task_in_process

    if "client" not in inspect.signature(run_task_in_process).parameters:
        pytest.skip("this Airflow's run_task_in_process takes no client (3.3 does): test_any_airflow.py stands in")
