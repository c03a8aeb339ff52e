"""What operators and sensors are told alike, and what of it could never work."""

from __future__ import annotations

from datetime import timedelta

from airflow_provider_binance_margin.lake.interval import GRAINS, Grain

_HOUR = 3600.0


def seconds(value: timedelta | float) -> float:
    """A length of time, given either way."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def check_windows(*, grain: Grain | None, settle: timedelta | float, max_span: timedelta | float) -> None:
    """Refuse, while the DAG is parsed, windows that could never be asked for."""
    if grain is not None and grain not in GRAINS:
        raise ValueError(f"grain must be one of {', '.join(GRAINS)} or None, not {grain!r}")
    if seconds(settle) < 0:
        raise ValueError("settle must not be negative")
    if seconds(max_span) < _HOUR:
        raise ValueError("max_span must be an hour or more")
