"""How tests are shared among processes: `pytest -n 4`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What takes long begins first."""
    items.sort(key=lambda item: not item.get_closest_marker("slow"))


@cache
def shares_a_fixture(file):
    """Whether tests of a file have something in common that takes long to make: they stay in one process."""
    return 'scope="module"' in (ROOT / file).read_text()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Each process takes the next test as soon as it has done one, or the next file of those that share a fixture."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return file if shares_a_fixture(file) else nodeid

    return Scheduling(config, log)
