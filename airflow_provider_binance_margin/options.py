"""What operators and sensors are told alike, and what of it could never work."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow_provider_binance_margin.exchange.datasets import dataset_of
from airflow_provider_binance_margin.exchange.errors import BinanceRequestError
from airflow_provider_binance_margin.exchange.scope import checked_symbol, scope_of
from airflow_provider_binance_margin.lake.interval import GRAINS, Grain

_HOUR = 3600.0


def seconds(value: timedelta | float) -> float:
    """A length of time, given either way."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def seconds_or_none(value: timedelta | float | None) -> float | None:
    """The same, where it may be left out."""
    return None if value is None else seconds(value)


def is_plain(value: Any) -> bool:
    """Whether a value stands in the DAG file, and is not left to a template or to another task."""
    if isinstance(value, str):
        return not any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, Mapping):
        return all(is_plain(part) for part in value.values())
    return isinstance(value, (int, float, bytes, list, tuple, set))


def check_dataset(dataset: Any, isolated_symbol: Any, filters: Any) -> None:
    """Refuse, while the DAG is parsed, what no endpoint offers; templates and other tasks' values come later."""
    try:
        if is_plain(isolated_symbol):
            checked_symbol(isolated_symbol)
        if is_plain(dataset):
            given = (value if is_plain(value) else None for value in (isolated_symbol, filters))
            scope_of(dataset_of(dataset), *given)
    except BinanceRequestError as error:
        raise ValueError(str(error)) from None


def check_windows(*, grain: Grain | None, settle: timedelta | float, max_span: timedelta | float | None) -> None:
    """Refuse, while the DAG is parsed, windows that could never be asked for."""
    if grain is not None and grain not in GRAINS:
        raise ValueError(f"grain must be one of {', '.join(GRAINS)} or None, not {grain!r}")
    if seconds(settle) < 0:
        raise ValueError("settle must not be negative")
    if max_span is not None and seconds(max_span) < _HOUR:
        raise ValueError("max_span must be an hour or more")
