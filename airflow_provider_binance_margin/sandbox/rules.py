"""The door: what a signed request must be before anything else is looked at, in the order the exchange looks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from airflow_provider_binance_margin.sandbox.answers import AHEAD, RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from airflow_provider_binance_margin.sandbox.keys import ApiKey

API_KEY = re.compile(r"[A-Za-z0-9]{64}")
LONG = re.compile(r"[0-9]{1,18}")
LONGEST_WINDOW = 60_000
DEFAULT_WINDOW = 5_000
AHEAD_BY = 1_000
SIGNATURE = b"&signature="
ALWAYS = ("recvWindow", "timestamp", "signature")


def admit(
    keys: Mapping[str, ApiKey], api_key: str, query: bytes, names: Collection[str], now: int
) -> tuple[ApiKey, dict[str, str]]:
    """The key that made the request and the parameters it sent, or a refusal."""
    if not API_KEY.fullmatch(api_key):
        raise RefusedError(-2014)
    params = parameters(query, (*names, *ALWAYS))
    for name in ("timestamp", "signature"):
        if name not in params:
            raise RefusedError(-1102, name)
    key = keys.get(api_key)
    if key is None or not key.flags["enableReading"]:
        raise RefusedError(-2015)
    check_time(params, now)
    payload, mark, signature = query.rpartition(SIGNATURE)
    if not mark or b"&" in signature or not key.verifies(payload, signature.decode("latin-1")):
        raise RefusedError(-1022)
    return key, params


def parameters(query: bytes, names: Collection[str]) -> dict[str, str]:
    """The parameters of a query: each known, sent once, not empty and in UTF-8."""
    pairs = [part.partition(b"=") for part in query.split(b"&")] if query else []
    params = {_text(name, name): _text(name, value) for name, _, value in pairs}
    if len(params) < len(pairs):
        raise RefusedError(-1101)
    known = sum(name in names for name in params)
    if known < len(params):
        raise RefusedError(-1104, known, len(params))
    for name, value in params.items():
        if not value:
            raise RefusedError(-1102, name) if name in {"timestamp", "signature"} else RefusedError(-1105, name)
    return params


def check_time(params: Mapping[str, str], now: int) -> None:
    """Refuse a request that was made too long ago, or later than now."""
    window = long(params, "recvWindow", DEFAULT_WINDOW)
    if window > LONGEST_WINDOW:
        raise RefusedError(-1131)
    timestamp = long(params, "timestamp", 0)
    if timestamp >= now + AHEAD_BY:
        raise RefusedError(-1021, msg=AHEAD)
    if now - timestamp > window:
        raise RefusedError(-1021)


def long(params: Mapping[str, str], name: str, default: int) -> int:
    """A LONG parameter: digits and nothing else."""
    if name not in params:
        return default
    if not LONG.fullmatch(params[name]):
        raise RefusedError(-1102, name)
    return int(params[name])


def _text(name: bytes, value: bytes) -> str:
    try:
        return unquote_to_bytes(value.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise RefusedError(-1100, name.decode("ascii", "replace"), "UTF-8") from None
