"""Sensor of forced liquidations."""

from __future__ import annotations

from typing import Any

from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.sensors.margin_history import MarginHistorySensor


class ForceLiquidationSensor(MarginHistorySensor):
    """Wait until forced liquidations have appeared: `MarginHistorySensor` of ``force_liquidation``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dataset=FORCE_LIQUIDATION.name, **kwargs)
