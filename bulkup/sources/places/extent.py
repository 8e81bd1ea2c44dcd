"""A file within another: a member of an archive that stands there as it is, or what was unpacked onto the local disk."""

from __future__ import annotations

from dataclasses import field

from bulkup.light_dataclass import dataclass

__all__ = ["Extent"]


@dataclass(frozen=True, slots=True)
class Extent:
    """*size* bytes from *start* on of the file at *path*, which is there for as long as *held* is."""

    path: str
    start: int
    size: int
    held: object = field(default=None, compare=False, repr=False)
