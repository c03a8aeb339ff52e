"""Outcome of a poll for a waiting task: the same in each mode, whether a worker or the triggerer polled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from airflow_provider_binance_margin.exchange import errors
from airflow_provider_binance_margin.exchange.errors import BinanceError, BinanceThrottledError
from airflow_provider_binance_margin.lake.interval import iso

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.counter import Count

#: of the integers that 64 bits hold, signs included
_DIGITS = 18

Status: TypeAlias = Literal["found", "closed", "waiting", "failed"]


def status_of(count: Count, min_records: int) -> Status:
    """Found, closed for good, or still to be waited for."""
    if count.total >= min_records:
        return "found"
    return "closed" if count.closed else "waiting"


def outcome_of(count: Count, start: int, min_records: int, **asked: str | None) -> dict[str, Any]:
    """A poll as a task's result and as a trigger's event: JSON, no secrets.

    :param asked: connection and pair that were asked about
    """
    return {
        "status": status_of(count, min_records),
        "total": count.total,
        "newest": _row(count.newest.line) if count.newest else None,
        "start": iso(start),
        "end": iso(count.end),
        **asked,
    }


def describe(outcome: Mapping[str, Any], min_records: int) -> str:
    """A poll in words, for the log."""
    asked = ", ".join(filter(None, (outcome.get("binance_conn_id"), outcome.get("isolated_symbol"))))
    bounds = f"{asked}{': ' if asked else ''}[{outcome['start']}, {outcome['end']})"
    if outcome["status"] == "closed":
        return (
            f"{bounds} has ended with {outcome['total']} of {min_records} records; nothing can appear in it any more."
        )
    return f"{bounds} has {outcome['total']} of {min_records} records."


def failure_of(error: BinanceError) -> dict[str, Any]:
    """An error as a trigger's event."""
    return {
        "status": "failed",
        "kind": type(error).__name__,
        "message": str(error),
        "code": error.code,
        "http_status": error.status,
        "retry_after": error.retry_after if isinstance(error, BinanceThrottledError) else None,
    }


def error_of(event: Mapping[str, Any]) -> BinanceError:
    """The error that a trigger's event tells of."""
    kind = getattr(errors, str(event.get("kind")), BinanceError)
    details = {"code": event.get("code"), "status": event.get("http_status")}
    if issubclass(kind, BinanceThrottledError):
        details["retry_after"] = event.get("retry_after") or 0.0
    return kind(str(event.get("message")), **details)


def _row(line: bytes) -> Any:
    """A row with its literals: a number that a database or another reader may not hold stays the text it was."""
    try:
        return json.loads(line, parse_float=str, parse_int=_integer, parse_constant=str)
    except (ValueError, RecursionError):
        return line.decode(errors="replace")


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _DIGITS else digits
