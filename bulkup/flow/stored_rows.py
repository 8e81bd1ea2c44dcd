"""What stored rows say of a lane's doubts: a dataset's content against a chunk's, and rows paged back against all that landed."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence, Set
from contextlib import aclosing

from anyio import create_task_group

from bulkup.chunk import Chunk
from bulkup.destinations.base import ReadBackUnavailable, StoredRow
from bulkup.doubt.settlement import Held, Known, Look, Match, PageBack, Verdict, judge_by_rows, judge_rest, wait_or_hold
from bulkup.errors import as_one_error
from bulkup.flow.context import PlannedLane
from bulkup.flow.looking import row_pages
from bulkup.flow.prepared import changed
from bulkup.flow.sent_rows import RowsHash
from bulkup.journal import every_ids, landed_without_ids
from bulkup.light_dataclass import dataclass
from bulkup.model import Block
from bulkup.sources import Cursor

__all__ = ["StoredRows"]

ROWS_HELD = 500_000
"""How many rows one settlement may read back: they are held in memory."""


@dataclass(frozen=True, slots=True)
class Explained:
    """Ids of rows that landed chunks account for, and the contents of landed rows whose ids are not known. *hidden* counts rows
    that landed with ids which none of those read back has."""

    ids: Set[str | int]
    rows: Counter[bytes]
    hidden: int


class StoredRows:
    """Reads rows back for one lane's settlements, and its chunks from the source again."""

    def __init__(self, planned: PlannedLane) -> None:
        self._planned = planned
        self._lane = lane = planned.lane
        self._destination = lane.destination
        self._journal = lane.journal
        self._requests = lane.requests
        self._quiet_s = lane.chosen.run.settle_after_s

    async def matches(self, pairs: Sequence[tuple[Chunk, str]]) -> dict[str, Match]:
        """Whether each of the datasets holds the chunk that it is paired with, by the datasets' ids."""
        found: dict[str, Match] = {}

        async def match(chunk: Chunk, dataset_id: str) -> None:
            found[dataset_id] = await self._match(chunk, dataset_id)

        with as_one_error():
            async with create_task_group() as tasks:  # as many at a time as there are slots
                for chunk, dataset_id in pairs:
                    tasks.start_soon(match, chunk, dataset_id)
        return found

    async def judge(
        self, page_back: PageBack, chunks: Sequence[Chunk], looks: Sequence[Look], known: Known
    ) -> list[Verdict]:
        """The rows themselves tell which of the doubts are there."""
        look = looks[-1]
        dataset_id, counted = look.seen[0].id, look.rows
        if counted > ROWS_HELD:
            return _all_held(page_back, f"and reading its {counted:,} rows back takes more memory than there is for it")
        try:
            stored = await self._read_back(
                dataset_id, counted, sum(c.body_bytes for c in chunks) // sum(c.rows for c in chunks)
            )
        except ReadBackUnavailable as unavailable:
            return _all_held(page_back, f"and the rows cannot be read back: {unavailable}")
        if len({row.id for row in stored}) != len(stored):
            return _all_held(page_back, "and reading the rows back shows some of them twice")
        if len(stored) != counted:  # rows came meanwhile, or are not shown yet
            why = f"{len(stored):,} rows were read back where the count says {counted:,}"
            return [wait_or_hold(doubt, looks, self._quiet_s, why) for doubt in page_back.doubts]
        self._lane.tally.page_backs += 1
        explained = await self._explained({row.id for row in stored})
        unexplained = Counter(row.key for row in stored if row.id not in explained.ids)
        unexplained.subtract(explained.rows)
        hidden = explained.hidden + (-unexplained).total()  # the count was right with others in their place: it lags
        if hidden:
            why = f"the rows read back lack {hidden:,} that have landed"
            return [wait_or_hold(doubt, looks, self._quiet_s, why) for doubt in page_back.doubts]
        by_position = sorted(chunks, key=lambda chunk: chunk.start)
        contents = {chunk.id: content async for chunk, content in self._contents(_each(by_position))}
        present = judge_by_rows(page_back.doubts, contents, +unexplained, known)
        if present is None:
            return _all_held(page_back, "and the rows read back do not tell which")
        return judge_rest(page_back.doubts, present, looks, known, self._quiet_s)

    async def _match(self, chunk: Chunk, dataset_id: str) -> Match:
        found = await self._destination.match(
            self._requests.ask, dataset_id, rows=chunk.rows, plan=self._planned.plan.rows
        )
        if found is Match.SAME and chunk.name == self._destination.dataset_name:
            return await self._same_content(chunk, dataset_id)
        return found

    async def _same_content(self, chunk: Chunk, dataset_id: str) -> Match:
        """A bare NAME carries no hash, so the rows themselves are compared."""
        try:
            stored = await self._read_back(dataset_id, chunk.rows, chunk.body_bytes // chunk.rows)
        except ReadBackUnavailable:
            return Match.UNKNOWN
        if len(stored) != chunk.rows:  # so many are there: these are not all, or not only these
            return Match.UNKNOWN
        return Match.SAME if Counter(row.key for row in stored) == await self._content(chunk) else Match.OTHER

    async def _read_back(self, dataset_id: str, at_most: int, row_bytes: int) -> list[StoredRow]:
        """The dataset's rows; where there are more than *at_most*, as many as show it. Raises `ReadBackUnavailable`."""
        rows: list[StoredRow] = []
        pages = row_pages(self._requests.ask, self._destination, dataset_id, row_bytes=row_bytes, at_most=at_most)
        async for page in pages:
            rows += page
        return rows

    async def _content(self, chunk: Chunk) -> Counter[bytes]:
        """The rows of a chunk, read from the source again."""
        (content,) = [content async for _, content in self._contents(_each([chunk]))]
        return content

    async def _contents(self, chunks: AsyncIterator[Chunk]) -> AsyncGenerator[tuple[Chunk, Counter[bytes]], None]:
        """The rows of *chunks*, which come by position, read from the source again by one cursor: a packed file is unpacked once
        for all of them."""
        cursor = self._lane.source.cursor(reads_ahead=False)
        try:
            async for chunk in chunks:
                yield chunk, await self._read(cursor, chunk)
        finally:
            await cursor.aclose()

    async def _read(self, cursor: Cursor, chunk: Chunk) -> Counter[bytes]:
        found: Counter[bytes] = Counter()
        made, function = RowsHash(), self._planned.plan.rows.function
        async with aclosing(cursor.read(chunk.start, chunk.stop)) as items:
            async for item in items:
                if isinstance(item, Block):
                    lines = await self._planned.chunker.encode_lines(item)
                    if function is not None:
                        made.add(lines)
                    found.update(self._destination.row_key(body) for line in lines for body in line.bodies)
        if function is not None and made.digest() != chunk.rows_hash:  # it would be called absent, and sent again
            raise changed(chunk, function=function)
        return found

    async def _explained(self, stored: Set[str | int | None]) -> Explained:
        """What accounts for rows that are there, under the ids *stored*: the ids of landed chunks, and the rows of those that have
        none."""
        ids: set[str | int] = set()
        hidden = 0
        async for line in every_ids(self._journal):
            shown = [id_ for id_ in line.ids if id_ in stored]
            ids.update(shown)
            hidden += len(line.ids) - len(shown)
        rows: Counter[bytes] = Counter()
        async for _, content in self._contents(landed_without_ids(self._journal)):
            rows.update(content)
        return Explained(ids, rows, hidden)


async def _each(chunks: Sequence[Chunk]) -> AsyncIterator[Chunk]:
    for chunk in chunks:
        yield chunk


def _all_held(page_back: PageBack, why: str) -> list[Verdict]:
    return [Held(doubt.chunk, f"{page_back.why}, {why}") for doubt in page_back.doubts]
