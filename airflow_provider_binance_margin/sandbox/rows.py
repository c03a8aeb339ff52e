"""One record, packed: ten values without their names, so that a million of them fit into memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.answers import dumps

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FIELDS = (
    "avgPrice",
    "executedQty",
    "orderId",
    "price",
    "qty",
    "side",
    "symbol",
    "timeInForce",
    "isIsolated",
    "updatedTime",
)
TYPES = (str, str, int, str, str, str, str, str, bool, int)
TEMPLATE = (
    b'{"avgPrice":"%s","executedQty":"%s","orderId":%s,"price":"%s","qty":"%s","side":"%s","symbol":"%s",'
    b'"timeInForce":"%s","isIsolated":%s,"updatedTime":%s}'
)


def pack(record: Mapping[str, Any]) -> bytes:
    """The record's ten values; its JSON if it has other fields, other types or letters that JSON escapes."""
    values = tuple(record.get(name) for name in FIELDS)
    text = "|".join([str(value) for value in values])
    plain = len(record) == len(FIELDS) and tuple(map(type, values)) == TYPES
    if plain and text.isprintable() and text.count("|") == len(FIELDS) - 1 and '"' not in text and "\\" not in text:
        return text.replace("|True|", "|true|").replace("|False|", "|false|").encode()
    return dumps(record)


def rows_json(rows: Iterable[bytes]) -> bytes:
    """Packed records as the inside of a JSON list."""
    return b",".join([row if row[:1] == b"{" else TEMPLATE % tuple(row.split(b"|")) for row in rows])


def unpack(row: bytes) -> dict[str, Any]:
    """The record as the exchange would send it."""
    record: dict[str, Any] = json.loads(rows_json([row]))
    return record


def scope_of(record: Mapping[str, Any]) -> str:
    """The isolated pair a record belongs to, or an empty name for the cross account."""
    return str(record["symbol"]) if record.get("isIsolated") else ""
