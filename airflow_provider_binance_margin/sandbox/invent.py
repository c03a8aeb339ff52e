"""Records made up on demand: complete, plausible, each with an order id of its own."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.history import PRICES

if TYPE_CHECKING:
    from collections.abc import Iterator

# beyond all order ids of the history
_order_ids = count(90_000_000_001)


def invent(
    *, n: int = 1, at: int, step_ms: int = 1, symbol: str = "BTCUSDT", isolated: bool = False, **fields: Any
) -> Iterator[dict[str, Any]]:
    """`n` records from the moment `at`, `step_ms` apart. Other fields, known or not, under the exchange's names."""
    price = f"{PRICES.get(symbol, 1.0):.8f}"
    for place in range(n):
        record = {
            "avgPrice": price,
            "executedQty": "31.39000000",
            "orderId": next(_order_ids),
            "price": price,
            "qty": "31.39000000",
            "side": "SELL",
            "symbol": symbol,
            "timeInForce": "GTC",
            "isIsolated": isolated,
            "updatedTime": at + place * step_ms,
        }
        record.update(fields)
        yield record
