"""What a person says of how files are to be read."""

from __future__ import annotations

from pathlib import Path

from bulkup.light_dataclass import dataclass
from bulkup.sources.separated.kinds import Kind
from bulkup.sources.zstd import DEFAULT_WINDOW_BYTES

__all__ = ["Reading"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """*rows_at*: the keys under which the rows stand, none for what stands at the top; None where the content has to tell.
    *encoding*: the files' encoding, None for UTF-8. *zstd_window*: the largest window, in bytes, that is decoded.

    *as_lines*: every line is a row, whatever the content looks like. *row_keys*: an object that has one of these sets of keys is a
    row, also where it is all that a file holds. *max_row_bytes*: what is larger is no row that could be sent.

    *delimiter*: of separated text, None where the content has to tell; *has_header*: whether its header names the columns, and
    *header_row*: in which of its rows that stands, from 1. *kinds*: what a person says of columns, by their names. *renames*: keys,
    each with its new name. *sheet*: of a workbook, by its name or its number.

    *unpack_in*: a folder for what has to be unpacked before it can be read.
    """

    rows_at: tuple[str, ...] | None = None
    encoding: str | None = None
    zstd_window: int = DEFAULT_WINDOW_BYTES
    as_lines: bool = False
    row_keys: tuple[frozenset[str], ...] = ()
    max_row_bytes: int = 16 * 1024 * 1024
    delimiter: bytes | None = None
    has_header: bool = True
    header_row: int | None = None
    kinds: tuple[tuple[str, Kind], ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    sheet: str | None = None
    unpack_in: Path | None = None

    @property
    def is_separated(self) -> bool:
        """Whether a person says how separated text is to be read."""
        return self.delimiter is not None or not self.has_header or self.header_row is not None
