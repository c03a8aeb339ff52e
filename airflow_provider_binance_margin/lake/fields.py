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


def unknown_fields(row: Row, columns: Mapping[str, str]) -> msgspec.Raw | None:
    """The fields that are not documented, as the JSON text (in a JSON string) of an object; None without any."""
    if len(row) <= len(columns) and all(name in columns for name in row):
        return None
    parts = [
        f"{json.dumps(name, ensure_ascii=False)}:{bytes(row[name]).decode()}"
        for name in sorted(row)
        if name not in columns
    ]
    return msgspec.Raw(msgspec.json.encode("{" + ",".join(parts) + "}"))


def csv_value(raw: msgspec.Raw | None) -> str:
    """A literal as sent, a string without its quotes; null and nothing are an empty field, an empty text is ``""``."""
    literal = b"null" if raw is None else bytes(raw)
    if literal == b"null":
        return ""
    text = _string_of(literal) if literal.startswith(b'"') else literal.decode()
    return '"' + text.replace('"', '""') + '"' if _TO_BE_QUOTED.search(text) else text


def snake_case(name: str) -> str:
    """As ``avg_price`` for ``avgPrice``."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), name)


def python_value(raw: msgspec.Raw | None, kind: str) -> Any:
    """A literal as the exact value of its column's type; None for null and for nothing.

    :raises ValueError: when it is not of that type, or beyond what the column holds
    """
    literal = b"null" if raw is None else bytes(raw)
    if literal == b"null":
        return None
    if kind == "json":
        return literal.decode()
    return _CONVERT[kind](_string_of(literal) if literal.startswith(b'"') else _JSON.decode(literal.decode()))


def _string_of(literal: bytes) -> str:
    """A string: nearly always one that is what it says."""
    return literal[1:-1].decode() if b"\\" not in literal else str(json.loads(literal))


class _Number(str):
    """A JSON number, as its digits."""

    __slots__ = ()


def _refuse(_: str) -> Any:
    raise ValueError("is no JSON")


_JSON = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_refuse)


def _decimal(value: Any) -> Decimal:
    """However it is spelt, with the scale of the column: pyarrow drops digits of some others without a word."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise ValueError("is not a plain decimal number")
    try:
        return Decimal(value).quantize(_UNIT, context=_EXACT)
    except (Inexact, InvalidOperation, Overflow):
        raise ValueError(f"does not fit decimal128({PRECISION}, {SCALE})") from None


def _integer(value: Any) -> int:
    if not isinstance(value, str) or not _WHOLE_NUMBER.fullmatch(value) or int(value) not in _INT64:
        raise ValueError("is not a whole number of 64 bits")
    return int(value)


def _epoch(value: Any) -> int:
    number = _integer(value)
    return number * 1000 if abs(number) < _SECONDS_BELOW else number


def _string(value: Any) -> str:
    if not isinstance(value, str) or isinstance(value, _Number):
        raise ValueError("is not a string")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "decimal": _decimal,
    "integer": _integer,
    "string": _string,
    "boolean": _boolean,
    "timestamp": _integer,
    "epoch": _epoch,
}
