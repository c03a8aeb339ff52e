"""This package: the operator, executed without a scheduler."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

# what the operator imports when it runs is imported here: for all contestants the clock starts after the imports
from airflow.providers.amazon.aws.hooks.s3 import S3Hook  # noqa: F401
from measured import measured

import airflow_provider_binance_margin.hooks.binance
import airflow_provider_binance_margin.hooks.session
import airflow_provider_binance_margin.transfers.progress  # noqa: F401
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import MarginHistoryToS3Operator


def work(job: dict[str, Any]) -> Any:
    """The whole task, and its result."""
    day = {"s3_key": job["key"], "start": job["start_iso"], "end": job["end_iso"]}
    options = {"dataset": "force_liquidation", **day, **job["options"]}
    operator = MarginHistoryToS3Operator(task_id="load", s3_bucket=job["bucket"], **options)
    return operator.execute({"run_id": "benchmark", "dag_run": SimpleNamespace(clear_number=0), "outlet_events": {}})


measured(work)
