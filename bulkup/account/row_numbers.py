"""Row numbers out of the ranges' line counts: what a person finds with `sed -n Np`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bulkup.chunk import Chunk

__all__ = ["RowNumbers", "first_rows"]


class RowNumbers:
    """Counts lines, chunk by chunk: by position and without gaps from the source's beginning. Only files make it grow."""

    def __init__(self) -> None:
        self._lines: dict[int, int] = {}

    def pass_by(self, chunk: Chunk) -> dict[int, int]:
        """The number (from 1) of the first line of *chunk*, the next one, in each file it touches, blank lines counted."""
        found = {file: self._lines.get(file, 0) + 1 for file, _ in chunk.lines}
        for file, count in chunk.lines:
            self._lines[file] = self._lines.get(file, 0) + count
        return found


def first_rows(chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, dict[int, int]]]:
    """Each of *chunks*, which are all, by position, with the numbers of its first lines (see `RowNumbers`)."""
    numbers = RowNumbers()
    for chunk in chunks:
        yield chunk, numbers.pass_by(chunk)
