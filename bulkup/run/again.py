"""What can be done with a run by its name: the Python interface's side of `resume`, `status`, `settle`, `verify` and `rejects`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

import anyio

from bulkup.account.receipt import Receipt
from bulkup.doubt.verification import Verification
from bulkup.errors import UsageProblem
from bulkup.journal.facts import UPLOAD
from bulkup.journal.reading import view
from bulkup.notebook import shown
from bulkup.run import story
from bulkup.run.folder import RunFolder, StateDir
from bulkup.run.standing import status_json
from bulkup.run.wish import Upload
from bulkup.settings.config import RunSettings, settings_from
from bulkup.settings.keywords import RunKeywords
from bulkup.tokens.database import shown_address

__all__ = ["rejects", "resume", "settle", "status", "verify"]

STATE_DIR = ".bulkup"


async def resume(run: str | None = None, **settings: Unpack[RunKeywords]) -> Receipt:
    """Go on with *run* (its name or a beginning of it; the newest), with its own options and *settings* over them. The receipt."""
    state = _state(settings.get("state_dir", STATE_DIR), settings.get("journal"))
    chosen = {name: value for name, value in settings.items() if name not in ("state_dir", "journal")}
    upload, name = await _recorded(run, state, chosen)
    with shown() as tell:
        return await story.execute(upload, tell=tell, resume=name)


async def settle(run: str | None = None, *, state_dir: str | Path = STATE_DIR, journal: str | None = None) -> Receipt:
    """Find out what became of *run*'s chunks in doubt; nothing is sent. The receipt."""
    upload, name = await _recorded(run, _state(state_dir, journal), {})
    with shown() as tell:
        return await story.settle(upload, tell=tell, resume=name)


async def verify(
    run: str | None = None,
    *,
    sample: float = 0.05,
    seed: int | None = None,
    state_dir: str | Path = STATE_DIR,
    journal: str | None = None,
) -> Verification:
    """Read back what *run* has landed, the contents of a *sample* (0 to 1) of its chunks, and compare.

    The result's `exit_code` is 0 where all is equal.
    """
    if not 0 <= sample <= 1:
        raise UsageProblem(f"sample {sample!r}: give a share of the chunks from 0 to 1")
    upload, name = await _recorded(run, _state(state_dir, journal), {})
    chosen = secrets.randbelow(1_000_000) if seed is None else seed
    with shown() as tell:
        return await story.verify(upload, tell=tell, resume=name, sample=sample, seed=chosen)


async def status(
    run: str | None = None, *, state_dir: str | Path = STATE_DIR, journal: str | None = None
) -> Mapping[str, Any]:
    """Where *run* stands, also while another process works on it: what `bulkup status --json` prints."""
    return await anyio.to_thread.run_sync(lambda: status_json(_state(state_dir, journal).find(run)))


async def rejects(
    run: str | None = None, *, state_dir: str | Path = STATE_DIR, journal: str | None = None
) -> list[dict[str, Any]]:
    """The rejected rows of *run*: `lane`, `file`, `byte_offset`, `stage`, `field`, `reason`, and `row` where it was kept."""

    def read() -> list[dict[str, Any]]:
        return list(_rejected(_state(state_dir, journal).find(run)))

    return await anyio.to_thread.run_sync(read)


def _rejected(folder: RunFolder) -> Iterator[dict[str, Any]]:
    with view(folder.path) as journal:
        upload = journal.fact(UPLOAD)
        records = [] if upload is None else [found for _, found in journal.rejects(list(upload.destinations))]
    for record in sorted(records, key=lambda found: (found["position"], found["lane"])):
        yield {key: value for key, value in record.items() if key not in ("position", "line_in_chunk")}


def _state(state_dir: str | PathLike[str], journal: str | None) -> StateDir:
    """Where runs are kept; *journal* is the address of a database that has journals too."""
    return StateDir(Path(state_dir), None if journal is None else shown_address(journal))


async def _recorded(run: str | None, state: StateDir, settings: Mapping[str, Any]) -> tuple[Upload, str]:
    """The upload of *run* as its journal has it, with *settings* over it, and the run's whole name. Raises `UsageProblem`."""

    def read() -> tuple[Upload, str]:
        folder = state.find(run)
        with view(folder.path) as journal:
            record = journal.fact(UPLOAD)
        if record is None:
            raise UsageProblem(f"run {folder.run_id} was stopped before it had begun: upload again")
        found = Upload.of_record(record)
        if not found.is_resumable:
            raise UsageProblem(f"run {folder.run_id} read standard input, which cannot be read again")
        values = {**found.settings.model_dump(), **settings, "state_dir": state.path}
        return Upload(found.sources, found.destinations, settings_from(RunSettings, values, "")), folder.run_id

    return await anyio.to_thread.run_sync(read)
