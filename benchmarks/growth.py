"""Growth of time, requests and memory with records, objects, scopes and workers, beside what the limit needs.

``nice python benchmarks/growth.py [records objects scopes workers]``: writes growth.json and docs/img/growth.svg. About
half an hour, most of it the limit's. Each point is one run, or so many side by side, the exchange 50 ms away.
"""

# ruff: noqa: E402 - the path to `scripts` comes before the imports
from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "scripts")]

from arena import Arena, Contestant, arena
from environments import HERE, python
from machine import machine

from airflow_provider_binance_margin.sandbox.datasets import DATASETS

OURS = Contestant("this package", "ours.py", "airflow")
TARGET = HERE.parent / "docs" / "img" / "growth.svg"
MIB = 1 << 20
LATENCY_MS = 50
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FIRST = datetime(2020, 1, 1, tzinfo=UTC)
#: weight a minute: the documented limit of an address, and what the package uses of it
LIMIT = 12_000
SHARE = 0.6
COUNTS = {
    "records": (100, 1_000, 10_000, 100_000, 1_000_000),
    "objects": (1, 10, 100, 1_000, 10_000, 50_000),
    "scopes": (1, 4, 16, 64),
    "workers": (1, 2, 4, 8),
}
#: days of capital_flow that the workers share: weight 200 each
SHARED_DAYS = 56


def main(names: list[str]) -> None:
    """Measure, print a row for each point, write and draw."""
    path = HERE / "growth.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    with arena() as place:
        place.prepare(0, 0)
        place.run(OURS, 0)  # byte code and caches of the file system are there from here on
        for name in names:
            before = machine()
            points = [_point(place, name, n) for n in COUNTS[name]]
            fits = {kind: round(_exponent(points, kind), 2) + 0.0 for kind in ("seconds", "requests", "memory")}
            results[name] = {"machine": before, "date": f"{datetime.now(UTC):%Y-%m-%d}", "points": points, "fits": fits}
            print(f"{name}: exponents {', '.join(f'{kind} {fit:.2f}' for kind, fit in fits.items())}", flush=True)
            ordered = {each: results[each] for each in COUNTS if each in results}
            path.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    if results.keys() == COUNTS.keys():
        subprocess.run([python("plot"), HERE / "plot.py", path, TARGET], check=True)


def _point(place: Arena, name: str, n: int) -> dict[str, Any]:
    place.prepare(n if name == "records" else 0, LATENCY_MS)
    if name != "records":
        place.exchange.reset()  # no weight of the run before
        place.exchange.settings(latency=LATENCY_MS / 1_000)
    place.exchange.settings(limit=LIMIT)
    options, objects = _prepared(place, name, n)
    runs = place.together(OURS, *options)
    requests = [each for each in place.exchange.requests if each.dataset]
    weight: Counter[str] = Counter()
    for each in requests:
        weight[each.path] += DATASETS[each.dataset].weight
    written = sum(run["result"]["objects"] for run in runs)
    if written != objects or {each.status for each in requests} != {200}:
        raise RuntimeError(f"{name} {n}: {written} objects of {objects}; {Counter(each.status for each in requests)}")
    point = {
        "n": n,
        "seconds": round(max(run["wall"] for run in runs), 2),
        "requests": len(requests),
        "memory": round(max(run["peak_work"] for run in runs) / MIB, 1),
        "limit": round(60 * max(weight.values()) / (SHARE * LIMIT), 3),
        "load": round(max(run["load"] for run in runs), 1),
    }
    print(f"| {name} | " + " | ".join(f"{value:,}" for value in point.values()) + " |", flush=True)
    return point


def _prepared(place: Arena, name: str, n: int) -> tuple[list[dict[str, Any]], int]:
    """The options of each process, and how many objects they must write; a record for each but those of `records`."""
    key = f"{name}/{n}/{{dataset}}/{{scope}}/{{start}}.jsonl.gz"
    if name == "records":
        return [{"s3_key": key}], 1
    if name == "objects":
        place.exchange.add(n=n, at=_ms(FIRST + HOUR / 2), step_ms=HOUR // timedelta(milliseconds=1))
        return [{"s3_key": key, "grain": "hour", **_bounds(FIRST, FIRST + n * HOUR)}], n
    if name == "scopes":
        pairs = [f"PAIR{number}USDT" for number in range(1, n)]
        for pair in (None, *pairs):
            place.exchange.add(n=1, at=_ms(FIRST + HOUR), **({"isolated_symbol": pair} if pair else {}))
        return [{"s3_key": key, "isolated_symbol": [None, *pairs], **_bounds(FIRST, FIRST + DAY)}], n
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first, part = today - SHARED_DAYS * DAY, SHARED_DAYS // n * DAY
    step = DAY // timedelta(milliseconds=1)
    place.exchange.add(n=SHARED_DAYS, dataset="capital_flow", at=_ms(first + HOUR), step_ms=step)
    days = {"s3_key": key, "dataset": "capital_flow", "grain": "day"}
    return [{**days, **_bounds(first + k * part, first + (k + 1) * part)} for k in range(n)], SHARED_DAYS


def _bounds(start: datetime, end: datetime) -> dict[str, str]:
    return {"start": start.isoformat(), "end": end.isoformat()}


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000)


def _exponent(points: list[dict[str, Any]], kind: str) -> float:
    """The slope of a line through the upper half of the points, in logarithms."""
    upper = points[len(points) // 2 :]
    xs, ys = ([math.log(point[each]) for point in upper] for each in ("n", kind))
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


if __name__ == "__main__":
    main(sys.argv[1:] or list(COUNTS))
