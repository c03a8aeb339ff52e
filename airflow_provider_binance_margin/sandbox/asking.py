"""Question of a request for records, after all defaults and limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_binance_margin.sandbox.answers import RefusedError
from airflow_provider_binance_margin.sandbox.book import ALL, CROSS
from airflow_provider_binance_margin.sandbox.dataset import DAY, HOUR
from airflow_provider_binance_margin.sandbox.datasets import PATHS
from airflow_provider_binance_margin.sandbox.market import ISOLATED, PRICES
from airflow_provider_binance_margin.sandbox.rules import long

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_binance_margin.sandbox.book import Account, Book
    from airflow_provider_binance_margin.sandbox.dataset import Dataset
    from airflow_provider_binance_margin.sandbox.keys import ApiKey
    from airflow_provider_binance_margin.sandbox.settings import Settings

SYMBOL = re.compile(r"[A-Z0-9._\-\u4e00-\u9fff]{1,20}")
FOREVER = 2**62
TOO_MANY_DAYS = -4047


@dataclass(frozen=True, slots=True)
class Visit:
    """One admitted request, and the exchange it found."""

    account: Account
    settings: Settings
    now: int
    params: Mapping[str, str]
    key: ApiKey | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """Records that a request is about, and the page of them; both ends belong to the window."""

    dataset: Dataset
    book: Book
    scope: str
    start: int
    end: int
    current: int
    size: int
    filters: Mapping[str, str]
    from_id: int | None = None

    @property
    def pair(self) -> str | None:
        """The isolated pair asked for."""
        return None if self.scope in {CROSS, ALL} else self.scope


def asked(path: str, visit: Visit) -> Asked:
    """Parse the request; refused as the exchange would refuse it."""
    dataset, params = _dataset(path, visit.params), visit.params
    size, current = long(params, dataset.paging, dataset.size), long(params, "current", 1)
    if not 1 <= size <= dataset.most:
        raise RefusedError(-1102, dataset.paging)
    if current < 1:
        raise RefusedError(-1102, "current")
    settings = visit.settings
    size = settings.size_fixed or min(size, settings.size_cap or size)
    filters = {name: params[name] for name in dataset.filters if name in params}
    for name, value in filters.items():
        if dataset.filters[name] and value not in dataset.filters[name]:
            raise RefusedError(-1102, name)
    start, end = (0, FOREVER) if dataset.by_id in filters else _window(dataset, visit, filters)
    from_id = long(params, "fromId", 0) if "fromId" in params else None
    book = visit.account.books[dataset.name]
    return Asked(dataset, book, _scope(dataset, visit), start, end, current, size, filters, from_id)


def _dataset(path: str, params: Mapping[str, str]) -> Dataset:
    """Of the datasets of a path the one whose fixed parameters were sent."""
    for dataset in PATHS[path]:
        if all(params.get(name) == value for name, value in dataset.fixed.items()):
            return dataset
    raise RefusedError(-1102, next(iter(PATHS[path][0].fixed)))


def _window(dataset: Dataset, visit: Visit, filters: Mapping[str, str]) -> tuple[int, int]:
    settings, now = visit.settings, visit.now
    default = dataset.window if settings.default_window_ms is None else settings.default_window_ms
    longest = settings.max_span_ms
    if longest is None:
        allowed = [dataset.longest_with[name] for name in filters if name in dataset.longest_with]
        longest = max(allowed, default=dataset.longest)
        default = default if longest is None else min(default, longest)
    start, end = _ends(dataset, visit, default, longest)
    if start > end:
        raise RefusedError(-3011)
    if longest is not None and end - start > longest:
        raise RefusedError(dataset.too_long, longest // (DAY if dataset.too_long == TOO_MANY_DAYS else HOUR))
    memory = dataset.memory if settings.retention_ms is None else settings.retention_ms
    if memory is not None and start < now - memory:
        if settings.beyond_memory == "refused":
            raise RefusedError(-3011)
        start = now - memory
    grain = settings.window_grain_ms
    return start - start % grain + settings.start_exclusive, end - end % grain - settings.end_exclusive


def _ends(dataset: Dataset, visit: Visit, default: int, longest: int | None) -> tuple[int, int]:
    """Both ends as they were sent, or by default."""
    params, now = visit.params, visit.now
    if "startTime" in params and "endTime" not in params and dataset.start_alone != "now":
        start = long(params, "startTime", 0)
        if dataset.start_alone == "forward":
            return start, max(start, min(start + default, now))
        return (start if longest is None else max(start, now - longest)), now
    end = long(params, "endTime", now)
    return long(params, "startTime", end - default), end


def _scope(dataset: Dataset, visit: Visit) -> str:
    symbol = visit.params.get(dataset.pair or "")
    if symbol is None:
        return ALL if visit.settings.unfiltered == "all" else CROSS
    if not SYMBOL.fullmatch(symbol):
        raise RefusedError(-1100, dataset.pair, "^[A-Z0-9-_.]{1,20}$")
    if symbol not in PRICES and symbol not in visit.account.symbols:
        raise RefusedError(-1121)
    if symbol not in ISOLATED and symbol not in visit.account.pairs:
        raise RefusedError(-11001)
    return symbol
