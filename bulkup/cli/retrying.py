"""`bulkup rejects RUN --retry`: rejected rows sent once more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bulkup.cli.choices import journal as journal_at
from bulkup.cli.choices import state_dir as chosen
from bulkup.cli.figures import plural
from bulkup.cli.runner import OutputMode, carry_out
from bulkup.cli.streams import say
from bulkup.errors import ExitCode, UsageProblem, worst
from bulkup.rows.function import function_given
from bulkup.run.folder import StateDir
from bulkup.run.retrying import prepare_retries

__all__ = ["retry_rejects"]


def retry_rejects(
    run: str,
    *,
    file: str | None,
    lane: str | None,
    output: str | None,
    state_dir: str | None,
    journal: str | None = None,
    function: str | None = None,
    environment: Mapping[str, str],
) -> int:
    """Send the rejected rows of *run*, or those in *file*, again; the exit code. Raises `BulkupError`."""
    if output is not None:
        raise UsageProblem("--output goes with an export, not with --retry")
    state = StateDir(chosen(state_dir, environment), journal_at(journal, environment))
    codes: list[ExitCode] = []
    named = function or environment.get("BULKUP_MAP")
    retries = prepare_retries(
        state,
        state.find(run),
        lane=lane,
        file=Path(file) if file else None,
        functions=() if named is None else [function_given(text) for text in named.split(",")],
    )
    if retries.lost:
        say(
            f"bulkup cannot send {plural(retries.lost, 'rejected row')}: it did not keep them as a whole. Give a FILE with the rows"
        )
    for retry in retries.runs:
        say(f"sending {plural(retry.rows, 'row')} again as run {retry.run_id}")
        codes.append(ExitCode(carry_out(retry.upload, OutputMode(), resume=retry.run_id)))
    return int(worst(codes))
