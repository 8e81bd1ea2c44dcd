"""Rejected rows as they are looked at later: where each stands in the source, and how many there are for which reason."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from bulkup.account.reasons import Reasons, RejectedFor
from bulkup.account.row_numbers import first_rows
from bulkup.chunk import Chunk
from bulkup.journal.facts import FILES
from bulkup.journal.reading import JournalView
from bulkup.light_dataclass import dataclass
from bulkup.model import Stage
from bulkup.path_text import readable

__all__ = ["Place", "RowNumbers", "commonest_reasons", "files_of"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rejected row stands, as its line in `rejects.jsonl` says."""

    file: str
    position: int
    line_in_chunk: int
    stage: str


class RowNumbers:
    """Row numbers of one lane's rejected rows. Of its chunks nothing is held but what these need."""

    def __init__(
        self, journal: JournalView, lane: str, files: Sequence[str], records: Iterable[tuple[int, str]]
    ) -> None:
        """*records*: position and stage of each of the rows that will be asked for."""
        self._files = {uri: number for number, uri in enumerate(files)}
        self._outer: list[tuple[int, int]] = []
        for start, stop in journal.split_ranges(lane):
            if not self._outer or start >= self._outer[-1][1]:
                self._outer.append((start, stop))
        self._firsts = _firsts_at({self._counted_from(*record) for record in records}, journal.chunks(lane))

    def of(self, place: Place) -> int | None:
        """The row's number from 1, blank lines counted; None where the journal does not hold its range."""
        firsts = self._firsts.get(self._counted_from(place.position, place.stage))
        number = self._files.get(place.file)
        if firsts is None or number is None:
            return None
        return firsts.get(number, 1) + place.line_in_chunk

    def _counted_from(self, position: int, stage: str) -> int:
        """Where the chunk begins that the line was counted in: the server's refusals are counted in what was sent, the others in
        what was first planned, which may have been split since."""
        if stage != Stage.SERVER:
            place = bisect_right(self._outer, position, key=lambda span: span[0]) - 1
            if place >= 0 and position < self._outer[place][1]:
                return self._outer[place][0]
        return position


def _firsts_at(positions: Iterable[int], chunks: Iterable[Chunk]) -> dict[int, dict[int, int]]:
    """For each of *positions*, the numbers of the first lines of the chunk that holds it (see `first_rows`)."""
    found: dict[int, dict[int, int]] = {}
    wanted = sorted(positions, reverse=True)
    firsts: dict[int, int] | None = None
    for chunk, its_firsts in first_rows(chunks):
        while wanted and wanted[-1] < chunk.start:
            if firsts is not None:
                found[wanted[-1]] = firsts
            wanted.pop()
        firsts = its_firsts
    return found if firsts is None else found | dict.fromkeys(wanted, firsts)


def files_of(journal: JournalView) -> list[str]:
    """The source's files as `rejects.jsonl` names them."""
    return [readable(file.uri) for file in journal.fact(FILES) or ()]


def commonest_reasons(journal: JournalView, lanes: Sequence[str]) -> Mapping[str, tuple[RejectedFor, ...]]:
    """Why most rows of each of *lanes*, which are all, were rejected. Reads every rejected row. Raises `JournalUnusable`."""
    counts = {lane: Reasons() for lane in lanes}
    for _, record in journal.rejects(lanes):
        place = Place(record["file"], record["position"], record["line_in_chunk"], record["stage"])
        counts[record["lane"]].add(
            stage=place.stage,
            place=record.get("field"),
            reason=record["reason"],
            position=place.position,
            first=place,
        )
    files = files_of(journal)
    return {lane: _placed(journal, lane, files, found) for lane, found in counts.items()}


def _placed(journal: JournalView, lane: str, files: Sequence[str], reasons: Reasons) -> tuple[RejectedFor, ...]:
    found = [(why, place) for why, place in reasons.commonest() if isinstance(place, Place)]
    if not found:
        return ()
    numbers = RowNumbers(journal, lane, files, [(place.position, place.stage) for _, place in found])
    return tuple(replace(why, file=place.file, row_number=numbers.of(place)) for why, place in found)
