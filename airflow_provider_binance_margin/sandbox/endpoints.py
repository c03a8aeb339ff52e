"""The endpoints this exchange has, as data, and what each answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.answers import Answer, RefusedError, reply
from airflow_provider_binance_margin.sandbox.asking import asked
from airflow_provider_binance_margin.sandbox.datasets import PATHS
from airflow_provider_binance_margin.sandbox.keys import CREATED
from airflow_provider_binance_margin.sandbox.market import ISOLATED, PRICES, assets
from airflow_provider_binance_margin.sandbox.pages import page

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_binance_margin.sandbox.asking import Visit

MOST_PAIRS = 5


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint: what it costs whom, what it answers, which parameters it has. None: it needs no key."""

    weight: int
    answer: Callable[[Visit], Answer]
    params: tuple[str, ...] | None = None
    whose: str = "IP"


def _records(path: str) -> Endpoint:
    dataset = PATHS[path][0]

    def answer(visit: Visit) -> Answer:
        _need_margin(visit)
        return page(asked(path, visit), visit.settings)

    return Endpoint(dataset.weight, answer, dataset.params, dataset.whose)


def _restrictions(visit: Visit) -> Answer:
    assert visit.key is not None
    return reply({"createTime": CREATED, **visit.key.flags})


def _isolated(visit: Visit) -> Answer:
    _need_margin(visit)
    pairs = sorted({*ISOLATED, *visit.account.pairs})
    if "symbols" in visit.params:
        wanted = visit.params["symbols"].split(",")
        if len(wanted) > MOST_PAIRS:
            raise RefusedError(-1102, "symbols")
        pairs = [pair for pair in pairs if pair in wanted]
    return reply({"assets": [_pair(symbol) for symbol in pairs]})


def _need_margin(visit: Visit) -> None:
    if visit.key is None or not visit.key.margin:
        raise RefusedError(-3003)


def _pair(symbol: str) -> dict[str, Any]:
    """An isolated pair, with nothing left in it."""
    base, quote = assets(symbol)
    return {
        "baseAsset": _asset(base),
        "quoteAsset": _asset(quote),
        "symbol": symbol,
        "isolatedCreated": True,
        "enabled": True,
        "marginLevel": "999.00000000",
        "marginLevelStatus": "EXCESSIVE",
        "marginRatio": "5.00000000",
        "indexPrice": f"{PRICES.get(symbol, 1.0):.8f}",
        "liquidatePrice": "0.00000000",
        "liquidateRate": "0.00000000",
        "tradeEnabled": True,
    }


def _asset(name: str) -> dict[str, Any]:
    amounts = ("borrowed", "free", "interest", "locked", "netAsset", "netAssetOfBtc", "totalAsset")
    return {"asset": name, "borrowEnabled": True, "repayEnabled": True, **dict.fromkeys(amounts, "0.00000000")}


ENDPOINTS = {
    **{path: _records(path) for path in PATHS},
    "/sapi/v1/account/apiRestrictions": Endpoint(1, _restrictions, ()),
    "/sapi/v1/margin/isolated/account": Endpoint(10, _isolated, ("symbols",)),
    "/sapi/v1/system/status": Endpoint(1, lambda _: reply({"status": 0, "msg": "normal"})),
    "/api/v3/time": Endpoint(1, lambda visit: reply({"serverTime": visit.now})),
    "/api/v3/ping": Endpoint(1, lambda _: reply({})),
}
