"""Trigger of forced liquidations."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.triggers.margin_history import MarginHistoryEventTrigger


@dataclass(kw_only=True, eq=False, repr=False)
class ForceLiquidationEventTrigger(MarginHistoryEventTrigger):
    """Wake DAGs on a new forced liquidation: `MarginHistoryEventTrigger` of ``force_liquidation``."""

    dataset: str = field(default=FORCE_LIQUIDATION.name, init=False)
