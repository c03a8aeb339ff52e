"""Airflow parses DAG files all day: what they import must be light."""

from __future__ import annotations

import ast
import importlib.util
import json
import pkgutil
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from programs import python

import airflow_provider_binance_margin as package

ROOT = Path(__file__).parents[2]
HEAVY = (
    "aiohttp",
    "requests",
    "boto3",
    "botocore",
    "pyarrow",
    "duckdb",
    "polars",
    "airflow.providers.amazon",
    "cryptography",
    "fastapi",
    "moto",
)
#: modules that only tasks, triggers and programs import, when they run; those that need something heavy say why
RUN_TIME_ONLY = {
    "airflow_provider_binance_margin.hooks.session": "is the code that uses requests",
    "airflow_provider_binance_margin.triggers.transport": "is the code that uses aiohttp",
    "airflow_provider_binance_margin.transfers.object_store": "is the code that uses botocore",
    "airflow_provider_binance_margin.transfers.progress": "uses object_store",
    "airflow_provider_binance_margin.transfers.object_loader": "uses object_store",
    "airflow_provider_binance_margin.plugins.coverage_app": "is the code that uses FastAPI",
    "airflow_provider_binance_margin.plugins.coverage_data": "is the code that uses Airflow's database models",
    "airflow_provider_binance_margin.probe": "a program",
    "airflow_provider_binance_margin.sandbox": "a server, for tests and demos",
}

SCRIPT = """
import importlib, json, sys
import airflow.sdk
import airflow.providers.common.compat.sdk
import airflow.triggers.base
before = set(sys.modules)
added = {}
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
    added[name] = sorted(set(sys.modules) - before)
    before |= set(sys.modules)
print(json.dumps(added))
"""


def modules():
    found = [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
    return [name for name in found if not any(name == each or name.startswith(each + ".") for each in RUN_TIME_ONLY)]


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """What each module adds to what Airflow has loaded by the time it parses a DAG."""
    env = {"AIRFLOW_HOME": str(tmp_path_factory.mktemp("home")), "PATH": "/usr/bin:/bin"}
    done = python("-W", "error", "-c", SCRIPT, json.dumps(modules()), cwd=ROOT, env=env)
    return json.loads(done.stdout.splitlines()[-1])


def is_of(module, packages):
    return any(module == each or module.startswith(each + ".") for each in packages)


def test_no_module_brings_in_anything_heavy(added):
    """Importing operators, sensors, triggers, hooks or provider info loads no HTTP, AWS, Parquet or crypto library."""
    heavy = {name: [m for m in new if is_of(m, HEAVY)] for name, new in added.items()}

    assert {} == {name: new for name, new in heavy.items() if new}


def test_what_is_brought_in_is_small(added):
    """All modules together load little beside this package and the standard library."""
    others = {
        module.split(".")[0]
        for new in added.values()
        for module in new
        if not is_of(module, [package.__name__]) and module.split(".")[0] not in sys.stdlib_module_names
    }

    assert others <= {"msgspec", "airflow"}


@pytest.mark.parametrize("room", ["exchange", "lake", "sandbox"])
def test_a_room_that_others_build_on_imports_none_of_them(room):
    """Neither one another, nor Airflow, nor S3; for annotations neither."""
    allowed = (f"{package.__name__}.{room}", *sys.stdlib_module_names, "msgspec", "cryptography", "pyarrow", "pytest")
    for file in (ROOT / package.__name__ / room).rglob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        names = [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
        names += [each.name for node in nodes if isinstance(node, ast.Import) for each in node.names]
        assert [] == [name for name in names if not is_of(name, allowed)], file


def room_of(module):
    return module.split(".")[1]


def imports_of(module):
    """Full names that a module imports, for annotations and within functions too; those of attributes among them."""
    source = Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: a relative import"
            yield from (f"{node.module}.{each.name}" for each in node.names)


def test_imports_go_one_way():
    """Packages, and the modules beside them, do not import each other, be it directly or in a circle."""
    found = [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
    rooms = {room_of(module): set() for module in found}
    for module in found:
        names = [name for name in imports_of(module) if is_of(name, [package.__name__])]
        rooms[room_of(module)] |= {room_of(name) for name in names} & set(rooms) - {room_of(module)}

    assert "triggers" in rooms["sensors"], "the imports are seen"
    TopologicalSorter(rooms).prepare()


def test_every_exception_is_still_one():
    """The list of heavy modules holds no name that is gone."""
    found = {module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")}

    assert set() == set(RUN_TIME_ONLY) - found


def test_provider_info_imports_nothing(tmp_path):
    """It is called in every Airflow process: it loads no module but its own."""
    script = (
        "import sys; before = set(sys.modules);"
        "from airflow_provider_binance_margin.get_provider_info import get_provider_info; get_provider_info();"
        "print(sorted(set(sys.modules) - before))"
    )
    done = python("-c", script, cwd=ROOT)

    name = package.__name__
    assert str([name, f"{name}.get_provider_info"]) == done.stdout.strip()
