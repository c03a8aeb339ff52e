"""The wheel, next to a plain Airflow in an environment of its own: what a user gets from the index."""

from __future__ import annotations

import json
import os
import sys
import tarfile
import tomllib
import zipfile
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

import pytest
from programs import run

ROOT = Path(__file__).parents[2]
NAME = "airflow_provider_binance_margin"
#: what hatchling adds by itself
ALWAYS = ("PKG-INFO", "pyproject.toml", ".gitignore")
SCRIPT = """
import json
from importlib.metadata import metadata
from airflow.providers_manager import ProvidersManager
import airflow_provider_binance_margin as package

manager = ProvidersManager()
print(json.dumps({
    "file": package.__file__,
    "provider": "airflow-provider-binance-margin" in manager.providers,
    "hook": getattr(manager.hooks.get("binance"), "hook_class_name", None),
    "links": metadata("airflow-provider-binance-margin").get_all("Project-URL"),
    "links_of_tasks": [link for link in manager.extra_links_class_names if link.startswith("airflow_provider_b")],
}))
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(find_spec, ("build", "hatchling", "twine", "uv"))), reason="no tools to build with"),
]


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Wheel and source distribution, as `make dist` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def plain(dist, tmp_path_factory):
    """The Python of an environment with Airflow and the wheel, and nothing else that was asked for."""
    venv = tmp_path_factory.mktemp("plain") / "venv"
    python = venv / "bin" / "python"
    uv = (sys.executable, "-m", "uv")
    run(*uv, "venv", "--quiet", "--python", sys.executable, venv)
    (wheel,) = dist.glob("*.whl")
    run(*uv, "pip", "install", "--quiet", "--python", python, "-c", ROOT / "constraints.txt", "apache-airflow", wheel)
    return python


def test_the_index_accepts_them(dist):
    """Metadata and README are in order."""
    run(sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir())


def test_the_wheel_holds_the_package_and_nothing_else(dist):
    """All modules, page, SQL, example DAGs and the marker of types; no tests, scripts or caches."""
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / NAME).rglob("*.py")}
    examples = {f"{NAME}/example_dags/{path.name}" for path in (ROOT / "dags").glob("*.py")}
    page = {str(path.relative_to(ROOT)) for path in (ROOT / NAME / "plugins" / "page").iterdir()}

    rule = f"{NAME}/operators/liquidation_report.sql"

    assert modules | examples | page | {f"{NAME}/py.typed", rule} == names
    assert {".html", ".js", ".css"} <= {Path(name).suffix for name in page}


def test_the_source_holds_what_it_takes_to_build_and_test(dist):
    """What pyproject.toml names, and nothing of what builds, tests and tools leave behind."""
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["sdist"][
        "include"
    ]
    (source,) = dist.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = [Path(name).parts[1:] for name in archive.getnames()]

    allowed = [*(path.strip("/").partition("/")[0] for path in named), *ALWAYS]
    assert [] == [parts for parts in names if parts and not any(fnmatch(parts[0], each) for each in allowed)]
    wanted = {NAME, "dags", "tests", "CHANGELOG.md", "LICENSE", "README.md", "PKG-INFO"}
    assert wanted <= {parts[0] for parts in names if parts}
    assert [] == [parts for parts in names if {"__pycache__", ".venv", ".matrix", ".demo"} & set(parts)]


def test_a_plain_airflow_finds_it(plain, tmp_path):
    """The connection type, the task's link, and the link to the documentation."""
    env = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "True"}

    found = json.loads(run(plain, "-c", SCRIPT, cwd=tmp_path, env=env).stdout.splitlines()[-1])

    assert str(plain.parent.parent) in found["file"]
    assert found["provider"]
    assert found["hook"] == f"{NAME}.hooks.binance.BinanceHook"
    assert any(link.startswith("Documentation, https://") for link in found["links"])
    links = {f"{NAME}.transfers.margin_history_to_s3.S3ConsoleLink", f"{NAME}.coverage.CoverageLink"}
    assert set(found["links_of_tasks"]) == links


def test_the_examples_parse_there(plain, tmp_path):
    """Without the extras, without a network and without a warning of deprecation."""
    examples = run(plain, "-c", f"import {NAME} as p; print(p.__path__[0])", cwd=tmp_path).stdout.splitlines()[-1]
    files = sorted(Path(examples, "example_dags").glob("*.py"))
    code = f"import runpy\nfor file in {[str(file) for file in files]}: runpy.run_path(file)"

    run(
        plain,
        "-W",
        "error::DeprecationWarning",
        "-c",
        code,
        cwd=tmp_path,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
    )

    assert len(files) == len(list((ROOT / "dags").glob("*.py")))


def test_the_commands_start_there(plain, tmp_path):
    """The sandbox and the probe."""
    run(plain.with_name("binance-sandbox"), "--help", cwd=tmp_path)
    run(plain, "-m", f"{NAME}.probe", "--help", cwd=tmp_path)
