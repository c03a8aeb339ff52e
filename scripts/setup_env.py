"""Makes `.venv` in the project's root from constraints.txt; does nothing when it is there and up to date.

It runs on a bare Python, before anything is installed: standard library only, and no syntax that an old Python would
stumble over before it can be told that it is too old.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "setup-done.json"
UNFINISHED = VENV / "setup-unfinished"
CONSTRAINTS = ROOT / "constraints.txt"
#: the pins of environments that only some of the tests run in
OTHERS = ROOT / "scripts" / "constraints"
SOURCES = (CONSTRAINTS, ROOT / "pyproject.toml")
PROJECT = ".[dev]"
OLDEST = (3, 11)
# what one answer, and what one whole step may take
NETWORK_SECONDS = "60"
UV_SECONDS = 180
INSTALL_SECONDS = 1800


class SetupError(RuntimeError):
    """The environment cannot be made; the message says what to do."""


def check_python() -> None:
    """Refuse a Python that the project does not run on."""
    if sys.version_info < OLDEST:
        wanted, seen = ".".join(map(str, OLDEST)), ".".join(map(str, sys.version_info[:3]))
        raise SetupError(
            f"Python {wanted} or newer is needed, and {sys.executable} is {seen}. "
            f"Name another: make setup PYTHON=python{wanted}"
        )


def wanted_state() -> dict[str, str]:
    """What the environment is made from: it holds as long as this stays the same."""
    digest = hashlib.sha256(b"\0".join(source.read_bytes() for source in SOURCES)).hexdigest()
    return {"root": str(ROOT), "sources": digest}


def present_state() -> dict[str, str]:
    """What the environment was made from, nothing when it is not complete."""
    try:
        state: dict[str, str] = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return state


def usable(*, same_python: bool) -> bool:
    """Whether an environment is there whose Python runs, is new enough, and (if asked) is the one that runs this."""
    if not PYTHON.exists() or UNFINISHED.exists() or present_state().get("root", str(ROOT)) != str(ROOT):
        return False
    asked = run([PYTHON, "-c", "import pip, sys; print(*sys.version_info[:2])"], seconds=60, check=False, quiet=True)
    version = tuple(map(int, asked.stdout.split()))
    return asked.returncode == 0 and (version == sys.version_info[:2] if same_python else version >= OLDEST)


def make_venv() -> None:
    """An empty environment in place of whatever is there."""
    say(f"making {VENV.name} with Python {sys.version.split()[0]}")
    made = run([sys.executable, "-m", "venv", "--clear", VENV], seconds=300, check=False, quiet=True)
    uv = shutil.which("uv")
    if made.returncode and uv:
        # Debian's Python comes without ensurepip
        made = run([uv, "venv", "--clear", "--seed", "--python", sys.executable, VENV], seconds=300, check=False)
    if made.returncode:
        raise SetupError(
            f"{made.stdout}{made.stderr}\nPython could not make an environment; Debian has it in python3-venv."
        )


def find_uv() -> str:
    """The uv that is installed, or one put into the environment; empty when it is not to be had."""
    found = shutil.which("uv")
    if found:
        return found
    inside = PYTHON.with_name("uv")
    if not inside.exists():
        run([*pip_install(), "--quiet", *pinned("uv")], seconds=UV_SECONDS, check=False, quiet=True)
    return str(inside) if inside.exists() else ""


def pinned(name: str) -> list[str]:
    """A package at its version in constraints.txt."""
    return ["--constraint", str(CONSTRAINTS), name]


def pip_install() -> list[str]:
    """The start of a plain pip command."""
    return [
        str(PYTHON),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--timeout",
        NETWORK_SECONDS,
        "--retries",
        "3",
    ]


def install() -> None:
    """Install the project, editable, with its pinned dependencies: by uv, or by pip when uv is not there or fails."""
    rest = [*pinned("--editable"), PROJECT]
    uv = find_uv()
    if uv:
        say("installing with uv")
        quiet = [] if sys.stderr.isatty() else ["--quiet"]
        command = [uv, "pip", "install", *quiet, "--python", str(PYTHON), *rest]
        if run(command, seconds=INSTALL_SECONDS, check=False).returncode == 0:
            return
    say("installing with pip, which takes some minutes")
    run([*pip_install(), "--quiet", *rest], seconds=INSTALL_SECONDS)


def run(
    command: Sequence[str | Path], *, seconds: float, check: bool = True, quiet: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a step with bounded waits, shown unless it is quiet."""
    env = {"UV_HTTP_TIMEOUT": NETWORK_SECONDS, **os.environ}
    pipe = subprocess.PIPE if quiet else None
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=ROOT,
            env=env,
            stdout=pipe,
            stderr=pipe,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        done = subprocess.CompletedProcess([], 1, "", f"not done within {seconds:.0f} s")
    if check and done.returncode:
        raise SetupError(f"This failed with status {done.returncode}: {' '.join(map(str, command))}")
    return done


def say(text: str) -> None:
    """Tell what is going on."""
    print(f"setup: {text}", flush=True)


def setup(*, same_python: bool) -> None:
    """Make the environment, or bring it up to date."""
    check_python()
    missing = [source.name for source in SOURCES if not source.exists()]
    if missing:
        raise SetupError(f"{', '.join(missing)} is not there.")
    keep = usable(same_python=same_python)
    if keep and present_state() == wanted_state():
        return
    if not keep:
        make_venv()
    STAMP.unlink(missing_ok=True)
    UNFINISHED.touch()
    install()
    UNFINISHED.unlink()
    STAMP.write_text(json.dumps(wanted_state()))
    say("done")


def main() -> int:
    """Run from the command line; the exit status tells whether the environment is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--same-python", action="store_true", help="make it anew if it has another version of Python")
    try:
        setup(same_python=parser.parse_args().same_python)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
