"""Load a forced liquidation within a minute, and send a message.

The watcher polls once a minute, with one request of one row. It stores in the asset
what it has announced (Airflow 3.3), so a restart of the triggerer neither repeats nor
misses anything. Its event carries the window, and the operator loads exactly that,
under a prefix of its own: windows overlap, and the lake belongs to the daily DAG.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Asset, task
from airflow.sdk import AssetWatcher

from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import (
    ForceLiquidationToS3Operator,
)
from airflow_provider_binance_margin.triggers.force_liquidation import (
    ForceLiquidationEventTrigger,
)

LIQUIDATIONS = Asset(
    "binance_force_liquidation_live",
    watchers=[
        AssetWatcher(
            name="new_records",
            trigger=ForceLiquidationEventTrigger(poll_interval=60),
        )
    ],
)

with DAG(
    "binance_force_liquidation_live",
    description="Loads forced liquidations as they appear",
    schedule=[LIQUIDATIONS],
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 5, "retry_delay": timedelta(seconds=30)},
    doc_md=__doc__,
    tags=["binance", "margin", "example"],
) as dag:
    load = ForceLiquidationToS3Operator(
        task_id="load",
        s3_bucket="{{ var.value.get('binance_lake_bucket', 'my-lake') }}",
        s3_key="binance/live/scope={scope}/{start}_{end}.jsonl.gz",
        settle=0,  # the window ends with the newest record, which is there
    )

    @task
    def notify(loaded: dict[str, Any]) -> str:
        """Where a message to the desk would be sent."""
        window = f"from {loaded['start']} to {loaded['end']}"
        word = f"Forced liquidation: {loaded['records']} records {window}"
        print(word)  # noqa: T201 - the task's log is where this example sends it
        return word

    # Airflow hands over the value when it runs
    notify(load.output)  # type: ignore[arg-type]
