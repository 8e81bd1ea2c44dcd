"""Locators to a source that can be read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

from bulkup.encoding.faults import one_line
from bulkup.errors import UsageProblem
from bulkup.model import BLOCK_BYTES
from bulkup.sources.agreement import agreed_files
from bulkup.sources.any_range import AnyRangeSource
from bulkup.sources.beside_rows import beside_rows, partition_note
from bulkup.sources.format import SourceFile
from bulkup.sources.inspection import Found, begins_as_json, look_into
from bulkup.sources.locators import STDIN, Resolved, refuse_doubles, resolve
from bulkup.sources.looked import LookedInto, file_of
from bulkup.sources.places import Access, close_all
from bulkup.sources.places.fetching import side_by_side
from bulkup.sources.reading import Reading
from bulkup.sources.selection import Selection, some_of
from bulkup.sources.sequential import SequentialSource, notes_of
from bulkup.sources.short_looks import plain_files
from bulkup.sources.source import Source
from bulkup.sources.stdin import Held, look_at, streamed

__all__ = ["open_files", "open_source"]


def open_source(
    locators: Sequence[str],
    *,
    max_row_bytes: int,
    block_bytes: int = BLOCK_BYTES,
    reading: Reading | None = None,
    lanes: int = 1,
    spool_dir: Path | None = None,
    stdin_fd: int = 0,
    selection: Selection = Selection(),  # noqa: B008 - it is frozen
    access: Access = Access(),  # noqa: B008 - it is frozen
    stdin_held: Held | None = None,
    agrees_later: bool = False,
    known: Mapping[str, LookedInto] | None = None,
) -> Source:
    """Resolve *locators*, look into every file, freeze them.

    Blocks (for stdin until its first bytes are there): call it before the event loop runs, or in a thread.
    For stdin there may be *lanes* cursors; more than one spool it to a file without a name in *spool_dir*, and so much of it as
    *stdin_held* says is held there for a look. *reading* says how the files are read, *selection* chooses among those that folders
    and globs give, *access* says how other places are opened. *agrees_later*: `agree` is called before anything is read. *known* is
    what was found before, by the files' names: what has not changed since is not looked into. Raises `UsageProblem` and
    `SourceUnreadable` as `resolve` and `look_into` do.
    """
    reading = replace(reading or Reading(max_row_bytes=max_row_bytes), unpack_in=spool_dir)
    resolved = resolve(locators, selection, access)
    if resolved.uris == (STDIN,):
        stdin = look_at(stdin_fd, reading)
        if stdin.file.part is not None:
            whole = _whole(stdin.file, stdin.file.part.size)
            notes = tuple(notes_of((whole,)))
            return open_files((whole,), max_row_bytes=max_row_bytes, block_bytes=block_bytes, notes=notes)
        return streamed(
            stdin,
            max_row_bytes=max_row_bytes,
            block_bytes=block_bytes,
            lanes=lanes,
            spool_dir=spool_dir,
            held=stdin_held,
        )
    files, notes = _look_into_all(resolved, frozenset(locators), reading, known or {})
    files = _with_renames(files, reading)
    if agrees_later and any(file.format.agree is not None for file in files):
        return SequentialSource(
            files, max_row_bytes=max_row_bytes, block_bytes=block_bytes, notes=notes, close=close_all, agrees_later=True
        )
    files, _ = agreed_files(files)
    return open_files(files, max_row_bytes=max_row_bytes, block_bytes=block_bytes, notes=(*notes, *notes_of(files)))


def _look_into_all(
    resolved: Resolved, named: Set[str], reading: Reading, known: Mapping[str, LookedInto]
) -> tuple[tuple[SourceFile, ...], tuple[str, ...]]:
    """The files that hold rows, and what a person should know of them. Those that a person has *named* do hold some."""
    found: list[Found] = []
    passed: list[str] = []
    plain: Mapping[str, SourceFile] = {}
    if len(resolved.uris) > 1:
        unsure = resolved.entries.keys() | known.keys() | resolved.perhaps
        plain = plain_files([uri for uri in resolved.uris if uri not in unsure], reading)

    def look(uri: str) -> Found | None:
        if uri in plain:
            return Found((plain[uri],))
        entry = resolved.entries.get(uri)
        if uri in known and (file := file_of(known[uri], reading, entry)) is not None:
            return Found((file,))
        if uri in resolved.perhaps and not begins_as_json(uri, reading, entry):
            return None
        return look_into(uri, reading, entry)

    # Of remote files each look waits for a server: they are not one behind the other.
    each = side_by_side(look, resolved.uris) if resolved.entries else map(look, resolved.uris)
    for uri, one in zip(resolved.uris, each, strict=True):
        if one is None:
            passed.append(uri)
        else:
            found.append(one)
    if not found:
        raise UsageProblem(f"there is no file that holds rows; passed over: {some_of(passed)}")
    firsts = [one.files[0] for one in found if one.files[0].remote is None]
    inodes = {one.inode for one in firsts}
    if len(inodes) < len(firsts) or not all(inodes):
        refuse_doubles((one.path, one.inode or os.path.realpath(one.path)) for one in firsts)
    notes = [*resolved.notes, *(one.note for one in found if one.note is not None)]
    if passed:
        notes.append(f"passed over, for they hold no JSON: {some_of(passed)}")
    files = tuple(file for one in found for file in one.files)
    if (partitions := partition_note(files)) is not None:
        notes.append(partitions)
    if len(files) == 1 or all(file.uri in named for file in files) or reading.as_lines or reading.rows_at is not None:
        return files, tuple(notes)
    beside = beside_rows(files, reading.row_keys) - named
    if beside:
        told = some_of([file.uri for file in files if file.uri in beside])
        notes.append(
            f"passed over, for each is one object without any key of the rows: {told}; name such a file to send it"
        )
    return tuple(file for file in files if file.uri not in beside), tuple(notes)


def open_files(
    files: tuple[SourceFile, ...], *, max_row_bytes: int, block_bytes: int = BLOCK_BYTES, notes: tuple[str, ...] = ()
) -> Source:
    """A source of files that were inspected before. *notes* are what a person should know of them."""
    if all(file.any_range for file in files):
        return AnyRangeSource(files, max_row_bytes=max_row_bytes, block_bytes=block_bytes, notes=notes, close=close_all)
    return SequentialSource(files, max_row_bytes=max_row_bytes, block_bytes=block_bytes, notes=notes, close=close_all)


def _with_renames(files: tuple[SourceFile, ...], reading: Reading) -> tuple[SourceFile, ...]:
    """*files*, whose rows get other keys. Raises `UsageProblem` where no file has a key, and that is known."""
    if not reading.renames:
        return files
    columns = [file.format.columns(file) for file in files if file.format.columns is not None]
    for old, new in reading.renames if len(columns) == len(files) else ():
        if not any(new in names for names in columns):
            there = ", ".join(dict.fromkeys(name for names in columns for name in names))
            raise UsageProblem(one_line(f"--rename {old}={new}: no file has a column {old!r}; there are {there}"))
    return tuple(file.having(renames=reading.renames) for file in files)


def _whole(file: SourceFile, size: int) -> SourceFile:
    """*file*, all *size* bytes of which have come."""
    length_of = file.format.length
    assert length_of is not None
    file = file.having(size=size)
    return file.having(length=length_of(file))
