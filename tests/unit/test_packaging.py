"""The distribution says what it is."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import airflow_provider_binance_margin as package

ROOT = Path(__file__).parents[2]
NAME = "airflow-provider-binance-margin"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_the_installed_one():
    """`__version__` and the distribution's metadata agree."""
    assert package.__version__ == metadata.version(NAME)
    assert re.fullmatch(r"\d+\.\d+\.\d+", package.__version__)


def test_the_import_name_follows_from_the_distributions():
    """Airflow finds example DAGs by turning the distribution's name into a module's."""
    assert package.__name__ == NAME.replace("-", "_") == PROJECT["name"].replace("-", "_")


@pytest.mark.parametrize("entry", metadata.distribution(NAME).entry_points, ids=lambda entry: entry.name)
def test_entry_points_can_be_imported(entry):
    """Each entry point leads to something that can be called."""
    assert callable(entry.load())


def test_entry_points_are_the_projects():
    """The installed entry points are those of pyproject.toml."""
    declared = {(group, n, v) for group, each in PROJECT.get("entry-points", {}).items() for n, v in each.items()}
    declared |= {("console_scripts", n, v) for n, v in PROJECT.get("scripts", {}).items()}

    assert declared == {(e.group, e.name, e.value) for e in metadata.distribution(NAME).entry_points}


def test_the_provider_is_the_distribution():
    """A provider whose package name is not the distribution's breaks the discovery of all providers."""
    (entry,) = metadata.distribution(NAME).entry_points.select(group="apache_airflow_provider")

    assert entry.load()()["package-name"] == metadata.metadata(NAME)["Name"] == NAME


def test_no_dependency_is_pinned_from_above():
    """This package must never be what holds an upgrade back."""
    extras = PROJECT["optional-dependencies"]
    everything = [*PROJECT["dependencies"], *(each for extra in extras.values() for each in extra)]

    assert [] == [each for each in everything if re.search(r"<|==|~=", each)]


def test_it_is_typed():
    """Type checkers of users see the annotations."""
    assert (Path(package.__file__).parent / "py.typed").exists()


def test_airflow_finds_the_documentation():
    """Its page of providers links to what has exactly this label."""
    assert PROJECT["urls"]["Documentation"].startswith("https://")


def test_the_pins_are_plain():
    """The constraints of each tested version are pins and nothing else: no address, no hash, no path."""
    files = [ROOT / "constraints.txt", *(ROOT / "scripts" / "constraints").iterdir()]
    assert len(files) == 5
    for file in files:
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        assert lines, file
        assert [] == [line for line in lines if not re.fullmatch(r"[a-z0-9.-]+==[^\s;/]+( ; [^;]+)?", line)], file
