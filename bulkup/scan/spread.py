"""Which parts of a source are looked at where not all of it is: the beginning and the end of each file, and pieces between."""

from __future__ import annotations

from collections.abc import Sequence

from bulkup.light_dataclass import dataclass
from bulkup.sources import SourceFile

__all__ = ["Part", "spread_over"]

_PIECE_BYTES = 4 * 1024 * 1024
_MOST_PIECES = 64
_LEAST_OF_A_FILE = 128 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of file number *file* that begin in [start, stop), counted in the file, up to *most_bytes* of it on disk."""

    file: int
    start: int
    stop: int
    most_bytes: int


_END = 2**62


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
            parts += _pieces(number, file.length, share * file.length // size)
        else:
            parts.append(Part(number, 0, _END, share))
    return parts


def _pieces(number: int, length: int, wanted: int) -> list[Part]:
    count = min(_MOST_PIECES, max(2, wanted // _PIECE_BYTES))
    piece = max(1, wanted // count)
    starts = [i * (length - piece) // (count - 1) for i in range(count)]
    return [Part(number, start, start + piece, _END) for start in starts]
