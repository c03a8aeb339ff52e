"""Runs the tests on other versions of Airflow and Python, in environments of their own made from plain constraints.

    python scripts/matrix.py                    the oldest Airflow and the newest, each with its own Python, or this one
    python scripts/matrix.py 3.1 3.2@3.13       these versions, the second with that Python
    python scripts/matrix.py --pin              write the constraints of all but the newest anew

What else is given after `--` goes to pytest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pin import plain_pins
from setup_env import CONSTRAINTS, OTHERS, ROOT, find_uv

if TYPE_CHECKING:
    from collections.abc import Sequence

HOME = ROOT / ".matrix"
SECONDS = 3600
#: what tests need beyond the package's own extras; the exchange's clients are left out, they want the newest of all
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "duckdb", "polars", "statsd", "apache-airflow-providers-openlineage")
TOOLS_SINCE = {
    "pytest": "8",
    "pytest-xdist": "3.8",
    "hypothesis": "6.100",
    "duckdb": "1.1",
    "polars": "1.38",
    "statsd": "4.0.1",
    "apache-airflow-providers-openlineage": "2.9",
}
PARALLEL = ("-n", os.environ.get("WORKERS", "4"))


@dataclass(frozen=True)
class Version:
    """One minor version of Airflow.

    :param airflow: its newest patch; empty for what constraints.txt holds
    :param python: the Python it is tested with unless another is asked for
    :param until: the day up to which packages are taken, since an old Airflow breaks with what came later
    :param lowest: whether this package's own dependencies are taken at their lower bounds
    """

    airflow: str
    python: str
    until: str = ""
    lowest: bool = False


VERSIONS = {
    "3.0": Version("3.0.6", "3.11", "2026-02-15", lowest=True),
    "3.1": Version("3.1.8", "3.12", "2026-04-01"),
    "3.2": Version("3.2.2", "3.13", "2026-07-01"),
    "3.3": Version("", "3.13"),
}
ENDS = ("3.0", "3.3")


def constraints_of(minor: str) -> Path:
    """The file of one minor version's pins."""
    return CONSTRAINTS if minor == ENDS[-1] else OTHERS / f"airflow-{minor}.txt"


def pin(minor: str) -> None:
    """Resolve one version's environment and write only what is nothing but pins."""
    version = VERSIONS[minor]
    words = ["--python-version", version.python, "--extra", "parquet", "--extra", "sandbox"]
    words += ["--exclude-newer", version.until, "--resolution", "lowest-direct" if version.lowest else "highest"]
    tools = _tools() if version.lowest else TOOLS
    pins = plain_pins([*words, "pyproject.toml", "-"], "\n".join([f"apache-airflow=={version.airflow}", *tools]))
    head = f"# Airflow {version.airflow} on Python {version.python}, as of {version.until}. Made by `make constraints`."
    constraints_of(minor).write_text("\n".join([head, *pins, ""]))
    print(f"{constraints_of(minor).name}: {len(pins)} pins")


def _tools() -> list[str]:
    """The tools with lower bounds: their lowest versions of all are of no interest."""
    return [f"{tool}>={TOOLS_SINCE[tool]}" for tool in TOOLS]


def python_for(minor: str) -> str:
    """The Python to test a version with: its own, if the machine has it, else the one that runs this."""
    own = VERSIONS[minor].python
    words = [find_uv(), "python", "find", "--quiet", "--no-python-downloads", own]
    found = subprocess.run(words, cwd=ROOT, env=_env(), capture_output=True, timeout=SECONDS, check=False)
    return own if found.returncode == 0 else f"{sys.version_info.major}.{sys.version_info.minor}"


def make(minor: str, python: str) -> Path:
    """The environment's Python, made or brought up to date."""
    uv, venv = find_uv(), HOME / f"airflow-{minor}-python-{python}"
    program = venv / "bin" / "python"
    if not program.exists():
        _run([uv, "venv", "--quiet", "--clear", "--python", python, venv])
    wanted = ["--constraint", constraints_of(minor), "--editable", ".[parquet,sandbox]", *TOOLS]
    _run([uv, "pip", "install", "--quiet", "--python", program, *wanted])
    return program


def test(minor: str, python: str, rest: Sequence[str]) -> bool:
    """Whether the tests pass on one version."""
    print(f"\n=== Airflow {minor}, Python {python}", flush=True)
    began = time.monotonic()
    words = [make(minor, python), "-m", "pytest", "-p", "no:cacheprovider", "-q", *PARALLEL, *rest]
    done = subprocess.run([str(word) for word in words], cwd=ROOT, timeout=SECONDS, check=False)
    print(f"=== Airflow {minor}, Python {python}: {time.monotonic() - began:.0f} s", flush=True)
    return done.returncode == 0


def _run(words: Sequence[object]) -> None:
    subprocess.run([str(word) for word in words], cwd=ROOT, env=_env(), timeout=SECONDS, check=True)


def _env() -> dict[str, str]:
    """With pyenv's Pythons themselves on the path: its own commands refuse every version but the chosen one."""
    pythons = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions").glob("3.*/bin")
    return {**os.environ, "PATH": os.pathsep.join([*map(str, sorted(pythons)), os.environ["PATH"]])}


def main() -> int:
    """Test the versions asked for; the exit status tells whether all pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", help=f"of {', '.join(VERSIONS)}, each with @PYTHON if not its own")
    parser.add_argument("--pin", action="store_true", help="write the constraints anew, test nothing")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    options, rest = parser.parse_args(words[:cut]), words[cut + 1 :]
    if options.pin:
        for minor in VERSIONS:
            if minor != ENDS[-1]:
                pin(minor)
        return 0
    if shutil.which("uv") is None and not find_uv():
        parser.error("uv is needed to make environments of other Pythons")
    wanted = [each.partition("@") for each in options.versions or ENDS]
    if unknown := [minor for minor, _, _ in wanted if minor not in VERSIONS]:
        parser.error(f"no such version: {', '.join(unknown)}")
    passed = {minor: test(minor, python or python_for(minor), rest) for minor, _, python in wanted}
    return 0 if all(passed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
