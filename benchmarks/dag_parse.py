"""What importing costs while DAGs are parsed, beyond what Airflow has loaded by then."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from statistics import median

import airflow_provider_binance_margin as package

REPEAT = 5
#: all that a DAG file can name; tests hold them to what is light
PUBLIC = (
    "get_provider_info",
    "hooks.binance",
    "operators.force_liquidation_audit",
    "retry_policy",
    "sensors.force_liquidation",
    "transfers.force_liquidation_to_s3",
    "triggers.force_liquidation",
)
BASE = "airflow.sdk airflow.providers.common.compat.sdk airflow.triggers.base"
IMPORT = """
import importlib, sys, time
for name in sys.argv[1].split():
    importlib.import_module(name)
known = len(sys.modules)
print("-- the base ends", file=sys.stderr)
began = time.perf_counter()
for name in sys.argv[2].split():
    importlib.import_module(name)
print(time.perf_counter() - began, len(sys.modules) - known)
"""
SELF_TIME = re.compile(r"import time: +(\d+) \|")


def subjects() -> dict[str, list[str]]:
    """What is imported, by the name the table shows."""
    ours = f"{package.__name__}.transfers.force_liquidation_to_s3"
    return {
        "ForceLiquidationToS3Operator": [ours],
        "this package, whole": [f"{package.__name__}.{name}" for name in PUBLIC],
        "HttpOperator": ["airflow.providers.http.operators.http"],
        "HttpSensor": ["airflow.providers.http.sensors.http"],
        "HttpToS3Operator": ["airflow.providers.amazon.aws.transfers.http_to_s3"],
        "S3KeySensor": ["airflow.providers.amazon.aws.sensors.s3"],
    }


def measure() -> dict[str, dict[str, float]]:
    """Milliseconds (median) each subject adds: by the clock, and as the sum of `-X importtime`."""
    runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in subjects()}
    for _ in range(REPEAT + 1):
        for name, modules in subjects().items():
            runs[name].append(_import(modules))
    return {
        name: dict(zip(("ms", "importtime_ms", "modules"), map(median, zip(*found[1:], strict=True)), strict=True))
        for name, found in runs.items()
    }


def _import(modules: list[str]) -> tuple[float, float, float]:
    """One process that is timed by the clock, another under `-X importtime`, which makes all imports slower."""
    seconds, number = _python(modules).stdout.split()
    traced = _python(modules, "-X", "importtime").stderr.partition("-- the base ends")[2]
    return float(seconds) * 1000, sum(map(int, SELF_TIME.findall(traced))) / 1000, float(number)


def _python(modules: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, *options, "-c", IMPORT, BASE, " ".join(modules)]
        environment = {"AIRFLOW_HOME": home, "PATH": os.environ["PATH"]}
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
