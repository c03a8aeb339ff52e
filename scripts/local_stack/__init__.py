"""A local S3 server, the sandbox of the exchange and a real Airflow: for a demo or a test, and surely ended again."""

from local_stack.airflow_api import AirflowApi, ApiError
from local_stack.airflow_parts import Airflow
from local_stack.backfill import Backfill
from local_stack.processes import Process, ProcessError, Processes, StackError
from local_stack.stack import Stack

__all__ = [
    "Airflow",
    "AirflowApi",
    "ApiError",
    "Backfill",
    "Process",
    "ProcessError",
    "Processes",
    "Stack",
    "StackError",
]
