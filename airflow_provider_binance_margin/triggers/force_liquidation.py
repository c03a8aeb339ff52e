"""Triggers of forced liquidations."""

from __future__ import annotations

from typing import Any

from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.triggers.margin_history import MarginHistoryEventTrigger, MarginHistoryTrigger


class ForceLiquidationTrigger(MarginHistoryTrigger):
    """Fires when forced liquidations have appeared: `MarginHistoryTrigger` of ``force_liquidation``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dataset=FORCE_LIQUIDATION.name, **kwargs)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments of an equal trigger; no secrets."""
        return _without_dataset(*super().serialize())


class ForceLiquidationEventTrigger(MarginHistoryEventTrigger):
    """Wakes a DAG of a new forced liquidation: `MarginHistoryEventTrigger` of ``force_liquidation``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dataset=FORCE_LIQUIDATION.name, **kwargs)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments of an equal trigger; no secrets."""
        return _without_dataset(*super().serialize())


def _without_dataset(path: str, kwargs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return path, {name: value for name, value in kwargs.items() if name != "dataset"}
