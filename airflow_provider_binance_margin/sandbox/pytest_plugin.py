"""A fixture for tests of DAGs: list this module in `pytest_plugins` of a conftest.

    pytest_plugins = ["airflow_provider_binance_margin.sandbox.pytest_plugin"]

    def test_my_dag(binance_sandbox, monkeypatch):
        for name, value in binance_sandbox.airflow_env().items():
            monkeypatch.setenv(name, value)
        binance_sandbox.add(n=250, at=...)

One sandbox serves the whole session; each test finds it as new: without records, faults, log or bans.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_binance_margin.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def binance_sandbox_server() -> Iterator[Sandbox]:
    """The sandbox all tests of a session share."""
    with Sandbox(days=0) as sandbox:
        yield sandbox


@pytest.fixture
def binance_sandbox(binance_sandbox_server: Sandbox) -> Sandbox:
    """A sandbox without records, faults, log or bans."""
    binance_sandbox_server.reset()
    return binance_sandbox_server
