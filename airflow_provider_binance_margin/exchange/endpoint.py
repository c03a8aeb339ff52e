"""An endpoint that answers ``{"rows": [...], "total": n}``: what must be known of it, and how its pages are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property, lru_cache, partial
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


_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
#: more than a billion of them are no number of records
_TOTAL = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
_LARGEST_EXPONENT = 10_000


class UnreadableAnswerError(ValueError):
    """A body that is not what the endpoint answers, or contradicts itself; its text quotes nothing of it."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a field twice")
    return names


def _number(literal: str) -> Decimal:
    number = Decimal(literal)
    if abs(number.adjusted()) > _LARGEST_EXPONENT:
        raise ValueError("a number beyond reading")
    return number


#: Refuses, with a ValueError, what a later reader would stumble over: a name twice, numbers beyond what Python reads.
_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_number)


@lru_cache(maxsize=256)
def _decoder(row: Any, size: int, *, needs_total: bool) -> msgspec.json.Decoder[Any]:
    """Decoder of a page of at most so many rows: one more is refused before it is decoded."""
    fields = [(f"row{number}", row, msgspec.UNSET) for number in range(size)]
    rows = msgspec.defstruct("Rows", fields, array_like=True, forbid_unknown_fields=True, gc=False)
    total: Any = ("total", _TOTAL) if needs_total else ("total", _TOTAL | None, None)
    return msgspec.json.Decoder(msgspec.defstruct("Body", [("rows", rows), total]))


def _rows(body: Any) -> list[Any]:
    return [row for row in msgspec.structs.astuple(body.rows) if row is not msgspec.UNSET]


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

    def reader_of(self, size: int | None) -> Callable[[bytes], Page]:
        """Decoder of answers to a request of `size` rows, the endpoint's most if None."""
        return partial(self.read_page, size=size)

    def read_page(self, body: bytes, size: int | None = None) -> Page:
        """Decode one answer.

        :param size: rows that were asked for, the endpoint's most if None
        :raises UnreadableAnswerError: when it is cut off, no JSON, has no list of rows, holds more of them than were
            asked for, or contradicts itself
        """
        size = min(size or self.max_size, self.max_size)
        try:
            text = body.decode()
            page = self._usual_page(body, size)
            if page is None:
                decoded = _decoder(msgspec.Raw, size, needs_total=False).decode(body)
                if "code" in _STRICT.decode(text):
                    raise ValueError("an error beside rows")  # noqa: TRY301 - told as all that cannot be read
                page = Page([self._unusual(_ROW.decode(row)) for row in _rows(decoded)], decoded.total)
        except (msgspec.MsgspecError, ValueError, InvalidOperation, RecursionError):
            raise UnreadableAnswerError("the answer is not a page of rows") from None
        if page.total is not None and page.total < len(page.records) and page.total < _distinct(page.records):
            raise UnreadableAnswerError("the answer holds more records than it states")
        return page

    def _usual_page(self, body: bytes, size: int) -> Page | None:
        """The page of a body that is nothing but rows that are compact, complete and in documented order.

        It is one exactly if what was understood of it, written again, gives the same bytes. Then each row is its own
        line already, and its values need no second look.
        """
        try:
            decoded = _decoder(self._usual_row, size, needs_total=True).decode(body)
        except msgspec.MsgspecError:
            return None
        decoded_rows, total = _rows(decoded), decoded.total
        lines = _ENCODER.encode_lines(decoded_rows).split(b"\n")
        del lines[-1]  # what follows the last line's end
        rows = b",".join(lines)
        if body not in (b'{"rows":[%b],"total":%d}' % (rows, total), b'{"total":%d,"rows":[%b]}' % (total, rows)):
            return None
        times = map(attrgetter(self.time_field), decoded_rows)
        keys = zip(*(map(attrgetter(name), decoded_rows) for name in self.record_key), strict=True)
        return Page(list(map(Record, times, keys, lines)), total)

    @cached_property
    def _usual_row(self) -> Any:
        return msgspec.defstruct("Row", [(name, _USUAL[kind]) for name, kind in self.columns.items()], gc=False)

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


def _distinct(records: list[Record]) -> int:
    return len({record.line if None in record.key else record.key for record in records})


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
