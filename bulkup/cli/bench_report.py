"""What a bench has found: as JSON, as a table, and as a chart."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bulkup.bench.sweep import Attempt, CellResult, Fate, Limit, Verdict, is_reached
from bulkup.bench.sweeping import SweepFound, SweepWish
from bulkup.cli.figures import plural, size_text, time_text
from bulkup.run.folder import write_private
from bulkup.version import VERSION

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["cell_line", "chunk_text", "report_json", "speed_text", "table_of", "verdict_lines", "write_chart"]

MIB, KIB = 1024 * 1024, 1024
WIDTH, HEIGHT = 800, 500


def chunk_text(count: int) -> str:
    """A chunk size as a person gives it: `16 MiB`, `512 KiB`, `1,000 B`."""
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if count >= unit and count % unit == 0:
            return f"{count // unit:,} {name}"
    return f"{count:,} B"


def cell_line(result: CellResult) -> str:
    """One cell, in one line."""
    where = f"{chunk_text(result.cell.chunk_bytes)} × {result.cell.concurrency}"
    if not result.measured:
        return f"{where}: {_troubles(result) or 'nothing measured'}"
    more = f" ({trouble})" if (trouble := _troubles(result)) else ""
    return f"{where}: {_speed(result)}, {_time(_middle(result))} a request{more}"


def table_of(found: SweepFound, verdict: Verdict) -> Table:
    """Every cell, the best one marked."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 3, 0, 0), show_edge=False, pad_edge=False)
    for title in ("chunk", "at once", "sent", "goodput", "round trip", "min..max", "answer", "CPU"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("")
    for result in sorted(found.results, key=lambda result: result.cell):
        is_best = result is verdict.best
        trips = result.round_trips_s
        figures = (
            (
                _speed(result),
                _time(_middle(result)),
                f"{_time(trips[0])}..{_time(trips[-1])}",
                f"{result.answer_share:.0%}",
            )
            if trips
            else ("-", "-", "-", "-")
        )
        cells = (
            f"{'→ ' if is_best else ''}{chunk_text(result.cell.chunk_bytes)}",
            f"{result.cell.concurrency}",
            f"{len(result.attempts)}",
            *figures,
            f"{result.cpu_share:.0%}",
            _troubles(result),
        )
        table.add_row(*(Text(cell, style="bold" if is_best else "") for cell in cells))
    return table


def verdict_lines(found: SweepFound, verdict: Verdict, wish: SweepWish) -> list[str]:
    """What is best, what limits it, what it cost and what it has left behind."""
    lines = []
    if verdict.best is None:
        lines.append(f"no best setting: {verdict.why}")
    else:
        cell = verdict.best.cell
        at_once = f" --concurrency {cell.concurrency}" if is_reached(verdict.best, found.results) else ""
        lines.append(
            f"best: --max-chunk-bytes {chunk_text(cell.chunk_bytes).replace(' ', '').replace(',', '')}{at_once}, "
            f"{speed_text(verdict)} with {plural(cell.concurrency, 'request')} at once"
        )
        if not at_once:
            lines.append(
                "more requests at once were not tried with such chunks: that limit was not reached, so none is given"
            )
        lines.append(f"limit: {verdict.limit} ({verdict.why})")
    if verdict.quota_per_minute is not None and found.told is None:
        lines.append(
            f"the service took about {verdict.quota_per_minute:,.0f} requests a minute: set --requests-per-minute to that"
        )
    if verdict.limit is Limit.QUOTA and verdict.largest_taken is None:
        lines.append("under a quota of requests, larger chunks give more throughput: try larger --sizes")
    if verdict.largest_taken is not None:
        lines.append(
            f"the service refused larger bodies (413); the largest that it took has {verdict.largest_taken:,} bytes"
        )
    lines.append(
        f"sent: {plural(found.spent.requests, 'request')}, {size_text(found.spent.body_bytes)}; "
        f"left at the service: {plural(found.rows_taken, 'row')} in {plural(len(found.datasets), 'dataset')}"
        + (f", {found.not_ready:,} of them not READY when the service answered" if found.not_ready else "")
    )
    if found.unanswered:
        lines.append(f"{plural(found.unanswered, 'request')} without an answer may have been stored too")
    return lines


def report_json(found: SweepFound, verdict: Verdict, wish: SweepWish, name: str) -> dict[str, Any]:
    """All of it. Sizes in bytes, times in seconds, goodput in bytes a second."""
    settings = wish.settings
    best = verdict.best
    return {
        "bulkup": VERSION,
        "name": name,
        "destination": settings.service,
        "url": settings.url,
        "rows": "made up" if wish.source is None else str(wish.source),
        "best": None
        if best is None
        else {
            **asdict(best.cell),
            "goodput": round(best.goodput),
            "goodput_within_quota": round(best.goodput_within(verdict.quota_per_minute)),
            "rows_per_chunk": found.rows_per_chunk[best.cell.chunk_bytes],
        },
        "limit": verdict.limit,
        "why": verdict.why,
        "quota_per_minute": verdict.quota_per_minute,
        "quota_is_told": found.told is not None,
        "largest_taken": verdict.largest_taken,
        "stopped": None if found.stopped is None else found.stopped.text,
        "budget": asdict(wish.budget),
        "spent": asdict(found.spent),
        "rows_taken": found.rows_taken,
        "unanswered": found.unanswered,
        "datasets": [{"id": remote_id, "name": title} for remote_id, title in found.datasets.items()],
        "opening": [_attempt_json(attempt) for attempt in found.opening],
        "cells": [_cell_json(result) for result in found.results],
    }


def _attempt_json(attempt: Attempt) -> dict[str, Any]:
    return {
        "fate": attempt.fate,
        "body_bytes": attempt.body_bytes,
        "round_trip_s": round(attempt.ended_at - attempt.began_at, 6),
        "answer_s": round(attempt.ended_at - attempt.body_sent_at, 6),
    }


def _cell_json(result: CellResult) -> dict[str, Any]:
    return {
        **asdict(result.cell),
        "goodput": round(result.goodput),
        "round_trip_s": round(_middle(result), 6) if result.measured else None,
        "answer_share": round(result.answer_share, 3),
        "cpu_share": round(result.cpu_share, 3),
        "elapsed_s": round(result.elapsed_s, 6),
        "measured": len(result.measured),
        "attempts": [_attempt_json(attempt) for attempt in result.attempts],
    }


def write_chart(found: SweepFound, title: str, path: Path) -> bool:
    """Goodput over the number at once, a line for each chunk size, as SVG. False where leather is not installed."""
    try:
        import leather
    except ImportError:
        return False
    chart = leather.Chart(title)
    measured = [result for result in found.results if result.measured]
    counts = sorted({result.cell.concurrency for result in measured})
    chart.add_x_scale(0, counts[-1] + 1)
    chart.add_y_scale(0, max(result.goodput for result in measured) * 1.05 / 1e6)
    chart.add_x_axis(name="requests at once", ticks=counts)
    chart.add_y_axis(name="MB/s", tick_formatter=lambda value, *_: f"{value:g}")
    for size in sorted({result.cell.chunk_bytes for result in measured}):
        points = sorted((r.cell.concurrency, r.goodput / 1e6) for r in measured if r.cell.chunk_bytes == size)
        add = chart.add_line if len(points) > 1 else chart.add_dots
        add(points, name=chunk_text(size))
    text = io.StringIO()
    chart.to_svg(text, width=WIDTH, height=HEIGHT)
    write_private(path, text.getvalue().encode())
    return True


def _middle(result: CellResult) -> float:
    return median(result.round_trips_s)


def speed_text(verdict: Verdict) -> str:
    """How fast the best cell is: `41.2 MB/s`, and what the quota leaves of it."""
    if verdict.best is None:
        return "-"
    within = verdict.best.goodput_within(verdict.quota_per_minute)
    return f"{size_text(within)}/s" + (
        f" ({_speed(verdict.best)} without the quota)" if within < verdict.best.goodput else ""
    )


def _speed(result: CellResult) -> str:
    return f"{size_text(result.goodput)}/s"


def _troubles(result: CellResult) -> str:
    counts = {fate: sum(attempt.fate is fate for attempt in result.attempts) for fate in Fate}
    return ", ".join(f"{count} {fate}" for fate, count in counts.items() if count and fate is not Fate.TAKEN)


def _time(seconds: float) -> str:
    """As `time_text`, in milliseconds below a second."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else time_text(seconds)
