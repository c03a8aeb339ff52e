"""`make bench`: what a user would write today and this package, side by side, verified before it counts."""

# ruff: noqa: E402 - the path to `scripts` comes before the imports
from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "scripts")]

import dag_parse
from arena import Arena, Contestant, arena
from environments import HERE, python, versions
from machine import machine
from report import publish

if TYPE_CHECKING:
    from collections.abc import Sequence

OURS = "this package"
CONTESTANTS = (
    Contestant(OURS, "ours.py", "airflow"),
    Contestant("script, 16 threads", "script.py", "script", threads=16),
    Contestant("script, sequential", "script.py", "script"),
    Contestant("HttpHook loop", "http_provider.py", "airflow", "hook"),
    Contestant("HttpOperator paging", "http_provider.py", "airflow", "operator"),
    Contestant("exchange's SDK", "sdk.py", "sdk"),
    Contestant("ccxt loop", "ccxt_loop.py", "ccxt", "loop"),
    Contestant("ccxt paginate=True", "ccxt_loop.py", "ccxt", "paginate"),
)
PUTS = (
    Contestant("S3Hook alone", "put_s3hook.py", "airflow", moves_records=False),
    Contestant("boto3 alone", "put_boto3.py", "script", moves_records=False),
)
COUNTS = (0, 1, 1_000, 10_000, 100_000)
LATENCIES = (0, 50)
MILLION = 1_000_000
REPEAT = 3
PICTURE = HERE.parent / "docs" / "img" / "benchmark.svg"
#: a run that takes longer is not repeated: what it waits for is the latency, which does not vary
LONG = 20.0
#: seconds; a contestant that would take longer is left out
TOO_LONG = 180.0


def main() -> None:
    """Measure, print, write results.json, README.md and docs/img/benchmark.svg."""
    options = _options()
    contestants = [each for each in CONTESTANTS if not options.only or each.name in options.only.split(";")]
    began = time.time()
    results: dict[str, Any] = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine(), "runs": []}
    results["versions"] = versions()
    with arena() as place:
        place.prepare(0, 0)

        for each in (*contestants, *PUTS):  # byte code and caches of the file system are there from here on
            place.run(each, 0)
        results["puts"] = {each.name: _summary([place.run(each, 0) for _ in range(5)]) for each in PUTS}
        for latency in options.latency:
            for records in options.records:
                results["runs"] += _group(place, contestants, records, latency, options.repeat)
                _keep(results, options)
        if options.million:
            results["runs"] += _group(place, contestants[:1], MILLION, 0, 1)
    _keep(results, options)
    results["imports"] = dag_parse.measure()
    results["minutes"] = round((time.time() - began) / 60, 1)
    results["load_after"] = machine()["load"]
    _keep(results, options)
    text = publish(results)
    print(text)
    if options.write:
        _into_readme(text)
        _plot()


def _keep(results: dict[str, Any], options: argparse.Namespace) -> None:
    """What there is so far: a run that is broken off leaves that much."""
    if options.write:
        (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _group(
    place: Arena, contestants: Sequence[Contestant], records: int, latency: int, repeat: int
) -> list[dict[str, Any]]:
    """All contestants with so many records at such a latency, in turns."""
    runs: dict[Contestant, list[dict[str, Any]]] = {each: [] for each in contestants}
    for turn in range(repeat):
        for each in contestants[turn % len(contestants) :] + contestants[: turn % len(contestants)]:
            done = runs[each]
            if (done and done[0]["wall"] > LONG) or _estimate(each, records, latency) > TOO_LONG:
                continue
            place.prepare(records, latency)
            done.append(place.run(each, records))
            wall, cpu, said = done[-1]["wall"], done[-1]["cpu"], done[-1]["verdict"]
            what = f"{latency:3} ms {records:9,} records  {each.name:22}"
            print(f"{what} {wall:8.2f} s {cpu:8.2f} s CPU  {said}", flush=True)
    told = []
    for each, done in runs.items():
        named = {"contestant": each.name, "records": records, "latency_ms": latency}
        told.append({**named, **_summary(done)} if done else {**named, "skipped": True})
    return told


def _estimate(contestant: Contestant, records: int, latency: int) -> float:
    at_once = 16 if contestant.threads > 1 or contestant.name == OURS else 1
    return records / 100 * (latency + 15) / 1000 / at_once


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each number, and the worst verdict."""
    numbers = {name: median(run[name] for run in runs) for name in runs[0] if name != "verdict"}
    verdicts = sorted({run["verdict"] for run in runs if "verdict" in run} - {"exact"}) or ["exact"]
    return {**numbers, "verdict": verdicts[0], "repeats": len(runs), "cpus": [run["cpu"] for run in runs]}


def _into_readme(text: str) -> None:
    readme = HERE / "README.md"
    head, mark, _ = readme.read_text().partition("<!-- figures: written by run.py -->")
    readme.write_text(f"{head}{mark}\n\n{text}\n")


def _plot() -> None:
    import subprocess  # noqa: PLC0415 - needed for nothing else

    subprocess.run([python("plot"), HERE / "plot.py", HERE / "results.json", PICTURE], check=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="*", default=COUNTS)
    parser.add_argument("--latency", type=int, nargs="*", default=LATENCIES)
    parser.add_argument("--repeat", type=int, default=REPEAT)
    parser.add_argument("--only", default="", help="these contestants, separated by semicolons")
    parser.add_argument("--no-million", dest="million", action="store_false", help="leave a million records out")
    parser.add_argument("--no-write", dest="write", action="store_false", help="print only")
    return parser.parse_args()


if __name__ == "__main__":
    main()
