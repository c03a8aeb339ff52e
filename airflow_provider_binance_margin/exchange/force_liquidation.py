"""``GET /sapi/v1/margin/forceLiquidationRec``, as data.

Source: https://developers.binance.com/docs/margin_trading/trade, section "Get Force Liquidation Record".
"""

from __future__ import annotations

from airflow_provider_binance_margin.exchange.endpoint import Endpoint

FORCE_LIQUIDATION = Endpoint(
    name="force_liquidation",
    path="/sapi/v1/margin/forceLiquidationRec",
    weight=1,
    max_size=100,
    columns={
        "avgPrice": "decimal",
        "executedQty": "decimal",
        "orderId": "integer",
        "price": "decimal",
        "qty": "decimal",
        "side": "string",
        "symbol": "string",
        "timeInForce": "string",
        "isIsolated": "boolean",
        "updatedTime": "timestamp",
    },
    time_field="updatedTime",
    record_key=("symbol", "orderId", "isIsolated"),
)
