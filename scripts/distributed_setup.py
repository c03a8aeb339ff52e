"""Makes what `make test-distributed` needs: PostgreSQL and Redis from Debian, and `.venv-distributed` from pins.

What is there is left as it is. Servers that this installs are not left running, nor started when the machine starts.
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

from debian import NotHereError, install
from local_stack.servers import postgres_program, redis_program
from setup_env import CONSTRAINTS, INSTALL_SECONDS, OTHERS, ROOT, SetupError, find_uv, run

VENV = ROOT / ".venv-distributed"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "setup-done.json"
MORE = OTHERS / "distributed.txt"
SOURCES = (CONSTRAINTS, MORE, ROOT / "pyproject.toml")
PROJECT = ".[sandbox]"
# what the exit status says when the machine, not the project, is the reason
NOT_HERE = 3


def missing_packages() -> list[str]:
    """Debian's packages whose programs are not there."""
    postgres = all(map(postgres_program, ("initdb", "postgres")))
    return [*([] if postgres else ["postgresql"]), *([] if redis_program() else ["redis-server"])]


def install_servers() -> None:
    """Have Debian's package manager install what is missing."""
    wanted = missing_packages()
    install(missing_packages, say)
    if wanted and shutil.which("systemctl"):
        run(["systemctl", "disable", *wanted], seconds=60, check=False, quiet=True)


def make_environment() -> None:
    """An environment of its own: what constraints.txt pins, and what Celery, Redis and PostgreSQL need besides."""
    state = {"sources": hashlib.sha256(b"\0".join(each.read_bytes() for each in SOURCES)).hexdigest()}
    if STAMP.exists() and json.loads(STAMP.read_text()) == state and runs():
        return
    say(f"making {VENV.name}")
    pip: list[str | Path]
    if uv := find_uv():
        run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, VENV], seconds=300)
        pip = [uv, "pip", "install", "--python", PYTHON]
    else:
        run([sys.executable, "-m", "venv", "--clear", VENV], seconds=300)
        pip = [PYTHON, "-m", "pip", "install"]
    run([*pip, "--quiet", "-c", CONSTRAINTS, "-r", MORE, "--editable", PROJECT], seconds=INSTALL_SECONDS)
    STAMP.write_text(json.dumps(state))


def runs() -> bool:
    """Whether the environment's Python still does, and finds the project here."""
    asked = "import airflow_provider_binance_margin as project; print(project.__file__)"
    done = subprocess.run(
        [PYTHON, "-c", asked], capture_output=True, text=True, timeout=60, check=False, env=_bare(), cwd="/"
    )
    return done.returncode == 0 and Path(done.stdout.strip()).is_relative_to(ROOT)


def _bare() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def say(text: str) -> None:
    """Tell what is going on."""
    print(f"distributed: {text}", flush=True)


def main() -> int:
    """Run from the command line; the exit status tells whether all is there."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    try:
        install_servers()
        make_environment()
    except SetupError as error:
        print(f"distributed: {error}", file=sys.stderr)
        return NOT_HERE if isinstance(error, NotHereError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
