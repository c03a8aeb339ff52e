"""Waits for forced liquidations in the triggerer."""

from __future__ import annotations

from typing import ClassVar

from airflow_provider_binance_margin.exchange.endpoint import Endpoint
from airflow_provider_binance_margin.exchange.force_liquidation import FORCE_LIQUIDATION
from airflow_provider_binance_margin.triggers.records import RecordsTrigger


class ForceLiquidationTrigger(RecordsTrigger):
    """Fires when forced liquidations have appeared in a window: what `ForceLiquidationSensor` defers to."""

    endpoint: ClassVar[Endpoint] = FORCE_LIQUIDATION
