"""Every forced liquidation of a margin account, day by day, in S3.

One run loads one UTC day: the account's own records, and those of each isolated pair,
which a call without a pair is not documented to return. A run can be repeated at any
time and writes the same bytes under the same keys. Load the past by a backfill, from
the UI or with ``airflow backfill create``. The page [Binance
margin](/plugin/binance-margin) shows which days are there, once
``binance_force_liquidation_audit`` has run.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset

from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import (
    ForceLiquidationToS3Operator,
)

try:
    from airflow.sdk import CronDataIntervalTimetable
except ImportError:  # before Airflow 3.2
    from airflow.timetables.interval import CronDataIntervalTimetable  # type: ignore[assignment]

# Set the Airflow variable, or write your bucket's name here.
BUCKET = "{{ var.value.get('binance_lake_bucket', 'my-lake') }}"

# The first day that is loaded. Each day since is a run, four at a time: the backfill
# DAG loads years faster.
START = pendulum.datetime(2026, 11, 1, tz="UTC")

# The account's isolated pairs, closed ones too: the exchange no longer lists those, but
# remembers their records.
ISOLATED_SYMBOLS = ["BTCUSDT", "ETHUSDT", "币安人生USDT"]

# What is loaded is told to DAGs that are scheduled on this asset.
LAKE = Asset("binance_force_liquidation")

with DAG(
    "binance_force_liquidation_daily",
    description="Forced liquidations of a Binance margin account to S3, by day",
    # In Airflow 3 a bare "@daily" has an interval of no length; this timetable gives
    # each run the day before it.
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=START,
    # Airflow's default, False, drops the days on which the scheduler slept.
    catchup=True,
    max_active_runs=4,
    default_args={
        "retries": 3,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": True,
        # The exchange counts requests by address: let DAGs of one address share a pool,
        # here as "pool" with the name of one made in the UI.
    },
    doc_md=__doc__,
    tags=["binance", "margin", "example"],
) as dag:
    account = ForceLiquidationToS3Operator(
        task_id="account",
        s3_bucket=BUCKET,
        grain="day",
        outlets=[LAKE],
    )

    isolated = ForceLiquidationToS3Operator.partial(
        task_id="isolated",
        s3_bucket=BUCKET,
        grain="day",
        map_index_template="{{ task.isolated_symbol }}",
    ).expand(isolated_symbol=ISOLATED_SYMBOLS)
