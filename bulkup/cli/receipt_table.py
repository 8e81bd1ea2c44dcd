"""The receipt as a person reads it, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bulkup.account.receipt import DestinationReceipt, Receipt
from bulkup.cli.exporting import reason_lines
from bulkup.cli.figures import changed, plural, printable, size_text, time_text
from bulkup.cli.streams import to_stdout
from bulkup.cli.terminal import console_on
from bulkup.errors import BulkupError, ExitCode
from bulkup.light_dataclass import dataclass
from bulkup.run.standing import doubts_of
from bulkup.run.wish import Upload

__all__ = ["Step", "next_steps", "print_receipt"]

SHOWN_DATASETS = 3
SHOWN_DOUBTS = 3


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _landed_share(receipt: DestinationReceipt) -> str:
    return "0" if not receipt.rows_left else f"{receipt.rows_landed / receipt.rows_read:.0%}"


ROWS: tuple[tuple[str, Callable[[DestinationReceipt], str]], ...] = (
    ("rows read", lambda d: f"{d.rows_read:,}"),
    ("rows made", lambda d: f"{d.rows_made:,}"),
    ("  landed", lambda d: f"{d.rows_landed:,}"),
    ("  rejected", lambda d: f"{d.rows_rejected:,}"),
    ("  skipped", lambda d: f"{d.rows_skipped:,}"),
    ("  in doubt", lambda d: f"{d.rows_in_doubt:,}"),
    ("  left", lambda d: f"{d.rows_left:,}"),
    ("    of them planned", lambda d: f"{d.rows_planned:,}"),
    ("landed of the source", _landed_share),
    ("chunks landed", lambda d: f"{d.chunks_landed:,}"),
    ("size landed", lambda d: size_text(d.bytes_landed)),
    ("requests (this session)", lambda d: f"{d.this_invocation.requests:,}"),
    ("sent (this session)", lambda d: size_text(d.this_invocation.bytes_sent)),
    ("average fill (this session)", lambda d: _share(d.this_invocation.mean_fill)),
    ("limited by", lambda d: d.this_invocation.limited_by or "-"),
    ("time (this session)", lambda d: time_text(d.this_invocation.duration_s)),
)

ONLY_IF_ANY = {"rows made", "  skipped", "    of them planned", "landed of the source"}


@dataclass(frozen=True, slots=True)
class Step:
    """A line about what to do. *is_trouble*: a lane stopped, which even a quiet run says."""

    text: str
    is_trouble: bool = False


def print_receipt(receipt: Receipt, folder: Path) -> None:
    """The table and the datasets, on stdout. Raises as `to_stdout` does."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 3, 0, 0), show_edge=False, pad_edge=False)
    table.add_column("", no_wrap=True)
    for lane in receipt.destinations:
        table.add_column(Text(lane, style="bold"), justify="right")
    status = [Text(d.status, style="green" if d.exit_code == 0 else "yellow") for d in receipt.destinations.values()]
    table.add_row(Text("status"), *status)
    lanes = list(receipt.destinations.values())
    for title, figure in ROWS:
        figures = [figure(d) for d in lanes]
        if title not in ONLY_IF_ANY or any(figure != "0" for figure in figures):
            table.add_row(Text(title), *map(Text, figures))
        if title == "  landed":
            for kind in sorted({kind for d in lanes for kind in d.changes}):
                table.add_row(Text(f"    {changed(kind)}"), *[Text(f"{d.changes.get(kind, 0):,}") for d in lanes])
    with to_stdout() as out:
        console = console_on(out)
        console.print()
        console.print(table)
        console.print()
        for line in dataset_lines(receipt, folder):
            console.print(Text(line), soft_wrap=True)


def dataset_lines(receipt: Receipt, folder: Path) -> list[str]:
    """Which datasets hold the rows: a few of each destination."""
    lines: list[str] = []
    for lane, destination in receipt.destinations.items():
        lines += [
            f"{lane}: {plural(entry.rows, 'row')} in {printable(entry.name)}, id {printable(entry.id) or 'not known'}"
            for entry in destination.remote[:SHOWN_DATASETS]
        ]
        if (more := destination.datasets - SHOWN_DATASETS) > 0:
            lines.append(f"{lane}: and {more:,} more, see {printable(str(folder / 'manifest.json'))}")
    lines.append(f"receipt: {printable(str(folder / 'receipt.json'))}")
    return lines


def next_steps(receipt: Receipt, upload: Upload, folder: Path) -> list[Step]:
    """What stopped lanes, and what the user can do about what has not landed."""
    run = shlex.quote(receipt.run_id)
    where = "" if folder.parent == Path(".bulkup") else f" --state-dir {shlex.quote(str(folder.parent))}"
    lanes = receipt.destinations
    steps = [
        Step(f"{lane}: {d.status}: {printable(d.reason)}", is_trouble=True)
        for lane, d in lanes.items()
        if d.reason and not _is_interrupted(d)
    ]
    if rejected := sum(d.rows_rejected for d in lanes.values()):
        steps.append(Step(f"{plural(rejected, 'row')} rejected, each with its reason: bulkup rejects {run}{where}"))
        why = {lane: d.rejected_for for lane, d in lanes.items()}
        steps += map(Step, reason_lines(why, {lane: d.rows_rejected for lane, d in lanes.items()}))
    steps += _doubt_steps(receipt, folder, run, where)
    if any(d.rows_left for d in lanes.values()) or receipt.exit_code in _GO_ON:
        if not upload.is_resumable:
            steps.append(
                Step("standard input cannot be read again, so this run cannot continue; upload the rest in a new run")
            )
        else:
            steps.append(Step(f"to continue: bulkup resume {run}{where} (or run the same command again)"))
    return steps


def _doubt_steps(receipt: Receipt, folder: Path, run: str, where: str) -> list[Step]:
    """What is in doubt and why it is held, and the ways out."""
    rows = sum(d.rows_in_doubt for d in receipt.destinations.values())
    if not rows:
        return []
    doubts = [(lane, doubt) for lane in receipt.destinations for doubt in _doubts_of(folder, lane)]
    steps = [
        Step(
            f"{plural(rows, 'row')} in doubt: bulkup sent them, and no answer says whether they were stored. "
            "It does not send them again by itself."
        )
    ]
    steps += [
        Step(f"    {lane}, chunk {doubt['chunk']} ({plural(doubt['rows'], 'row')}): {printable(doubt['reason'])}")
        for lane, doubt in doubts[:SHOWN_DOUBTS]
    ]
    if len(doubts) > SHOWN_DOUBTS:
        steps.append(
            Step(f"    and {plural(len(doubts) - SHOWN_DOUBTS, 'more chunk')}: bulkup status {run}{where} names all")
        )
    steps.append(Step(f"to look again: bulkup settle {run}{where} (sends nothing)"))
    if doubts:
        lane, doubt = doubts[0]
        which = f" --lane {lane}" if len(receipt.destinations) > 1 else ""
        steps.append(
            Step(
                f"to decide yourself: bulkup settle {run}{where} --chunk {doubt['chunk']}{which} --landed (it is stored), "
                "or --absent (it is not, and may be sent again)"
            )
        )
    steps.append(Step("to send all of them again, which may create duplicates: --on-doubt resend"))
    return steps


def _doubts_of(folder: Path, lane: str) -> list[dict[str, Any]]:
    try:
        return doubts_of(folder, lane)
    except (BulkupError, OSError):  # the steps are a help; the receipt stands by itself
        return []


_GO_ON = {
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.LOCAL_DISK,
    ExitCode.NO_PERMISSION,
    ExitCode.TRY_LATER,
    ExitCode.STOPPED_BY_LIMIT,
}


def _is_interrupted(destination: DestinationReceipt) -> bool:
    return destination.exit_code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
