"""Options that operators and sensors share, and their checks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_margin.exchange.datasets import dataset_of
from airflow_provider_binance_margin.exchange.errors import BinanceRequestError
from airflow_provider_binance_margin.exchange.scope import checked_symbol, scope_of
from airflow_provider_binance_margin.lake.interval import GRAINS, Grain

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_HOUR = 3600.0
_MAP_INDEX = "{{ [task.dataset, task.isolated_symbol or 'cross', task.start] | select | join(' ') }}"


def seconds(value: timedelta | float) -> float:
    """Convert a duration to seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def seconds_or_none(value: timedelta | float | None) -> float | None:
    """Convert an optional duration to seconds."""
    return None if value is None else seconds(value)


def is_plain(value: Any) -> bool:
    """True for a literal; False for a template or another task's output."""
    if isinstance(value, str):
        return not any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, Mapping):
        return all(is_plain(part) for part in value.values())
    return isinstance(value, (int, float, bytes, list, tuple, set))


def name_map_index(context: Context) -> None:
    """Name a mapped task by what it is of, e.g. ``interest BTCUSDT``, where the DAG gives no `map_index_template`."""
    is_mapped = getattr(context.get("ti"), "map_index", None) not in (None, -1)
    if is_mapped and context.get("map_index_template", "") is None:
        context["map_index_template"] = _MAP_INDEX


def check_dataset(dataset: Any, isolated_symbol: Any, filters: Any) -> None:
    """Validate literal options against the dataset when the DAG is parsed; templates wait until the task runs."""
    try:
        if is_plain(isolated_symbol):
            checked_symbol(isolated_symbol)
        if is_plain(dataset):
            given = (value if is_plain(value) else None for value in (isolated_symbol, filters))
            scope_of(dataset_of(dataset), *given)
    except BinanceRequestError as error:
        raise ValueError(str(error)) from None


def check_windows(*, grain: Grain | None, settle: timedelta | float, max_span: timedelta | float | None) -> None:
    """Check the options of intervals and windows; ValueError, naming the option."""
    if grain is not None and grain not in GRAINS:
        raise ValueError(f"grain must be one of {', '.join(GRAINS)} or None, not {grain!r}")
    if seconds(settle) < 0:
        raise ValueError("settle must not be negative")
    if max_span is not None and seconds(max_span) < _HOUR:
        raise ValueError("max_span must be an hour or more")
