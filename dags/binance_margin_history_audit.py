"""Is the whole history complete? Every Monday, all datasets of the last 80 days, well within the exchange's memory.

One mapped audit per dataset; what is missing, short, damaged or may have changed is loaded again, which after ten days
more would be too late for some.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_binance_margin.exchange.datasets import DATASETS
from airflow_provider_binance_margin.operators.margin_history_audit import MarginHistoryAuditOperator
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import MarginHistoryToS3Operator

BUCKET = "{{ var.value.get('binance_lake_bucket', 'my-lake') }}"
TODAY = "dag_run.run_after.in_timezone('UTC').start_of('day')"

with DAG(
    "binance_margin_history_audit",
    description="Holds all datasets of the lake against the exchange, and loads what is missing",
    schedule="0 6 * * 1",
    start_date=pendulum.datetime(2026, 11, 2, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    params={"days": Param(80, type="integer", minimum=1, title="Days", description="Up to the last midnight in UTC")},
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["binance", "margin", "example"],
) as dag:
    audit = MarginHistoryAuditOperator.partial(
        task_id="audit",
        s3_bucket=BUCKET,
        grain="day",
        start=f"{{{{ {TODAY}.subtract(days=params.days) | ts }}}}",
        end=f"{{{{ {TODAY} | ts }}}}",
        on_gap="report",
        max_active_tis_per_dag=2,
    ).expand(dataset=list(DATASETS))

    @task
    def gaps(reports: list[dict[str, Any]]) -> list[dict[str, str]]:
        """The intervals to load again, each as arguments of the operator; with none, nothing is loaded."""
        return [{"dataset": report["dataset"], **gap} for report in reports for gap in report["gaps"]]

    MarginHistoryToS3Operator.partial(
        task_id="load_gaps", s3_bucket=BUCKET, grain="day", max_active_tis_per_dag=2
    ).expand_kwargs(
        gaps(audit.output)  # type: ignore[arg-type]  # Airflow hands over the value when it runs
    )
