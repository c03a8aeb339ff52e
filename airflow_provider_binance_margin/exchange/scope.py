"""Scope of a call: the cross account or one isolated pair, and the endpoint's own further filters.

One check for all that ask: a scope stands in requests, object keys and metadata.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_binance_margin.exchange.errors import BinanceRequestError

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.dataset import Dataset

CROSS = "cross"
#: Upper-case letters, digits and letters without case (币安人生USDT); a dot, dash or underscore only between them.
_SYMBOL = re.compile(r"[^\W_](?:[\w.-]{0,38}[^\W_])?")
_VALUE = re.compile(r"[A-Z0-9](?:[A-Z0-9_]{0,38}[A-Z0-9])?")
_SHOWN = 60


class Scope(NamedTuple):
    """Part of a dataset that one call covers; its text stands in keys and metadata."""

    isolated_symbol: str | None = None  # the pair of an isolated account, None for the cross account
    filters: tuple[tuple[str, str], ...] = ()  # the endpoint's own further filters, sorted pairs of name and value

    def __str__(self) -> str:
        """As ``cross``, ``BTCUSDT`` or ``cross.asset-BTC``. No pair looks like that: filter names are lower case."""
        return ".".join([self.isolated_symbol or CROSS, *(f"{name}-{value}" for name, value in self.filters)])


def scope_of(dataset: Dataset, isolated_symbol: object = None, filters: object = None) -> Scope:
    """Validate pair and filters against the dataset; BinanceRequestError names the option and the remedy."""
    symbol = checked_symbol(isolated_symbol)
    if symbol is not None and dataset.pair_param is None:
        raise BinanceRequestError(f"{dataset.name} is of the cross account only: leave isolated_symbol out")
    if filters is None or filters == {}:
        return Scope(symbol)
    offered = f"{dataset.name} can be filtered by {' and '.join(dataset.filters) or 'nothing further'}"
    if not isinstance(filters, Mapping):
        raise BinanceRequestError(f"filters must be a mapping such as {{'asset': 'BTC'}}: {offered}")
    unknown = sorted(ascii(name) for name in filters if name not in dataset.filters)
    if unknown:
        raise BinanceRequestError(f"filters has {', '.join(unknown)[:_SHOWN]}: {offered}")
    for name, value in filters.items():
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise BinanceRequestError(f"the filter {name} must be upper-case letters and digits, such as BTC")
    return Scope(symbol, tuple(sorted(filters.items())))


def checked_symbol(value: object) -> str | None:
    """Return the pair as the exchange spells it, or None for the account itself.

    :raises BinanceRequestError: for anything but the name of a pair, such as an empty string or ``"None"``
    """
    if value is None:
        return None
    if isinstance(value, str) and _SYMBOL.fullmatch(value) and ".." not in value and value == value.upper():
        return value
    shown = ascii(value)[:_SHOWN] if not isinstance(value, str) or not value.isprintable() else repr(value[:_SHOWN])
    raise BinanceRequestError(f"isolated_symbol must be a pair such as BTCUSDT, not {shown}: {_cure(value)}")


def _cure(value: object) -> str:
    if isinstance(value, str) and value.strip() in ("", "None"):
        return "for the account itself leave it out, or pass None (a template needs render_template_as_native_obj=True)"
    if isinstance(value, str) and value.isascii() and _SYMBOL.fullmatch(value.strip().upper()):
        return f"the exchange spells it {value.strip().upper()}"
    return "pass one pair in upper case, and map over several with .expand(isolated_symbol=[...])"
