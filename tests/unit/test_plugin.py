"""The plugin: light wherever Airflow loads it, and a page that needs nothing from elsewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from pkgutil import resolve_name

import pytest
from programs import python

import airflow_provider_binance_margin.plugins as package

ROOT = Path(__file__).parents[2]
PAGE = Path(package.__file__).parent / "page"
PLUGIN = "airflow_provider_binance_margin.plugins.coverage_page"

LOADED = f"""
import sys
import airflow.sdk
import airflow.providers.common.compat.sdk
from airflow.providers.common.compat.sdk import AirflowPlugin
before = set(sys.modules)
from {PLUGIN} import BinanceMarginPlugin
plugin = BinanceMarginPlugin()
plugin.validate()
plugin.external_views
print(sorted(set(sys.modules) - before - {{"airflow_provider_binance_margin"}}))
print(sorted({{"fastapi", "starlette", "airflow.models.xcom"}} & (set(sys.modules) - before)))
"""


def test_what_every_process_imports_is_light(tmp_path):
    """Scheduler, worker and DAG processor load one module of dictionaries, and no FastAPI."""
    env = {"AIRFLOW_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = python("-W", "error", "-c", LOADED, cwd=ROOT, env=env)

    new, heavy = done.stdout.splitlines()[-2:]
    assert (str([package.__name__, PLUGIN]), "[]") == (new, heavy)


def test_the_wheel_registers_it():
    """By an entry point, which Airflow loads by itself."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["airflow.plugins"]

    assert ["binance_margin"] == list(points) == [resolve_name(points["binance_margin"]).name]


def test_the_menu_leads_to_the_page():
    """Its addresses are relative to wherever the UI is mounted, and the application serves them."""
    plugin = resolve_name(f"{PLUGIN}:BinanceMarginPlugin")()
    (view,), (served,) = plugin.external_views, plugin.fastapi_apps
    paths = {served["url_prefix"] + route.path for route in served["app"].routes}

    assert {f"/{view[name]}" for name in ("href", "icon", "icon_dark_mode")} <= paths
    assert ("nav", "browse") == (view["destination"], view["category"])
    assert served["app"] is plugin.fastapi_apps[0]["app"]


def test_nothing_of_the_application_writes():
    """What is loaded is asked for through Airflow's own API, which checks the rights."""
    (served,) = resolve_name(f"{PLUGIN}:BinanceMarginPlugin")().fastapi_apps

    assert {"GET"} == {method for route in served["app"].routes for method in route.methods - {"HEAD"}}


@pytest.mark.parametrize("file", sorted(PAGE.iterdir()), ids=lambda file: file.name)
def test_the_page_needs_nothing_from_elsewhere(file):
    """No other host, and nothing that its content security policy forbids."""
    text = file.read_text().replace("http://www.w3.org/2000/svg", "")

    assert not re.search(r"https?:|//[a-z]+\.|@import|\bimport[ (]", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    if file.suffix == ".html":
        assert not re.search(r"\son[a-z]+=|\sstyle=|<style|<script(?! src=\"page\.js\")", text)


def test_every_verdict_is_explained():
    """In the legend, with a shape of its own: colour alone tells nothing."""
    from airflow_provider_binance_margin.lake.coverage import EMPTY, LETTERS, LOADED, UNSEEN

    script, page = (PAGE / "page.js").read_text(), (PAGE / "page.html").read_text()
    words = script[script.index("const WORDS") : script.index("};")]
    explained = set(re.findall(r'^  "?(.)"?: \[', words, re.MULTILINE))
    shapes = {found.rstrip("1234") for found in re.findall(r'<g id="d(\S+?)"', page)}

    assert explained == shapes == {*LETTERS.values(), EMPTY, LOADED, UNSEEN}
