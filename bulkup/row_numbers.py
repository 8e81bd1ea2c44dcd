"""Row numbers out of the ranges' line counts: what a person finds with `sed -n Np`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bulkup.chunk import Chunk

__all__ = ["first_rows"]


def first_rows(chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, dict[int, int]]]:
    """For each chunk, by position and without gaps from the source's beginning: the number (from 1) of its first line in each
    file it touches, blank lines counted."""
    lines: dict[int, int] = {}
    for chunk in chunks:
        yield chunk, {file: lines.get(file, 0) + 1 for file, _ in chunk.lines}
        for file, count in chunk.lines:
            lines[file] = lines.get(file, 0) + count
