"""Whatever is read forward only: compressed files, arrays, standard input, any mix of files."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

from bulkup.errors import BulkupError, SourceChanged, SourceUnreadable
from bulkup.model import BLOCK_BYTES
from bulkup.sources.archive_stream import SOON, FileInputs
from bulkup.sources.format import SourceFile
from bulkup.sources.inputs import Input
from bulkup.sources.locators import STDIN
from bulkup.sources.positions import before_the_rest, cut_at, file_at, last_row
from bulkup.sources.source import FirstRows, Item
from bulkup.sources.stream import Batch, DecodedStream, ReaderStream, Stream

__all__ = ["SequentialCursor", "SequentialSource", "notes_of"]


_NOWHERE = 2**62
"""Behind every source."""


class SequentialSource:
    """Files decoded one after the other. Where each begins is known once it has been reached.

    *open_input* gives a new reader of a file's raw bytes, where that is not the file itself; *close* gives back what they share.
    *beginning* as the seam has it. *agrees_later*: the files are *undecided* until they agree (`agreement.agree`).
    """

    any_range = False
    verbatim = False
    size = None

    def __init__(
        self,
        files: tuple[SourceFile, ...],
        *,
        max_row_bytes: int,
        block_bytes: int = BLOCK_BYTES,
        open_input: Callable[[SourceFile], Input] | None = None,
        close: Callable[[], None] = lambda: None,
        notes: tuple[str, ...] = (),
        beginning: FirstRows | None = None,
        agrees_later: bool = False,
    ) -> None:
        self.files = files
        self.undecided = files if agrees_later else None
        self._notes = notes
        self.beginning = beginning
        self.rereadable = all(file.uri != STDIN or file.part is not None for file in files)
        self.max_row_bytes = max_row_bytes
        self.block_bytes = block_bytes
        self.open_input = open_input
        self.notes = notes
        self._close = close
        self._bases = [0]
        self.end: int | None = None

    @property
    def bases(self) -> tuple[int, ...]:
        return tuple(self._bases)

    def decide(self, files: tuple[SourceFile, ...]) -> None:
        """These are its files now, that they agree."""
        self.files = files
        self.notes = (*self._notes, *notes_of(files))

    def learn(self, bases: Sequence[int]) -> None:
        """As the seam says."""
        if len(self._bases) < len(bases) <= len(self.files):
            self._bases = list(bases)

    def reached(self, index: int, base: int) -> None:
        """A cursor has found that file *index* begins at *base*, or if there is none that the one before ends there."""
        if index == len(self.files):
            self.end = base
        elif index == len(self._bases):
            self._bases.append(base)
        elif base != self._bases[index]:
            raise SourceChanged(f"{self.files[index - 1].uri}: has another length than when it was read before")

    def cursor(self, *, reads_ahead: bool = True) -> SequentialCursor:
        return SequentialCursor(self, reads_ahead=reads_ahead)

    def locate(self, position: int) -> tuple[str, int | None]:
        index, offset = file_at(position, self._bases)
        return self.files[index].uri, self.files[index].byte_offset(offset)

    def close(self) -> None:
        self._close()


def notes_of(files: tuple[SourceFile, ...]) -> Iterator[str]:
    """What their formats say of *files*; files of which the same is said share a line."""
    said: dict[str, list[str]] = {}
    for file in files:
        if (note := file.format.note(file)) is not None:
            said.setdefault(note, []).append("standard input" if file.uri == STDIN else file.uri)
    for note, names in said.items():
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        yield f"{names[0]}{more}: {note}"


class SequentialCursor:
    """Goes through the files once. While a batch is worked on, the next one is made; where it does not *read ahead* only as long as
    that lies in the range that is read.

    Holds two batches of about a megabyte, and twice the largest row while that is cut.
    """

    def __init__(self, source: SequentialSource, *, reads_ahead: bool = True) -> None:
        self._source = source
        self._reads_ahead = reads_ahead
        self._index = 0
        self._base = 0  # where the file begins that is read
        self._has_begun = False  # with that file
        self._behind = 0  # the position behind what was handed out or passed over
        self._wanted_to = _NOWHERE if reads_ahead else 0  # nothing that begins there or behind is wanted yet
        self._inputs = FileInputs()
        self._open_input = source.open_input or self._inputs.open
        self._stream: Stream | None = self._open(0)
        self._ahead: asyncio.Future[Batch] | None = None
        self._pending: deque[Item] = deque()
        self._error: BulkupError | None = None
        self._floor = 0  # the lowest position that may still be asked for
        self._moved = False
        self._passed = 0  # bytes on disk of the files that are done

    @property
    def progress(self) -> int:
        return self._passed + (self._stream.consumed if self._stream else 0)

    async def peek(self) -> Item | None:
        if self._moved:
            raise ValueError("peek comes before read and more")
        return await self._front(0)

    async def more(self, position: int) -> bool:
        await self._go_to(position)
        return await self._front(position) is not None

    async def read(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        await self._go_to(start)
        if not self._reads_ahead:
            self._wanted_to = stop
        while (item := await self._front(start, stop)) is not None and item.start < stop:
            self._pending.popleft()
            wanted, rest = cut_at(item, stop)
            assert wanted is not None
            if rest is not None:
                self._pending.appendleft(rest)
            self._floor = last_row(wanted) + 1
            self._behind = wanted.end
            yield wanted

    def _has_come_to(self, stop: int) -> bool:
        """Whether no row begins between what has come and *stop*, as far as that is known without reading on. One that reads ahead
        has done that already."""
        return not self._reads_ahead and max(self._behind, self._base) >= stop

    def together(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        return self.read(start, stop)

    def raw(self, start: int, stop: int) -> AsyncGenerator[bytes | bytearray, None]:
        raise ValueError("a source that is read forward only gives rows only")

    def reached(self, position: int) -> None:
        """Nobody else reads here."""

    async def aclose(self) -> None:
        stream, self._stream = self._stream, None
        self._pending.clear()
        if self._ahead is None:
            self._let_go(stream)
        else:  # not while it is read from, cancelled or not
            self._ahead.add_done_callback(lambda _: self._let_go(stream))
            await asyncio.wait({self._ahead})

    def _let_go(self, stream: Stream | None) -> None:
        if stream is not None:
            stream.close()
        self._inputs.close()

    async def _go_to(self, start: int) -> None:
        if start < self._floor:
            raise ValueError(f"position {start} was passed: a sequential source goes forward only")
        await self._pass_over_files(start)
        self._moved = True
        self._floor = start

    async def _pass_over_files(self, start: int) -> None:
        """Go on with the file that *start* lies in, where it is known where that begins, and whole files lie between."""
        index, offset = file_at(start, self._source.bases)
        is_begun = self._moved and self._has_begun
        if self._stream is None or self._error is not None or index < self._index + (2 if is_begun else 1):
            return
        if self._ahead is not None:  # not while it is read from
            await asyncio.wait({self._ahead})
            self._ahead = None
        self._stream.close()
        self._inputs.forget()
        self._pending.clear()
        self._passed = sum(file.size or 0 for file in self._source.files[:index])
        self._index = index
        self._stream = self._open(index, start - offset)

    async def _front(self, start: int, stop: int = _NOWHERE) -> Item | None:
        """What comes next, from the first row that begins at or behind *start*; None at the end, or where it does not begin before
        *stop*."""
        while self._pending or await self._fetch(stop):
            item = self._pending[0]
            _, wanted = cut_at(item, start)
            if wanted is item:
                return item
            self._pending.popleft()
            self._behind = item.end
            if wanted is not None:
                self._pending.appendleft(wanted)
        return None

    async def _fetch(self, stop: int) -> bool:
        """Have something pending; False at the end, or where nothing begins before *stop*. Cancelled, it loses nothing."""
        while not self._pending and self._stream is not None and not self._has_come_to(stop):
            if self._error is not None:
                raise self._error
            if self._ahead is None:
                await self._stream.wait()
                self._start()
            ahead = self._ahead
            assert ahead is not None
            await asyncio.wait({ahead})
            self._ahead = None
            self._arrived(ahead.result())
        return bool(self._pending)

    def _start(self) -> None:
        assert self._stream is not None
        self._has_begun = True
        self._ahead = self._stream.begin()

    def _arrived(self, batch: Batch) -> None:
        assert self._stream is not None
        self._pending.extend(batch.items)
        self._error = batch.error
        if isinstance(batch.error, SourceUnreadable):
            self._error = before_the_rest(batch.error, len(self._source.files) - 1 - self._index)
        if batch.ended:
            self._next_file()
        if self._stream is None or self._error is not None or self._stream.end >= self._wanted_to:
            return
        if self._stream.ready():
            self._start()

    def _next_file(self) -> None:
        assert self._stream is not None
        done = self._stream
        done.close()
        self._passed += done.consumed
        self._index += 1
        self._stream = self._open(self._index, done.end)

    def _open(self, index: int, base: int = 0) -> Stream | None:
        self._source.reached(index, base)
        self._base = base
        self._has_begun = False
        if index == len(self._source.files):
            return None
        file = self._source.files[index]
        block_bytes, max_row_bytes = self._source.block_bytes, self._source.max_row_bytes
        if file.format.cutter is None:
            return ReaderStream(file, base, block_bytes=min(block_bytes, max_row_bytes), max_row_bytes=max_row_bytes)
        bytes_ = self._open_input(file)
        soon = SOON if file.remote is not None and self._reads_ahead else 0
        for following in self._source.files[index + 1 : index + 1 + soon]:
            self._inputs.prepare(following)
        return DecodedStream(file, bytes_, base, block_bytes=block_bytes, max_row_bytes=max_row_bytes)
