"""Metrics by way of Airflow's own `Stats`, in tasks and triggers: nothing is sent where it has no client configured."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from airflow_provider_binance_margin.exchange.rate_limiter import used_weights

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.messages import Reply

log = logging.getLogger(__name__)


def task_stats() -> Any:
    """Import the `Stats` that Airflow configures for a task."""
    from airflow.providers.common.compat.sdk import Stats

    return Stats


def triggerer_stats() -> Any:
    """Import the `Stats` that Airflow configures in the triggerer, another than a task's since 3.2."""
    try:
        from airflow.observability.stats import Stats
    except ImportError:
        return task_stats()
    return Stats


def send_metric(
    kind: Literal["incr", "gauge"],
    name: str,
    number: float,
    tags: Mapping[str, str],
    stats: Callable[[], Any] = task_stats,
) -> None:
    """Send one metric; tag values are restricted to safe characters, and an error of the client is only logged."""
    try:
        clean = {tag: quote(value, safe="").replace("%", "_") for tag, value in tags.items()}
        getattr(stats(), kind)(f"binance_margin.{name}", number, tags=clean)
    except Exception as error:  # noqa: BLE001 - any backend's
        log.debug("Metric %s not sent: %s", name, type(error).__name__)


def send_reply_metrics(connection: str, url: str, reply: Reply, stats: Callable[[], Any] = task_stats) -> None:
    """Count a request, and send the weight that its answer states as used in this minute on its endpoint."""
    tags = {"connection": connection, "endpoint": url.partition("?")[0].rpartition("/")[2]}
    send_metric("incr", "requests", 1, tags, stats)
    if reply.status in (429, 418):
        send_metric("incr", "throttled", 1, tags, stats)
    for kind, used in used_weights(reply.header):
        send_metric("gauge", "weight_used", used, {**tags, "kind": kind}, stats)
