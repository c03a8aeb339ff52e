"""The distribution says what it is."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

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


@pytest.mark.parametrize("repository", ["", "https://git.example/owner/name"])
def test_links_resolve_at_the_index(repository, monkeypatch):
    """Airflow's page of providers links to what is called "Documentation"; a release has no relative link."""
    hook = pytest.importorskip("index_page", reason="no hatchling").IndexPageHook(str(ROOT), {})
    monkeypatch.setenv("REPOSITORY_URL", repository)
    fields = {"version": "1.2.3"}

    hook.update(fields)

    text = fields["readme"]["text"]
    links = re.findall(r"""\]\(([^)]+)\)|\b(?:src|srcset)="([^"]+)\"""", text)
    relative = [a or b for a, b in links if not (a or b).startswith("https://")]
    assert fields["urls"]["Documentation"].startswith("https://")
    assert bool(repository) is not bool(relative)
    assert len(links) > 30
    if repository:
        assert f"{repository}/raw/v1.2.3/docs/img/page-light-1440.png" in text
        assert f"{repository}/blob/v1.2.3/docs/quick-start.md#1-install" in text


def test_the_oldest_airflow_is_tested_with_the_oldest_packages():
    """As the table of the docs and the declared dependencies name them."""
    pins = dict(
        re.findall(r"^(\S+)==(\S+)", (ROOT / "scripts" / "constraints" / "airflow-3.0.txt").read_text(), re.MULTILINE)
    )
    table = (ROOT / "docs" / "versions.md").read_text().partition("| package | at least |")[2]
    named = dict(re.findall(r"^\| `(\S+)` \| ([\d.]+) \|", table, re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    declared = [*PROJECT["dependencies"], *extras["sandbox"], *extras["parquet"]]
    bounds = {name: bound for each in declared for name, bound in re.findall(r"([\w-]+)(?:\[.*\])?>=([\d.]+)", each)}

    assert len(named) == 5
    assert named == {name: bounds[name] for name in named}
    assert not [name for name, version in named.items() if not f"{pins[name]}.".startswith(f"{version}.")]


def test_the_pins_are_plain():
    """The constraints of each tested version are pins and nothing else: no address, no hash, no path."""
    files = [ROOT / "constraints.txt", *(ROOT / "scripts" / "constraints").iterdir()]
    assert len(files) == 5
    for file in files:
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        assert lines, file
        assert [] == [line for line in lines if not re.fullmatch(r"[a-z0-9.-]+==[^\s;/]+( ; [^;]+)?", line)], file


def test_the_classifiers_name_the_versions_that_were_tested():
    """The table of the docs is what was run; a version that was not is not claimed."""
    table = (
        (ROOT / "docs" / "versions.md").read_text().partition("| Airflow | Python | tests |")[2].partition("\n<!--")[0]
    )
    tested = {version for line in table.splitlines()[2:] for version in re.findall(r"3\.\d+", line.split("|")[2])}
    named = {each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r":: Python :: 3\.\d+$", each)}

    assert named == tested
    assert min(named, key=lambda version: int(version[2:])) == PROJECT["requires-python"].removeprefix(">=")


WORKFLOWS = {file.stem: yaml.safe_load(file.read_text()) for file in (ROOT / ".github" / "workflows").glob("*.yml")}
in_the_repository = pytest.mark.skipif(not WORKFLOWS, reason="a source distribution has no workflows")


def before(jobs, name):
    """The jobs that must have succeeded before one starts."""
    needs = jobs[name].get("needs", [])
    needs = [needs] if isinstance(needs, str) else needs
    return {*needs, *(each for one in needs for each in before(jobs, one))}


def commands(job):
    return [step["run"] for step in job.get("steps", []) if "run" in step]


@in_the_repository
def test_nothing_is_published_untested():
    """What the index gets has passed lint, types and tests on each tested version, and a check of the built wheel."""
    jobs = WORKFLOWS["publish"]["jobs"]
    (publish,) = (name for name, job in jobs.items() if "pypi-publish" in str(job))
    earlier = [jobs[name] for name in before(jobs, publish)]
    tests = WORKFLOWS["test"]["jobs"]
    run = [words for job in [*earlier, *tests.values()] for words in commands(job)]

    assert "./.github/workflows/test.yml" in [job.get("uses") for job in earlier]
    assert "workflow_call" in WORKFLOWS["test"][True]  # "on", to YAML 1.1
    assert {"make lint types", "make test", "make dist"} <= {*run}
    assert any("pip install" in words and "dist/*.whl" in words for words in run)
    signed = {step.get("uses") for job in earlier for step in job.get("steps", [])}
    assert {"actions/attest-build-provenance@v2", "actions/attest-sbom@v2"} <= signed
    assert not commands(jobs[publish])  # what is published is what was built and checked, and nothing else is run
    assert not [job for job in [*earlier, *tests.values()] if job.get("continue-on-error") or "if" in job]


@in_the_repository
def test_the_workflow_tests_the_versions_that_the_docs_name():
    """The matrix has each Airflow and each Python of the docs' table."""
    cells = WORKFLOWS["test"]["jobs"]["matrix"]["strategy"]["matrix"]["version"]
    text = (ROOT / "docs" / "versions.md").read_text()
    rows = re.findall(r"^\| (3\.\d)\.\d+ \| ([\d., ]+) \|", text, re.MULTILINE)

    newest = {
        f"3.3@{step['with']['python-version']}"
        for step in WORKFLOWS["test"]["jobs"]["newest"]["steps"]
        if "with" in step
    }
    assert {f"{airflow}@{python}" for airflow, pythons in rows for python in pythons.split(", ")} <= {*cells, *newest}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_do_no_more_than_it_needs(name):
    """Reading is the rule; only what signs may do more, and each action is of a fixed version."""
    workflow = WORKFLOWS[name]
    granted = {
        f"{key}: {value}" for job in workflow["jobs"].values() for key, value in job.get("permissions", {}).items()
    }
    actions = [step["uses"] for job in workflow["jobs"].values() for step in job.get("steps", []) if "uses" in step]

    assert workflow["permissions"] == {"contents": "read"}
    assert granted <= {"contents: read", "id-token: write", "attestations: write"}
    assert not [action for action in actions if not re.fullmatch(r"[\w/-]+@(v\d+|release/v\d+)", action)]
