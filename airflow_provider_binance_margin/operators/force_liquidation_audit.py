"""Audit of the lake of forced liquidations."""

from __future__ import annotations

from typing import Any

from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.operators.margin_history_audit import MarginHistoryAuditOperator


class ForceLiquidationAuditOperator(MarginHistoryAuditOperator):
    """Audit the lake of forced liquidations: `MarginHistoryAuditOperator` of ``force_liquidation``."""

    names_dataset = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dataset=FORCE_LIQUIDATION.name, **kwargs)
