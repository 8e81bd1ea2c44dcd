"""Locators as a person gives them, made into the frozen list of files."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path

from bulkup.errors import UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.settings.near import similar_file
from bulkup.sources.named_places import refuse_table, table_of, without_companions
from bulkup.sources.places.address import Access, is_remote
from bulkup.sources.places.place import Entry
from bulkup.sources.selection import Listed, Selection, natural_key, some_of

__all__ = ["STDIN", "Resolved", "listed_in", "refuse_doubles", "resolve"]

STDIN = "-"
"""The locator that means standard input."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The files in order. *perhaps* are those that count only if they begin as JSON does. *notes*: what a person should know.

    *entries*: those that are no local files.
    """

    uris: tuple[str, ...]
    perhaps: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    entries: Mapping[str, Entry] = field(default_factory=dict)


def resolve(
    locators: Sequence[str],
    selection: Selection = Selection(),  # noqa: B008 - it is frozen
    access: Access = Access(),  # noqa: B008 - it is frozen
) -> Resolved:
    """The files that *locators* mean: in the order given, each glob's matches sorted, a folder's files in the order of their names.

    A path that exists is that path, whatever its characters would mean in a glob. `**` goes into directories. *selection* chooses
    among what globs and folders give, *access* says how other places are opened. Raises `UsageProblem` for nothing at all, a
    missing file, a glob or a folder without a file that is taken, a file that is named twice, and `-` beside anything else; and as
    `found_at` does.
    """
    if not locators:
        raise UsageProblem("no source: name one or more files, a folder, a glob, or - for standard input")
    if STDIN in locators:
        if len(locators) > 1:
            raise UsageProblem("- (standard input) stands alone: it cannot be read together with files")
        return Resolved((STDIN,))
    found = [(locator, _expand(locator, selection, access)) for locator in locators]
    uris = [uri for _, listed in found for uri in listed.taken]
    _refuse_doubles(uris)
    notes = tuple(
        f"{locator}: {len(listed.taken):,} files; passed over: {some_of(listed.passed)}"
        for locator, listed in found
        if listed.passed
    )
    entries = {uri: entry for _, listed in found for uri, entry in listed.entries.items()}
    return Resolved(tuple(uris), frozenset().union(*(listed.perhaps for _, listed in found)), notes, entries)


def listed_in(path: str, read: Callable[[str], bytes]) -> list[str]:
    """The locators that the list at *path* holds, one on each line, or with a zero byte between them (`find -print0`).

    Blank lines are passed over. *read* gives all of its bytes. Raises `UsageProblem` where it cannot be read, or holds none.
    """
    name = "standard input" if path == STDIN else path
    try:
        data = read(path)
    except OSError as error:
        raise UsageProblem(f"--files-from {path}: cannot be read: {error.strerror}") from error
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    found = [os.fsdecode(line) for line in lines if line.strip()]
    if not found:
        raise UsageProblem(f"--files-from: {name} names no file")
    return found


def _expand(locator: str, selection: Selection, access: Access) -> Listed:
    if os.path.lexists(locator):
        return _in_folder(locator, selection) if os.path.isdir(locator) else Listed([locator])  # noqa: PTH112 - globs speak in strings
    if is_remote(locator):
        from bulkup.sources.places.listing import found_at

        return found_at(locator, selection, access)
    if not glob.has_magic(locator):
        raise UsageProblem(f"{locator}: there is no such file{similar_file(Path(locator))}")
    matches = glob.glob(locator, recursive=True)  # noqa: PTH207
    found = sorted({os.path.normpath(match) for match in matches if not os.path.isdir(match)})  # noqa: PTH112
    uris = [uri for uri in found if selection.takes(uri)]
    if not uris:
        left_out = f"; --include and --exclude leave out all {len(found):,} that do" if found else ""
        raise UsageProblem(f"{locator}: no file matches{left_out}")
    return Listed(uris)


def _in_folder(folder: str, selection: Selection) -> Listed:
    """Everything below *folder* that is taken. Links to folders are followed, each folder once."""
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    below = [""]
    while below:
        inside = below.pop()
        try:
            about = os.stat(os.path.join(folder, inside))  # noqa: PTH116, PTH118
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            folders = []
            with os.scandir(os.path.join(folder, inside)) as entries:  # noqa: PTH118
                for entry in entries:
                    path = f"{inside}{entry.name}"
                    if not entry.is_dir():
                        found.append(path)
                    elif table_of(path) is not None:
                        refuse_table(folder, [path])
                    elif selection.enters(path):
                        folders.append(f"{path}/")
        except OSError as error:
            raise UsageProblem(f"{os.path.join(folder, inside)}: cannot be read: {error.strerror}") from error  # noqa: PTH118
        below += sorted(folders, key=natural_key, reverse=True)
    listed = Listed()
    refuse_table(folder, found)
    before = os.path.join(folder, "")  # noqa: PTH118
    for path in sorted(without_companions(found), key=natural_key):
        listed.sort(path, selection.wants(path), before + path)
    if not listed.taken:
        there = f"; passed over: {some_of(listed.passed)}" if listed.passed else ""
        raise UsageProblem(f"{folder}: there is no file in this folder that may hold rows{there}")
    return listed


def _refuse_doubles(uris: list[str]) -> None:
    if len(set(uris)) < len(uris):
        refuse_doubles((uri, uri) for uri in uris)


def refuse_doubles(found: Iterable[tuple[str, Hashable]]) -> None:
    """Raise `UsageProblem` where one file is named twice.

    *found*: each name, and what all names of a file have in common; names of other files may have that too.
    """
    seen: dict[Hashable, list[str]] = {}
    for uri, common in found:
        others = seen.setdefault(common, [])
        for other in others:
            if uri == other or os.path.realpath(uri) == os.path.realpath(other):
                known_as = f" (as {other})" if other != uri else ""
                raise UsageProblem(f"{uri}: is named twice{known_as}; each file is read once")
        others.append(uri)
