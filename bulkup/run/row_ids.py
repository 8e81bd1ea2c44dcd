"""Which row of the source is which row at the service: out of the journal, `ids.jsonl` and the source, without the network."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, closing
from functools import partial

import anyio
import xxhash

from bulkup.account.row_numbers import first_rows
from bulkup.chunk import Chunk, ChunkState
from bulkup.destinations.registry import service_named
from bulkup.encoding.by_function import ByFunction
from bulkup.encoding.exploding import Exploder
from bulkup.encoding.lines import line_count, lines_of
from bulkup.errors import SourceChanged, SourceUnreadable
from bulkup.flow.draft import hash_raw
from bulkup.flow.user_code import PrintsToStderr, in_user_thread
from bulkup.journal.facts import FILES, PLAN
from bulkup.journal.reading import JournalView
from bulkup.light_dataclass import dataclass
from bulkup.model import Block, Validation
from bulkup.path_text import readable
from bulkup.rows.function import function_of
from bulkup.run.build import reading_of
from bulkup.run.wish import Upload
from bulkup.settings.repair import Repair
from bulkup.sources import Cursor, Source, open_source
from bulkup.sources.positions import file_at

__all__ = ["RowId", "RowIds"]

_RowsOf = Callable[[Block], Awaitable[list[tuple[int, int]]]]


@dataclass(frozen=True, slots=True)
class RowId:
    """A row that has landed. *row_number* counts from 1 in *file*, blank lines too. *dataset_row* is its number in the dataset,
    from 1, where a dataset holds one chunk. *id* is the service's for the row.

    What is not known is None: where the source cannot be read again, where the service gave no ids, where a count is the evidence.
    """

    lane: str
    file: str
    row_number: int | None
    byte_offset: int | None
    dataset: str
    dataset_id: str | None
    dataset_row: int | None
    id: str | int | None


class RowIds:
    """The rows of a run that have landed, in the source's order."""

    def __init__(self, journal: JournalView, upload: Upload) -> None:
        self._journal = journal
        self._upload = upload
        self._files = [readable(file.uri) for file in journal.fact(FILES) or ()]

    async def of(self, lane: str) -> AsyncIterator[list[RowId]]:
        """Those of *lane*, a chunk at a time. Raises `SourceChanged`, `UsageProblem`, `SourceUnreadable`, `JournalUnusable`."""
        alone = service_named(lane).policy.has_dataset_per_chunk
        rows_of = await self._rows_of(lane)
        async with AsyncExitStack() as stack:
            source, cursor = await self._opened(stack)
            for chunk, first in first_rows(self._journal.chunks(lane)):
                if chunk.state is not ChunkState.LANDED:
                    continue
                if source is None or cursor is None:
                    places = _counted(chunk, first)
                else:
                    places = await _read(source, cursor, chunk, first, rows_of)
                ids: Sequence[str | int | None] = self._journal.ids_at(chunk.ids_at) or [None] * chunk.rows
                if not len(places) == len(ids) == chunk.rows:
                    raise SourceChanged(
                        f"{lane}, chunk {chunk.id}: it has {chunk.rows:,} rows, and {len(places):,} were read now: "
                        "the source has changed since it was uploaded; restore it"
                    )
                yield [
                    RowId(
                        lane,
                        self._files[place.file],
                        place.row_number,
                        place.byte_offset,
                        chunk.name,
                        chunk.remote_id or None,
                        number if alone else None,
                        row_id,
                    )
                    for number, (place, row_id) in enumerate(zip(places, ids, strict=True), 1)
                ]

    async def _rows_of(self, lane: str) -> _RowsOf:
        """What gives, for each row that was to be sent of those in a block, the number of its line and its position."""
        upload = [destination.service for destination in self._upload.destinations]
        records = (record for _, record in self._journal.rejects(upload) if record["lane"] == lane)
        plan = self._journal.fact(PLAN, lane)
        named = next(d.map for d in self._upload.destinations if d.service == lane)
        sides = 1 if plan is None or plan.rows.get("sides") is None else 2  # a row of each side, or none
        if plan is None or named is None:
            rejected = array("q", sorted(record["position"] for record in records if "part" not in record))

            async def plain(block: Block) -> list[tuple[int, int]]:
                lines = [at for at in lines_of(block) if at.row and not _is_in(rejected, at.position)]
                return [(at.number, at.position) for at in lines for _ in range(sides)]

            return plain
        PrintsToStderr.install()
        function = await in_user_thread(partial(ByFunction, function_of(named), plan.max_row_bytes))
        repairs = tuple(map(Repair, plan.rows.get("repairs", ())))
        is_full = plan.rows.get("validation", Validation.FULL) == Validation.FULL
        exploder = Exploder(function, repairs=repairs, max_row_bytes=plan.max_row_bytes, finds_doubled_keys=is_full)
        bad = {(record["position"], record.get("part", 1)) for record in records}

        async def made(block: Block) -> list[tuple[int, int]]:
            return [
                (one.line.number, one.line.position)
                for one in await in_user_thread(partial(exploder.lines, block))
                for part in range(1, sides * len(one.rows) + 1)
                if (one.line.position, part) not in bad
            ]

        return made

    async def _opened(self, stack: AsyncExitStack) -> tuple[Source, Cursor] | tuple[None, None]:
        """The source; nothing where it was standard input."""
        if not self._upload.is_resumable:
            return None, None
        chosen = self._upload.settings
        opened = partial(
            open_source,
            self._upload.sources,
            max_row_bytes=chosen.max_row_bytes,
            reading=reading_of(chosen, self._upload.destinations),
            lanes=1,
            spool_dir=chosen.state_dir,
        )
        source = stack.enter_context(closing(await anyio.to_thread.run_sync(opened)))
        if [readable(file.uri) for file in source.files] != self._files:
            raise SourceChanged("the source's files are not those that were uploaded; restore them")
        cursor = source.cursor()
        stack.push_async_callback(cursor.aclose)
        return source, cursor


@dataclass(frozen=True, slots=True)
class _Place:
    file: int
    row_number: int | None
    byte_offset: int | None


def _counted(chunk: Chunk, first: dict[int, int]) -> list[_Place]:
    """Where the rows of *chunk* stand, as far as that is known without the source: if no line of it is blank or rejected, all."""
    numbers: Iterator[tuple[int, int]] = (
        (file, first.get(file, 1) + line) for file, count in chunk.lines for line in range(count)
    )
    if chunk.blank or chunk.rejected or chunk.skipped or chunk.made:
        return [_Place(chunk.file, None, None)] * chunk.rows
    return [_Place(file, number, None) for file, number in numbers]


async def _read(source: Source, cursor: Cursor, chunk: Chunk, first: dict[int, int], rows_of: _RowsOf) -> list[_Place]:
    found: list[_Place] = []
    numbers = dict(first)
    hasher = xxhash.xxh3_128()
    fault: SourceUnreadable | None = None
    try:
        async with aclosing(cursor.read(chunk.start, chunk.stop)) as items:
            async for item in items:
                hash_raw(hasher, item)
                file, _ = file_at(item.start, source.bases)
                number = numbers.get(file, 1)
                if not isinstance(item, Block):
                    numbers[file] = number + 1  # it was too long to be sent
                    continue
                rows = await rows_of(item)
                found += [_Place(file, number + line, source.locate(position)[1]) for line, position in rows]
                numbers[file] = number + line_count(item.data)
    except SourceUnreadable as error:
        fault = error  # behind the rows of this chunk, if these are all there
    if hasher.digest() != chunk.raw_hash:
        raise fault or SourceChanged(
            f"the source has changed since it was uploaded: bytes {chunk.start:,} to {chunk.stop:,} are not what they were; "
            "restore it"
        )
    return found


def _is_in(positions: Sequence[int], position: int) -> bool:
    place = bisect_left(positions, position)
    return place < len(positions) and positions[place] == position
