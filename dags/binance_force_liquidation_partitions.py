r"""Hourly partitions, and a daily run once all 24 hours are there. Airflow 3.3.

The runs of the hourly DAG are partitions of the asset: each loads the hour that has
ended (``run_offset=-1``) and is named like ``2026-01-15T07``. The daily DAG waits for
the 24 hours of a day, in any order, and loads the day into the lake. Unpause the daily
DAG first: hours that end while it is paused are not counted. Backfill the hours up to
the last one of the last day, and the days follow:

    airflow backfill create --dag-id binance_force_liquidation_hourly \
        --from-date 2026-01-15 --to-date 2026-01-16T23:00
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset

from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import (
    ForceLiquidationToS3Operator,
)

try:
    from airflow.sdk import (
        CronPartitionTimetable,
        DayWindow,
        PartitionedAssetTimetable,
        RollupMapper,
        StartOfDayMapper,
    )
except ImportError:  # before Airflow 3.3 there are no partitions, and no DAGs here
    CronPartitionTimetable = None  # type: ignore[assignment,misc]

BUCKET = "{{ var.value.get('binance_lake_bucket', 'my-lake') }}"
DAYS = "scope={scope}/dt={start:%Y-%m-%d}/"
HOURS = Asset("binance_force_liquidation_hours")
# Each run loads the hour before it: the first one that of 00:00, so that the first day
# has all its hours.
START = pendulum.datetime(2026, 11, 1, 1, tz="UTC")
OPTIONS = {"retries": 3, "retry_delay": timedelta(minutes=1)}

if CronPartitionTimetable is not None:
    with DAG(
        "binance_force_liquidation_hourly",
        description="Forced liquidations by hour, as partitions",
        schedule=CronPartitionTimetable(
            "0 * * * *",
            timezone="UTC",
            run_offset=-1,
            key_format="%Y-%m-%dT%H",
        ),
        start_date=START,
        # Airflow's default, False, drops hours in which the scheduler was down: their
        # day would wait for ever.
        catchup=True,
        max_active_runs=4,
        default_args=OPTIONS,
        doc_md=__doc__,
        tags=["binance", "margin", "example"],
    ):
        ForceLiquidationToS3Operator(
            task_id="hour",
            s3_bucket=BUCKET,
            # One prefix holds one grain, else records would be in the lake twice.
            s3_key="binance/hourly/" + DAYS + "hour={start:%H}/{start}_{end}.jsonl.gz",
            grain="hour",
            outlets=[HOURS],
        )

    with DAG(
        "binance_force_liquidation_day_of_hours",
        description="The day, once its 24 hours are there",
        schedule=PartitionedAssetTimetable(
            assets=HOURS,
            default_partition_mapper=RollupMapper(
                upstream_mapper=StartOfDayMapper(
                    input_format="%Y-%m-%dT%H",
                    output_format="%Y-%m-%d",
                ),
                window=DayWindow(),
            ),
        ),
        start_date=START,
        default_args=OPTIONS,
        doc_md=__doc__,
        tags=["binance", "margin", "example"],
    ):
        ForceLiquidationToS3Operator(
            task_id="day",
            s3_bucket=BUCKET,
            s3_key="binance/daily/" + DAYS + "{start}_{end}.jsonl.gz",
            grain="day",
        )
