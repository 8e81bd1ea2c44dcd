"""The results as Markdown: the targets, a table for each suite, what was missing, and what it all ran on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.results import FAILED, OK, Figure, Line, Results
from benchmarks.targets import Verdict, best_upload, judged

__all__ = ["report", "target_lines"]


_SMOKE = "A smoke is too short to say how fast anything is: no target is judged."


@dataclass(frozen=True, slots=True)
class _Column:
    head: str
    key: str
    digits: int
    spread: bool = False


_SPEED = _Column("MB/s", "mb_per_s", 1, spread=True)
_CPU = _Column("CPU s a GB", "cpu_s_per_gb", 2)
_PEAK = _Column("peak MiB", "peak_pss_mib", 1, spread=True)
_SECONDS = _Column("s", "seconds", 3, spread=True)
_SIZE = _Column("MB of the file", "source_mb", 0)
_RUN = (_SPEED, _CPU, _PEAK, _SIZE)

_COLUMNS: dict[str, tuple[_Column, ...]] = {
    "ceilings": (_SPEED, _CPU),
    "uploads": _RUN,
    "formats": _RUN,
    "peers": _RUN,
    "cost": (_SPEED, _Column("CPU s", "cpu_s", 3, spread=True), _Column("requests", "requests", 0)),
    "start": (_SECONDS,),
    "quota": (
        _Column("of the least time", "times_least", 3, spread=True),
        _Column("refused", "limited_share", 4, spread=True),
        _Column("requests", "requests", 0),
        _Column("fill", "fill", 3),
        *(_Column(f"plateau {n}, MB/s", f"plateau_{n}_mb_per_s", 2) for n in (1, 2, 3)),
    ),
    "places": (_SPEED, _CPU, _PEAK),
    "cluster": (_SPEED, _CPU, _Column("requests", "requests", 0), _SIZE),
    "growth": (_SPEED, _PEAK, _SIZE, _Column("resume s", "resume_s", 3, spread=True)),
}


def report(results: Results) -> str:
    """All of it."""
    parts = ["# Measured\n", _grounds(results)]
    parts += [f"{_SMOKE}\n"] if results.is_smoke else ["## Targets\n", _targets(results)]
    for suite, columns in _COLUMNS.items():
        lines = results.lines(suite)
        if lines:
            parts += [f"## {suite.capitalize()}\n", _table(lines, columns)]
            if suite == "peers":
                parts += ["### bulkup against them\n", _against(results, lines)]
    parts += _troubles(results)
    return "\n".join(parts)


def target_lines(results: Results) -> Iterator[str]:
    """Each target in a line for a terminal; of a smoke, why there is none."""
    if results.is_smoke:
        yield _SMOKE
        return
    for verdict in judged(results):
        yield f"{verdict.target.group}  {verdict.word:<12}  {_measured(verdict):>12}  {_limit(verdict):>10}  {verdict.target.text}"


def _targets(results: Results) -> str:
    rows = ["| goal | | target | measured | |", "| --- | --- | --- | --- | --- |"]
    for verdict in judged(results):
        target = verdict.target
        rows.append(f"| {target.group} | {target.text} | {_limit(verdict)} | {_measured(verdict)} | {verdict.word} |")
    return "\n".join(rows) + "\n"


def _limit(verdict: Verdict) -> str:
    return f"{verdict.target.bound} {verdict.target.limit:g} {verdict.target.unit}"


def _measured(verdict: Verdict) -> str:
    return "–" if verdict.value is None else f"{verdict.value:.3g} {verdict.target.unit}"


def _table(lines: list[Line], columns: tuple[_Column, ...]) -> str:
    used = [column for column in columns if any(_figure(line, column.key) for line in lines)]
    rows = [
        "| | " + " | ".join(column.head for column in used) + " | rounds |",
        "| --- |" + " --- |" * (len(used) + 1),
    ]
    for line in lines:
        if line.status != OK and not any(_figure(line, column.key) for column in used):
            rows.append(f"| {line.name} | {line.status}: {_cell(line.why)} |" + " |" * len(used))
            continue
        cells = [_shown(_figure(line, column.key), column) for column in used]
        rounds = sum(record["status"] == OK for record in line.records)
        rows.append(f"| {line.name} | {' | '.join(cells)} | {rounds} |")
    return "\n".join(rows) + "\n"


def _against(results: Results, peers: list[Line]) -> str:
    """How many times as fast bulkup is with full validation, and with none, as they have none: by one worker or two, whichever is
    faster. CPU by one worker, with full validation."""
    rows = [
        "| | bulkup MB/s | its MB/s | times as fast | with `trust` | its CPU s a GB, times bulkup's |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for line in peers:
        way = line.labels["way"]
        mine, its = best_upload(results, way), line.value("mb_per_s")
        if mine is None or its is None:
            continue
        one = results.find(what="bulkup", way=way, validation="full", workers="1", wire="plain", source="plain")
        used, its_used = one.value("cpu_s_per_gb") if one else None, line.value("cpu_s_per_gb")
        cpu = f"{its_used / used:.1f}" if used and its_used else "–"
        trusting = best_upload(results, way, "trust")
        trusted = "–" if trusting is None else f"{trusting / its:.1f}"
        rows.append(f"| {line.name} | {mine:,.1f} | {its:,.1f} | {mine / its:.1f} | {trusted} | {cpu} |")
    return "\n".join(rows) + "\n"


def _figure(line: Line, key: str) -> Figure | None:
    if key == "source_mb":
        size = line.figure("source_bytes")
        return None if size is None else Figure(size.middle / 1e6, size.low / 1e6, size.high / 1e6, size.rounds)
    if key == "resume_s":
        return line.figure("seconds") if line.labels.get("what") == "resume" else None
    return line.figure(key)


def _shown(figure: Figure | None, column: _Column) -> str:
    if figure is None:
        return ""
    middle, low, high = (f"{value:,.{column.digits}f}" for value in (figure.middle, figure.low, figure.high))
    return f"{middle} ({low}..{high})" if column.spread and figure.rounds > 1 else middle


def _troubles(results: Results) -> list[str]:
    bad = [line for line in results.lines() if line.status == FAILED]
    if not bad:
        return []
    rows = ["| | last words |", "| --- | --- |", *(f"| {line.name} | {_cell(line.why)} |" for line in bad)]
    return ["## Failed\n", "\n".join(rows) + "\n"]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())[:400]


def _grounds(results: Results) -> str:
    known = results.grounds
    began, ended = results.times
    machine, versions = known.get("machine", {}), known.get("versions", {})
    said: list[tuple[str, Callable[[], str]]] = [
        ("Machine", lambda: ", ".join(f"{value} ({key})" for key, value in machine.items() if key != "load_1m")),
        ("Load in the minute before", lambda: str(machine.get("load_1m", "unknown"))),
        ("Versions", lambda: ", ".join(f"{key} {value}" for key, value in versions.items())),
        ("A whole file", lambda: f"{known.get('size', 0) / 1e6:,.0f} MB, text {known.get('text', 'unknown')}"),
        ("From, to", lambda: f"{began}, {ended}"),
    ]
    return "\n".join(f"- {head}: {text()}" for head, text in said) + "\n"
