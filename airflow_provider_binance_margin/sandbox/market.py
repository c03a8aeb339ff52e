"""The pairs of this exchange: prices to invent records with, and the account's isolated pairs."""

from __future__ import annotations

PRICES = {
    "BTCUSDT": 67_000.0,
    "ETHUSDT": 2_900.0,
    "BNBUSDT": 610.0,
    "SOLUSDT": 165.0,
    "XRPUSDT": 1.42,
    "DOGEUSDT": 0.147,
    "ADAUSDT": 0.52,
    "PEPEUSDT": 0.00000931,
    "BNBBTC": 0.0091,
    "ETHBTC": 0.0433,
    "币安人生USDT": 0.213,
}
BITCOIN = PRICES["BTCUSDT"]
# how many isolated records a pair has for each record of the cross account
ISOLATED = {"BTCUSDT": 0.25, "ETHUSDT": 0.2, "币安人生USDT": 0.1}


def assets(symbol: str) -> tuple[str, str]:
    """Base and quote of a pair."""
    quote = next((quote for quote in ("USDT", "USDC", "BTC") if symbol.endswith(quote)), symbol[-4:])
    return symbol.removesuffix(quote), quote
