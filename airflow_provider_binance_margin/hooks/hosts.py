"""Hosts that this process calls: one `Host` each, shared by all hooks and triggers."""

from __future__ import annotations

import time

from airflow_provider_binance_margin.exchange.forking import fork_safe_lock
from airflow_provider_binance_margin.exchange.host import Host

_hosts: dict[str, Host] = {}
_lock = fork_safe_lock()


def shared_host(base_url: str) -> Host:
    """Look up the host of a base URL, as `Settings` spells it."""
    with _lock:
        if base_url not in _hosts:
            _hosts[base_url] = Host(base_url, time)
        return _hosts[base_url]
