"""A chunk: rows sent in one request, and where it stands in its life."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from operator import itemgetter

from bulkup.model import Changes

__all__ = ["FAILED_ONCE", "WHOLE", "Chunk", "ChunkId", "ChunkState", "Evidence", "TileSpan", "Totals"]

WHOLE = 0
"""The child number of a chunk that is a whole tile."""

FAILED_ONCE = "its dataset FAILED once"
"""The reason kept with a chunk that is sent once more after the service had failed on it."""


_count = itemgetter(1)


class ChunkState(StrEnum):
    """The states of `docs/design.md`, "A chunk's life". The last four are ends."""

    PLANNED = "planned"
    SENDING = "sending"
    ANSWERED = "answered"
    IN_DOUBT = "in doubt"
    LANDED = "landed"
    REFUSED = "refused"
    SPLIT = "split"
    EMPTY = "empty"


class Evidence(StrEnum):
    """By what a chunk counts as landed."""

    ANSWER = "answer"
    KEPT_ANSWER = "kept answer"
    READ_BACK = "read-back"
    COUNT = "count"
    PERSON = "a person"


@dataclass(frozen=True, slots=True, order=True)
class ChunkId:
    """Lane, tile and child: 0 for a whole tile, from 1 for the children of a tile that needed several."""

    lane: str
    tile: int
    child: int

    def __str__(self) -> str:
        return f"{self.tile:05d}" + (f"-{self.child:03d}" if self.child else "")


@dataclass(frozen=True, slots=True)
class TileSpan:
    """A tile whose chunks are all planned: the positions [start, stop)."""

    tile: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A planned range of the source. Where it lies and its hashes never change once it is in the journal.

    *start* and *stop* are positions at line starts; *file* and *byte_offset* say where *start* lies. *rows* are the good ones,
    *skipped* the rows that the user's function left out, *made* how many more it made, *changes* how many rows were changed in
    which way, *body_bytes* the good rows' size as JSON joined by commas. *lines* holds (file number, lines) for each file the chunk
    touches. *raw_hash* is the xxh3-128 of the range's lines, *rows_hash* that of the encoded rows. *verbatim*: the body is the
    range's own bytes, so it can be sent straight from the file.
    """

    id: ChunkId
    start: int
    stop: int
    file: int
    byte_offset: int
    rows: int
    blank: int
    rejected: int
    lines: tuple[tuple[int, int], ...]
    body_bytes: int
    raw_hash: bytes
    rows_hash: bytes
    name: str
    verbatim: bool
    state: ChunkState = ChunkState.PLANNED
    attempts: int = 0
    remote_id: str | None = None
    reason: str | None = None
    last_byte_at: float | None = None
    was_answered: bool = False
    absences: int = 0
    evidence: Evidence | None = None
    skipped: int = 0
    made: int = 0
    changes: Changes = ()
    ids_at: int | None = None
    """Where in `ids.jsonl` the line with the ids of its rows begins; None where it has none."""

    @property
    def line_count(self) -> int:
        """Lines in the range: each a row of the source, or blank."""
        return sum(map(_count, self.lines))  # of very many small files a chunk touches some hundred

    @property
    def was_in_doubt(self) -> bool:
        """The answer that it has came when it was in doubt already: a worker had kept it. When it was stored is not known then."""
        return self.state is ChunkState.ANSWERED and self.reason is not None


@dataclass(slots=True)
class Totals:
    """What a lane's chunks add up to. *lines* is counted from the ranges, the rest from what became of them."""

    lines: int = 0
    rows_blank: int = 0
    rows_landed: int = 0
    rows_rejected: int = 0
    rows_in_doubt: int = 0
    rows_left: int = 0
    rows_skipped: int = 0
    rows_made: int = 0
    chunks: int = 0
    chunks_landed: int = 0
    chunks_in_doubt: int = 0
    chunks_left: int = 0
    bytes_landed: int = 0

    @property
    def rows_read(self) -> int:
        """Rows of the source that were read: the lines that are not blank."""
        return self.lines - self.rows_blank

    @property
    def is_whole(self) -> bool:
        """Whether every row is accounted for."""
        left = self.rows_landed + self.rows_rejected + self.rows_skipped + self.rows_in_doubt + self.rows_left
        return self.rows_read + self.rows_made == left

    def move(self, chunk: Chunk, old: ChunkState | None, new: ChunkState) -> None:
        """*chunk* went from *old* (None: it is new) to *new*."""
        for state, sign in ((old, -1), (new, 1)):
            if state is not None:
                self.add(
                    state,
                    chunks=sign,
                    lines=sign * chunk.line_count,
                    rows=sign * chunk.rows,
                    blank=sign * chunk.blank,
                    rejected=sign * chunk.rejected,
                    body_bytes=sign * chunk.body_bytes,
                    skipped=sign * chunk.skipped,
                    made=sign * chunk.made,
                )

    def add(
        self,
        state: ChunkState,
        *,
        chunks: int,
        lines: int,
        rows: int,
        blank: int,
        rejected: int,
        body_bytes: int,
        skipped: int,
        made: int,
    ) -> None:
        """Count *chunks* chunks in *state*. What a split chunk held is counted by its children."""
        if state is ChunkState.SPLIT:
            return
        self.chunks += chunks
        self.lines += lines
        self.rows_blank += blank
        self.rows_rejected += rejected
        self.rows_skipped += skipped
        self.rows_made += made
        match state:
            case ChunkState.LANDED:
                self.rows_landed += rows
                self.chunks_landed += chunks
                self.bytes_landed += body_bytes
            case ChunkState.IN_DOUBT | ChunkState.SENDING:
                self.rows_in_doubt += rows
                self.chunks_in_doubt += chunks
            case ChunkState.PLANNED | ChunkState.ANSWERED:
                self.rows_left += rows
                self.chunks_left += chunks
            case ChunkState.REFUSED | ChunkState.EMPTY:
                assert rows == 0, "a refused or empty chunk has no good rows"
