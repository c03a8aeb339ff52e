"""What one process knows of each host it calls: shared by all hooks and triggers in it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_binance_margin.exchange.host import Host

_hosts: dict[str, Host] = {}
_lock = threading.Lock()


def shared_host(base_url: str) -> Host:
    """What all calls of this process to one host share: its pace, its clock, its bans."""
    from airflow_provider_binance_margin.exchange.host import Host

    with _lock:
        return _hosts.setdefault(base_url, Host(base_url, time))
