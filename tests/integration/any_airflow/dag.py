"""A DAG of what must work on every Airflow 3: the operator, the sensor in each mode, and the hook in a task."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_binance_margin.operators.force_liquidation_audit import ForceLiquidationAuditOperator
from airflow_provider_binance_margin.sensors.force_liquidation import ForceLiquidationSensor
from airflow_provider_binance_margin.transfers.force_liquidation_to_s3 import ForceLiquidationToS3Operator

WINDOW = {"start": "2026-01-15T00:00:00Z", "end": "2026-01-16T00:00:00Z"}
BUCKET = "{{ var.value.binance_lake_bucket }}"

with DAG("any_airflow", schedule=None, start_date=datetime(2026, 1, 1)) as dag:  # noqa: DTZ001 - as users write it
    sensors = [
        ForceLiquidationSensor(task_id="poke", poke_interval=1, **WINDOW),
        ForceLiquidationSensor(task_id="reschedule", mode="reschedule", poke_interval=1, **WINDOW),
        ForceLiquidationSensor(task_id="deferrable", deferrable=True, poke_interval=1, **WINDOW),
    ]
    skipped = ForceLiquidationSensor(task_id="empty", start="2025-01-01", end="2025-01-02", on_empty="skip")
    load = ForceLiquidationToS3Operator(task_id="load", s3_bucket=BUCKET, grain="day", **WINDOW)
    mapped = ForceLiquidationToS3Operator.partial(task_id="mapped", s3_bucket=BUCKET, grain="day", **WINDOW).expand(
        isolated_symbol=["BTCUSDT", "ETHUSDT"]
    )
    audit = ForceLiquidationAuditOperator(task_id="audit", s3_bucket=BUCKET, grain="day", **WINDOW)

    @task
    def by_hook():
        """The hook in a task of one's own."""
        from airflow_provider_binance_margin.hooks.binance import BinanceHook

        return [
            len(BinanceHook().force_liquidations(WINDOW["start"], WINDOW["end"])),
            *BinanceHook().isolated_symbols(),
        ]

    sensors >> load >> mapped >> audit >> by_hook()
