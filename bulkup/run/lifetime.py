"""A run's beginning and its end, as they are recorded: by whoever sends, settles or decides."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import anyio

from bulkup.account.receipt import Invocation, Receipt
from bulkup.errors import ExitCode
from bulkup.journal import Journal
from bulkup.journal.facts import FINISHED_AT, LANE_END, RUN_END, STARTED_AT, RunEnd
from bulkup.journal.reading import view
from bulkup.path_text import json_bytes
from bulkup.run.accounting import receipt_of
from bulkup.run.folder import RECEIPT, RunFolder, write_private
from bulkup.run.manifest import write_manifest

__all__ = ["begin", "conclude", "forget_end"]


async def begin(journal: Journal, lanes: Sequence[str]) -> None:
    """A process begins to work on the run and its *lanes*."""
    recorded = [forget_end(journal, lanes)]
    if await journal.fact(STARTED_AT) is None:
        recorded.append(journal.set_fact(STARTED_AT, _now()))
    await asyncio.gather(*recorded)


async def forget_end(journal: Journal, lanes: Sequence[str]) -> None:
    """How the last process ended says no longer what the run comes to."""
    await asyncio.gather(
        journal.set_fact(RUN_END, None), *(journal.lane(name).set_fact(LANE_END, None) for name in lanes)
    )


async def conclude(
    folder: RunFolder,
    journal: Journal,
    *,
    interrupted: ExitCode | None = None,
    this_invocation: Mapping[str, Invocation] | None = None,
) -> Receipt:
    """The process's work on the run is done: that is recorded, and receipt and manifest are written. The receipt.

    *this_invocation* is what was done on each lane, nothing where a lane is not in it. Raises `LocalDisk`, `JournalUnusable`.
    """
    done = this_invocation or {}
    recorded = [journal.set_fact(RUN_END, RunEnd(interrupted))]
    if any(lane.requests for lane in done.values()) or await journal.fact(FINISHED_AT) is None:
        recorded.append(journal.set_fact(FINISHED_AT, _now()))
    await asyncio.gather(*recorded)
    return await anyio.to_thread.run_sync(_write_down, folder, done)


def _write_down(folder: RunFolder, done: Mapping[str, Invocation]) -> Receipt:
    with view(folder.path) as journal:
        receipt = receipt_of(journal, folder.run_id, done)
        write_private(folder.path / RECEIPT, json_bytes(receipt.to_json(), indent=True))
        write_manifest(folder.path, list(receipt.destinations), receipt.source.uris, journal.chunks_then)
    return receipt


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
