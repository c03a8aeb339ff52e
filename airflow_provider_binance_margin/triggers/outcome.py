"""Outcome of a poll for a waiting task: the same in each mode, whether a worker or the triggerer polled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.exchange import errors
from airflow_provider_binance_margin.exchange.errors import BinanceError, BinanceThrottledError
from airflow_provider_binance_margin.failures import name_connection
from airflow_provider_binance_margin.lake.interval import iso

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.counter import Count

#: digits and sign of an integer that fits into 64 bits
_DIGITS = 18


def outcome_of(count: Count, start: int, task: Any) -> dict[str, Any]:
    """Make a poll's outcome, fit for an XCom and a trigger's event: JSON without secrets.

    :param start: start of the window, in ms
    :param task: the sensor or its trigger, whose options are the same
    """
    enough = count.total >= task.min_records
    return {
        "status": "found" if enough else "closed" if count.closed else "waiting",
        "total": count.total,
        "newest": _row(count.newest.line) if count.newest else None,
        "start": iso(start),
        "end": iso(count.end),
        "dataset": task.dataset,
        "isolated_symbol": task.isolated_symbol,
        "binance_conn_id": task.binance_conn_id,
    }


def describe(outcome: Mapping[str, Any], min_records: int) -> str:
    """Sentence for the log; an outcome of an earlier version has no dataset."""
    asked = ", ".join(filter(None, map(outcome.get, ("dataset", "isolated_symbol", "binance_conn_id"))))
    found = f"{outcome['total']} of {min_records} records in [{outcome['start']}, {outcome['end']}) ({asked})"
    return f"{found}: the interval has ended, and no more can appear." if outcome["status"] == "closed" else f"{found}."


def failure_of(error: BinanceError, conn_id: str) -> dict[str, Any]:
    """Make the payload of a trigger's last event from an error."""
    return {
        "status": "failed",
        "kind": type(error).__name__,
        "message": name_connection(conn_id, error),
        "code": error.code,
        "http_status": error.status,
        "retry_after": error.retry_after if isinstance(error, BinanceThrottledError) else None,
    }


def error_of(event: Mapping[str, Any]) -> BinanceError:
    """Make the error again from a payload of `failure_of`, be it of another version."""
    kind = getattr(errors, str(event.get("kind")), BinanceError)
    details = {"code": event.get("code"), "status": event.get("http_status")}
    if issubclass(kind, BinanceThrottledError):
        details["retry_after"] = event.get("retry_after") or 0.0
    return kind(str(event.get("message")), **details)


def _row(line: bytes) -> Any:
    """Decode a row; fractions, exponents and long integers stay text, digit for digit."""
    try:
        return json.loads(line, parse_float=str, parse_int=_integer, parse_constant=str)
    except (ValueError, RecursionError):
        return line.decode(errors="replace")


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _DIGITS else digits
