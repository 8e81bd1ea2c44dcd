"""What a scan found, for one destination, as a frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from bulkup.encoding import RowPlan
from bulkup.light_dataclass import dataclass
from bulkup.rows.schema import Kind
from bulkup.scan.learned import FileCounts, FileRead, KeyCounts
from bulkup.scan.reasons import Reason
from bulkup.scan.seen import Seen

__all__ = ["Found", "KeyCount", "Measure", "Unmet"]


@dataclass(frozen=True, slots=True)
class Unmet:
    """An *option* whose key no row has that was looked at. *hint*: what a person may have meant, and which keys there are."""

    option: str
    hint: str

    def said(self, *, of_all: bool) -> str:
        """In words. *of_all*: all rows were looked at."""
        return f"{self.option}: no row{'' if of_all else ' that was looked at'} has this key{self.hint}"


@dataclass(frozen=True, slots=True)
class Measure:
    """How rows become bodies: *raw_bytes* of the source, which hold *rows* rows to send, become *body_bytes*; the largest is
    *largest_row* bytes there. As JSON lines, before anything is made of them, the rows take *line_bytes*."""

    raw_bytes: int
    body_bytes: int
    rows: int
    largest_row: int
    line_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCount:
    """In how many rows a key is there, and in how many of these it is null. *is_estimate*: not all were counted."""

    present: int
    null: int
    is_estimate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One destination's part of a scan.

    *plan* is how rows are made, decided on all that was read. *rows* would be sent, *rejected* not, for *reasons*; *blank* lines
    are none. *keys* is what was seen of the columns' values where the destination has a schema. *broke_off* says why the source
    could not be read further; what came before counts. *bytes_looked_at*: so much of the files, None where that is all. *skipped*
    rows are left out by the user's function, and it makes *made* more than it is given. *files* and *read* say how much of that is
    of each file, *counted* how often keys are there in some of the rows.
    *unmet* are the options whose keys no row has that was looked at; a journal does not keep these.
    """

    plan: RowPlan
    rows: int
    blank: int
    rejected: int
    measure: Measure
    reasons: tuple[Reason, ...] = ()
    keys: Mapping[str, Seen] = field(default_factory=dict)
    broke_off: str | None = None
    skipped: int = 0
    made: int = 0
    bytes_looked_at: int | None = None
    files: tuple[FileCounts, ...] = ()
    read: tuple[FileRead, ...] = ()
    counted: KeyCounts = KeyCounts()
    unmet: tuple[Unmet, ...] = ()

    def key(self, name: str) -> KeyCount:
        """How often the key *name* is there in the rows that would be sent."""
        if name not in self.keys:  # the destination has no schema
            present, null = self.counted.present.get(name, 0), self.counted.null.get(name, 0)
            return KeyCount(
                present=self._share(present) if present else 0,
                null=self._share(null) if null else 0,
                is_estimate=self.counted.rows != self.rows,
            )
        kinds = self.keys[name].first.keys()
        absent = self._share(self.counted.rows - self.counted.present.get(name, 0)) if Kind.ABSENT in kinds else 0
        null = self._share(self.counted.null.get(name, 0)) if Kind.NULL in kinds else 0
        is_known = self.counted.rows == self.rows or not kinds & {Kind.ABSENT, Kind.NULL}
        return KeyCount(present=self.rows - absent, null=null, is_estimate=not is_known)

    def _share(self, count: int) -> int:
        """So many of the rows that were counted, of all rows: one at least, since there is one."""
        return max(1, round(count * self.rows / self.counted.rows)) if self.counted.rows else 1

    @property
    def is_whole(self) -> bool:
        """Whether all of the source was looked at, so that no figure is an estimate."""
        return self.bytes_looked_at is None

    @property
    def rows_read(self) -> int:
        """Rows of the source."""
        return self.rows + self.rejected + self.skipped - self.made
