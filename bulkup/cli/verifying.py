"""`bulkup verify`: what the services hold, compared with the source, for a person or as JSON."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from bulkup.cli.figures import plural, printable
from bulkup.cli.resuming import recorded
from bulkup.cli.runner import OutputMode, with_signals
from bulkup.cli.streams import delivered, put, put_json
from bulkup.doubt.verification import Kind, LaneVerification, RowDifference, Verification
from bulkup.errors import ExitCode, UsageProblem, worst
from bulkup.run.story import verify

__all__ = ["verify_run"]

SHOWN_ROWS = 20

DEFAULT_SAMPLE = 0.05


def verify_run(run: str, given: Mapping[str, Any], environment: Mapping[str, str], output: OutputMode) -> int:
    """Compare *run* with what landed; the exit code. Raises `BulkupError`."""
    sample, seed = _share(given.get("sample")), _seed(given.get("seed"))
    upload, run_id = recorded(run, given, environment, "compared")
    found: Verification = with_signals(
        output.for_run(upload),
        lambda tell, interrupt: verify(upload, tell=tell, interrupt=interrupt, resume=run_id, sample=sample, seed=seed),
    )

    def write() -> None:
        if output.json:
            put_json(found.to_json())
        elif not output.quiet or found.exit_code:
            put("\n".join(lines_of(found)))

    shown = delivered(
        write, f"the comparison ended with exit code {int(found.exit_code)}; run it again to see the result"
    )
    return int(worst([ExitCode(found.exit_code), shown]))


def lines_of(found: Verification) -> list[str]:
    """The comparison for a person."""
    lines = [f"run {found.run_id}, compared with its source"]
    for name, lane in found.lanes.items():
        lines += _lane_lines(name, lane, found)
    return lines


def _lane_lines(name: str, lane: LaneVerification, found: Verification) -> list[str]:
    lines = [f"{name}: {_word(lane)}"]
    lines.append(
        f"  {plural(lane.rows_landed, 'row')} landed in {plural(lane.datasets, 'dataset')}; "
        f"the contents of {lane.rows_compared:,} were compared ({lane.chunks_compared:,} of {plural(lane.chunks_landed, 'chunk')})"
    )
    if lane.rows_of_others:
        lines.append(f"  {plural(lane.rows_of_others, 'row')} of other runs in the same dataset are counted too")
    lines += [
        f"  dataset {printable(d.dataset_id)}: {printable(d.what)}" if d.dataset_id else f"  {printable(d.what)}"
        for d in lane.dataset_differences[:SHOWN_ROWS]
    ]
    if (more := len(lane.dataset_differences) - SHOWN_ROWS) > 0:
        lines.append(f"  and {plural(more, 'more dataset')} that differ; --json names all")
    lines += [f"  {_row(difference)}" for difference in lane.row_differences[:SHOWN_ROWS]]
    if (more := lane.rows_differing - min(SHOWN_ROWS, len(lane.row_differences))) > 0:
        lines.append(
            f"  and {plural(more, 'more row')} that differ; --json names the first {len(lane.row_differences):,}"
        )
    lines += [f"  cannot be verified: {printable(why)}" for why in lane.unverifiable[:SHOWN_ROWS]]
    if lane.stopped is not None:
        lines.append(f"  stopped: {printable(lane.stopped[0])}")
    if lane.rows_in_doubt:
        lines.append(f"  {plural(lane.rows_in_doubt, 'row')} in doubt: bulkup settle {found.run_id}")
    if lane.rows_left or not lane.read_whole:
        lines.append(
            f"  the run is not finished, and only rows that have landed were compared. To finish it: bulkup resume {found.run_id}"
        )
    if lane.rows_rejected:
        lines.append(f"  {plural(lane.rows_rejected, 'row')} rejected and not sent: bulkup rejects {found.run_id}")
    return [*lines, *_confidence(lane, found)]


def _word(lane: LaneVerification) -> str:
    if lane.differs:
        return "DIFFERS"
    if lane.unverifiable or lane.stopped is not None:
        return "not verified"
    return "equal" if lane.exit_code == 0 else "equal, as far as rows have landed"


def _confidence(lane: LaneVerification, found: Verification) -> list[str]:
    share, chunks = lane.excluded, lane.chunks_compared
    if share is None:
        return []
    if share == 0.0:
        return ["  every chunk was compared: no row differs"]
    return [
        f"  Sampled {chunks:,} of {plural(lane.chunks_landed, 'chunk')}: no difference; --sample 1.0 checks all "
        f"(--seed {found.seed} checks the same ones again)"
    ]


def _row(row: RowDifference) -> str:
    where = "a row that the source does not have"
    if row.file is not None:
        at = "" if row.byte_offset is None else f" (byte {row.byte_offset:,})"
        where = f"row {row.row_number:,} of {printable(row.file)}{at}"
    there = f"dataset {printable(row.dataset_id)}" + (
        "" if row.dataset_row is None else f", its row {row.dataset_row:,}"
    )
    match row.kind:
        case Kind.MISSING:
            what = f"is not in {there}"
        case Kind.ALTERED:
            what = f"has another content in {there}"
        case Kind.EXTRA:
            what = f"is there once too often, in {there}" if row.file is not None else f"is in {there}"
    return f"{where}, chunk {row.chunk}: {what}"


def _share(text: str | None) -> float:
    try:
        share = DEFAULT_SAMPLE if text is None else float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageProblem(f"--sample {text!r}: give a share of the chunks from 0 to 1, such as 0.05, 5% or 1.0")
    return share


def _seed(text: str | None) -> int:
    try:
        return secrets.randbelow(1_000_000) if text is None else int(text)
    except ValueError:
        raise UsageProblem(f"--seed {text!r}: give a whole number") from None
