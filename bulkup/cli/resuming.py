"""`bulkup resume`: a run's own options, out of its journal."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bulkup.cli.choices import journal, override, state_dir
from bulkup.cli.runner import OutputMode, carry_out
from bulkup.errors import UsageProblem
from bulkup.journal.facts import UPLOAD
from bulkup.journal.reading import view
from bulkup.run.folder import RunFolder, StateDir
from bulkup.run.wish import Upload

__all__ = ["recorded", "resume_run", "the_run"]


def resume_run(run: str, given: Mapping[str, Any], environment: Mapping[str, str], output: OutputMode) -> int:
    """Go on with *run*; the exit code. Raises `UsageProblem` where it cannot be resumed from here."""
    upload, run_id = recorded(run, given, environment, "resumed")
    return carry_out(upload, output, resume=run_id)


def recorded(run: str, given: Mapping[str, Any], environment: Mapping[str, str], what: str) -> tuple[Upload, str]:
    """The upload of *run* as its journal has it, with the options in *given* over it, and the run's whole name.

    Raises `UsageProblem` where its source cannot be read from here, so that it cannot be *what*.
    """
    upload, folder = the_run(run, given, environment)
    if not upload.is_resumable:
        advice = "start a new one" if what == "resumed" else f"`bulkup status {folder.run_id}` says where it stands"
        raise UsageProblem(
            f"run {folder.run_id} read standard input, which cannot be read again, so it cannot be {what}: {advice}"
        )
    for source in upload.sources:
        if not Path(source).exists() and not glob.has_magic(source):
            raise UsageProblem(
                f"{source}: there is no such file, seen from {_here()}. "
                "The run's paths count from the directory in which it was begun: go there and try again"
            )
    return upload, folder.run_id


def the_run(run: str, given: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[Upload, RunFolder]:
    """The upload of *run* as its journal has it, with the options in *given* over it, and its folder. Raises `UsageProblem`."""
    state = state_dir(given.get("state_dir"), environment)
    folder = StateDir(state, journal(given.get("journal"), environment)).find(run)
    with view(folder.path) as looked:
        record = looked.fact(UPLOAD)
    if record is None:
        raise UsageProblem(f"run {folder.run_id} was stopped before it had begun: run the upload command again")
    function = given.get("map") or environment.get("BULKUP_MAP")
    return override(Upload.of_record(record), {**given, "state_dir": str(state), "map": function}), folder


def _here() -> str:
    """The current directory, as the shell says it."""
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return "here"
