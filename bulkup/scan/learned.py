"""What the rows of one part of a source have taught, for one destination, and how parts are put together.

To put together is associative, and what comes of it does not depend on how the source was cut: so any process may read any part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import reduce
from typing import TypeVar

from msgspec import Struct

from bulkup.light_dataclass import dataclass
from bulkup.model import Block
from bulkup.rows.schema import Kind
from bulkup.scan.reasons import Reason, joined_reasons
from bulkup.scan.seen import Place, Seen

__all__ = ["FileCounts", "FileRead", "KeyCounts", "Learned", "ShapeCounts", "joined"]


class FileRead(Struct, frozen=True, gc=False):
    """How far file number *file* was read: *lines* of it, up to the position *end* behind its beginning. The last line begins at
    *last_line*, None where there was none."""

    file: int
    lines: int
    end: int
    last_line: int | None

    def also(self, other: FileRead) -> FileRead:
        """With what was read behind it."""
        last = self.last_line if other.last_line is None else other.last_line
        return FileRead(self.file, self.lines + other.lines, max(self.end, other.end), last)


class FileCounts(Struct, frozen=True, gc=False):
    """Of file number *file*: *rows* that would be sent, the largest of *largest* bytes (0 if it is not known to be over 4 KiB),
    *blank* lines, *rejected* rows."""

    file: int
    rows: int = 0
    blank: int = 0
    rejected: int = 0
    largest: int = 0

    def also(self, other: FileCounts) -> FileCounts:
        """With more of the file."""
        return FileCounts(
            self.file,
            self.rows + other.rows,
            self.blank + other.blank,
            self.rejected + other.rejected,
            max(self.largest, other.largest),
        )


@dataclass(frozen=True, slots=True)
class KeyCounts:
    """Of *rows* rows: how many have each key, and in how many it is null."""

    rows: int = 0
    present: Mapping[str, int] = field(default_factory=dict)
    null: Mapping[str, int] = field(default_factory=dict)

    def also(self, other: KeyCounts) -> KeyCounts:
        """With other rows."""
        return KeyCounts(self.rows + other.rows, _summed(self.present, other.present), _summed(self.null, other.null))


@dataclass(frozen=True, slots=True)
class ShapeCounts:
    """Of *rows* rows: how many are in the shape of each preset. *missing* says what the first that is in none lacks."""

    rows: int = 0
    fit: Mapping[str, int] = field(default_factory=dict)
    missing: str = ""

    def also(self, other: ShapeCounts) -> ShapeCounts:
        """With the rows behind them."""
        return ShapeCounts(self.rows + other.rows, _summed(self.fit, other.fit), self.missing or other.missing)


_OfFile = TypeVar("_OfFile", FileCounts, FileRead)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """*files* and *read* are in the order of the files. Lines in places are counted from where the part begins in its file.

    *reasons* are why rows would be rejected, in the order of their first places. *keys* is what was seen of the columns' values
    where these are learned; *first_row* is the first row that would be sent, then. *counted* are the keys of some of the rows.
    *readable* of the rejected rows can be read, and *misfits* of these are in the shape of the preset nonetheless. *skipped* and
    *made* as `bulkup.scan.found.Found` has them. *sample* are some of the blocks. *broke_off*: why no more could be read.
    *disk_bytes* were read. *met*: options whose keys some row has.
    """

    files: tuple[FileCounts, ...] = ()
    read: tuple[FileRead, ...] = ()
    reasons: tuple[Reason, ...] = ()
    keys: Mapping[str, Seen] = field(default_factory=dict)
    first_row: Place | None = None
    counted: KeyCounts = KeyCounts()
    shapes: ShapeCounts = ShapeCounts()
    readable: int = 0
    misfits: int = 0
    skipped: int = 0
    made: int = 0
    sample: tuple[Block, ...] = ()
    broke_off: str | None = None
    disk_bytes: int = 0
    met: frozenset[str] = frozenset()

    @property
    def rows(self) -> int:
        """Rows that would be sent."""
        return sum(file.rows for file in self.files)

    @property
    def blank(self) -> int:
        """Blank lines."""
        return sum(file.blank for file in self.files)

    @property
    def rejected(self) -> int:
        """Rows that would not be sent."""
        return sum(file.rejected for file in self.files)

    @property
    def largest(self) -> int:
        """The largest row that would be sent, in bytes, if it is known to be over 4 KiB, else 0."""
        return max((file.largest for file in self.files), default=0)


def joined(parts: Sequence[Learned]) -> Learned:
    """What *parts*, one behind the other, have taught together. Behind one that broke off nothing counts."""
    return reduce(_joined, parts) if parts else Learned()


def _joined(left: Learned, right: Learned) -> Learned:
    if left.broke_off is not None:
        return left
    right = _moved(right, {file.file: file.lines for file in left.read})
    return Learned(
        files=_by_file(left.files, right.files),
        read=_by_file(left.read, right.read),
        reasons=joined_reasons(left.reasons, right.reasons),
        keys=_keys(left, right),
        first_row=left.first_row or right.first_row,
        counted=left.counted.also(right.counted),
        shapes=left.shapes.also(right.shapes),
        readable=left.readable + right.readable,
        misfits=left.misfits + right.misfits,
        skipped=left.skipped + right.skipped,
        made=left.made + right.made,
        sample=left.sample + right.sample,
        broke_off=right.broke_off,
        disk_bytes=left.disk_bytes + right.disk_bytes,
        met=left.met | right.met,
    )


def _keys(left: Learned, right: Learned) -> dict[str, Seen]:
    """A key that one of them does not have is absent there, from its first row on."""
    found: dict[str, Seen] = {}
    for name in {**left.keys, **right.keys}:
        seen = left.keys.get(name, _absent(left))
        for kind, place in right.keys.get(name, _absent(right)).first.items():
            seen = seen.also(kind, place)
        found[name] = seen
    return found


def _absent(part: Learned) -> Seen:
    return Seen() if part.first_row is None else Seen({Kind.ABSENT: part.first_row})


def _moved(part: Learned, lines: Mapping[int, int]) -> Learned:
    """*part* behind so many *lines* of its files."""
    if not any(lines.get(file.file) for file in part.read):
        return part

    def moved(place: Place) -> Place:
        return place if place.line is None else replace(place, line=place.line + lines.get(place.file, 0))

    return replace(
        part,
        reasons=tuple(replace(why, places=tuple(map(moved, why.places))) for why in part.reasons),
        keys={name: Seen({kind: moved(at) for kind, at in seen.first.items()}) for name, seen in part.keys.items()},
        first_row=None if part.first_row is None else moved(part.first_row),
    )


def _by_file(left: tuple[_OfFile, ...], right: tuple[_OfFile, ...]) -> tuple[_OfFile, ...]:
    """Parts meet in one file at most: it is the last of one and the first of the other."""
    together, behind = list(left), list(right)
    if left and right and left[-1].file == right[0].file:
        together[-1] = left[-1].also(right[0])
        behind = behind[1:]
    return tuple(together + behind)


def _summed(left: Mapping[str, int], right: Mapping[str, int]) -> Mapping[str, int]:
    total = Counter(left)
    total.update(right)
    return dict(total)
