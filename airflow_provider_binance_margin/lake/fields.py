"""One field's JSON literal -> what CSV and Parquet hold of it: the same value, or an error that names the record."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Any

import msgspec

Row = Mapping[str, msgspec.Raw]

#: of a decimal column; 8 places are what the exchange sends, with more the product of two would not fit 38 digits
PRECISION, SCALE = 38, 8
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,38}")
# digits are counted before any are made, so that a literal such as 1e999999999 costs nothing
_EXACT = Context(prec=PRECISION, traps=[Inexact, InvalidOperation, Overflow])
_UNIT = Decimal(1).scaleb(-SCALE)
_INT64 = range(-(2**63), 2**63)
_SECONDS_BELOW = 10**10  # of an "epoch": seconds or ms since 1970
_TO_BE_QUOTED = re.compile(r'[",\r\n]|^$|^\s|\s$')


class FieldError(ValueError):
    """A value that the chosen format cannot hold as it is; trying again cannot help."""


def extra_of(columns: Iterable[str]) -> str:
    """The name of the column that takes what is not documented: ``extra``, unless a documented one is called so."""
    name = "extra"
    while name in columns:
        name += "_"
    return name


def unknown_fields(row: Row, columns: Mapping[str, str]) -> str | None:
    """The fields that are not documented, as the JSON text of an object; None without any."""
    if len(row) <= len(columns) and all(name in columns for name in row):
        return None
    unknown = sorted(name for name in row if name not in columns)
    fields = (f"{json.dumps(name, ensure_ascii=False)}:{bytes(row[name]).decode()}" for name in unknown)
    return "{" + ",".join(fields) + "}"


def csv_cell(text: str | None) -> str:
    """A text as a cell of CSV: nothing is an empty one, an empty text is ``""``."""
    if text is None:
        return ""
    return '"' + text.replace('"', '""') + '"' if _TO_BE_QUOTED.search(text) else text


def text_value(raw: msgspec.Raw | None) -> str | None:
    """A literal as sent, a string without its quotes; None for null and for nothing."""
    literal = b"null" if raw is None else bytes(raw)
    if not literal.startswith(b'"'):
        return None if literal == b"null" else literal.decode()
    return literal[1:-1].decode() if b"\\" not in literal else str(json.loads(literal))


def snake_case(name: str) -> str:
    """As ``avg_price`` for ``avgPrice``."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), name)


def python_value(raw: msgspec.Raw | None, kind: str) -> Any:
    """A literal as the exact value of its column's type; None for null and for nothing.

    :raises ValueError: when it is not of that type, or beyond what the column holds
    """
    if raw is None or (text := text_value(raw)) is None:
        return None
    if kind == "json":
        return bytes(raw).decode()
    is_string = bytes(raw).startswith(b'"')
    if kind == "string" and not is_string:
        raise ValueError("is not a string")
    if kind == "boolean":
        if is_string or text not in ("true", "false"):
            raise ValueError("is neither true nor false")
        return text == "true"
    return _CONVERT[kind](text)


def _decimal(text: str) -> Decimal:
    """However it is spelt, with the scale of the column: pyarrow drops digits of some others without a word."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("is not a plain decimal number")
    try:
        return Decimal(text).quantize(_UNIT, context=_EXACT)
    except (Inexact, InvalidOperation, Overflow):
        raise ValueError(f"does not fit decimal128({PRECISION}, {SCALE})") from None


def _integer(text: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(text) or int(text) not in _INT64:
        raise ValueError("is not a whole number of 64 bits")
    return int(text)


def _epoch(text: str) -> int:
    number = _integer(text)
    return number * 1000 if abs(number) < _SECONDS_BELOW else number


_CONVERT: dict[str, Callable[[str], Any]] = {
    "string": str,
    "decimal": _decimal,
    "integer": _integer,
    "timestamp": _integer,
    "epoch": _epoch,
}
