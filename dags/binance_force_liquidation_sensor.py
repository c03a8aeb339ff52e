"""Load only days with records: a sensor before the operator.

The sensor looks at the day that has ended. If it has records, they are loaded. If not,
none can appear any more, and both tasks are skipped at once. While a window is open the
sensor waits, here in the triggerer.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_binance_margin.sensors.force_liquidation import (
    ForceLiquidationSensor,
)
from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import (
    ForceLiquidationToS3Operator,
)

try:
    from airflow.sdk import CronDataIntervalTimetable
except ImportError:  # before Airflow 3.2
    from airflow.timetables.interval import CronDataIntervalTimetable  # type: ignore[assignment]

DAYS = "scope={scope}/dt={start:%Y-%m-%d}/{start}_{end}.jsonl.gz"

with DAG(
    "binance_force_liquidation_sensor",
    description="Loads days that hold forced liquidations, skips the others",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 11, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["binance", "margin", "example"],
) as dag:
    appeared = ForceLiquidationSensor(
        task_id="appeared",
        on_empty="skip",
        poke_interval=60,
        timeout=timedelta(hours=1),
        deferrable=True,
    )

    load = ForceLiquidationToS3Operator(
        task_id="load",
        s3_bucket="{{ var.value.get('binance_lake_bucket', 'my-lake') }}",
        s3_key="binance/liquidated_days/" + DAYS,
        grain="day",
    )

    appeared >> load
