"""The environments: the project's own for what needs Airflow, one of its own for everything else, made when missing."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = HERE / ".envs"
PACKAGES = {
    "script": ("requests", "boto3"),
    "sdk": ("binance-sdk-margin-trading", "boto3"),
    "ccxt": ("ccxt", "boto3"),
    "plot": ("matplotlib",),
}
OF_AIRFLOW = ("apache-airflow-core", "apache-airflow-providers-amazon", "apache-airflow-providers-http", "boto3")
VERSIONS = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


@lru_cache
def python(name: str) -> str:
    """The interpreter of an environment, which is made if it is not there; "airflow" is the project's own."""
    if name == "airflow":
        return sys.executable
    home = HOME / name
    done = home / "complete"
    if not done.exists():
        uv = Path(sys.executable).with_name("uv")
        print(f"making {home} with {', '.join(PACKAGES[name])}", flush=True)
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, home], check=True)
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", home / "bin" / "python"]
        subprocess.run([*install, *PACKAGES[name]], check=True)
        done.touch()
    return str(home / "bin" / "python")


def versions() -> dict[str, dict[str, str]]:
    """What each environment has of what is measured."""
    wanted = {"airflow": (*OF_AIRFLOW, "requests", "msgspec"), **PACKAGES}
    return {name: _versions(name, packages) for name, packages in wanted.items() if name != "plot"}


def _versions(name: str, packages: tuple[str, ...]) -> dict[str, str]:
    asked = subprocess.run([python(name), "-c", VERSIONS, *packages], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(asked.stdout)
    return found
