"""What every source promises, whatever its files hold."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from bulkup.light_dataclass import dataclass
from bulkup.sources.format import Item, SourceFile

__all__ = ["Cursor", "FirstRows", "Item", "Source"]


@dataclass(frozen=True, slots=True)
class FirstRows:
    """The first rows of a source, as a source that can be read again and again. *are_all*: nothing comes behind them."""

    source: Source
    are_all: bool


class Source(Protocol):
    """A frozen, ordered list of files, read by ranges of positions."""

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """The files in their frozen order."""

    @property
    def any_range(self) -> bool:
        """Whether ranges can be read in any order and by several readers. Else it is read forward only."""

    @property
    def verbatim(self) -> bool:
        """Whether the bytes of a range are its rows as JSON lines, so that they may be sent as they are (`Cursor.raw`)."""

    @property
    def rereadable(self) -> bool:
        """Whether the same bytes can be read again later. False for stdin alone."""

    @property
    def beginning(self) -> FirstRows | None:
        """The first rows of a source that is not rereadable; None where they are not held."""

    @property
    def size(self) -> int | None:
        """The length of the byte space where it is known up front (a source of any range), else None."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the files, a line each."""

    @property
    def bases(self) -> tuple[int, ...]:
        """The positions at which the files begin, as far as known; one that is read forward only learns them as it is read."""

    @property
    def end(self) -> int | None:
        """Where the last file ends; None as long as that is not known."""

    def learn(self, bases: Sequence[int]) -> None:
        """Take what an earlier process found `bases` to be: then files that are passed over need not be read."""

    def cursor(self, *, reads_ahead: bool = True) -> Cursor:
        """A new reader, one for each lane. Every cursor must be closed. One for ranges here and there does not *read ahead*: no
        file behind the range is begun."""

    def locate(self, position: int) -> tuple[str, int | None]:
        """The file that holds *position*, and the byte offset in it after decompression; None where its positions count no bytes.

        Where the source is read forward only this is right for what has been read so far, by any of its cursors.
        """

    def close(self) -> None:
        """Give back what belongs to no single cursor (the spool of stdin). Nothing can be read afterwards."""


class Cursor(Protocol):
    """One lane's reader. Rows come whole, in order, each exactly once for each range that holds its first byte."""

    def read(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        """The rows whose first byte lies in [start, stop), blank lines included.

        Cuts nowhere lose or double a row: read(a, b) and then read(b, c) give what read(a, c) gives. On a source
        of any range this may be at any time, also by several tasks at once. Any other has one reader at a
        time and goes forward only: a *start* at or before the first byte of a row already handed out is a
        `ValueError`; what lies between is decoded and not handed out.

        Raises `SourceUnreadable` (cut off, damaged, an I/O error) once every row before that point has been handed
        out, and again at each call after that; `SourceChanged` where a file has become shorter.
        """

    def together(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        """As `read`; but of small files a block may hold the rows of several. Each of them ends with a break, but for the last:
        `positions.by_file` takes the block apart."""

    def raw(self, start: int, stop: int) -> AsyncGenerator[bytes | bytearray, None]:
        """The bytes of [start, stop), which ends with a row, cut anywhere: without a BOM, with a break behind each file's last row.
        A piece is good until the next is asked for. Only on a verbatim source: else it is a `ValueError`. Raises as `read`."""

    async def peek(self) -> Item | None:
        """The first block of the source, which `read` will give again; None where there is none.

        On a source that is read forward only: before the first `read` or `more`.
        """

    async def more(self, position: int) -> bool:
        """Whether a row may begin at or behind *position*: False is certain. A cursor that goes forward only goes there."""

    @property
    def progress(self) -> int:
        """How far the files on disk have been consumed, in bytes of the disk (compressed ones where compressed)."""

    def reached(self, position: int) -> None:
        """Others have read a source of any range up to *position*: that counts as progress."""

    async def aclose(self) -> None:
        """Close the files. What runs in a thread is waited for."""
