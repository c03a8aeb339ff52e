"""Metrics by way of Airflow's own `Stats`: nothing is sent where Airflow has no client configured."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from airflow_provider_binance_margin.exchange.rate_limiter import used_weights

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.messages import Reply

log = logging.getLogger(__name__)


def send_metric(kind: Literal["incr", "gauge"], name: str, number: float, tags: Mapping[str, str]) -> None:
    """Send one metric, with tags of the characters that names of metrics have; whatever fails there fails no task."""
    try:
        from airflow.providers.common.compat.sdk import Stats

        clean = {tag: quote(value, safe="").replace("%", "_") for tag, value in tags.items()}
        getattr(Stats, kind)(f"binance_margin.{name}", number, tags=clean)
    except Exception as error:  # noqa: BLE001 - any backend's
        log.debug("Metric %s not sent: %s", name, type(error).__name__)


def send_reply_metrics(connection: str, url: str, reply: Reply) -> None:
    """Count a request, and send the weight that its answer states as used in this minute on its endpoint."""
    tags = {"connection": connection, "endpoint": url.partition("?")[0].rpartition("/")[2]}
    send_metric("incr", "requests", 1, tags)
    if reply.status in (429, 418):
        send_metric("incr", "throttled", 1, tags)
    for kind, used in used_weights(reply.header):
        send_metric("gauge", "weight_used", used, {**tags, "kind": kind})
