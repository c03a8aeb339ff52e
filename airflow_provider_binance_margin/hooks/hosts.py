"""Hosts that this process calls: one `Host` each, shared by all hooks and triggers."""

from __future__ import annotations

import ipaddress
import time
from urllib.parse import urlsplit

from airflow_provider_binance_margin.exchange.forking import fork_safe_lock
from airflow_provider_binance_margin.exchange.host import Host

_DEFAULT_PORTS = {"https": 443, "http": 80}
_hosts: dict[str, Host] = {}
_lock = fork_safe_lock()


def shared_host(base_url: str) -> Host:
    """Look up the host of a base URL, however that is spelled."""
    url = canonical_url(base_url)
    with _lock:
        if url not in _hosts:
            _hosts[url] = Host(url, time)
        return _hosts[url]


def canonical_url(base_url: str) -> str:
    """Normalise a base URL: lower case, ASCII, no trailing dot, no default port; ValueError for one without a host."""
    parts = urlsplit(base_url)
    scheme, name = parts.scheme.lower(), parts.hostname or ""
    try:
        address = ipaddress.ip_address(name)
        name = f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004
    except ValueError:
        name = name.removesuffix(".")
        if not name.isascii():
            name = name.encode("idna").decode().lower()
    port = parts.port or _DEFAULT_PORTS.get(scheme)
    return f"{scheme}://{name}" + ("" if port == _DEFAULT_PORTS.get(scheme) else f":{port}")
