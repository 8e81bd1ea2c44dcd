"""A person decides what became of a chunk in doubt, and a receipt is written from the journal alone: nothing is asked or sent."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from enum import StrEnum
from functools import partial

import anyio

from bulkup.account.receipt import Receipt
from bulkup.chunk import Chunk, ChunkState
from bulkup.errors import UsageProblem
from bulkup.flow.lane import recovered
from bulkup.journal import Journal, LaneJournal
from bulkup.journal.facts import UPLOAD
from bulkup.journal.postgres.wanted import Wanted
from bulkup.run.folder import RunFolder
from bulkup.run.journals import locked, opened, with_lock
from bulkup.run.lifetime import begin, conclude
from bulkup.run.run_clock import run_clock

__all__ = ["Decision", "settle_by_hand"]

SHOWN_CHUNKS = 5


class Decision(StrEnum):
    """What a person says of a chunk in doubt."""

    LANDED = "landed"
    ABSENT = "absent"


async def settle_by_hand(folder: RunFolder, *, chunk: str, lane: str | None, decision: Decision) -> Receipt:
    """Settle one chunk of the run in *folder* as a person says; the run's receipt afterwards.

    *chunk* is named as `bulkup status` prints it; *lane* may be left out where only one destination has it in doubt. Raises
    `UsageProblem` where it is not in doubt, `RunLocked`, `JournalUnusable`.
    """
    with ExitStack() as stack:
        address = await anyio.to_thread.run_sync(folder.journal)
        lock = await anyio.to_thread.run_sync(locked, folder, address)
        if lock is not None:
            stack.callback(lock.release)
        wanted = with_lock(Wanted(), lock)
        journal = await anyio.to_thread.run_sync(partial(opened, folder, address, wanted, create=False))
        stack.callback(journal.close)
        upload = await journal.fact(UPLOAD)
        lanes = list(upload.destinations) if upload else []
        if lane is not None and lane not in lanes:
            raise UsageProblem(f"the run has no lane {lane!r}; it has {', '.join(lanes)}")
        clock = await run_clock(journal)
        for name in lanes:  # what stands as being sent is in doubt: nobody else holds the run
            await recovered(journal.lane(name), clock.unix())
        found = await _in_doubt(journal, [lane] if lane else lanes, chunk)
        await begin(journal, lanes)
        await _settle(journal.lane(found.id.lane), found, decision)
        return await conclude(folder, journal)


async def _in_doubt(journal: Journal, lanes: list[str], name: str) -> Chunk:
    wanted = _numbers(name)
    doubts = [c for lane in lanes for c in await journal.lane(lane).open_chunks(ChunkState.IN_DOUBT)]
    found = [c for c in doubts if (c.id.tile, c.id.child) == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        both = " and ".join(c.id.lane for c in found)
        raise UsageProblem(f"chunk {found[0].id} is in doubt in {both}: say which with --lane")
    for lane in lanes:
        chunk = await journal.lane(lane).chunk(*wanted)
        if chunk is not None and chunk.state is not ChunkState.SPLIT:
            by = f" (evidence: {chunk.evidence})" if chunk.state is ChunkState.LANDED else ""
            raise UsageProblem(f"chunk {chunk.id} is not in doubt in {lane}: it is {chunk.state}{by}{_these(doubts)}")
    raise UsageProblem(f"there is no chunk {name} in {' or '.join(lanes)}{_these(doubts)}")


def _numbers(name: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,12})(?:-(\d{1,12}))?", name.strip())
    if found is None:
        raise UsageProblem(f"--chunk {name!r}: a chunk is named as `bulkup status` prints it: 00042, or 00042-003")
    return int(found[1]), int(found[2] or 0)


def _these(doubts: list[Chunk]) -> str:
    if not doubts:
        return "; nothing is in doubt"
    named = ", ".join(f"{c.id} ({c.id.lane})" for c in doubts[:SHOWN_CHUNKS])
    more = f" and {len(doubts) - SHOWN_CHUNKS:,} more" if len(doubts) > SHOWN_CHUNKS else ""
    return f"; in doubt: {named}{more}"


async def _settle(journal: LaneJournal, chunk: Chunk, decision: Decision) -> None:
    match decision:
        case Decision.LANDED:
            known = await journal.remote_ids(chunk.name)
            remote_id = chunk.remote_id or (known.pop() if len(known) == 1 else "")
            await journal.landed_by_a_person(chunk.id, remote_id, time.time())
        case Decision.ABSENT:
            await journal.absent_by_a_person(chunk.id, time.time())
