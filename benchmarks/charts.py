"""The results as charts (SVG). matplotlib is in the extra `bench`, and is loaded only here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.results import OK, Line, Results

__all__ = ["draw"]

_COLOURS = {
    "wrk": "#888888",
    "msgspec": "#888888",
    "check": "#1f6feb",
    "encoder": "#1f6feb",
    "codec": "#888888",
    "bulkup": "#1f6feb",
    "peer": "#d29922",
}


def draw(results: Results, folder: Path) -> list[Path]:
    """Write a chart for everything that there are figures for. Raises ImportError where matplotlib is missing."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "bulkup"  # the same figures give the same file
    makers: dict[str, Callable[[Results], Any]] = {"speed": _speed, "memory": _memory, "capacity": _capacity}
    written = []
    for name, maker in makers.items():
        figure = maker(results)
        if figure is not None:
            path = folder / f"{name}.svg"
            figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
            written.append(path)
    return written


def _axes(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _speed(results: Results) -> Any:
    """Ceilings, bulkup and peers, least to most; the whiskers are the least and the greatest round."""
    found: list[tuple[Line, float, float, float]] = []
    for line in results.lines():
        speed = line.figure("mb_per_s")
        if line.suite in {"ceilings", "uploads", "peers"} and line.labels.get("what") in _COLOURS and speed:
            found.append((line, speed.middle, speed.low, speed.high))
    if not found:
        return None
    found.sort(key=lambda item: item[1])
    figure, axes = _axes(9, 0.9 + 0.24 * len(found))
    middles = [middle for _, middle, _, _ in found]
    whiskers = [[m - low for _, m, low, _ in found], [high - m for _, m, _, high in found]]
    colours = [_COLOURS[line.labels["what"]] for line, *_ in found]
    axes.barh(
        [line.name for line, *_ in found], middles, xerr=whiskers, color=colours, height=0.7, error_kw={"lw": 0.8}
    )
    axes.set_xscale("log")
    axes.set_xlabel("MB/s (10⁶ bytes of the source), median, least and greatest round; logarithmic")
    axes.tick_params(axis="y", labelsize=7)
    axes.margins(y=0.01)
    return figure


def _memory(results: Results) -> Any:
    """Peak PSS against the file's size."""
    series: dict[str, list[tuple[float, float]]] = {}
    for line in results.lines("growth"):
        peak, size = line.value("peak_pss_mib"), line.value("source_bytes")
        if line.labels.get("what") == "growth" and peak is not None and size is not None:
            name = f"{line.labels['way']}, workers: {line.labels['workers']}"
            series.setdefault(name, []).append((size / 1e9, peak))
    if not series:
        return None
    figure, axes = _axes(7, 3.5)
    for name, points in series.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
    axes.set_xlabel("GB in the file")
    axes.set_ylabel("peak PSS of all processes, MiB")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, frameon=False)
    return figure


def _capacity(results: Results) -> Any:
    """Goodput on each plateau: bulkup, and each fixed concurrency."""
    lines = [line for line in results.lines("quota") if line.labels.get("what") == "capacity" and line.status == OK]
    if not lines:
        return None
    figure, axes = _axes(7, 3.5)
    for line in lines:
        speeds = [line.value(f"plateau_{place}_mb_per_s") or 0.0 for place in (1, 2, 3)]
        is_ours = line.labels["concurrency"] == "adaptive"
        style = {"color": "#1f6feb", "lw": 2.5} if is_ours else {"color": "#888888", "lw": 0.8}
        axes.plot((1, 2, 3), speeds, marker="o", **style)
        axes.annotate("bulkup" if is_ours else line.labels["concurrency"], (3.04, speeds[-1]), fontsize=7, va="center")
    axes.set_xticks((1, 2, 3), ("plateau 1", "plateau 2", "plateau 3"))
    axes.set_ylabel("MB/s")
    axes.set_ylim(bottom=0)
    return figure
