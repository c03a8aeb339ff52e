"""Dataset of the margin account: its endpoint as data, the requests for it, and the decoder of their answers.

The body is ``{"rows": [...], "total": n}`` or, of a ledger, a bare list.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.scope import Scope

log = logging.getLogger(__name__)

#: What a column holds: "decimal" is a decimal number in a string, "timestamp" is milliseconds since 1970 in UTC,
#: "epoch" is the same, or seconds where it has no more than ten digits.
ColumnType: TypeAlias = Literal["decimal", "integer", "string", "boolean", "timestamp", "epoch"]
KeyValue: TypeAlias = int | str | None


class Record(NamedTuple):
    """One row of the exchange."""

    time: int | None  # ms since 1970 (UTC), None where the row has none, or none that a calendar has
    key: tuple[KeyValue, ...]  # values of the record key, None where the row lacks one
    line: bytes  # one line of JSON, with the exchange's own literals


class Page(NamedTuple):
    """One answer: its rows in the order received, and how many the exchange says the whole window has, if it does."""

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


#: Rejects, with a ValueError, JSON that other readers cannot parse: duplicate names, numbers out of range.
_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_number)


@lru_cache(maxsize=256)
def _decoder(row: Any, size: int, *, is_list: bool, needs_total: bool = False) -> msgspec.json.Decoder[Any]:
    """Decoder of a page of at most so many rows: one more is refused before it is decoded."""
    fields = [(f"row{number}", row, msgspec.UNSET) for number in range(size)]
    rows = msgspec.defstruct("Rows", fields, array_like=True, forbid_unknown_fields=True, gc=False)
    if is_list:
        return msgspec.json.Decoder(rows)
    total: Any = ("total", _TOTAL) if needs_total else ("total", _TOTAL | None, None)
    return msgspec.json.Decoder(msgspec.defstruct("Body", [("rows", rows), total]))


def _rows(rows: Any) -> list[Any]:
    return [row for row in msgspec.structs.astuple(rows) if row is not msgspec.UNSET]


@lru_cache
def _tell_of_seconds(name: str) -> None:
    log.warning("%s has times in seconds (ten digits): taken for what they are, and left as sent in JSON lines.", name)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One dataset of the margin account and the paged, signed endpoint that serves it."""

    name: str  # as it stands in options, keys and metadata
    path: str
    columns: Mapping[str, ColumnType]  # documented fields in documented order, with their types
    optional: Collection[str] = ()  # fields that a row may lack
    time_field: str  # the field that a record's time is taken from
    record_key: Sequence[str]  # the fields that identify a record, whatever its time; none of them is optional
    weight: int = 1  # of one call, counted by address (IP) or account (UID)
    weight_kind: Literal["IP", "UID"] = "IP"
    params: Mapping[str, str] = field(default_factory=dict)  # fixed parameters of each request
    pair_param: str | None = "isolatedSymbol"  # names an isolated pair; None where all is of the cross account
    filters: Sequence[str] = ()  # further filters that the endpoint offers
    #: ``rows`` and ``total`` by ``current`` and ``size``, or a bare list by ``fromId`` and ``limit``
    pager: Literal["total", "ledger"] = "total"
    max_size: int = 100  # rows on a full page
    newest_first: bool = True  # where that order is documented
    max_span: timedelta  # the longest window of one request
    memory: timedelta | None = None  # how far back the exchange remembers, where that is documented
    not_final: Mapping[str, Collection[str]] = field(default_factory=dict)  # values with which a row may still change
    isolated_field: str | None = None  # the field that says whether a record is of an isolated account

    @property
    def is_ledger(self) -> bool:
        """True for a bare list, which states no total."""
        return self.pager == "ledger"

    def span_ms(self, seconds: float | None) -> int:
        """The longest window to ask for at once, in ms: the dataset's own, or a shorter one that was given."""
        own = self.max_span.total_seconds()
        return int(min(own, seconds or own) * 1000)

    def request(
        self, scope: Scope, start: int, end: int, *, size: int | None = None, at: int | None = None
    ) -> dict[str, Any]:
        """Parameters of one request for ``[start, end)`` in ms; `at` is the page's number, or a ledger's ``fromId``."""
        pair = {} if self.pair_param is None else {self.pair_param: scope.isolated_symbol}
        size = size or self.max_size
        place = {"limit": size, "fromId": at} if self.is_ledger else {"current": at or 1, "size": size}
        return {"startTime": start, "endTime": end - 1, **pair, **self.params, **dict(scope.filters), **place}

    def record(self, line: bytes) -> Record:
        """Decode a record from its own line; UnreadableAnswerError if it is none."""
        page = self.read_page(b"[%b]" % line if self.is_ledger else b'{"rows":[%b],"total":1}' % line)
        if len(page.records) != 1:
            raise UnreadableAnswerError("not one row")
        return page.records[0]

    def is_final(self, line: bytes) -> bool:
        """False for a row in a state that may still change."""
        row = self._states.decode(line)
        return all(getattr(row, name) not in states for name, states in self.not_final.items())

    def read_page(self, body: bytes, size: int | None = None) -> Page:
        """Decode one answer.

        :raises UnreadableAnswerError: when it is cut off, no JSON, has no list of rows, holds more than `size` of them
            (the endpoint's most if None), or contradicts itself
        """
        size = min(size or self.max_size, self.max_size)
        try:
            text = body.decode()
            page = self._usual_page(body, size)
            if page is None:
                decoded = _decoder(msgspec.Raw, size, is_list=self.is_ledger).decode(body)
                if isinstance(read := _STRICT.decode(text), dict) and "code" in read:
                    raise ValueError("an error beside rows")  # noqa: TRY301 - told as all that cannot be read
                rows, total = (decoded, None) if self.is_ledger else (decoded.rows, decoded.total)
                page = Page([self._unusual(_ROW.decode(row)) for row in _rows(rows)], total)
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
            decoded = _decoder(self._usual_row, size, is_list=self.is_ledger, needs_total=True).decode(body)
        except msgspec.MsgspecError:
            return None
        total: Any = None if self.is_ledger else decoded.total
        decoded_rows = _rows(decoded if self.is_ledger else decoded.rows)
        lines = _ENCODER.encode_lines(decoded_rows).split(b"\n")
        del lines[-1]  # what follows the last line's end
        rows = b",".join(lines)
        if self.is_ledger:
            same = body == b"[%b]" % rows
        else:
            same = body in (b'{"rows":[%b],"total":%d}' % (rows, total), b'{"total":%d,"rows":[%b]}' % (total, rows))
        if not same:
            return None
        times = map(attrgetter(self.time_field), decoded_rows)
        if self.columns[self.time_field] == "epoch":
            times = map(self._in_ms, times)
        keys = zip(*(map(attrgetter(name), decoded_rows) for name in self.record_key), strict=True)
        return Page(list(map(Record, times, keys, lines)), total)

    def _in_ms(self, time: int) -> int:
        if time >= _SECONDS_BELOW:
            return time
        _tell_of_seconds(self.name)
        return time * 1000

    @cached_property
    def _usual_row(self) -> Any:
        fields = [
            (name, _USUAL[kind] | None | msgspec.UnsetType, msgspec.UNSET)
            if name in self.optional
            else (name, _USUAL[kind])
            for name, kind in self.columns.items()
        ]
        row = msgspec.defstruct("Row", fields, kw_only=True, gc=False)
        # The first decoder converts the types. Another thread's that finds them half converted reads a null pointer.
        msgspec.json.Decoder(row)
        return row

    @cached_property
    def _states(self) -> msgspec.json.Decoder[Any]:
        return msgspec.json.Decoder(msgspec.defstruct("States", [(name, Any, None) for name in self.not_final]))

    def _unusual(self, row: dict[str, msgspec.Raw]) -> Record:
        kind = self.columns[self.time_field]
        time = _value(bytes(row.get(self.time_field, b"null")), kind)
        if kind == "epoch" and isinstance(time, int):
            time = self._in_ms(time)
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
_DIGITS = re.compile("[0-9]{1,19}")
_LATEST = 10**14 - 1  # ms: in the year 5138
_SECONDS_BELOW = 10**10  # of an "epoch"
_TIME = Annotated[int, msgspec.Meta(ge=0, le=_LATEST)]
#: what a column holds on nearly every row
_USUAL: dict[ColumnType, Any] = {
    "decimal": str,
    "string": str,
    "integer": Annotated[int, msgspec.Meta(ge=0, le=_INT64_MAX)],
    "timestamp": _TIME,
    "epoch": _TIME,
    "boolean": bool,
}
_BOOLEANS: dict[bytes, KeyValue] = {b"true": 1, b"false": 0}


def _value(literal: bytes, kind: ColumnType) -> KeyValue:
    """A literal as a value to compare and store: booleans as 0 and 1, numbers of 64 bits (also in strings) as such."""
    if literal == b"null":
        return None
    if kind == "boolean" and literal in _BOOLEANS:
        return _BOOLEANS[literal]
    text = literal.decode()
    if text.startswith('"'):
        text = text[1:-1] if "\\" not in text else json.loads(text)
    if kind in ("integer", "timestamp", "epoch") and _DIGITS.fullmatch(text) and int(text) <= _INT64_MAX:
        return int(text)
    return text
