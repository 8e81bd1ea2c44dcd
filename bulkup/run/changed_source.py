"""A source that is not the one that the run began with: refused, appended to, or begun anew."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing, suppress
from functools import partial
from itertools import count
from pathlib import Path

import anyio
import msgspec
import orjson

from bulkup.account.finished import Event
from bulkup.errors import BulkupError, JournalUnusable, LocalDisk, SourceChanged
from bulkup.event import Note
from bulkup.journal import Journal, Lock, every_chunk
from bulkup.journal.facts import AGREED, FILES, PLAN, PLANNED_WHOLE, UNREADABLE, FileRecord
from bulkup.journal.postgres.wanted import Wanted
from bulkup.journal.state_files import read_in, warning_of
from bulkup.light_dataclass import replace
from bulkup.run.fingerprint import Change, change_of, check_end, check_ranges, was_touched
from bulkup.run.folder import RECEIPT, RunFolder
from bulkup.run.journals import locked, opened, with_lock
from bulkup.run.lifetime import forget_end
from bulkup.settings.config import OnSourceChange
from bulkup.sources import Source, Unit, agree, needs_agreement

__all__ = ["check_source", "open_journal"]


async def check_source(
    journal: Journal, source: Source, lanes: Sequence[str], choice: OnSourceChange, tell: Callable[[Event], None]
) -> None:
    """Compare the source with what the journal knows of it, and take up what was appended where *choice* says so.

    Raises `SourceChanged`, saying what is not as it was and what to do.
    """
    known = await journal.fact(FILES)
    if known is None:
        return
    change = change_of(known, source.files)
    if change is not None:
        await _take_up(change, known, journal, source, lanes, choice, tell)
    elif was_touched(known, source.files):
        tell(Note("", "the source's files were touched since this run began: comparing their content"))
        await _compare(journal, source, lanes)


async def _take_up(
    change: Change,
    known: Sequence[FileRecord],
    journal: Journal,
    source: Source,
    lanes: Sequence[str],
    choice: OnSourceChange,
    tell: Callable[[Event], None],
) -> None:
    if choice is OnSourceChange.RESTART:
        raise SourceChanged(f"the source has changed since this run began: {change.what}")
    if choice is OnSourceChange.REFUSE:
        ways = "give --on-source-change append to upload what was added, " if change.obstacle is None else ""
        raise SourceChanged(
            f"the source has changed since this run began: {change.what}. Restore it, upload it under another --name, "
            f"{ways}or give --on-source-change restart to begin again"
        )
    if change.obstacle is not None:
        raise SourceChanged(
            f"the source has changed since this run began: {change.what}. Nothing was appended: {change.obstacle}"
        )
    tell(Note("", f"the source has grown ({change.what}): comparing its old part with what was planned"))
    await anyio.to_thread.run_sync(check_end, known, source.files)
    await _compare(journal, source, lanes)
    old_end = _old_end(known, source) if source.any_range else None
    await forget_end(journal, lanes)
    for lane in lanes:
        await _begin_behind(journal, lane, old_end)


def _old_end(known: Sequence[FileRecord], source: Source) -> int:
    """Where the source ended before it grew: only its last file has, and only where positions are bytes."""
    last = len(known) - 1
    file = source.files[last]
    length = known[last].size if file.format.unit is Unit.BYTE else file.length
    return source.bases[last] + (length or 0)


async def _compare(journal: Journal, source: Source, lanes: Sequence[str]) -> None:
    for lane in map(journal.lane, lanes):
        async with aclosing(source.cursor()) as cursor:
            await check_ranges(cursor, every_chunk(lane), await lane.planned_to())


async def _begin_behind(journal: Journal, name: str, old_end: int | None) -> None:
    """New tiles begin at *old_end* (None: behind the last row that was planned), numbered behind the old ones."""
    lane = journal.lane(name)
    plan = await lane.fact(PLAN)
    if plan is None:  # nothing was planned yet
        return
    tile, begun = await lane.frontier()
    planned_to = await lane.planned_to()
    first, base = plan.segments[-1]
    if old_end is None:
        first, base = tile + (begun is not None), base if planned_to is None else planned_to
    elif old_end != base:
        first, base = max(tile, first + -(-(old_end - base) // plan.tile_bytes)), old_end
    if base != plan.segments[-1][1]:
        await lane.set_fact(PLAN, msgspec.structs.replace(plan, segments=(*plan.segments, (first, base))))
    await lane.set_fact(PLANNED_WHOLE, False)
    await lane.set_fact(UNREADABLE, None)


async def open_journal(
    folder: RunFolder,
    stack: AsyncExitStack,
    source: Source,
    lanes: Sequence[str],
    choice: OnSourceChange,
    tell: Callable[[Event], None],
    *,
    append: bool,
    wanted: Wanted,
) -> Journal:
    """The run's folder, locked, with a journal that fits *source*; *stack* gives both back. *wanted*: how it is taken where it is
    in a database.

    Raises `SourceChanged`, `RunLocked`, `JournalUnusable`, `LocalDisk`.
    """
    address, lock, warning = await anyio.to_thread.run_sync(_take, folder)
    if lock is not None:
        stack.callback(lock.release)
    given_up = threading.Event()
    stack.callback(given_up.set)
    wanted = replace(with_lock(wanted, lock), given_up=given_up.is_set)
    if warning is not None:
        tell(Note("", warning))
    files = stack.enter_context(ExitStack())
    opening = partial(_open, folder, files, address, wanted)
    journal, receipt = await anyio.to_thread.run_sync(
        opening, abandon_on_cancel=wanted.stands_by or wanted.open_for_s > 0
    )
    await _refuse_older(folder, receipt, journal, lanes)
    await _agree(journal, source)
    try:
        await check_source(journal, source, lanes, choice, tell)
    except SourceChanged as change:
        if choice is not OnSourceChange.RESTART:
            raise
        await _refuse_to_forget(journal, lanes, change, append=append)
        await anyio.to_thread.run_sync(files.close)
        kept = await anyio.to_thread.run_sync(_set_aside, folder, address, journal.authority.epoch)
        other = await anyio.to_thread.run_sync(locked, folder, address)
        if other is not None:
            stack.callback(other.release)
        if lock is not None:
            lock.release()  # of the folder that is set aside: not before there is another
        wanted = with_lock(wanted, other)
        journal, _ = await anyio.to_thread.run_sync(_open, folder, files, address, wanted)
        await _agree(journal, source)
        tell(
            Note(
                "", f"the source has changed: bulkup begins the run again, and keeps the files of the old one in {kept}"
            )
        )
    return journal


async def _agree(journal: Journal, source: Source) -> None:
    """Have the files agree as they did when the run began: rows that were added since change nothing."""
    if not needs_agreement(source):
        return
    known = await journal.fact(AGREED)
    agreed = await anyio.to_thread.run_sync(agree, source, known, abandon_on_cancel=True)
    if agreed and known is None:
        await journal.set_fact(AGREED, {name: dict(found) for name, found in agreed.items()})


def _take(folder: RunFolder) -> tuple[str | None, Lock | None, str | None]:
    """Where the run's journal is, the run's lock, and what is to be said of its folder."""
    address = folder.journal()
    lock = locked(folder, address)
    try:
        return address, lock, warning_of(folder.path)
    except BaseException:
        if lock is not None:
            lock.release()
        raise


def _open(folder: RunFolder, stack: ExitStack, address: str | None, wanted: Wanted) -> tuple[Journal, bytes | None]:
    """The journal, and the last receipt beside it."""
    journal = opened(folder, address, wanted)
    stack.callback(journal.close)
    return journal, read_in(folder.path, RECEIPT)


async def _refuse_older(folder: RunFolder, receipt: bytes | None, journal: Journal, lanes: Sequence[str]) -> None:
    """Raise `JournalUnusable` where the receipt beside it says that more has landed than the journal knows: it is older, or lost
    something, and would send rows twice."""
    for lane in lanes:
        told = _landed_by(receipt, lane)
        landed = (await journal.lane(lane).totals()).rows_landed
        if landed < told:
            raise JournalUnusable(
                f"{folder.path}: {RECEIPT} says that {told:,} rows have landed in {lane}, and the journal knows of {landed:,}: "
                "it is older, or damaged. Restore the whole folder from a copy, as it was at one moment"
            )


def _landed_by(receipt: bytes | None, lane: str) -> int:
    """The rows that have landed by the last receipt, 0 where it cannot be read: it is a report, and nothing hangs on it alone."""
    try:
        rows = orjson.loads(receipt or b"null")["destinations"][lane]["rows_landed"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return 0
    return rows if isinstance(rows, int) else 0


def _set_aside(folder: RunFolder, address: str | None, epoch: int) -> Path:
    """The old folder under the first name that is free, and the run in its database, if this process has had it last: in *epoch*.
    Raises `RunLocked`, `LocalDisk`, and as a database does."""
    free = (kept for kept in map(folder.generation, count(1)) if not os.path.lexists(kept))
    if address is None:
        kept = next(free)
    else:
        from bulkup.journal.postgres.runs import has_run, rename_run

        kept = next(one for one in free if not has_run(address, one.name))  # one of another machine may be there
        rename_run(address, folder.run_id, kept.name, epoch)
    try:
        folder.path.rename(kept)
    except OSError as error:
        if address is not None:
            with suppress(BulkupError):
                rename_run(address, kept.name, folder.run_id, epoch)
        raise LocalDisk(f"{folder.path} cannot be renamed to {kept.name}: {error.strerror}") from error
    return kept


async def _refuse_to_forget(journal: Journal, lanes: Sequence[str], change: SourceChanged, *, append: bool) -> None:
    """Raise `SourceChanged` where rows of the old run are there, unless the user accepts that they stay."""
    there = 0
    for lane in lanes:
        totals = await journal.lane(lane).totals()
        there += totals.rows_landed + totals.rows_in_doubt
    if there and not append:
        raise SourceChanged(
            f"{change}. But {there:,} rows of the old run have landed or are in doubt, and --on-source-change restart would "
            "put the whole source beside them: give --append too if you want that"
        )
