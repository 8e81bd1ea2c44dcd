"""`bulkup rejects`: dead letters with their row numbers, in the source's order."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import orjson

from bulkup.account.row_numbers import first_rows
from bulkup.chunk import Chunk
from bulkup.cli.streams import to_stdout
from bulkup.errors import LocalDisk, UsageProblem
from bulkup.journal.facts import FILES, UPLOAD
from bulkup.journal.reading import JournalView, view
from bulkup.journal.sidecars import REJECTS
from bulkup.journal.state_files import open_in
from bulkup.model import Stage
from bulkup.path_text import readable

__all__ = ["export_rejects"]


class RowNumbers:
    """Row numbers of one lane's dead letters. Of its chunks nothing is held but what these need."""

    def __init__(
        self, journal: JournalView, lane: str, files: Sequence[str], letters: Iterable[tuple[int, str]]
    ) -> None:
        """*letters*: position and stage of each of the lane's dead letters."""
        self._files = {uri: number for number, uri in enumerate(files)}
        self._outer: list[tuple[int, int]] = []
        for start, stop in journal.split_ranges(lane):
            if not self._outer or start >= self._outer[-1][1]:
                self._outer.append((start, stop))
        self._firsts = _firsts_at({self._counted_from(*letter) for letter in letters}, journal.chunks(lane))

    def of(self, *, file: str, position: int, line_in_chunk: int, stage: str) -> int | None:
        """The row's number from 1, blank lines counted; None where the journal does not hold its range."""
        firsts = self._firsts.get(self._counted_from(position, stage))
        number = self._files.get(file)
        if firsts is None or number is None:
            return None
        return firsts.get(number, 1) + line_in_chunk

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


def export_rejects(folder: Path, *, lane: str | None, output: Path | None) -> int:
    """Write the dead letters of the run in *folder* to *output* or stdout, as JSON lines; how many. Raises `LocalDisk`, and
    `JournalUnusable` where they are not as they were written."""
    with view(folder) as journal:
        upload = journal.fact(UPLOAD)
        lanes = list(upload.destinations) if upload else []
        if lane is not None and lane not in lanes:
            raise UsageProblem(f"the run has no lane {lane!r}; it has {', '.join(lanes)}")
        files = [readable(file.uri) for file in journal.fact(FILES) or ()]  # as dead letters name them
        found = sorted(
            (letter["position"], letter["lane"], at, letter["stage"])
            for at, letter in journal.rejects(lanes)
            if lane in (None, letter["lane"])
        )  # rows stay on the disk, there may be many
        if not found:
            return 0
        numbers = {
            name: RowNumbers(journal, name, files, ((at, stage) for at, its, _, stage in found if its == name))
            for name in {its for _, its, _, _ in found}
        }
        letters = os.fdopen(open_in(folder, REJECTS, os.O_RDONLY), "rb")
        with letters, _sink(output) as out:
            for _, _, offset, _ in found:
                letters.seek(offset)
                record = orjson.loads(letters.readline())
                position, line = record.pop("position"), record.pop("line_in_chunk")
                record["row_number"] = numbers[record["lane"]].of(
                    file=record["file"], position=position, line_in_chunk=line, stage=record["stage"]
                )
                out.write(orjson.dumps(record) + b"\n")
    return len(found)


@contextmanager
def _sink(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        with to_stdout() as out:
            yield out.buffer
        return
    try:  # rows may be private: the owner's alone, as in the state directory
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as stream:
            yield stream
    except OSError as error:
        raise LocalDisk(f"{output}: {error.strerror}") from error
