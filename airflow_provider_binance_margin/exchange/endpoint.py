"""An endpoint that answers ``{"rows": [...], "total": n}``: what must be known of it, and how its pages are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec

#: What a column holds: "decimal" is a decimal number in a string, "timestamp" is milliseconds since 1970 in UTC.
ColumnType: TypeAlias = Literal["decimal", "integer", "string", "boolean", "timestamp"]
KeyValue: TypeAlias = int | str | None


class Record(NamedTuple):
    """One row of the exchange.

    :param time: the row's time in ms since 1970 (UTC), None where the row has none, or none that a calendar has
    :param key: the values that make it this record and no other, None for one that the row lacks
    :param line: the row as one line of JSON, with the exchange's own literals
    """

    time: int | None
    key: tuple[KeyValue, ...]
    line: bytes


class Page(NamedTuple):
    """One answer.

    :param records: its rows, in the order received
    :param total: how many rows the exchange says the whole window has, None where it does not say
    """

    records: list[Record]
    total: int | None


class _Body(msgspec.Struct):
    rows: list[msgspec.Raw]
    total: int | None = None


_BODY = msgspec.json.Decoder(_Body)
_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


class UnreadableAnswerError(ValueError):
    """A body that is not what the endpoint answers; its text quotes nothing of it."""


@dataclass(frozen=True)
class Endpoint:
    """One paged, signed endpoint of the margin API.

    :param name: the dataset's name in keys of objects
    :param path: the path below the base URL
    :param weight: request weight of one call, per address
    :param max_size: rows on a full page
    :param columns: documented fields in documented order, with their types
    :param time_field: the field that a record's time is taken from
    :param record_key: the fields that identify a record, whatever its time
    :param isolated_field: the field that says whether a record is of an isolated account
    """

    name: str
    path: str
    weight: int
    max_size: int
    columns: Mapping[str, ColumnType]
    time_field: str
    record_key: Sequence[str]
    isolated_field: str = "isIsolated"

    def read_page(self, body: bytes) -> Page:
        """Decode one answer; UnreadableAnswerError when it is cut off, no JSON, or has no list of rows."""
        try:
            body.decode()
            usual = self._usual_page(body)
            if usual is not None:
                return usual
            decoded = _BODY.decode(body)
            return Page([self._unusual(_ROW.decode(row)) for row in decoded.rows], decoded.total)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise UnreadableAnswerError("the answer is not a page of rows") from None

    def _usual_page(self, body: bytes) -> Page | None:
        """The page of a body that is nothing but rows that are compact, complete and in documented order.

        It is one exactly if what was understood of it, written again, gives the same bytes. Then each row is its own
        line already, and its values need no second look.
        """
        try:
            decoded = self._usual_body.decode(body)
        except msgspec.MsgspecError:
            return None
        lines = _ENCODER.encode_lines(decoded.rows).split(b"\n")
        del lines[-1]  # what follows the last line's end
        rows, total = b",".join(lines), decoded.total
        if body not in (b'{"rows":[%b],"total":%d}' % (rows, total), b'{"total":%d,"rows":[%b]}' % (total, rows)):
            return None
        times = map(attrgetter(self.time_field), decoded.rows)
        keys = zip(*(map(attrgetter(name), decoded.rows) for name in self.record_key), strict=True)
        return Page(list(map(Record, times, keys, lines)), decoded.total)

    @cached_property
    def _usual_body(self) -> msgspec.json.Decoder[Any]:
        row = msgspec.defstruct("Row", [(name, _USUAL[kind]) for name, kind in self.columns.items()], gc=False)
        return msgspec.json.Decoder(msgspec.defstruct("Body", [("rows", list[row]), ("total", int)]))  # type: ignore[valid-type]

    def _unusual(self, row: dict[str, msgspec.Raw]) -> Record:
        time = _value(bytes(row.get(self.time_field, b"null")), "timestamp")
        return Record(
            time=time if isinstance(time, int) and time <= _LATEST else None,
            key=tuple(_value(bytes(row.get(name, b"null")), self.columns[name]) for name in self.record_key),
            line=self._line(row),
        )

    @cached_property
    def _prefixes(self) -> dict[str, bytes]:
        return {name: json.dumps(name).encode() + b":" for name in self.columns}

    def _line(self, row: dict[str, msgspec.Raw]) -> bytes:
        parts = [prefix + bytes(row[name]) for name, prefix in self._prefixes.items() if name in row]
        if len(parts) < len(row):
            unknown = sorted(name for name in row if name not in self._prefixes)
            parts += [json.dumps(name, ensure_ascii=False).encode() + b":" + bytes(row[name]) for name in unknown]
        line = b"{" + b",".join(parts) + b"}"
        # Only white space between the tokens of a nested value can hold a line break: a string never does.
        return line.replace(b"\r", b" ").replace(b"\n", b" ") if b"\n" in line or b"\r" in line else line


_INT64_MAX = 2**63 - 1
_LATEST = 10**14 - 1  # ms: in the year 5138
#: what a column holds on nearly every row
_USUAL: dict[ColumnType, Any] = {
    "decimal": str,
    "string": str,
    "integer": Annotated[int, msgspec.Meta(ge=0, le=_INT64_MAX)],
    "timestamp": Annotated[int, msgspec.Meta(ge=0, le=_LATEST)],
    "boolean": bool,
}
_BOOLEANS: dict[bytes, KeyValue] = {b"true": 1, b"false": 0}


def _value(literal: bytes, kind: ColumnType) -> KeyValue:
    """A literal as a value to compare and store: booleans as 0 and 1, numbers (in strings or not) as numbers."""
    if literal == b"null":
        return None
    if kind == "boolean" and literal in _BOOLEANS:
        return _BOOLEANS[literal]
    text = literal.decode()
    if text.startswith('"'):
        text = text[1:-1] if "\\" not in text else json.loads(text)
    if kind in ("integer", "timestamp") and text.isascii() and text.isdigit():
        return _integer(text)
    return text


def _integer(digits: str) -> KeyValue:
    """A number that 64 bits hold, as every store does; a longer one as its digits."""
    value = int(digits) if len(digits) <= len(str(_INT64_MAX)) else _INT64_MAX + 1
    return value if value <= _INT64_MAX else digits
