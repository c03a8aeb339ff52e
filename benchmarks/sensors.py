"""1,000 deferred sensors on one event loop, that all differ or are all alike, beside the HTTP provider's; and watchers.

    .venv/bin/python benchmarks/sensors.py [--sensors 1000] [--seconds 30] [--hosts 4]

The sensors poll every 5 seconds against sandboxes that take 50 ms to answer, each a process of its own. The
package paces itself per host (1,200 requests at once, then 100 a second), so the sensors are spread over several
loopback hosts. A poll is due 5 s after the answer before it; how late it was is read off the sandboxes' own logs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from airflow_provider_binance_margin.sandbox import SandboxControl

POLL = 5.0
LATENCY = 0.05
PAGE = 4096


# -- in a process of its own: what is measured -------------------------------------------------------------------------


def memory() -> float:
    """MiB that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


async def for_a_time(seconds: float, jobs: list[Awaitable[Any]]) -> None:
    """Run triggers side by side, then cancel them, as a triggerer does."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [end for end in ended if not isinstance(end, asyncio.CancelledError)]
    assert not failed, failed[:3]


async def drain(events: Any) -> None:
    """Run a trigger to its end, which does not come."""
    async for event in events:
        raise AssertionError(event)


def different(count: int, hosts: int) -> list[Awaitable[Any]]:
    """This package's trigger, each with a window of its own: none shares its polls."""
    return ours(count, hosts, step=1)


def ours(count: int, hosts: int, step: int = 0) -> list[Awaitable[Any]]:
    """This package's trigger; those of one host ask the same, unless their windows begin apart."""
    from airflow_provider_binance_margin.triggers.margin_history import MarginHistoryTrigger  # noqa: PLC0415

    start = int(time.time() * 1000) - 3_600_000
    options: dict[str, Any] = {"end": None, "isolated_symbol": None, "min_records": 1, "settle": 60.0}
    options |= {"max_span": 604_800.0, "poke_interval": POLL}
    return [
        drain(
            MarginHistoryTrigger(
                dataset="force_liquidation", binance_conn_id=f"host_{n % hosts}", start=start + n * step, **options
            ).run()
        )
        for n in range(count)
    ]


def http(count: int, hosts: int) -> list[Awaitable[Any]]:
    """The HTTP provider's trigger: it waits as long as the answer is 404."""
    from airflow.providers.http.triggers.http import HttpSensorTrigger  # noqa: PLC0415

    return [
        drain(HttpSensorTrigger(endpoint=f"wait/{n}", http_conn_id=f"http_{n % hosts}", poke_interval=POLL).run())
        for n in range(count)
    ]


def watchers(count: int, hosts: int) -> list[Awaitable[Any]]:  # noqa: ARG001 - one connection is the point
    """Event triggers of one connection."""
    from airflow_provider_binance_margin.triggers.force_liquidation import ForceLiquidationEventTrigger  # noqa: PLC0415

    options: dict[str, Any] = {"binance_conn_id": "host_0", "poll_interval": POLL}
    return [drain(ForceLiquidationEventTrigger(**options, name=f"watcher {n}").run()) for n in range(count)]


KINDS: dict[str, Callable[[int, int], list[Awaitable[Any]]]] = {
    "http": http,
    "different": different,
    "alike": ours,
    "watchers": watchers,
}


def measure(kind: str, options: argparse.Namespace) -> None:
    """Run one kind and say what it took, on the last line."""
    logging.basicConfig(level=logging.INFO)

    async def run() -> dict[str, float]:
        await for_a_time(1, KINDS[kind](1, options.hosts))  # a triggerer has run some before: all is imported
        jobs = KINDS[kind](options.sensors, options.hosts)
        before, began = memory(), time.process_time()
        sampled = asyncio.ensure_future(peak())
        await for_a_time(options.seconds, jobs)
        sampled.cancel()
        cpu = time.process_time() - began
        return {"cpu": cpu, "before": before, "grown": highest[0] - before, "highest": highest[0]}

    highest = [0.0]

    async def peak() -> None:
        while True:
            highest[0] = max(highest[0], memory())
            await asyncio.sleep(0.25)

    print("\n" + json.dumps(asyncio.run(run())))


# -- around it: exchanges, and what their logs say ---------------------------------------------------------------------


@contextmanager
def exchanges(hosts: int, folder: Path) -> Iterator[dict[str, str]]:
    """So many sandboxes, each a process on a loopback address of its own; the connections to them."""
    files, processes, env = [], [], {}
    try:
        for n in range(hosts):
            files.append(file := folder / f"url-{n}")
            command = [sys.executable, "-m", "airflow_provider_binance_margin.sandbox", "--no-history", "--port", "0"]
            command += ["--host", f"127.0.0.{n + 1}", "--home", str(folder), "--url-file", str(file)]
            command += ["--latency-ms", str(LATENCY * 1000)]
            processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            while not file.exists():
                time.sleep(0.1)
        for n, file in enumerate(files):
            url = file.read_text()
            env[f"AIRFLOW_CONN_HOST_{n}"] = json.dumps(_connection(url, folder))
            env[f"AIRFLOW_CONN_HTTP_{n}"] = json.dumps({"conn_type": "http", "host": url})
        yield env
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(10)


def _connection(url: str, folder: Path) -> dict[str, Any]:
    from airflow_provider_binance_margin.sandbox.keys import open_keys  # noqa: PLC0415

    key = open_keys(folder)["hmac"]
    return {"conn_type": "binance", "host": url, "login": key.api_key, "password": key.secret}


def run(kind: str, options: argparse.Namespace, env: dict[str, str], controls: list[SandboxControl]) -> dict[str, Any]:
    """One kind in a process of its own, and what the exchanges' logs say of it."""
    for control in controls:
        control.reset()
        control.settings(latency=LATENCY, limit=10**9)
    command = [sys.executable, __file__, "--measure", kind, "--sensors", str(options.sensors)]
    command += ["--seconds", str(options.seconds), "--hosts", str(options.hosts)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-4000:])
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    polls = defaultdict(list)
    for control in controls:
        for entry in control.requests:
            polls[entry.params.get("startTime", entry.path)].append(entry.time / 1000)
    late = sorted(b - a - POLL - LATENCY for times in polls.values() for a, b in pairwise(times))
    told["requests"] = sum(map(len, polls.values()))
    told["late"] = late
    return told


def row(name: str, told: dict[str, Any]) -> str:
    """One line of the table."""
    late = told["late"] or [0.0]
    middle, rare, worst = late[len(late) // 2], late[int(len(late) * 0.99)], late[-1]
    return (
        f"| {name:<36} | {told['requests']:>8,} | {middle * 1000:>7.0f} | {rare * 1000:>5.0f} | {worst * 1000:>5.0f} "
        f"| {told['cpu']:>5.1f} | {told['grown']:>8.0f} | {told['highest']:>3.0f} |"
    )


def main() -> None:
    """Measure each, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sensors", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--measure", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options)
        return
    from airflow_provider_binance_margin.sandbox import SandboxControl  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name, exchanges(options.hosts, Path(name)) as connections:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
        env = {**clean, **connections, "AIRFLOW_HOME": name, "NO_PROXY": "*", "no_proxy": "*"}
        urls = [Path(name, f"url-{n}").read_text() for n in range(options.hosts)]
        controls = [SandboxControl(url) for url in urls]
        told = {kind: run(kind, options, env, controls) for kind in KINDS}
    hosts = f"{options.hosts} hosts that take {LATENCY * 1000:.0f} ms"
    print(f"{options.sensors:,} sensors, every {POLL:.0f} s for {options.seconds:.0f} s, {hosts}\n")
    print("| trigger                              | requests | late ms |  99 % | worst | CPU s | MiB more | MiB |")
    print("|" + "|".join("-" * width for width in (38, 10, 9, 7, 7, 7, 10, 5)) + "|")
    print(row("HttpSensorTrigger", told["http"]))
    print(row("MarginHistoryTrigger, all differ", told["different"]))
    print(row("MarginHistoryTrigger, all alike", told["alike"]))
    print(row("ForceLiquidationEventTrigger, 1 conn", told["watchers"]))
    theirs = told["http"]
    for kind in ("different", "alike"):
        cpu, grown, requests = (told[kind][name] / theirs[name] for name in ("cpu", "grown", "requests"))
        each = f" ({cpu / requests:.0%} for each request)" if kind == "different" else ""
        print(f"\nAll {kind}: {cpu:.0%} of HttpSensorTrigger's CPU{each}, {grown:.0%} of its memory.", end="")
    print(f"\nLoad: {os.getloadavg()[0]:.1f} at the end.")


if __name__ == "__main__":
    main()
