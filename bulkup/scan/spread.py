"""The parts in which a source is scanned: all of it, or the beginning and the end of each file, and pieces between.

Parts depend on the files alone, never on who reads them: so a scan goes on after a kill, and more processes find the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace

from bulkup.light_dataclass import dataclass
from bulkup.scan.sample import MOST_BLOCKS
from bulkup.sources import Compression, SourceFile

__all__ = ["END", "Part", "behind", "spread_over", "whole_in_parts"]

PART_BYTES = 128 * 1024 * 1024
"""On disk: what is lost by a kill, and what one process does while others do the rest."""

LEAST_BYTES = 16 * 1024 * 1024
"""Of a part, but for the last one of a file."""

_LEAST_PARTS, _MOST_PARTS = 8, 1024
_COUNTED_WHOLE_BYTES = 16 * 1024 * 1024
"""Of a source that is no larger every key is counted."""

_PIECE_BYTES = 4 * 1024 * 1024
_MOST_PIECES = 64
_LEAST_OF_A_FILE = 128 * 1024

END = 2**62
"""A position behind every source."""


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of *files* files, from number *file* on, that begin in [start, stop), counted in the file where there is one, up to
    *most_bytes* of it on disk. *has_lines*: all before it in its file is in parts too, so lines can be counted. *sampled*: so many
    blocks are kept for a sample. Keys are counted in one block of *counted_every*."""

    file: int
    start: int = 0
    stop: int = END
    most_bytes: int = END
    files: int = 1
    has_lines: bool = True
    sampled: int = MOST_BLOCKS
    counted_every: int = 1


def whole_in_parts(files: Sequence[SourceFile]) -> list[Part]:
    """All of *files*: small ones together, large ones in pieces where they can be read so."""
    total = sum(file.size or 0 for file in files)
    size = max(min(PART_BYTES, max(LEAST_BYTES, total // _LEAST_PARTS)), total // _MOST_PARTS)
    parts: list[Part] = []
    for number, count in _together(files, size):
        file = files[number]
        length = file.length if count == 1 and file.any_range else None
        pieces = -(-(file.size or 0) // size) if length is not None else 1
        if length is None or pieces < 2:
            parts.append(Part(number, files=count))
            continue
        starts = _where_reading_begins(file, [i * length // pieces for i in range(pieces)])
        parts += [Part(number, start, stop) for start, stop in zip(starts, [*starts[1:], END], strict=True)]
    return _sampled(parts, 1 if total <= _COUNTED_WHOLE_BYTES else 64)


def behind(files: Sequence[SourceFile], number: int, start: int) -> list[Part]:
    """All from *start* on in file number *number*, and in the files behind it."""
    parts = [Part(number, start, has_lines=start == 0), *(Part(n) for n in range(number + 1, len(files)))]
    return _sampled(parts, 64)


def spread_over(files: Sequence[SourceFile], most_bytes: int) -> list[Part] | None:
    """Parts of *files* that come to about *most_bytes* on disk, in order, each file with its share; None where that is all of them.

    A file that is only read forwards is looked at from its beginning.
    """
    total = sum(file.size or 0 for file in files)
    if total <= most_bytes and all(file.size is not None for file in files):
        return None
    parts: list[Part] = []
    for number, file in enumerate(files):
        size = file.size or 0
        share = max(_LEAST_OF_A_FILE, most_bytes * size // total) if total else most_bytes
        if file.any_range and file.length is not None and share < size:
            parts += _pieces(number, file, share * file.length // size)
        else:
            parts.append(Part(number, most_bytes=share))
    return _sampled(parts, 1 if most_bytes <= _COUNTED_WHOLE_BYTES else 64)


def _pieces(number: int, file: SourceFile, wanted: int) -> list[Part]:
    length = file.length or 0
    count = min(_MOST_PIECES, max(2, wanted // _PIECE_BYTES))
    piece = max(1, wanted // count)
    starts = _where_reading_begins(file, [i * (length - piece) // (count - 1) for i in range(count)])
    piece = max(1, wanted // len(starts))
    stops = [min(start + piece, behind) for start, behind in zip(starts, [*starts[1:], length], strict=True)]
    return [Part(number, start, stop, has_lines=start == 0) for start, stop in zip(starts, stops, strict=True)]


def _where_reading_begins(file: SourceFile, wanted: Sequence[int]) -> list[int]:
    """The places nearest before those *wanted* from which *file* can be read without passing over what stands before them."""
    starts = file.format.starts(file)
    if not starts:
        return list(wanted)
    return sorted({starts[bisect_right(starts, place) - 1] for place in wanted})


def _together(files: Sequence[SourceFile], size: int) -> Iterator[tuple[int, int]]:
    """Runs of files that are read as one part, each as its first file and how many there are: small ones, and the members of an
    archive that can only be unpacked from its beginning."""
    first, held = 0, 0
    for number, file in enumerate(files):
        is_one = number > first and _is_one_stream(files[number - 1], file)
        if number > first and not is_one and held + (file.size or size) > size:
            yield first, number - first
            first, held = number, 0
        held += file.size or size
    yield first, len(files) - first


def _is_one_stream(before: SourceFile, file: SourceFile) -> bool:
    if before.member is None or file.member is None:
        return False
    return before.path == file.path and file.member.outer is not Compression.NONE


def _sampled(parts: Sequence[Part], counted_every: int) -> list[Part]:
    """*parts*, of which no more than sixteen blocks are kept in all, spread evenly."""
    count = len(parts)
    if count <= MOST_BLOCKS:
        return [replace(part, sampled=MOST_BLOCKS // count, counted_every=counted_every) for part in parts]
    chosen = {i * (count - 1) // (MOST_BLOCKS - 1) for i in range(MOST_BLOCKS)}
    return [replace(part, sampled=int(i in chosen), counted_every=counted_every) for i, part in enumerate(parts)]
