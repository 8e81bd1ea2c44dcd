"""The words of bulkup as frozen values. Behaviour stands elsewhere.

*Position* is a byte offset in the source's **byte space**: the files in their frozen order laid end to end, each
counted after decompression. So one integer names a place in the whole source, and file and offset follow from it. In a file
of rows that are not text, each row takes as many positions as an average one has bytes (`sources/format.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from bulkup.light_dataclass import dataclass
from bulkup.settings.validation import Validation

__all__ = [
    "BLOCK_BYTES",
    "HEAD_BYTES",
    "Block",
    "Changes",
    "EncodedBlock",
    "EncodedLine",
    "EncodedRow",
    "LongRow",
    "Reject",
    "Stage",
    "Validation",
]

BLOCK_BYTES = 128 * 1024
"""How many bytes of whole rows are handled at once: where msgspec is fastest (`docs/decisions`, "reading and cutting")."""

HEAD_BYTES = 1024
"""How much of a row that is too long is kept, to be shown with the reason."""

Changes = tuple[tuple[str, int], ...]
"""Kinds of change, sorted, each with the number of rows in which it was made."""


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of one file, each a row or blank, as JSON lines; or of several that are small (`Cursor.together`).

    *data* is the lines with their breaks (`\\n` or `\\r\\n`); the last line may lack its break. *start* is the position
    of the first line's first byte, *end* the position behind the block (behind the last line's break).
    Where *data* is not the source's own bytes (an array's elements), *offsets* holds the position of each line,
    and their number is the number of lines. Where one of these may be blank, the last has its break.
    """

    data: bytes
    start: int
    end: int
    offsets: Sequence[int] | None = None

    @property
    def held_bytes(self) -> int:
        """What it takes in memory."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class LongRow:
    """A row over `max_row_bytes`, of which only the first `HEAD_BYTES` bytes were kept; or one that its format cannot read, for the
    *reason* that is given. Its length is end - start."""

    head: bytes
    start: int
    end: int
    reason: str | None = None

    @property
    def held_bytes(self) -> int:
        """What it takes in memory."""
        return len(self.head)


class Stage(StrEnum):
    """Where a row was refused."""

    READ = "read"
    MAP = "map"
    VALIDATE = "validate"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that will not be sent, and why.

    *position* is its first byte, *line* its number among the block's lines (blank ones counted, from 0), *row* its bytes
    without the line break (the first `HEAD_BYTES` where it was too long), *length* its whole length in bytes.
    *part*: which of several rows this is that were made of the one there, from 1; then *row* is that row.
    """

    position: int
    line: int
    stage: Stage
    field: str | None
    reason: str
    row: bytes
    length: int
    part: int | None = None


@dataclass(frozen=True, slots=True)
class EncodedBlock:
    """A block made ready to send.

    *body* is the good rows as JSON joined by single commas (empty where there is none), *rows* their number, *blank* the
    blank lines. *verbatim* says that *body* is the block's own bytes with each line break made a comma, and nothing was
    blank or rejected: such a block can be read and made again at any time. *changes*: in how many of the good rows each kind of
    change was made (`bulkup.encoding.shapes.Change`, `bulkup.settings.repair.Repair`). *skipped* rows were left out by the user's
    function; *made* is how many rows more it made than it was given, where it made several of one.
    """

    body: bytes
    rows: int
    blank: int
    rejects: tuple[Reject, ...]
    verbatim: bool
    changes: Changes = ()
    skipped: int = 0
    made: int = 0

    @property
    def lines(self) -> int:
        """Lines in the block: good, blank, rejected and skipped."""
        return self.rows + self.blank + len(self.rejects) + self.skipped - self.made


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """One row made ready by itself: exactly one of *body* and *reject* is set, or neither where the line is blank. *changes* as
    `EncodedBlock` has them. *row* is what was encoded, *part* as `Reject` has it."""

    position: int
    body: bytes | None
    reject: Reject | None
    changes: Changes = ()
    row: bytes = b""
    part: int | None = None


@dataclass(frozen=True, slots=True)
class EncodedLine:
    """One line of the source with the rows that came of it: one, several where one was made several, none where it is blank or was
    skipped."""

    position: int
    rows: tuple[EncodedRow, ...]

    @property
    def bodies(self) -> list[bytes]:
        """The good rows, ready to send."""
        return [row.body for row in self.rows if row.body is not None]
