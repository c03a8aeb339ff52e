"""A strict local Binance for a margin account's history: to develop against, and to test DAGs with.

Records and faults are put in, and what was asked can be read afterwards:

    with Sandbox() as sandbox:
        sandbox.add(n=250, at=sandbox.now_ms() - 3_600_000)
        sandbox.fault("429", retry_after=3, current=2)
        ...
        assert [entry.status for entry in sandbox.requests] == [200, 429, 200, 200]
"""

from __future__ import annotations

from airflow_provider_binance_margin.sandbox.client import SandboxControl
from airflow_provider_binance_margin.sandbox.sandbox import Sandbox

__all__ = ["Sandbox", "SandboxControl"]
