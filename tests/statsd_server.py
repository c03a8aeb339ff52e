"""A statsd server on this machine: hears what Airflow's metrics send."""

from __future__ import annotations

import socket
from contextlib import contextmanager, suppress


@contextmanager
def statsd(**options):
    """Yield an iterator over what has come since it was asked last, and the environment that has Airflow send here."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.5)

        def heard():
            with suppress(TimeoutError):
                while True:
                    yield server.recv(65_536).decode()

        options |= {"STATSD_ON": "True", "STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(server.getsockname()[1])}
        yield heard, {f"AIRFLOW__METRICS__{name}": value for name, value in options.items()}
