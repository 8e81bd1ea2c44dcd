"""`bulkup check`, and `upload --dry-run`: what an upload would do, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bulkup.cli.figures import changed, plural, printable, size_text, time_text
from bulkup.cli.runner import OutputMode, with_signals
from bulkup.cli.streams import delivered, put_json, say, to_stdout
from bulkup.cli.terminal import console_on
from bulkup.errors import ExitCode, worst
from bulkup.rows.schema import columns_to_json, words
from bulkup.run.checking import Checked, CheckedLane, CheckedReason, check
from bulkup.run.scanning import RowAt
from bulkup.run.wish import Upload

__all__ = ["check_upload", "to_json"]

_FILES_SAID = 5
_COLUMNS_SAID = 40
_REASONS_SAID = 10
_ROW_CHARS = 500

ROWS: tuple[tuple[str, Callable[[CheckedLane], str]], ...] = (
    ("rows", lambda lane: f"{lane.totals.rows_read:,}"),
    ("rows made", lambda lane: f"{lane.totals.rows_made:,}"),
    ("  would be sent", lambda lane: f"{lane.sent.rows:,}"),
    ("  would be rejected", lambda lane: f"{lane.totals.rows_rejected:,}"),
    ("  would be skipped", lambda lane: f"{lane.totals.rows_skipped:,}"),
    ("requests", lambda lane: f"{lane.sent.requests:,}"),
    ("datasets", lambda lane: f"{lane.sent.datasets:,}"),
    ("size", lambda lane: size_text(lane.sent.body_bytes)),
    ("average fill", lambda lane: "-" if lane.sent.mean_fill is None else f"{lane.sent.mean_fill:.0%}"),
    ("time at the rates given", lambda lane: "-" if lane.sent.time_s is None else time_text(lane.sent.time_s)),
)
ONLY_IF_ANY = {"rows made", "  would be skipped"}

_STATUS = {
    ExitCode.ALL_LANDED: "all rows would be sent",
    ExitCode.SOME_REJECTED: "some rows would be rejected",
    ExitCode.STOPPED_BY_LIMIT: "nothing would be sent: too many rejected rows",
    ExitCode.SOURCE_UNREADABLE: "the source cannot be read to its end",
    ExitCode.EMPTY: "nothing to upload",
}


def check_upload(upload: Upload, output: OutputMode, *, tokenizer: str | None = None) -> int:
    """Say what *upload* would do; the exit code. Raises `BulkupError` as `check` does."""
    path = None if tokenizer is None else Path(tokenizer)
    checked = with_signals(
        output.for_run(upload),
        lambda tell, interrupt: check(upload, tell=tell, interrupt=interrupt, tokenizer=path),
    )

    def write() -> None:
        if output.json:
            put_json(to_json(checked))
        elif not output.quiet:
            _print(checked)

    shown = delivered(write, status_of(checked.exit_code))
    say(*(f"{name}: {printable(lane.reason)}" for name, lane in checked.lanes.items() if lane.reason))
    return int(worst([checked.exit_code, shown]))


def status_of(code: ExitCode) -> str:
    """What a lane comes to, in words."""
    return _STATUS.get(code, "stopped")


def to_json(checked: Checked) -> dict[str, Any]:
    """Everything that is known, for a program."""
    return {
        "exit_code": int(checked.exit_code),
        "status": status_of(checked.exit_code),
        "looked_at_all": checked.looked_at_all,
        "files": [
            {"uri": printable(file.uri), "format": file.format.name, "packing": file.packing, "size": file.size}
            for file in checked.files
        ],
        "tokens": None if checked.tokens is None else asdict(checked.tokens),
        "destinations": {name: _lane_json(lane) for name, lane in checked.lanes.items()},
    }


def _lane_json(lane: CheckedLane) -> dict[str, Any]:
    plan, totals, sent = lane.plan, lane.totals, lane.sent
    columns = None
    if plan.columns is not None:
        seen = {name: {kind: asdict(row) for kind, row in first.items()} for name, first in lane.made_by.items()}
        counts = {name: asdict(count) for name, count in lane.keys.items()}
        columns = [
            {**column, "seen": seen.get(column["name"], {}), "rows": counts.get(column["name"])}
            for column in columns_to_json(plan.columns)
        ]
    return {
        "exit_code": int(lane.exit_code),
        "status": status_of(lane.exit_code),
        "reason": lane.reason,
        "preset": plan.preset,
        "fit": None if plan.fit is None else {"rows": plan.fit[0], "of": plan.fit[1]},
        "columns": columns,
        "keys": {name: asdict(count) for name, count in lane.keys.items()} if columns is None else None,
        "files": [
            {
                "uri": printable(file.uri),
                "lines": file.lines,
                "rows_to_send": file.counts.rows,
                "rows_blank": file.counts.blank,
                "rows_rejected": file.counts.rejected,
                "largest_row_bytes": file.counts.largest or None,
            }
            for file in lane.by_file
        ],
        "rows_read": totals.rows_read,
        "rows_made": totals.rows_made,
        "rows_blank": totals.rows_blank,
        "rows_to_send": sent.rows,
        "rows_rejected": totals.rows_rejected,
        "rows_skipped": totals.rows_skipped,
        "rejected_for": [
            {"rows": why.rows, "reason": why.reason, "places": list(map(asdict, why.places))} for why in lane.reasons
        ],
        "changes": dict(sent.changes),
        "is_estimate": sent.is_estimate,
        "bytes_looked_at": lane.bytes_looked_at,
        "requests": sent.requests,
        "datasets": sent.datasets,
        "bytes": sent.body_bytes,
        "average_fill": sent.mean_fill,
        "time_s": sent.time_s,
        "first_row": None if lane.first_row is None else lane.first_row.decode(),
        "warnings": lane.advice,
    }


def _print(checked: Checked) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 3, 0, 0), show_edge=False, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in checked.lanes:
        table.add_column(Text(name, style="bold"), justify="right")
    lanes = list(checked.lanes.values())
    table.add_row(Text("status"), *(Text(status_of(lane.exit_code)) for lane in lanes))
    table.add_row(Text("preset"), *(Text(lane.plan.preset) for lane in lanes))
    for title, figure in ROWS:
        figures = [figure(lane) for lane in lanes]
        if title not in ONLY_IF_ANY or any(figure != "0" for figure in figures):
            table.add_row(Text(title), *map(Text, figures))
    with to_stdout() as out:
        console = console_on(out)
        for line in _file_lines(checked):
            console.print(Text(line), soft_wrap=True)
        console.print()
        console.print(table)
        for line in (line for name, lane in checked.lanes.items() for line in _lane_lines(name, lane)):
            console.print(Text(line), soft_wrap=True)


def _file_lines(checked: Checked) -> list[str]:
    lines = [
        f"{printable(file.uri)}: {file.format.title}"
        + (f", packed with {file.packing}" if file.packing != "none" else "")
        + (f", {size_text(file.size)}" if file.size is not None else "")
        for file in checked.files[:_FILES_SAID]
    ]
    more = len(checked.files) - _FILES_SAID
    if more > 0:
        lines.append(f"and {plural(more, 'more file')}")
    if checked.tokens is not None:
        about = "about " if checked.tokens.is_estimate else ""
        lines.append(f"{about}{checked.tokens.count:,} tokens in the texts of the rows")
    if not checked.looked_at_all:
        lines.append("decided on the first block alone: later rows may not fit")
    looked_at = [lane.bytes_looked_at for lane in checked.lanes.values() if lane.bytes_looked_at is not None]
    if looked_at:
        total = sum(file.size or 0 for file in checked.files)
        lines.append(f"all figures are estimates: {size_text(looked_at[0])} of {size_text(total)} were looked at")
    return lines


def _lane_lines(name: str, lane: CheckedLane) -> Iterator[str]:
    plan = lane.plan
    yield from ("", f"{name}: {plan.describe()}")
    for column in (plan.columns or ())[:_COLUMNS_SAID]:
        seen = lane.made_by.get(column.name, {})
        yield f"    {printable(words(column) + _seen(seen) + _counted(lane, column.name))}"
    for name in lane.keys if plan.columns is None else ():
        if said := _counted(lane, name):
            yield f"    {printable(name + said)}"
    more = len(plan.columns or ()) - _COLUMNS_SAID
    if more > 0:
        yield f"    and {plural(more, 'more column')}: --json lists all"
    for kind, rows in lane.sent.changes:
        yield f"    {plural(rows, 'row')} changed: {changed(kind)}"
    for why in lane.reasons[:_REASONS_SAID]:
        yield f"    {why.rows:,} rejected: {printable(why.reason)} ({_places(why)})"
    more = len(lane.reasons) - _REASONS_SAID
    if more > 0:
        yield f"    and for {plural(more, 'other reason')}: --json lists all"
    if lane.first_row is not None:
        text = printable(lane.first_row[: 4 * _ROW_CHARS].decode("utf-8", "replace"))
        yield f"    first row: {text if len(text) <= _ROW_CHARS else text[:_ROW_CHARS] + '…'}"
    for line in lane.advice:
        yield f"    warning: {printable(line)}"


def _places(why: CheckedReason) -> str:
    return ("the first: " if why.rows > len(why.places) else "") + "; ".join(printable(row.said) for row in why.places)


def _counted(lane: CheckedLane, name: str) -> str:
    """In how many rows a key is there and null, where it is not there in all, or null in some."""
    count = lane.keys.get(name)
    if count is None:
        return ""
    rows = sum(file.counts.rows for file in lane.by_file)
    about = "about " if count.is_estimate else ""
    said = [f"in {about}{count.present:,} of {plural(rows, 'row')}"] if count.present < rows else []
    said += [f"null in {about}{count.null:,}"] if count.null else []
    return f" ({', '.join(said)})" if said else ""


def _seen(seen: Mapping[str, RowAt]) -> str:
    """The first place of each kind of value, where there are several: they made the column what it is."""
    if len(seen) < 2:
        return ""
    return ": " + ", ".join(f"{kind} from {row.said}" for kind, row in seen.items())
