"""Records, packed: their values without their names, so that a million of them fit into memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.sandbox.answers import dumps

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

# a forced liquidation
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


class Packing:
    """Store of the records of one dataset: values joined by `|`, an optional field that is absent as nothing.

    A record with other fields, other types or letters that JSON escapes is kept as its JSON.
    """

    def __init__(self, fields: Mapping[str, type], optional: Collection[str] = ()) -> None:
        self._names = tuple(fields)
        self._types = tuple(fields.values())
        self._may_lack = [name in optional for name in fields]
        self._has_bool = bool in fields.values()
        marks = [b'"%s":"%%s"' if kind is str else b'"%s":%%s' for kind in fields.values()]
        self._parts = [mark % name.encode() for mark, name in zip(marks, self._names, strict=True)]
        self._template = b"{%s}" % b",".join(self._parts)
        self._optional = bool(optional)

    def pack(self, record: Mapping[str, Any]) -> bytes:
        """One record as it is kept."""
        values = [record.get(name) for name in self._names]
        if not self._is_plain(values, len(record)):
            return dumps(record)
        text = "|".join(["" if value is None else str(value) for value in values])
        if not text.isprintable() or text.count("|") >= len(values) or '"' in text or "\\" in text or text[:1] == "{":
            return dumps(record)
        if self._has_bool:
            text = text.replace("|True|", "|true|").replace("|False|", "|false|")
        return text.encode()

    def _is_plain(self, values: list[Any], number: int) -> bool:
        """True for the values of a record of so many fields, none of them empty and each of its type."""
        if "" in values:
            return False
        if number == len(values):
            return tuple(map(type, values)) == self._types
        absent = [value is None for value in values]
        if number != absent.count(False) or not self._optional:
            return False
        facts = zip(values, self._types, self._may_lack, strict=True)
        return all(type(value) is kind or (value is None and may) for value, kind, may in facts)

    def json(self, rows: Iterable[bytes]) -> bytes:
        """Packed records as the inside of a JSON list."""
        one = self._with_gaps if self._optional else self._whole
        return b",".join([row if row[:1] == b"{" else one(row) for row in rows])

    def unpack(self, row: bytes) -> dict[str, Any]:
        """The record as the exchange would send it."""
        record: dict[str, Any] = json.loads(self.json([row]))
        return record

    def value(self, row: bytes, name: str) -> str | None:
        """One field of a packed record as text, without unpacking the rest; None if it is absent."""
        if row[:1] == b"{":
            value = json.loads(row).get(name)
            return None if value is None else str(value)
        return row.split(b"|")[self._names.index(name)].decode() or None

    def _whole(self, row: bytes) -> bytes:
        return self._template % tuple(row.split(b"|"))

    def _with_gaps(self, row: bytes) -> bytes:
        pairs = zip(self._parts, row.split(b"|"), strict=True)
        return b"{%s}" % b",".join([part % value for part, value in pairs if value])


_PACKING = Packing(dict(zip(FIELDS, TYPES, strict=True)))
pack, unpack = _PACKING.pack, _PACKING.unpack
