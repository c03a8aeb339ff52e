r"""Backfill years of forced liquidations, one month per run.

The objects and keys are those of the daily DAG. A run over a month takes about as long
as one over a day, since most of it is Airflow's own work. Backfill the years in which
the account existed:

    airflow backfill create --dag-id binance_force_liquidation_backfill \
        --from-date 2021-01-01 --to-date 2025-12-01

A run that was killed continues when it is retried; one that is cleared starts over. An
object is never replaced by one with fewer records: the exchange may have forgotten what
was loaded in time.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import (
    ForceLiquidationToS3Operator,
)

try:
    from airflow.sdk import CronDataIntervalTimetable
except ImportError:  # before Airflow 3.2
    from airflow.timetables.interval import CronDataIntervalTimetable  # type: ignore[assignment]

BUCKET = "{{ var.value.get('binance_lake_bucket', 'my-lake') }}"
ISOLATED_SYMBOLS = ["BTCUSDT", "ETHUSDT"]

with DAG(
    "binance_force_liquidation_backfill",
    description="Forced liquidations by day, a month a run, for backfills",
    schedule=CronDataIntervalTimetable("0 0 1 * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 11, 1, tz="UTC"),
    catchup=False,  # the past is loaded by backfills, the present by the daily DAG
    max_active_runs=1,
    default_args={"retries": 5, "retry_delay": timedelta(minutes=2)},
    doc_md=__doc__,
    tags=["binance", "margin", "example"],
) as dag:
    account = ForceLiquidationToS3Operator(
        task_id="account",
        s3_bucket=BUCKET,
        grain="day",
    )

    isolated = ForceLiquidationToS3Operator.partial(
        task_id="isolated",
        s3_bucket=BUCKET,
        grain="day",
        map_index_template="{{ task.isolated_symbol }}",
    ).expand(isolated_symbol=ISOLATED_SYMBOLS)

    account >> isolated
