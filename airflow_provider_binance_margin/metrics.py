"""Metrics by way of Airflow's own `Stats`: nothing is sent where Airflow has no client configured."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.messages import Reply
    from airflow_provider_binance_margin.lake.object_metadata import ObjectIdentity

log = logging.getLogger(__name__)

_PREFIX = "binance_margin"
_THROTTLED = (429, 418)
_USED_WEIGHT = {"IP": "x-sapi-used-ip-weight-1m", "UID": "x-sapi-used-uid-weight-1m"}


def tell_reply(connection: str, url: str, reply: Reply) -> None:
    """Count a request, and tell the weight that its answer states as used in this minute, on its endpoint."""
    tags = {"connection": connection, "endpoint": url.partition("?")[0].rpartition("/")[2]}
    _incr("requests", 1, tags)
    if reply.status in _THROTTLED:
        _incr("throttled", 1, tags)
    for kind, name in _USED_WEIGHT.items():
        used = reply.header(name) or ""
        if used.isascii() and used.isdigit():
            _gauge("weight_used", int(used), {**tags, "kind": kind})


def tell_object(identity: ObjectIdentity, records: int) -> None:
    """Count an object that was written, and its records."""
    _incr("objects", 1, _tags_of(identity.dataset, identity.account, identity.scope))
    _incr("records", records, _tags_of(identity.dataset, identity.account, identity.scope))


def tell_lags(ends: Mapping[tuple[str, str, str], int], now: float) -> None:
    """Tell how long ago the last interval of each dataset, account and scope ended that a run has loaded.

    :param ends: of the intervals, in ms
    :param now: exchange's time, in seconds since 1970
    """
    for subject, end in ends.items():
        _gauge("lag", now - end / 1000, _tags_of(*subject))


def tell_verdicts(counts: Mapping[tuple[str, str, str], Mapping[str, int]]) -> None:
    """Tell the intervals of an audit by dataset, account and scope, and by verdict."""
    for subject, verdicts in counts.items():
        for verdict, number in verdicts.items():
            _gauge(f"audit.{verdict}", number, _tags_of(*subject))


def _tags_of(dataset: str, account: str, scope: str) -> dict[str, str]:
    return {"dataset": dataset, "account": account, "scope": scope}


def _incr(name: str, number: int, tags: Mapping[str, str]) -> None:
    if number:
        _send(lambda stats, clean: stats.incr(f"{_PREFIX}.{name}", number, tags=clean), tags)


def _gauge(name: str, value: float, tags: Mapping[str, str]) -> None:
    _send(lambda stats, clean: stats.gauge(f"{_PREFIX}.{name}", value, tags=clean), tags)


def _send(emit: Callable[[Any, dict[str, str]], None], tags: Mapping[str, str]) -> None:
    """Emit, with tags of the characters that names of metrics have; whatever fails there fails no task."""
    try:
        from airflow.providers.common.compat.sdk import Stats

        emit(Stats, {name: quote(value, safe="").replace("%", "_") for name, value in tags.items()})
    except Exception as error:  # noqa: BLE001 - any backend's
        log.debug("Metric not sent: %s", type(error).__name__)
