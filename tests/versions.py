"""What differs between Airflow's versions: names that have moved, and what is skipped where Airflow lacks it."""

from __future__ import annotations

import inspect
import warnings
from datetime import datetime
from pkgutil import resolve_name
from unittest import mock

import pytest

try:
    from airflow.sdk import CronDataIntervalTimetable
except ImportError:  # before Airflow 3.2
    from airflow.timetables.interval import CronDataIntervalTimetable

try:
    from airflow.sdk._shared.secrets_masker import _secrets_masker as secrets_masker
    from airflow.sdk._shared.secrets_masker import redact, should_hide_value_for_key
except ImportError:  # before Airflow 3.1 or 3.2
    from airflow.sdk.execution_time.secrets_masker import _secrets_masker as secrets_masker
    from airflow.sdk.execution_time.secrets_masker import redact, should_hide_value_for_key

try:
    from airflow.sdk.exceptions import AirflowRescheduleException
except ImportError:  # before Airflow 3.2
    from airflow.exceptions import AirflowRescheduleException

try:
    from airflow.sdk.serde import deserialize

    def stored(kwargs):
        """How Airflow keeps what a method is given after a deferral."""
        return kwargs

except ImportError:  # before Airflow 3.2
    from airflow.serialization.serialized_objects import BaseSerialization

    deserialize, stored = BaseSerialization.deserialize, BaseSerialization.serialize

try:
    from airflow.sdk.listener import get_listener_manager
except ImportError:  # before Airflow 3.2
    from airflow.listeners.listener import get_listener_manager

try:
    from airflow.sdk.module_loading import import_string
except ImportError:  # before Airflow 3.2
    from airflow.utils.module_loading import import_string

__all__ = [
    "PARTITIONS",
    "POLICIES",
    "AirflowRescheduleException",
    "CronDataIntervalTimetable",
    "deserialize",
    "get_listener_manager",
    "import_string",
    "needs",
    "redact",
    "run_task_in_process",
    "secrets_masker",
    "should_hide_value_for_key",
    "stored",
]


def has(path):
    """Whether this Airflow has what stands at a dotted path."""
    try:
        resolve_name(path)
    except (ImportError, AttributeError):
        return False
    return True


def needs(*paths):
    """Skips a test where Airflow lacks something that the test is about, or is done with."""
    lacking = [path for path in paths if not has(path)]
    return pytest.mark.skipif(bool(lacking), reason=f"this Airflow has no {', '.join(lacking)}")


POLICIES = needs("airflow.sdk.ExceptionRetryPolicy")
PARTITIONS = needs("airflow.sdk.execution_time.context.OutletEventAccessor.add_partitions")


def run_task_in_process(ti, task, client):
    """Airflow's task runner against any Execution API; before 3.3 it makes its own client, of its database's."""
    from airflow.sdk.execution_time import supervisor
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    if "client" in inspect.signature(supervisor.run_task_in_process).parameters:
        return supervisor.run_task_in_process(ti=ti, task=task, client=client)
    with (
        mock.patch.object(supervisor.InProcessTestSupervisor, "_api_client", return_value=client),
        mock.patch.object(RuntimeTaskInstance, "get_first_reschedule_date", _first_rescheduled),
        warnings.catch_warnings(),
    ):
        # what the BaseHook of 3.0 does in a task, 3.0 warns of
        warnings.filterwarnings("ignore", "Using Connection.get_connection_from_secrets", DeprecationWarning)
        return supervisor.run_task_in_process(ti=ti, task=task)


def _first_rescheduled(instance, context):
    """What comes over a socket is made a time; within one process 3.0 leaves it a text."""
    from airflow.sdk.execution_time.comms import GetTaskRescheduleStartDate
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    if not context.get("task_reschedule_count"):
        return None
    start = SUPERVISOR_COMMS.send(GetTaskRescheduleStartDate(ti_id=instance.id, try_number=1)).start_date
    return datetime.fromisoformat(start) if isinstance(start, str) else start
