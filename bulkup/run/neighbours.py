"""Other runs of the same state directory that write to the same dataset: how many rows they have put there."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from bulkup.destinations.registry import service_named
from bulkup.destinations.settings import DestinationSettings
from bulkup.doubt.settlement import Others
from bulkup.errors import JournalUnusable, LocalDisk, RunLocked
from bulkup.journal.facts import CLOCK, STARTED_AT, UPLOAD, Anchor
from bulkup.journal.reading import JournalView, view
from bulkup.run.folder import RunFolder, StateDir

__all__ = ["others_since", "owners"]


def others_since(state: StateDir, run: RunFolder, destination: DestinationSettings, name: str, since: float) -> Others:
    """What runs other than *run* have put into the dataset *name* of *destination* since *since* (Unix time).

    Retries of a run are such runs, and so is whatever was uploaded into the same dataset with `--append`. None of them may be
    writing: to be asked with the dataset's lock held. A run whose journal is not one is passed over; one that cannot be got at may
    have put rows there. Reads files.
    """
    if service_named(destination.service).policy.has_dataset_per_chunk:
        return Others()
    rows = 0
    unclear = []
    ours = _anchor(run)
    for other in map(state.run, state.runs()):
        if other.run_id == run.run_id:
            continue
        try:
            with view(other.path) as journal:
                if not _writes_to(journal, destination, name):
                    continue
                started_at = journal.fact(STARTED_AT)
                began_later = started_at is not None and datetime.fromisoformat(started_at).timestamp() >= since
                there = ours.as_other(since, journal.fact(CLOCK)) if ours is not None else since
                landed, is_unclear = journal.rows_since(destination.service, there, began_later=began_later)
        except JournalUnusable:
            continue
        except (LocalDisk, RunLocked):
            unclear.append(other.run_id)
            continue
        rows += landed
        if is_unclear:
            unclear.append(other.run_id)
    return Others(rows, tuple(unclear))


def owners(state: StateDir, run: RunFolder, destination: DestinationSettings, name: str) -> tuple[str, ...]:
    """The runs other than *run* that have put rows into the dataset *name* of *destination*, the newest first. Reads files."""
    found = []
    for other in map(state.run, reversed(state.runs())):
        if other.run_id == run.run_id:
            continue
        with suppress(JournalUnusable, LocalDisk, RunLocked), view(other.path) as journal:
            if _writes_to(journal, destination, name) and journal.totals(destination.service).rows_landed:
                found.append(other.run_id)
    return tuple(found)


def _anchor(run: RunFolder) -> Anchor | None:
    with view(run.path) as journal:
        return journal.fact(CLOCK)


def _writes_to(journal: JournalView, destination: DestinationSettings, name: str) -> bool:
    upload = journal.fact(UPLOAD)
    lane = upload.destinations.get(destination.service) if upload else None
    return (
        upload is not None
        and lane is not None
        and upload.settings["name"] == name
        and destination.is_same_dataset(lane)
    )
