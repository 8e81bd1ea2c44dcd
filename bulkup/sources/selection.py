"""Which files of a folder, a glob or a prefix are taken: by patterns, by what files are called, in the order of their names."""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Sequence
from dataclasses import field
from enum import StrEnum

from bulkup.light_dataclass import dataclass
from bulkup.sources.decompress import Compression, bare_name, suffixes_of
from bulkup.sources.named_places import is_hidden
from bulkup.sources.places.place import Entry
from bulkup.sources.registry import formats
from bulkup.sources.separated.dialect import SUFFIXES

__all__ = [
    "Listed",
    "Selection",
    "Wanted",
    "glob_pattern",
    "natural_key",
    "some_of",
    "suffix_of",
    "suffixes_of_formats",
]

ROWS = (".json", ".jsonl", ".ndjson", ".jl", ".jsonlines", ".ldjson", ".geojsonl", *SUFFIXES)
"""Names that end so hold rows."""

PERHAPS = ("", ".txt", ".data")
"""Names that end so say nothing."""

_ARCHIVES = (".tar", ".tgz", ".zip")
_PACKED = tuple(kind for kind in Compression if kind not in (Compression.NONE, Compression.DEFLATE))
_YES = frozenset((*ROWS, *_ARCHIVES))
_DIGITS = re.compile(r"(\d+)")
_SHOWN = 5


class Wanted(StrEnum):
    """Whether a file is taken."""

    YES = "yes"
    PERHAPS = "perhaps"
    """If it begins as JSON does."""

    NO = "no"


@dataclass(frozen=True, slots=True)
class Selection:
    """*include*: patterns of which a file must match one, if there are any. *exclude*: patterns of which it may match none.

    A pattern without a slash is compared with a file's name, any other with its path below the folder.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def wants(self, path: str) -> Wanted:
        """Whether the file at *path* below a folder is taken. Hidden files, markers (`_SUCCESS`) and what is no rows by its name
        are not, unless a pattern of *include* names them."""
        if (self.include or self.exclude) and not self.takes(path):
            return Wanted.NO
        if is_hidden(path) and not any(map(_names_hidden, self.include)):
            return Wanted.NO
        if self.include:
            return Wanted.YES
        return by_name(path)

    def takes(self, path: str) -> bool:
        """Whether the patterns alone let the file at *path* through."""
        if self.include and not _matches(path, self.include):
            return False
        return not (self.exclude and _matches(path, self.exclude))

    def enters(self, folder: str) -> bool:
        """Whether the folder at that path below the first is gone into."""
        return not is_hidden(posixpath.basename(folder)) or any(map(_names_hidden, self.include))


@dataclass(slots=True)
class Listed:
    """What a locator comes to, in order. *perhaps* are those of *taken* that count only if they begin as JSON does. *passed*: what
    was passed over, but for hidden files. *entries*: what is no local file.
    """

    taken: list[str] = field(default_factory=list)
    perhaps: set[str] = field(default_factory=set)
    passed: list[str] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)

    def sort(self, path: str, wanted: Wanted, uri: str) -> None:
        """Take or pass over the file at *path* below the folder, which is called *uri*."""
        if wanted is Wanted.NO:
            self.passed += [] if is_hidden(posixpath.basename(path)) else [uri]
            return
        self.taken.append(uri)
        if wanted is Wanted.PERHAPS:
            self.perhaps.add(uri)


def by_name(path: str) -> Wanted:
    """What the name of the file at *path* says of it."""
    name = path[path.rfind("/") + 1 :]
    dot = name.find(".")
    return _by_ending(f"a{name[dot:]}" if dot > 0 else name)  # of very many files most end alike


@functools.lru_cache(maxsize=64)
def _by_ending(name: str) -> Wanted:
    suffix = suffix_of(name)
    if suffix in _YES or name.lower().endswith(suffixes_of_formats()):
        return Wanted.YES
    return Wanted.PERHAPS if suffix in PERHAPS else Wanted.NO


def suffix_of(name: str) -> str:
    """How *name* ends, in small letters, without what a packing has added."""
    suffix = posixpath.splitext(name)[1].lower()
    if suffix not in _packed_suffixes():
        return suffix
    for kind in _PACKED:
        name = bare_name(name, kind)
    return posixpath.splitext(name)[1].lower()


def some_of(names: Sequence[str]) -> str:
    """The first of *names*, and how many more."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")


def natural_key(path: str) -> tuple[tuple[str | int, ...], ...]:
    """Orders paths folder by folder, with numbers in them by their value: `part-2` before `part-10`."""
    return tuple(map(_natural_part, path.split("/")))


def _natural_part(part: str) -> tuple[str | int, ...]:
    """Text, and behind it each number with its digits and the text behind them: what stands in one place is of one kind. So digits
    come before any other text, which an empty one before them sees to."""
    before, *words = _DIGITS.split(part)
    match words:
        case []:
            return (before,)
        case [digits, behind]:
            return before, int(digits), digits, behind
    key: list[str | int] = [before]
    for digits, behind in zip(words[::2], words[1::2], strict=True):
        key += int(digits), digits, behind
    return tuple(key)


@functools.cache
def glob_pattern(text: str) -> re.Pattern[str]:
    """A glob for whole paths: `*` and `?` stop at a slash, `**` does not, `[…]` is one of several characters."""
    made, at = "", 0
    while at < len(text):
        if text.startswith("**/", at):
            made, at = made + "(?:.*/)?", at + 3
        elif text.startswith("**", at):
            made, at = made + ".*", at + 2
        elif text[at] == "[" and (end := text.find("]", at + 2 + (text[at + 1 : at + 2] == "!"))) > 0:
            made, at = made + _one_of(text[at + 1 : end]), end + 1
        else:
            made, at = made + {"*": "[^/]*", "?": "[^/]"}.get(text[at], re.escape(text[at])), at + 1
    return re.compile(made, re.DOTALL)


def _one_of(characters: str) -> str:
    is_not = characters.startswith("!")
    inside = re.sub(r"[\\^\[]", r"\\\g<0>", characters.removeprefix("!"))
    return f"[^/{inside}]" if is_not else f"[{inside}]"


def _matches(path: str, patterns: Sequence[str]) -> bool:
    name = posixpath.basename(path)
    return any(glob_pattern(one).fullmatch(path if "/" in one else name) for one in patterns)


def _names_hidden(pattern: str) -> bool:
    return is_hidden(pattern)


@functools.cache
def _packed_suffixes() -> frozenset[str]:
    return frozenset(posixpath.splitext(f"a{suffix}")[1] for kind in _PACKED for suffix in suffixes_of(kind))


@functools.cache
def suffixes_of_formats() -> tuple[str, ...]:
    """How the names of files end that are of a format with names."""
    return tuple(suffix for one in formats() for suffix in one.suffixes)
