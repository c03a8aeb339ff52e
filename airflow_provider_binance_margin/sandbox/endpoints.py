"""The endpoints this exchange has, as data, and what each answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.answers import JSON, Answer, RefusedError, reply
from airflow_provider_binance_margin.sandbox.book import ALL, CROSS
from airflow_provider_binance_margin.sandbox.history import ISOLATED, PRICES
from airflow_provider_binance_margin.sandbox.keys import CREATED
from airflow_provider_binance_margin.sandbox.rows import rows_json
from airflow_provider_binance_margin.sandbox.rules import long

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_binance_margin.sandbox.book import Book
    from airflow_provider_binance_margin.sandbox.keys import ApiKey
    from airflow_provider_binance_margin.sandbox.settings import Settings

RECORDS = "/sapi/v1/margin/forceLiquidationRec"
RECORDS_PARAMS = ("startTime", "endTime", "isolatedSymbol", "current", "size")
SYMBOL = re.compile(r"[A-Z0-9._\-\u4e00-\u9fff]{1,20}")
LARGEST_PAGE = 100
MOST_PAIRS = 5
HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class Visit:
    """One admitted request, and the exchange it found."""

    book: Book
    settings: Settings
    now: int
    params: Mapping[str, str]
    key: ApiKey | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint: what it costs, what it answers, which parameters it has. None: it needs no key."""

    weight: int
    answer: Callable[[Visit], Answer]
    params: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Which records a request is about, and which page of them; both ends belong to it."""

    scope: str
    start: int
    end: int
    current: int
    size: int


def window(visit: Visit) -> Window:
    """What is asked for, after all defaults and limits."""
    params, settings = visit.params, visit.settings
    size, current = long(params, "size", 10), long(params, "current", 1)
    if not 1 <= size <= LARGEST_PAGE:
        raise RefusedError(-1102, "size")
    if current < 1:
        raise RefusedError(-1102, "current")
    end = long(params, "endTime", visit.now)
    start = long(params, "startTime", end - settings.default_window_ms)
    if start > end:
        raise RefusedError(-3011)
    if settings.max_span_ms is not None and end - start > settings.max_span_ms:
        raise RefusedError(-1127, settings.max_span_ms // HOUR)
    if settings.retention_ms is not None:
        start = max(start, visit.now - settings.retention_ms)
    return Window(_scope(visit), start, end, current, size)


def _scope(visit: Visit) -> str:
    symbol = visit.params.get("isolatedSymbol")
    if symbol is None:
        return ALL if visit.settings.unfiltered == "all" else CROSS
    if not SYMBOL.fullmatch(symbol):
        raise RefusedError(-1100, "isolatedSymbol", "^[A-Z0-9-_.]{1,20}$")
    if symbol not in PRICES and symbol not in visit.book.symbols:
        raise RefusedError(-1121)
    if symbol not in ISOLATED and symbol not in visit.book.pairs:
        raise RefusedError(-11001)
    return symbol


def page(book: Book, asked: Window) -> Answer:
    """The page of records asked for, and how many there are."""
    rows = rows_json(book.page(asked.scope, asked.start, asked.end, asked.current, asked.size))
    total = book.count(asked.scope, asked.start, asked.end)
    return Answer(200, b'{"rows":[%s],"total":%d}' % (rows, total), JSON)


def _records(visit: Visit) -> Answer:
    _need_margin(visit)
    return page(visit.book, window(visit))


def _restrictions(visit: Visit) -> Answer:
    assert visit.key is not None
    return reply({"createTime": CREATED, **visit.key.flags})


def _isolated(visit: Visit) -> Answer:
    _need_margin(visit)
    pairs = sorted({*ISOLATED, *visit.book.pairs})
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
    quote = next((quote for quote in ("USDT", "USDC", "BTC") if symbol.endswith(quote)), symbol[-4:])
    return {
        "baseAsset": _asset(symbol.removesuffix(quote)),
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
    RECORDS: Endpoint(1, _records, RECORDS_PARAMS),
    "/sapi/v1/account/apiRestrictions": Endpoint(1, _restrictions, ()),
    "/sapi/v1/margin/isolated/account": Endpoint(10, _isolated, ("symbols",)),
    "/sapi/v1/system/status": Endpoint(1, lambda _: reply({"status": 0, "msg": "normal"})),
    "/api/v3/time": Endpoint(1, lambda visit: reply({"serverTime": visit.now})),
    "/api/v3/ping": Endpoint(1, lambda _: reply({})),
}
