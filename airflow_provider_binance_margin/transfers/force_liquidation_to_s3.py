"""``GET /sapi/v1/margin/forceLiquidationRec`` to S3."""

from __future__ import annotations

from typing import Any

from airflow_provider_binance_margin.exchange.datasets import FORCE_LIQUIDATION
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import MarginHistoryToS3Operator


class ForceLiquidationToS3Operator(MarginHistoryToS3Operator):
    """Load the account's forced liquidations: `MarginHistoryToS3Operator` of ``force_liquidation``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dataset=FORCE_LIQUIDATION.name, **kwargs)
