"""The whole history of a margin account, day by day, in S3.

One run loads one UTC day of the cross account, in one mapped task per dataset. Load
isolated pairs in tasks of their own, with ``isolated_symbol``. The exchange remembers
interest, capital flow and liquidation loans for 90 days only: start now, and load the
days before with ``airflow backfill create``. The page [Binance
margin](/plugin/binance-margin) shows which days are there, once
``binance_margin_history_audit`` has run.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_binance_margin.exchange.datasets import DATASETS
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import (
    MarginHistoryToS3Operator,
)

try:
    from airflow.sdk import CronDataIntervalTimetable
except ImportError:  # before Airflow 3.2
    from airflow.timetables.interval import CronDataIntervalTimetable  # type: ignore[assignment]

# Set the Airflow variable, or write your bucket's name here.
BUCKET = "{{ var.value.get('binance_lake_bucket', 'my-lake') }}"

with DAG(
    "binance_margin_history",
    description="All datasets of a Binance margin account to S3, by day",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 11, 1, tz="UTC"),
    catchup=True,
    max_active_runs=2,
    default_args={
        "retries": 3,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": True,
    },
    doc_md=__doc__,
    tags=["binance", "margin", "example"],
) as dag:
    MarginHistoryToS3Operator.partial(
        task_id="load",
        s3_bucket=BUCKET,
        grain="day",
        map_index_template="{{ task.dataset }}",
    ).expand(dataset=list(DATASETS))
