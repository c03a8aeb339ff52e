"""Server time of the page's data: five years, seven datasets, four scopes; beside Airflow's own list of DAGs.

    .venv/bin/python benchmarks/page.py [--times 20]

A whole Airflow, whose DAGs are the examples, on a database in a file. The three are asked for in turns by one client,
after one request of each that is not counted. A time is from request to last byte, CPU that of the API server's
processes, which a busy machine changes less; a size is what was sent (gzip) and what it is.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import mean, median

import httpx
import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from invented_coverage import remember  # noqa: E402
from local_stack import Stack  # noqa: E402

DAG_ID, ASSET = "binance_margin_history_audit", "binance_margin_history"
PATHS = ("/binance-margin/coverage", "/binance-margin/page", "/api/v2/dags")


def api_server() -> list[psutil.Process]:
    """The processes of the API server that this one has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # ended meanwhile
            if any("api" in word for word in process.cmdline()[:4]):
                found.append(process)
    return found


def cpu(server: list[psutil.Process]) -> float:
    """CPU seconds of the API server so far."""
    times = [process.cpu_times() for process in server]
    return sum(each.user + each.system for each in times)


def ask(client: httpx.Client, server: list[psutil.Process], path: str) -> tuple[float, float, int, int]:
    """Milliseconds, those of CPU, bytes sent, bytes in all."""
    before, began = cpu(server), time.perf_counter()
    answer = client.get(path).raise_for_status()
    passed = time.perf_counter() - began
    return passed * 1000, (cpu(server) - before) * 1000, answer.num_bytes_downloaded, len(answer.content)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder, "work"), dags=ROOT / "dags") as stack:
        stack.start_airflow()
        stack.airflow.api.wait_dag(DAG_ID)
        values = remember(stack.airflow.api, DAG_ID, ASSET)
        with httpx.Client(base_url=stack.airflow.url, trust_env=False, timeout=60) as client:
            server, loads = api_server(), [os.getloadavg()[0]]
            turns = [{path: ask(client, server, path) for path in PATHS} for _ in range(options.times + 1)][1:]
            loads.append(os.getloadavg()[0])
        print(f"{values} values, median of {options.times}; load {loads[0]:.1f} before and {loads[1]:.1f} after\n")
        print("| path | median ms | least | most | CPU ms | KB sent | KB |\n|---|---:|---:|---:|---:|---:|---:|")
        for path in PATHS:
            times, works, sent, size = zip(*(turn[path] for turn in turns), strict=True)
            numbers = f"{median(times):.0f} | {min(times):.0f} | {max(times):.0f} | {mean(works):.0f}"
            print(f"| `{path}` | {numbers} | {sent[-1] / 1000:.1f} | {size[-1] / 1000:.1f} |")


if __name__ == "__main__":
    main()
