"""The pair of an isolated margin account, checked once for all: it stands in requests, object keys and metadata."""

from __future__ import annotations

import re

from airflow_provider_binance_margin.exchange.errors import BinanceRequestError

#: Upper-case letters, digits and letters without case (币安人生USDT); a dot, dash or underscore only between them.
_SYMBOL = re.compile(r"[^\W_](?:[\w.-]{0,38}[^\W_])?")
_SHOWN = 60


def checked_symbol(value: object) -> str | None:
    """Return the pair as the exchange spells it, or None for the account itself.

    :param value: what a user gave, or what a template rendered
    :raises BinanceRequestError: for anything that no pair is called, an empty text and the text ``None`` included
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
