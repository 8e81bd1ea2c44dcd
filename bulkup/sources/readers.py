"""The open files of one cursor."""

from __future__ import annotations

from bulkup.sources.format import Reader, SourceFile

__all__ = ["Readers"]

_KEPT = 32
"""How many files stay open while nobody reads them: a source may have more files than a process may open."""


class Readers:
    """Opens each file when it is wanted, and keeps the last ones open. Opening blocks: it is cheaper than a hop into a thread, and
    the file was looked into when the source was frozen."""

    def __init__(self, *, block_bytes: int, max_row_bytes: int) -> None:
        self._block_bytes = block_bytes
        self._max_row_bytes = max_row_bytes
        self._idle: dict[int, Reader] = {}
        self._used: dict[int, tuple[Reader, int]] = {}
        self._closed = False

    def close(self) -> None:
        """Close what nobody reads; the rest as it is given back."""
        self._closed = True
        while self._idle:
            self._idle.popitem()[1].close()

    def take(self, file: SourceFile, base: int) -> Reader:
        """A reader of *file*, which begins at *base*, until it is given back; several tasks that read a file share it."""
        used = self._used.get(base)
        if used is not None:
            reader, readers = used
        elif base in self._idle:
            reader, readers = self._idle.pop(base), 0
        else:
            reader, readers = self._open(file, base), 0
        self._used[base] = (reader, readers + 1)
        return reader

    def _open(self, file: SourceFile, base: int) -> Reader:
        return file.reader(base, block_bytes=self._block_bytes, max_row_bytes=self._max_row_bytes)

    def give_back(self, base: int) -> None:
        """The reader of the file that begins at *base* is not used any more."""
        reader, readers = self._used.pop(base)
        if readers > 1:
            self._used[base] = (reader, readers - 1)
            return
        self._idle[base] = reader
        while len(self._idle) > (0 if self._closed else _KEPT):
            self._idle.pop(next(iter(self._idle))).close()
