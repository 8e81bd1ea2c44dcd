"""A file of the source, as it was found when the source was frozen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["BOM", "STDIN", "Compression", "Format", "SourceFile"]

STDIN = "-"
"""The locator that means standard input."""

BOM = b"\xef\xbb\xbf"


class Compression(StrEnum):
    """How a file's bytes are packed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


class Format(StrEnum):
    """How a file's decoded bytes hold its rows."""

    JSONL = "jsonl"
    ARRAY = "array"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file, frozen: *size*, *mtime_ns* and *inode* are those on disk when it was inspected (None for stdin).

    *uri* is the path as it was given or as the glob gave it, `-` for stdin. *bom* says that the decoded bytes begin
    with a UTF-8 byte order mark, which is no part of the first row.
    """

    uri: str
    size: int | None
    mtime_ns: int | None
    inode: int | None
    compression: Compression
    format: Format
    bom: bool

    @property
    def splittable(self) -> bool:
        """Whether rows can be found from any byte: uncompressed JSON lines in a regular file."""
        return self.size is not None and self.compression is Compression.NONE and self.format is Format.JSONL
