"""results.json or growth.json -> an SVG. Runs in an environment of its own: python plot.py results.json results.svg"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

OURS = "this package"
SERIES = {"seconds": ("seconds", "#f0a500"), "requests": ("requests", "#5e81ac"), "memory": ("MiB at most", "#7d9a7e")}
GREYS = ("#4c566a", "#5e81ac", "#88a0b8", "#8f7f6a", "#b09a7e", "#7d9a7e", "#a3b5a4")


def main(source: str, target: str) -> None:
    """Draw the file; the same figures give the same bytes."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "figures", "font.sans-serif": ["DejaVu Sans"]})
    results = json.loads(Path(source).read_text(encoding="utf-8"))
    figure = _compared(results) if "runs" in results else _grown(results)
    figure.savefig(target, metadata={"Date": None, "Creator": None})
    lines = Path(target).read_text(encoding="utf-8").splitlines()
    Path(target).write_text("".join(f"{line.strip()}\n" for line in lines), encoding="utf-8")


def _compared(results: dict[str, Any]) -> Any:
    """Two panels: how long it takes at 50 ms, and what CPU it takes at none."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    _times(left, [run for run in results["runs"] if run["latency_ms"] == 50 and "skipped" not in run])  # noqa: PLR2004
    _cpu(right, [run for run in results["runs"] if run["latency_ms"] == 0 and "skipped" not in run])
    return figure


def _grown(results: dict[str, Any]) -> Any:
    """A panel for what each grows with."""
    figure, panels = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    for axes, (name, told) in zip(panels.flat, results.items(), strict=True):
        points = told["points"]
        n = [point["n"] for point in points]
        for kind, (label, colour) in SERIES.items():
            thick = {"color": colour, "linewidth": 3 if kind == "seconds" else 1.4}
            text = f"{label}, exponent {told['fits'][kind]:.1f}"
            axes.plot(n, [point[kind] for point in points], marker="o", markersize=4, label=text, **thick)
        limit = [point["limit"] for point in points]
        axes.plot(n, limit, "--", color="#bf616a", linewidth=1.4, label="seconds that the share of the limit needs")
        axes.set(xscale="log", yscale="log", xlabel=name)
        axes.set_xticks(n, [f"{each:,}" for each in n])
        axes.minorticks_off()
        axes.set_ylim(bottom=0.01)
        axes.grid(visible=True, which="major", alpha=0.25)
        axes.legend(frameon=False, fontsize=8)
    return figure


def _names(runs: list[dict[str, Any]]) -> list[str]:
    """Contestants that lost nothing, in the order of the runs."""
    wrong = {run["contestant"] for run in runs if run["verdict"] != "exact"}
    return [name for name in dict.fromkeys(run["contestant"] for run in runs) if name not in wrong]


def _times(axes: Any, runs: list[dict[str, Any]]) -> None:
    colours = iter((*GREYS, GREYS[0]))
    for name in _names(runs):
        mine = sorted((run["records"], run["wall"]) for run in runs if run["contestant"] == name and run["records"])
        thin = {"color": next(colours), "linewidth": 1.4}
        style = {"color": "#f0a500", "linewidth": 3, "zorder": 5} if name == OURS else thin
        axes.plot(*zip(*mine, strict=True), marker="o", markersize=4, label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel="records", ylabel="seconds, after imports")
    axes.set_title("Answers take 50 ms", loc="left")
    axes.grid(visible=True, which="major", alpha=0.25)
    axes.legend(frameon=False, fontsize=8)


def _cpu(axes: Any, runs: list[dict[str, Any]]) -> None:
    names = _names(runs)
    most = max(run["records"] for run in runs if run["contestant"] != OURS)
    found = {run["contestant"]: run["cpu"] for run in runs if run["records"] == most}
    names = sorted((name for name in names if name in found), key=found.__getitem__, reverse=True)
    bars = axes.barh(
        names, [found[name] for name in names], color=["#f0a500" if name == OURS else GREYS[1] for name in names]
    )
    axes.bar_label(bars, fmt="%.1f s", padding=3, fontsize=8)
    axes.set(xlabel="seconds of CPU, after imports")
    axes.set_title(f"{most:,} records, answers at once", loc="left")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(*sys.argv[1:])
