"""Figures -> what README.md shows: the criteria and the tables, in Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

MIB = 1 << 20
OURS, THREADS, SEQUENTIAL, LOOP = "this package", "script, 16 threads", "script, sequential", "HttpHook loop"


_COLUMNS = (
    *("records", "contestant", "wall s", "CPU s", "whole process: wall s", "CPU s", "requests", "connections"),
    *("peak MiB", "over empty", "object", "runs"),
)


class Criterion(NamedTuple):
    """One thing promised: what is measured must be at most the limit."""

    what: str
    value: float
    limit: float
    unit: str

    @property
    def line(self) -> str:
        """A row of the table."""
        word = "pass" if self.value <= self.limit else "**fail**"
        return f"| {self.what} | {self.value:.2f}{self.unit} | {self.limit:.2f}{self.unit} | {word} |"


def publish(results: dict[str, Any]) -> str:
    """Everything, as Markdown."""
    parts = [_setting(results), "## Promises", _criteria(results)]
    for latency in sorted({run["latency_ms"] for run in results["runs"]}):
        parts += [f"## {latency} ms latency", _table([r for r in results["runs"] if r["latency_ms"] == latency])]
    if results["puts"]:
        parts += ["## S3 alone", _puts(results["puts"])]
    if results["imports"]:
        parts += ["## Importing while DAGs are parsed", _imports(results["imports"])]
    return "\n\n".join(part for part in parts if part)


def _setting(results: dict[str, Any]) -> str:
    machine = results["machine"]
    versions = "; ".join(
        f"{name}: " + ", ".join(f"{package} {version}" for package, version in packages.items())
        for name, packages in results["versions"].items()
    )
    return (
        f"Measured {results['date']} on {machine['cores']} cores ({machine['processor']}, "
        f"{machine['memory_gib']} GiB), {machine['system']}, Python {machine['python']}; load {machine['load']} before "
        f"and {results.get('load_after', '?')} after {results.get('minutes', '?')} minutes. The servers ran on the "
        f"same cores. Versions, by environment: {versions}."
    )


def _criteria(results: dict[str, Any]) -> str:
    runs = {(r["contestant"], r["latency_ms"], r["records"]): r for r in results["runs"] if "skipped" not in r}
    hook = results["puts"].get("S3Hook alone", {}).get("wall", 0.0)
    bare = results["puts"].get("boto3 alone", {}).get("wall", 0.0)

    def wall(name: str, records: int) -> float:
        return float(runs[name, 50, records]["wall"])

    def cpu(name: str) -> float:
        return float(runs[name, 0, 100_000]["cpu"])

    def memory(records: int) -> float:
        over = runs[OURS, 0, records]["peak_work"] - runs[OURS, 0, 0]["peak_work"]
        return float(over) / MIB

    def whole_memory(records: int) -> float:
        return float(runs[OURS, 0, records]["peak"] - runs[OURS, 0, 0]["peak"]) / MIB

    def needed(records: int) -> int:
        """Pages, two that confirm several, and both halves of a total that looks like a limit."""
        pages = max(1, -(-records // 100))
        return pages + 2 * (pages > 1) + 2 * (records >= 1_000 and records % 500 == 0)  # noqa: PLR2004

    def requests_over() -> float:
        return float(max(r["requests"] + r["other_requests"] - needed(r["records"]) for r in mine))

    mine = [run for key, run in runs.items() if key[0] == OURS]
    at = "at 50 ms, {:,} records, wall after imports"
    wanted: list[tuple[str, Callable[[], float], float, str]] = [
        (
            f"{at.format(10_000)}: less an S3Hook's put ({hook:.2f} s), of the 16-thread script",
            lambda: (wall(OURS, 10_000) - hook) / wall(THREADS, 10_000),
            1.15,
            "",
        ),
        (
            f"the same, less only what S3Hook costs over boto3 ({hook - bare:.2f} s)",
            lambda: (wall(OURS, 10_000) - (hook - bare)) / wall(THREADS, 10_000),
            1.15,
            "",
        ),
        (f"{at.format(10_000)}: of the HttpHook loop", lambda: wall(OURS, 10_000) / wall(LOOP, 10_000), 1 / 7, ""),
        (
            f"{at.format(100_000)}: of the 16-thread script",
            lambda: wall(OURS, 100_000) / wall(THREADS, 100_000),
            1.25,
            "",
        ),
        (f"{at.format(100_000)}: of the HttpHook loop", lambda: wall(OURS, 100_000) / wall(LOOP, 100_000), 1 / 12, ""),
        (
            "at no latency, 100,000 records, CPU after imports: of the sequential script",
            lambda: cpu(OURS) / cpu(SEQUENTIAL),
            1.3,
            "",
        ),
        ("requests beyond pages, confirmation and halves, in any of our runs", requests_over, 0, ""),
        ("peak memory of 100,000 records over an empty run's", lambda: memory(100_000), 16, " MiB"),
        ("the same, of the whole process with its imports", lambda: whole_memory(100_000), 16, " MiB"),
        ("peak memory of 1,000,000 records over an empty run's", lambda: memory(1_000_000), 32, " MiB"),
        (
            "importing all of the package that a DAG file can name, as the sum of `-X importtime`",
            lambda: results["imports"]["this package, whole"]["importtime_ms"],
            15,
            " ms",
        ),
    ]
    rows = ["| promise | measured | at most | |", "|---|---:|---:|---|"]
    for what, measure, limit, unit in wanted:
        try:
            rows.append(Criterion(what, measure(), limit, unit).line)
        except KeyError:
            rows.append(f"| {what} | not measured | {limit:.2f}{unit} | |")
    return "\n".join(rows)


def _table(runs: list[dict[str, Any]]) -> str:
    empty = {r["contestant"]: r["peak_work"] for r in runs if r["records"] == 0 and "skipped" not in r}
    rows = [f"| {' | '.join(_COLUMNS)} |", "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|"]
    for run in runs:
        name = f"**{run['contestant']}**" if run["contestant"] == OURS else run["contestant"]
        if "skipped" in run:
            rows.append(f"| {run['records']:,} | {name} | left out: over three minutes | | | | | | | | | 0 |")
            continue
        over = (run["peak_work"] - empty[run["contestant"]]) / MIB if run["contestant"] in empty else 0.0
        rows.append(
            f"| {run['records']:,} | {name} | {run['wall']:.2f} | {run['cpu']:.2f} | {run['whole_wall']:.2f} "
            f"| {run['whole_cpu']:.2f} | {run['requests'] + run['other_requests']:,.0f} | {run['connections']:,.0f} "
            f"| {run['peak'] / MIB:.0f} | {over:+.1f} | {run['verdict']} | {run['repeats']} |"
        )
    return "\n".join(rows)


def _puts(puts: dict[str, dict[str, Any]]) -> str:
    rows = ["| one put of nothing | wall s | CPU s | whole process: wall s | CPU s |", "|---|---:|---:|---:|---:|"]
    rows += [
        f"| {name} | {put['wall']:.2f} | {put['cpu']:.2f} | {put['whole_wall']:.2f} | {put['whole_cpu']:.2f} |"
        for name, put in puts.items()
    ]
    return "\n".join(rows)


def _imports(imports: dict[str, dict[str, float]]) -> str:
    rows = ["| imported after the base | ms | sum of `-X importtime`, ms | modules |", "|---|---:|---:|---:|"]
    rows += [
        f"| {name} | {found['ms']:.1f} | {found['importtime_ms']:.1f} | {found['modules']:.0f} |"
        for name, found in imports.items()
    ]
    return "\n".join(rows)
