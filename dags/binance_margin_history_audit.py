"""Audit all datasets every Monday, and load what is missing.

It covers the last 80 days, well within the exchange's memory of 90: what is missing,
short, damaged or may have changed is loaded again before it is forgotten. The page
[Binance margin](/plugin/binance-margin) shows the result. Its button runs this DAG with
``start`` and ``end`` of what is missing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset, Param, task

from airflow_provider_binance_margin.exchange.datasets import DATASETS
from airflow_provider_binance_margin.operators.margin_history_audit import (
    MarginHistoryAuditOperator,
)
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import (
    MarginHistoryToS3Operator,
)

BUCKET = "{{ var.value.get('binance_lake_bucket', 'my-lake') }}"
# The page's data are stored with the asset that the audit reads and loading writes.
LAKE = Asset("binance_margin_history")

with DAG(
    "binance_margin_history_audit",
    description="Compares all datasets with the exchange, and loads what is missing",
    schedule="0 6 * * 1",
    start_date=pendulum.datetime(2026, 11, 2, tz="UTC"),
    catchup=False,
    max_active_runs=1,
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
    audit = MarginHistoryAuditOperator(
        task_id="audit",
        dataset=list(DATASETS),
        s3_bucket=BUCKET,
        grain="day",
        start="{{ params.start or macros.ds_add(dag_run.run_after | ds, -80) }}",
        end="{{ params.end or dag_run.run_after | ds }}",
        on_gap="report",
        inlets=[LAKE],
    )

    @task
    def gaps(
        report: dict[str, Any],
        params: dict[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """The intervals to load again, each as arguments of the operator."""
        return report["gaps"] if params and params["load"] else []

    loads = MarginHistoryToS3Operator.partial(
        task_id="load_gaps",
        s3_bucket=BUCKET,
        grain="day",
        max_active_tis_per_dag=2,
        outlets=[LAKE],
    )
    # Airflow hands over the value
    loads.expand_kwargs(gaps(audit.output))  # type: ignore[arg-type]
