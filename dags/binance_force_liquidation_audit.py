"""Audit the last 90 days every Monday, and load what is missing.

The audit requests each day's total from the exchange (one request of one row each) and
compares it with the day's object. With ``on_gap="report"`` the task succeeds and
returns what has to be loaded; with ``"fail"`` it fails. The page [Binance
margin](/plugin/binance-margin) shows the result. Its button runs this DAG with
``start`` and ``end`` of what is missing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset, Param, task

from airflow_provider_binance_margin.operators.force_liquidation_audit import (
    ForceLiquidationAuditOperator,
)
from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import (
    ForceLiquidationToS3Operator,
)

try:
    from airflow.sdk import CronDataIntervalTimetable
except ImportError:  # before Airflow 3.2
    from airflow.timetables.interval import CronDataIntervalTimetable  # type: ignore[assignment]

BUCKET = "{{ var.value.get('binance_lake_bucket', 'my-lake') }}"

# The page's data are stored with the asset that the audit reads and loading writes.
LAKE = Asset("binance_force_liquidation")

with DAG(
    "binance_force_liquidation_audit",
    description="Compares the lake with the exchange, and loads what is missing",
    schedule=CronDataIntervalTimetable("0 0 * * 1", timezone="UTC"),
    start_date=pendulum.datetime(2026, 11, 2, tz="UTC"),
    catchup=False,
    params={
        "start": Param(None, type=["null", "string"], format="date-time"),
        "end": Param(None, type=["null", "string"], format="date-time"),
        "load": Param(
            True,  # noqa: FBT003
            type="boolean",
            description="Load what is missing, or only tell",
        ),
    },
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["binance", "margin", "example"],
) as dag:
    audit = ForceLiquidationAuditOperator(
        task_id="audit",
        s3_bucket=BUCKET,
        grain="day",
        start="{{ params.start or data_interval_end.subtract(days=90) | ts }}",
        end="{{ params.end or data_interval_end | ts }}",
        on_gap="report",
        inlets=[LAKE],
    )

    @task
    def gaps(
        report: dict[str, Any],
        params: dict[str, Any] | None = None,
    ) -> list[dict[str, str]]:
        """The intervals to load again, each as arguments of the operator."""
        return report["gaps"] if params and params["load"] else []

    loads = ForceLiquidationToS3Operator.partial(
        task_id="load_gaps",
        s3_bucket=BUCKET,
        grain="day",
        outlets=[LAKE],
    )
    # Airflow hands over the value
    loads.expand_kwargs(gaps(audit.output))  # type: ignore[arg-type]
