"""Many small files, read whole and one behind the other: a file costs hardly more than to open it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from itertools import accumulate, islice, pairwise

import anyio.to_thread

from bulkup.errors import SourceChanged, SourceUnreadable
from bulkup.sources.format import SourceFile
from bulkup.sources.inputs import open_file

__all__ = ["SmallFiles"]

_NOWAIT = getattr(os, "RWF_NOWAIT", None) if hasattr(os, "preadv") else None
_BREAK = ord("\n")

_SOON = 8
"""So many are open at once."""

_FEW = 4
"""Where the page cache lacks so many files of a block, those behind them are not tried: few of them would be there."""


class SmallFiles:
    """Reads them. The memory into which it reads is used again: to get a megabyte anew costs a page fault for each file."""

    def __init__(self) -> None:
        self._spare: list[bytearray] = []

    async def contents_of(self, files: Sequence[SourceFile]) -> list[bytes]:
        """All bytes of *files*, local ones of lines that are not packed, in order. A piece holds files that each end with a break,
        but for the last.

        Never blocks the event loop: what the page cache lacks is read in a thread, all of it in one hop. Several tasks may ask
        at once. Raises `SourceChanged`, `SourceUnreadable`.
        """
        sizes = [file.size or 0 for file in files]
        held = self._spare.pop() if self._spare else bytearray()
        if len(held) < sum(sizes):
            held = bytearray(sum(sizes))
        lacking = _not_cached(files, sizes, held) if _NOWAIT is not None else _placed(files, sizes, 0)
        if lacking:
            await anyio.to_thread.run_sync(_read, lacking, held)
        pieces = _pieces(sizes, held)
        if not self._spare:
            self._spare.append(held)
        return pieces


_Placed = tuple[SourceFile, int]
"""A file, and where its bytes go."""


def _placed(files: Sequence[SourceFile], sizes: Sequence[int], first: int) -> list[_Placed]:
    """From number *first* on."""
    return list(zip(files, accumulate(sizes, initial=0), strict=False))[first:]


def _not_cached(files: Sequence[SourceFile], sizes: Sequence[int], held: bytearray) -> list[_Placed]:
    """Those of which not all bytes were there without a wait; the others are in *held* then. Where several are not, those behind
    them are not tried."""
    lacking: list[_Placed] = []
    at, flags, nowait = 0, os.O_RDONLY | os.O_CLOEXEC, _NOWAIT or 0
    with memoryview(held) as view:
        for number, (file, size) in enumerate(zip(files, sizes, strict=True)):
            try:
                fd = os.open(file.uri, flags)
            except OSError:
                return [*lacking, *_placed(files, sizes, number)]  # where it is said what is wrong
            try:
                got = os.preadv(fd, [view[at : at + size]], 0, nowait)
            except OSError:
                got = -1
            finally:
                os.close(fd)
            if got != size:
                lacking.append((file, at))
                if len(lacking) == _FEW:
                    return [*lacking, *_placed(files, sizes, number + 1)]
            at += size
    return lacking


def _read(files: Sequence[_Placed], held: bytearray) -> None:
    """Read *files* into *held*. The disk hears of some ahead of the one that is waited for."""
    soon: deque[tuple[_Placed, int]] = deque()
    left = iter(files)
    try:
        while True:
            for one in islice(left, _SOON - len(soon)):
                soon.append((one, open_file(one[0])))
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(soon[-1][1], 0, 0, os.POSIX_FADV_WILLNEED)
            if not soon:
                return
            (file, at), fd = soon[0]
            data = _whole(file, fd)
            held[at : at + len(data)] = data
            soon.popleft()
            os.close(fd)
    finally:
        for _, fd in soon:
            os.close(fd)


def _whole(file: SourceFile, fd: int) -> bytes:
    data, size = b"", file.size or 0
    while len(data) < size:  # a file system may read in smaller parts
        try:
            more = os.pread(fd, size - len(data), len(data))
        except OSError as error:
            raise SourceUnreadable(f"{file.uri}: cannot be read at byte {len(data)}: {error.strerror}") from error
        if not more:
            raise SourceChanged(f"{file.uri}: has become shorter while it was read (nothing at byte {len(data)})")
        data += more
    return data


def _pieces(sizes: Sequence[int], held: bytearray) -> list[bytes]:
    ends = list(accumulate(sizes))
    lacking = [end for size, end in zip(sizes, ends, strict=True) if size and held[end - 1] != _BREAK]
    edges = dict.fromkeys([0, *lacking, *ends[-1:]])
    with memoryview(held) as view:
        return [bytes(view[begin:end]) for begin, end in pairwise(edges)]
