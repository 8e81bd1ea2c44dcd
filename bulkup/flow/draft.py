"""A chunk being put together, block by block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import field

import xxhash

from bulkup.chunk import Chunk, ChunkId, ChunkState
from bulkup.errors import SourceUnreadable
from bulkup.flow.executor import Hold
from bulkup.light_dataclass import dataclass
from bulkup.model import Block, Changes, EncodedBlock, LongRow, Reject

__all__ = ["Draft", "Drafted", "Keep", "Placed"]


REJECT_BYTES = 512
"""What a rejected row takes in memory besides its row, about."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A rejected row's place: its file's number, and its line among that file's lines in the chunk, from 0."""

    reject: Reject
    file: int
    line: int


@dataclass(frozen=True, slots=True)
class Keep:
    """What a draft holds on to besides counts and hashes: the encoded rows, the blocks as read, the rejected rows."""

    encoded: bool
    raw: bool
    rejects: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """What consecutive blocks came to: everything that a chunk is planned by, and as much of the bytes as was kept.

    The encoded rows are in *encoded*, or held where they were made (*is_held*; *hold* says where that is), or nowhere: then the
    range is read again. *broke_off* says why the source could not be read further.
    """

    start: int
    stop: int
    file: int
    byte_offset: int
    rows: int
    blank: int
    rejected: int
    reject_bytes: int
    lines: tuple[tuple[int, int], ...]
    body_bytes: int
    raw_hash: bytes
    rows_hash: bytes
    verbatim: bool
    rejects: list[Placed]
    encoded: list[bytes]
    raw: list[Block | LongRow]
    skipped: int = 0
    made: int = 0
    changes: Changes = ()
    is_held: bool = False
    hold: Hold | None = None
    broke_off: SourceUnreadable | None = None

    @property
    def is_empty(self) -> bool:
        """There was no line."""
        return self.start < 0

    def chunk(self, id: ChunkId, name: str) -> Chunk:  # noqa: A002 - the field's name
        """The chunk that this becomes."""
        return Chunk(
            id=id,
            start=self.start,
            stop=self.stop,
            file=self.file,
            byte_offset=self.byte_offset,
            rows=self.rows,
            blank=self.blank,
            rejected=self.rejected,
            lines=self.lines,
            body_bytes=self.body_bytes,
            raw_hash=self.raw_hash,
            rows_hash=self.rows_hash,
            name=name,
            verbatim=self.verbatim,
            skipped=self.skipped,
            made=self.made,
            changes=self.changes,
            state=ChunkState.PLANNED if self.rows else ChunkState.EMPTY,
        )


@dataclass(slots=True)
class Draft:
    """Counts, hashes and, where wanted, the bytes of consecutive blocks."""

    keep: Keep
    start: int = -1
    stop: int = -1
    file: int = 0
    byte_offset: int = 0
    rows: int = 0
    blank: int = 0
    body_bytes: int = 0
    reject_bytes: int = 0
    verbatim: bool = True
    rejected: int = 0
    skipped: int = 0
    made: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    rejects: list[Placed] = field(default_factory=list)
    lines: dict[int, int] = field(default_factory=dict)
    encoded: list[bytes] = field(default_factory=list)
    raw: list[Block | LongRow] = field(default_factory=list)
    _raw_hash: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)
    _rows_hash: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)

    @property
    def is_empty(self) -> bool:
        """Nothing was added yet."""
        return self.start < 0

    def add(self, item: Block | LongRow, made: EncodedBlock, *, file: int, byte_offset: int) -> None:
        """Take in *item*, which became *made* and begins at *byte_offset* of file number *file*."""
        self.add_several(item, made, [(file, made.lines)], byte_offset=byte_offset)

    def add_several(
        self, item: Block | LongRow, made: EncodedBlock, lines: Sequence[tuple[int, int]], *, byte_offset: int
    ) -> None:
        """As `add`, of several files: their numbers, and how many *lines* of each *item* holds."""
        if self.is_empty:
            self.start, self.file, self.byte_offset = item.start, lines[0][0], byte_offset
        self.stop = item.end
        if made.rejects:
            self.rejected += len(made.rejects)
            self.reject_bytes += sum(len(reject.row) for reject in made.rejects) + REJECT_BYTES * len(made.rejects)
            if self.keep.rejects:
                self.rejects += self._placed(made.rejects, lines)
        for file, count in lines:
            self.lines[file] = self.lines.get(file, 0) + count
        self.blank += made.blank
        self.skipped += made.skipped
        self.made += made.made
        if made.changes:
            self.changes.update(dict(made.changes))
        self.verbatim &= made.verbatim
        hash_raw(self._raw_hash, item)
        if made.rows:
            if self.rows:
                self._rows_hash.update(b",")
            self._rows_hash.update(made.body)
            self.body_bytes += len(made.body) + (1 if self.rows else 0)
            self.rows += made.rows
            if self.keep.encoded:
                self.encoded.append(made.body)
        if self.keep.raw:
            self.raw.append(item)

    def _placed(self, rejects: Sequence[Reject], lines: Sequence[tuple[int, int]]) -> Iterator[Placed]:
        """*rejects*, which are in the order of their lines, each in its file."""
        left = iter(lines)
        file, count = next(left)
        first = 0
        for reject in rejects:
            while reject.line >= first + count:
                first += count
                file, count = next(left)
            yield Placed(reject, file, self.lines.get(file, 0) + reject.line - first)

    def done(self) -> Drafted:
        """What it has come to."""
        return Drafted(
            start=self.start,
            stop=self.stop,
            file=self.file,
            byte_offset=self.byte_offset,
            rows=self.rows,
            blank=self.blank,
            rejected=self.rejected,
            reject_bytes=self.reject_bytes,
            lines=tuple(self.lines.items()),
            body_bytes=self.body_bytes,
            raw_hash=self._raw_hash.digest(),
            rows_hash=self._rows_hash.digest(),
            verbatim=self.verbatim,
            rejects=self.rejects,
            encoded=self.encoded,
            raw=self.raw,
            skipped=self.skipped,
            made=self.made,
            changes=tuple(sorted(self.changes.items())),
        )


def hash_raw(hasher: xxhash.xxh3_128, item: Block | LongRow) -> None:
    """Take the lines of *item* into a raw hash, the same whatever blocks they come in: a missing last break counts as there."""
    if isinstance(item, LongRow):
        hasher.update(item.head)
        hasher.update(b"%d\n" % (item.end - item.start))
        return
    hasher.update(item.data)
    if not item.data.endswith(b"\n"):
        hasher.update(b"\n")


_LARGE_BYTES = 256 * 1024
"""From here on a piece is not copied to put a comma before it: to send one byte by itself takes less."""


def with_commas(pieces: list[bytes]) -> Iterator[bytes]:
    """The pieces as one comma-joined sequence, each piece by itself, and before a large one its comma."""
    for place, piece in enumerate(pieces):
        if place and len(piece) >= _LARGE_BYTES:
            yield b","
            yield piece
        else:
            yield b"," + piece if place else piece
