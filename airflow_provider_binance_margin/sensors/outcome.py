"""What a look means for a waiting task: the same in each mode, whether a worker or the triggerer looked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from airflow_provider_binance_margin.exchange import errors
from airflow_provider_binance_margin.exchange.errors import BinanceError, BinanceThrottledError
from airflow_provider_binance_margin.lake.interval import iso

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.watch import Seen

Status: TypeAlias = Literal["found", "closed", "waiting", "failed"]


def status_of(seen: Seen, min_records: int) -> Status:
    """Whether enough has appeared, nothing more can, or there is still something to wait for."""
    if seen.total >= min_records:
        return "found"
    return "closed" if seen.closed else "waiting"


def outcome_of(seen: Seen, start: int, min_records: int) -> dict[str, Any]:
    """A look as a task's result and as a trigger's event: JSON, no secrets."""
    newest = json.loads(seen.newest.line, parse_float=_text) if seen.newest else None
    return {
        "status": status_of(seen, min_records),
        "total": seen.total,
        "newest": newest,
        "start": iso(start),
        "end": iso(seen.end),
    }


def describe(outcome: Mapping[str, Any], min_records: int) -> str:
    """A look in words, for the log."""
    bounds = f"[{outcome['start']}, {outcome['end']})"
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


def _text(number: str) -> str:
    return str(Decimal(number))
