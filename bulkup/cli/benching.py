"""`bulkup bench`: what an endpoint takes, found within a budget that is stated and agreed to first."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from bulkup.account.finished import Event
from bulkup.bench.sweep import Budget, Verdict, is_reached
from bulkup.bench.sweeping import Sweeper, SweepFound, SweepWish
from bulkup.cli.bench_report import cell_line, chunk_text, report_json, speed_text, table_of, verdict_lines, write_chart
from bulkup.cli.choices import choose
from bulkup.cli.config_writing import check_config, write_config
from bulkup.cli.figures import plural, printable, size_text
from bulkup.cli.runner import OutputMode, with_signals
from bulkup.cli.streams import delivered, put_json, say, to_stdout
from bulkup.cli.terminal import console_on
from bulkup.destinations.registry import service_named
from bulkup.errors import ExitCode, JournalUnusable, LocalDisk, UsageProblem, worst
from bulkup.event import Note
from bulkup.journal.state_files import check_folder
from bulkup.path_text import json_bytes
from bulkup.run.folder import StateDir, write_private
from bulkup.run.interrupt import Interrupt
from bulkup.settings.quantities import parse_seconds, parse_size
from bulkup.transport import check_base_url

__all__ = ["bench"]

T = TypeVar("T")

INTERRUPTED = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
MAX_CHUNK_BYTES = 256 * 1024 * 1024
TABLE_WIDTH = 120


def bench(given: Mapping[str, Any], environment: Mapping[str, str], output: OutputMode) -> int:
    """Plan, ask, measure, report; the exit code. Raises `BulkupError` for what keeps it from beginning."""
    wish = _wish(given, environment)
    target = Path(given["write_config"]) if given["write_config"] else None
    if target is not None:
        check_config(target, wish.settings)
    sweeper = asyncio.run(Sweeper.prepared(wish))
    if not output.quiet or not sweeper.is_local:
        say(*_plan_lines(sweeper, wish))
    if not sweeper.is_local and not given["yes"]:
        _ask(wish.settings.url)
    StateDir(wish.run.state_dir).create()

    async def work(tell: Callable[[Event], None], interrupt: Interrupt) -> SweepFound:
        lane = wish.settings.service
        return await sweeper.run(interrupt, tell=tell, on_cell=lambda result: tell(Note(lane, cell_line(result))))

    return _report(with_signals(output, work), wish, target, output)


def _wish(given: Mapping[str, Any], environment: Mapping[str, str]) -> SweepWish:
    """What the flags ask for. Size and concurrency of a config file do not count: they are what is looked for."""
    lane = given["to"].strip().lower()
    service = service_named(lane)
    now = datetime.now(UTC)
    asked = {
        **{key: given[key] for key in ("config", "preset", "drop", "ca_file", "state_dir")},
        **{own.name: given[own.name] or own.option.bench for own in service.own_settings},
        "requests_per_minute": given["requests_per_minute"],
        "to": [lane],
        "name": f"bulkup-bench-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        service.url_setting.name: given["url"],
    }
    upload = choose([given["source"] or "-"], asked, environment)
    settings = upload.destinations[0].model_copy(update={"concurrency": 16, "max_chunk_bytes": None})
    check_base_url(settings.url)
    sizes = _numbers(given["sizes"], "--sizes", parse_size, (1024, MAX_CHUNK_BYTES)) if given["sizes"] else ()
    return SweepWish(
        settings=settings,
        run=upload.settings,
        source=Path(given["source"]) if given["source"] else None,
        chunk_bytes=sizes,
        concurrencies=_numbers(given["concurrencies"], "--concurrencies", int, (1, 256)),
        budget=Budget(
            _numbers(given["max_requests"], "--max-requests", int, (1, 10**6))[0],
            _numbers(given["max_bytes"], "--max-bytes", parse_size, (1024, 1 << 50))[0],
        ),
        max_wait_s=_parsed(given["max_wait"], "--max-wait", parse_seconds),
    )


def _numbers(text: str, flag: str, parse: Callable[[str], int], bounds: tuple[int, int]) -> tuple[int, ...]:
    """The numbers of a list, ascending, each once."""
    found = {_parsed(word.strip(), flag, parse) for word in text.split(",") if word.strip()}
    if not found or min(found) < bounds[0] or max(found) > bounds[1]:
        raise UsageProblem(
            f"{flag} {text!r}: give a number from {bounds[0]:,} to {bounds[1]:,}, or several with commas between them"
        )
    return tuple(sorted(found))


def _parsed(text: str, flag: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as error:
        why = "give a whole number" if parse is int else error
        raise UsageProblem(f"{flag} {text!r}: {why}") from None


def _plan_lines(sweeper: Sweeper, wish: SweepWish) -> list[str]:
    """What it will do and leave behind, before it does."""
    settings, most = wish.settings, sweeper.ceiling
    rows = "made-up rows" if wish.source is None else f"rows of {printable(str(wish.source))}"
    if wish.source is not None and sweeper.rows is not None and sweeper.rows.rejected:
        rows += f" (leaving out {plural(sweeper.rows.rejected, 'row')} that {settings.service} would reject)"
    if sweeper.makes_datasets:
        first, last = sweeper.dataset_name(1), sweeper.dataset_name(most.requests)
        names = f"{first} to {last.rpartition('-')[2]}"
        made = f"{plural(most.requests, 'dataset')}, {names}, in {settings.where()}: each request makes one"
    else:
        made = f"one dataset, {sweeper.dataset_name(0)}, in {settings.where()}"
    sizes = ", ".join(map(chunk_text, sweeper.grid.chunk_bytes))
    counts = ", ".join(map(str, sweeper.grid.concurrencies))
    return [
        f"bench of {settings.service} at {settings.url}",
        f"  sends {rows}: at most {plural(most.requests, 'request')}, {size_text(most.body_bytes)} (--max-requests, --max-bytes)",
        f"  tries chunks of {sizes}, and {counts} requests at once, as far as the budget goes",
        f"  leaves at most {plural(sweeper.most_rows, 'row')} in {made}",
        "  cannot delete them: the service publishes no call for that",
        f"  stops if the service asks it to wait for more than {wish.max_wait_s:g} s (--max-wait)",
    ]


def _ask(url: str) -> None:
    """Raise `UsageProblem` unless a person agrees."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageProblem(f"nothing was sent. The bench would use up quota at {url}: give --yes to agree")
    sys.stderr.write("Go on? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageProblem("you did not agree; nothing was sent")


def _report(found: SweepFound, wish: SweepWish, target: Path | None, output: OutputMode) -> int:
    """What a person reads first, since it cannot be had again; then the files."""
    verdict = found.verdict
    told = report_json(found, verdict, wish, wish.run.name)

    def write() -> None:
        if output.json:
            put_json(told)
        elif not output.quiet:
            _print(found, verdict, wish)

    shown = delivered(write, "the report is kept in a file")
    if found.stopped is not None:
        say(f"stopped: {printable(found.stopped.text)}")
    kept = _keep(found, wish, json_bytes(told, indent=True))
    if target is not None:
        kept.append(_written(found, wish, target))
    if not output.quiet or shown:
        say(*kept)
    return int(worst([ExitCode.ALL_LANDED if found.stopped is None else found.stopped.exit_code, shown]))


def _print(found: SweepFound, verdict: Verdict, wish: SweepWish) -> None:
    with to_stdout() as out:
        console = console_on(out)
        console.width = max(TABLE_WIDTH, console.width)  # figures that are cut short are worse than lines that wrap
        console.print()
        if found.results:
            console.print(table_of(found, verdict))
            console.print()
        for line in verdict_lines(found, verdict, wish):
            console.print(printable(line), soft_wrap=True)


def _keep(found: SweepFound, wish: SweepWish, report_text: bytes) -> list[str]:
    """Write the report and the chart; the lines that say where they are. Raises `LocalDisk`."""
    folder = StateDir(wish.run.state_dir / "bench")
    report = folder.path / f"{wish.run.name}.json"
    try:
        folder.create()
        check_folder(folder.path)
        write_private(report, report_text)
    except JournalUnusable as error:  # a link or a file in the way; there is no journal here
        raise LocalDisk(str(error)) from None
    kept = [f"report: {report}"]
    if any(result.measured for result in found.results):
        chart = report.with_suffix(".svg")
        is_drawn = write_chart(found, f"{wish.settings.service} {wish.settings.url}", chart)
        kept.append(f"chart: {chart}" if is_drawn else "no chart: pip install 'bulkup[chart]' draws one")
    return kept


def _written(found: SweepFound, wish: SweepWish, target: Path) -> str:
    """Write the best setting into the config; the line that says so."""
    verdict = found.verdict
    if verdict.best is None or (found.stopped is not None and found.stopped.exit_code in INTERRUPTED):
        return f"{target} was not changed: the bench did not finish"
    cell = verdict.best.cell
    origin = f"bulkup bench {datetime.now(UTC):%Y-%m-%d}: {speed_text(verdict)}, limit: {verdict.limit}"
    concurrency = cell.concurrency if is_reached(verdict.best, found.results) else None
    write_config(target, wish.settings, chunk_bytes=cell.chunk_bytes, concurrency=concurrency, origin=origin)
    return f"written into {target}: bulkup upload FILE --config {target}"
