"""Load what the exchange still remembers of the whole account, a day per object.

Run it once, by hand, on the first day. It writes under the keys of
``binance_margin_history``; objects that are there stay. Interest, capital flow and
liquidation loans are remembered for 90 days: older days are lost, and would be refused.
For the other datasets more days can be requested.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_binance_margin.exchange.datasets import DATASETS
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import (
    MarginHistoryToS3Operator,
)

BUCKET = "{{ var.value.get('binance_lake_bucket', 'my-lake') }}"

with DAG(
    "binance_margin_history_backfill",
    description="All datasets, as far back as the exchange remembers",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    # of 90 days that are remembered, the first has been forgotten in part
    params={
        "days": Param(
            89,
            type="integer",
            minimum=1,
            title="Days",
            description="Up to the last midnight in UTC",
        )
    },
    default_args={"retries": 5, "retry_delay": timedelta(minutes=2)},
    doc_md=__doc__,
    tags=["binance", "margin", "example"],
) as dag:
    MarginHistoryToS3Operator.partial(
        task_id="load",
        s3_bucket=BUCKET,
        grain="day",
        start="{{ macros.ds_add(dag_run.run_after | ds, -params.days) }}",
        end="{{ dag_run.run_after | ds }}",
        replace=False,
        max_active_tis_per_dag=2,
        map_index_template="{{ task.dataset }}",
    ).expand(dataset=list(DATASETS))
