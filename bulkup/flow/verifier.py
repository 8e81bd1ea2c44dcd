"""Comparing one lane's destination with the source: what is asked and read; `bulkup.verification` says what differs.

Memory is bounded whatever the sizes: a chunk's rows are 16 bytes each, and where rows must be found by their ids, ids and
rows are sorted into buckets on disk first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from struct import Struct
from typing import Any

import anyio
import xxhash
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectReceiveStream

from bulkup.chunk import Chunk, ChunkState, Totals
from bulkup.destinations.base import PAGE_ROWS, Asking, Destination, NotThere, ReadBackUnavailable, StoredRow
from bulkup.encoding import RowPlan
from bulkup.flow.ahead import begun_ahead
from bulkup.flow.buckets import Buckets
from bulkup.flow.halt import Halt, Halted
from bulkup.flow.looking import expect_datasets, row_pages
from bulkup.flow.sent_rows import SentRows
from bulkup.journal import LaneJournal, every_chunk, every_ids
from bulkup.journal.facts import Survey
from bulkup.outcome import RemoteStatus
from bulkup.row_numbers import RowNumbers
from bulkup.settlement import Look, Match, Others, Seen
from bulkup.verification import (
    KEY_BYTES,
    SHOWN_ROWS,
    Comparison,
    DatasetDifference,
    Kind,
    LaneVerification,
    Mismatch,
    RowDifference,
    Sample,
    compare_in_order,
    compare_unordered,
    split_keys,
)

__all__ = ["Verifier"]

AT_ONCE = 8
"""How many datasets are asked about at once."""

PART_ROWS = 100_000
"""How many rows are put together at once, where they are found by id. At a row a chunk that is some 25 MiB."""

READ_AT_ONCE, READ_BYTES = 4, 32 * 1024 * 1024
"""The contents of so many datasets are read at once, as long as the rows' keys come to no more (or it is one)."""

NOT_CHOSEN = -1
"""In place of where a chunk starts: its rows are known, and not compared."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A landed chunk whose dataset is read back. *first*: the first row's number in each file."""

    chunk: Chunk
    first: Mapping[int, int]
    dataset_id: str


class Verifier:
    """Reads back one lane's datasets and compares. Stores nothing anywhere.

    The lane's chunks are read from the journal as they are needed, in the source's order, and several times: none are kept.
    """

    def __init__(
        self,
        *,
        destination: Destination,
        plan: RowPlan,
        journal: LaneJournal,
        totals: Totals,
        read_whole: bool,
        survey: Survey | None,
        others: Others,
        sent: SentRows,
        asking: Asking,
        halt: Halt,
        scratch: Path,
        sample: float,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        """*survey* is what the destination held before the run, None if that was never seen; *others* is what other runs have put
        there since."""
        self._destination = destination
        self._plan = plan
        self._journal = journal
        self._totals = totals
        self._survey = survey if survey is not None and survey.unavailable is None else None
        self._others = others
        self._sent = sent
        self._asking = asking
        self._halt = halt
        self._scratch = scratch
        self._say = say
        self._before = self._survey.ids if self._survey is not None else frozenset()
        self._chosen = Sample(sample, seed)
        self._bounds: list[int] = []
        """Where each part of the landed chunks begins: so many rows each as are put together at once."""
        self.found = LaneVerification(
            rows_landed=totals.rows_landed,
            rows_in_doubt=totals.rows_in_doubt,
            rows_rejected=totals.rows_rejected,
            rows_left=totals.rows_left,
            read_whole=read_whole,
            chunks_landed=totals.chunks_landed,
        )

    async def verify(self) -> None:
        """Compare; what was found stands in `found`. Raises `SourceChanged`, `SourceUnreadable`, `LocalDisk`."""
        expect_datasets(self._destination, self._survey, self._totals.chunks)
        try:
            look = await self._destination.look(self._asking)
            if look.unavailable is not None:
                self.found.unverifiable.append(f"no read-back: {look.unavailable}")
            else:
                await self._destination.policy.compare(look, self)
        except Halted:
            assert self._halt.reason is not None, "a lane halts for a reason"
            self.found.stopped = (self._halt.reason.text, self._halt.reason.exit_code)
        finally:
            await self._sent.aclose()

    async def _landed(self) -> AsyncIterator[tuple[Chunk, dict[int, int]]]:
        """Every chunk that has landed, by position, with the number of its first line in each file."""
        numbers = RowNumbers()
        async for chunk in every_chunk(self._journal):
            first = numbers.pass_by(chunk)
            if chunk.state is ChunkState.LANDED and chunk.rows:
                yield chunk, first

    async def _choose(self) -> None:
        """Which chunks are compared row by row."""
        rows = PART_ROWS
        async for chunk, _ in self._landed():
            self._chosen.show(chunk.start)
            if rows >= PART_ROWS:
                self._bounds.append(chunk.start)
                rows = 0
            rows += chunk.rows
        self._chosen.count_up()
        if not self._chosen.is_all:
            async for chunk, _ in self._landed():
                self._chosen.show_again(chunk.start)
        self._say(f"comparing the rows of {self._chosen.count:,} of {self._chosen.total:,} chunks")

    # --- each chunk has a dataset of its own --------------------------------------------------------------------------

    async def compare_each(self, look: Look) -> None:
        """Each of the lane's chunks with the dataset that it made."""
        there = _Listed(look)
        self.found.datasets = self._totals.chunks_landed
        self._say(f"asking about {self._totals.chunks_landed:,} datasets: status, schema and rows")
        wrong: set[int] = set()
        waiting, taken = anyio.create_memory_object_stream[Chunk](0)

        async def check(chunks: MemoryObjectReceiveStream[Chunk]) -> None:
            with chunks, suppress(Halted):
                async for chunk in chunks:
                    if not await self._check_chunk(chunk, there):
                        wrong.add(chunk.start)

        async with anyio.create_task_group() as tasks:
            with taken:
                for _ in range(AT_ONCE):
                    tasks.start_soon(check, taken.clone())
            with waiting, suppress(anyio.BrokenResourceError):  # nobody takes more: the lane halts
                async for chunk, _ in self._landed():
                    await waiting.send(chunk)
        self._halt.check()
        await self._choose()
        await self._compare_datasets(wrong, there)

    async def _check_chunk(self, chunk: Chunk, there: _Listed) -> bool:
        """Whether the rows of the chunk's dataset can be compared. What is wrong otherwise is noted."""
        self._name_doubles(chunk, there)
        dataset_id = there.id_of(chunk)
        if dataset_id is None:
            self.found.unverifiable.append(f"which dataset holds chunk {chunk.id} is not known")
            return False
        return await self._check_dataset(chunk, dataset_id, there.by_id.get(dataset_id))

    def _name_doubles(self, chunk: Chunk, there: _Listed) -> None:
        """Two datasets under one chunk's name hold its rows twice."""
        if self._survey is None or not chunk.remote_id:
            return
        for dataset in there.by_name.get(chunk.name, ()):
            if (
                dataset.id != chunk.remote_id
                and dataset.id not in self._before
                and dataset.status != RemoteStatus.FAILED
            ):
                what = f"is a second one named {dataset.name}: the rows of chunk {chunk.id} may be there twice"
                self._differs(dataset.id, what)

    async def _check_dataset(self, chunk: Chunk, dataset_id: str, seen: Seen | None) -> bool:
        """Whether the dataset's rows can be compared. What is wrong with it otherwise is noted."""
        try:
            status = seen.status if seen else await self._destination.poll(self._asking, dataset_id)
        except NotThere as why:
            self._differs(dataset_id, f"is not there ({why}): the {chunk.rows:,} rows of chunk {chunk.id} are gone")
            return False
        except ReadBackUnavailable as why:
            self.found.unverifiable.append(f"dataset {dataset_id}: {why}")
            return False
        if status != RemoteStatus.READY:
            self._differs(dataset_id, f"is {status}, not READY ({chunk.rows:,} rows, chunk {chunk.id})")
            return False
        match = await self._destination.match(self._asking, dataset_id, rows=chunk.rows, plan=self._plan)
        if match is Match.UNKNOWN:
            self.found.unverifiable.append(f"dataset {dataset_id}: its rows cannot be read back")
            return False
        if match is Match.OTHER:
            return await self._say_what_is_other(chunk, dataset_id)
        return True

    async def _say_what_is_other(self, chunk: Chunk, dataset_id: str) -> bool:
        rows = 0
        try:
            async for page in self._pages(dataset_id, chunk.body_bytes // chunk.rows, chunk.rows):
                rows += len(page)
        except ReadBackUnavailable as why:
            self.found.unverifiable.append(f"dataset {dataset_id}: {why}")
            return False
        if rows == chunk.rows:
            self._differs(dataset_id, f"has another schema than chunk {chunk.id} was sent with")
        else:
            count = f"{rows:,} rows" + (" or more" if rows > chunk.rows else "")
            self._differs(dataset_id, f"holds {count}, and chunk {chunk.id} had {chunk.rows:,}")
        return True

    async def _compare_datasets(self, wrong: Set[int], there: _Listed) -> None:
        """Several are read at once, and compared in their chunks' order: the source is read forwards."""

        async def chosen() -> AsyncIterator[tuple[_Read, int]]:
            async for chunk, first in self._landed():
                if chunk.start in self._chosen and chunk.start not in wrong:
                    yield _Read(chunk, first, there.id_of(chunk) or ""), KEY_BYTES * chunk.rows

        await begun_ahead(
            chosen(),
            self._stored_keys,
            self._compare_dataset,
            halt=self._halt,
            at_once=READ_AT_ONCE,
            memory_bytes=READ_BYTES,
        )

    async def _stored_keys(self, one: _Read) -> bytes | ReadBackUnavailable:
        """The keys of a dataset's rows, in order, or why they cannot be read back."""
        chunk, dataset_id = one.chunk, one.dataset_id
        stored = bytearray()
        try:
            is_counted = all(found.dataset_id != dataset_id for found in self.found.dataset_differences)
            counted = chunk.rows if is_counted else None
            at_most = 2 * (chunk.rows + PAGE_ROWS)
            async for page in self._pages(dataset_id, chunk.body_bytes // chunk.rows, at_most, counted):
                stored += b"".join(row.key for row in page)
        except ReadBackUnavailable as why:
            return why
        return bytes(stored)

    async def _compare_dataset(self, one: _Read, stored: bytes | ReadBackUnavailable) -> None:
        chunk, dataset_id = one.chunk, one.dataset_id
        if isinstance(stored, ReadBackUnavailable):
            self.found.unverifiable.append(f"dataset {dataset_id}: {stored}")
            return
        await self._note(chunk, one.first, dataset_id, compare_in_order(await self._sent.keys(chunk), stored))

    # --- all chunks are in one dataset --------------------------------------------------------------------------------

    async def compare_all(self, look: Look) -> None:
        """All of the lane's chunks with the one dataset, by its number of rows and by the rows' ids."""
        self.found.datasets = len(look.seen)
        if not look.seen:
            if self._totals.chunks_landed:
                name = self._destination.dataset_name
                self._differs("", f"there is no dataset named {name}: {self.found.rows_landed:,} rows are gone")
            return
        extra = self._check_count(look)
        await self._choose()
        if not self._chosen.count:
            return
        try:
            await self._compare_by_ids(look, extra)
        except ReadBackUnavailable as why:
            self.found.unverifiable.append(f"the rows cannot be read back: {why}")

    def _check_count(self, look: Look) -> int:
        """How many rows too many there are."""
        first = look.seen[0].id
        if any(dataset.rows is None for dataset in look.seen):
            self.found.unverifiable.append("the service does not say how many rows there are")
            return 0
        if self._survey is None:
            self.found.unverifiable.append(
                f"how many rows were there before the run is not known, so its {look.rows:,} cannot be told from them"
            )
            return 0
        base = self._survey.rows
        self.found.rows_of_others = self._others.rows
        least = base + self.found.rows_landed + self._others.rows
        if least <= look.rows <= least + self.found.rows_in_doubt:
            return 0
        if look.rows > least and self._others.unclear:
            run = self._others.unclear[0]
            self.found.unverifiable.append(
                f"{look.rows - least:,} rows more than are accounted for, and how many run {run} has put there is not known"
            )
            return 0
        doubt = f", and {self.found.rows_in_doubt:,} are in doubt" if self.found.rows_in_doubt else ""
        others = f", {self._others.rows:,} are of other runs into it" if self._others.rows else ""
        numbers = f"{base:,} were there before, {self.found.rows_landed:,} have landed{others}{doubt}"
        off = f"{least - look.rows:,} are missing" if look.rows < least else f"{look.rows - least:,} too many"
        self._differs(first, f"holds {look.rows:,} rows: {numbers}: {off}")
        return max(0, look.rows - least)

    async def _compare_by_ids(self, look: Look, extra: int) -> None:
        """Rows are found by the ids that were given for them; chunks without ids among the rows that no id explains."""
        parts = 1 + max(look.rows, self.found.rows_landed) // PART_ROWS
        with ExitStack() as stack:
            known, stored, by_chunk, unexplained, expected = (
                stack.enter_context(Buckets(self._scratch, parts, layout)) for layout in ("q", "16s", "16s", "", "QI?")
            )
            async for line in every_ids(self._journal):
                chunk_start = line.position if line.position in self._chosen else NOT_CHOSEN
                for id_ in line.ids:
                    known.add(_hash(id_), chunk_start)
            mean = self._totals.bytes_landed // max(1, self.found.rows_landed)
            for dataset in look.seen:
                shown, at_most = 0, self._most_rows(dataset)
                async for page in self._pages(dataset.id, mean, at_most, dataset.rows):
                    shown += len(page)
                    for row in page:
                        stored.add(_hash("" if row.id is None else row.id), row.key)
                if shown > at_most:
                    raise ReadBackUnavailable(
                        f"its pages show {shown:,} rows, and there can be no more than {at_most:,}"
                    )
            for part in range(known.parts):
                self._join(part, known, stored, by_chunk, unexplained)
                await checkpoint()
            dataset_id = look.seen[0].id
            is_ours_alone = self._survey is not None and not self._survey.found
            await self._compare_parts(dataset_id, by_chunk, expected, with_extra=extra > 0 and is_ours_alone)
            await self._explain(dataset_id, unexplained, expected)

    async def _compare_parts(self, dataset_id: str, by_chunk: Buckets, expected: Buckets, *, with_extra: bool) -> None:
        """The chosen chunks beside the rows that their ids belong to. What is *expected* among the other rows: those of chunks
        without ids, and with *with_extra* all others too, which may be there twice."""
        part, there = -1, dict[int, bytearray]()
        async for chunk, first in self._landed():
            if chunk.start not in self._chosen:
                continue
            if part != self._part_of(chunk.start):
                part = self._part_of(chunk.start)
                there = {}  # lest two parts be held at once
                there = _by_start(by_chunk.read(part))
            has_ids = chunk.ids_at is not None
            keys = await self._sent.keys(chunk)
            if has_ids:
                await self._note(chunk, first, dataset_id, compare_unordered(keys, bytes(there.get(chunk.start, b""))))
            else:
                self._count_compared(chunk)
            if with_extra or not has_ids:
                for place, key in enumerate(split_keys(keys)):
                    expected.add(key, chunk.start, place, has_ids)

    def _most_rows(self, dataset: Seen) -> int:
        """How many rows its pages may show: somebody may add some meanwhile."""
        base = self._survey.rows if self._survey is not None else 0
        ours = base + self.found.rows_landed + self.found.rows_in_doubt + self._others.rows
        return max(dataset.rows or 0, ours) + PAGE_ROWS

    def _part_of(self, start: int) -> int:
        return bisect_right(self._bounds, start) - 1

    def _join(self, part: int, known: Buckets, stored: Buckets, by_chunk: Buckets, unexplained: Buckets) -> None:
        """Which chunk each of the stored rows belongs to, by its id."""
        owner: dict[bytes, int] = dict(known.read(part))
        for id_, key in stored.read(part):
            start = owner.get(id_)
            if start is None:
                unexplained.add(key)
            elif start != NOT_CHOSEN:
                by_chunk.add(_PLACE.pack(self._part_of(start), start), key)

    async def _explain(self, dataset_id: str, unexplained: Buckets, expected: Buckets) -> None:
        """The chosen chunks without ids must be among the rows that no id explains; of what is then left, rows that were sent
        are there twice."""
        count = 0
        first: list[tuple[int, int, Kind]] = []  # of those that differ, by their places in the source
        for part in range(expected.parts):
            left = Counter(key for (key,) in unexplained.read(part))
            for has_ids, kind in ((False, Kind.MISSING), (True, Kind.EXTRA)):
                for key, start, row, its in expected.read(part):
                    if its != has_ids:
                        continue
                    if (left[key] > 0) is has_ids:
                        count += 1
                        first.append((start, row, kind))
                        if len(first) > 2 * SHOWN_ROWS:
                            first = nsmallest(SHOWN_ROWS, first)
                    left[key] -= 1
            await checkpoint()
        self.found.rows_differing += count
        rows: defaultdict[int, list[Mismatch]] = defaultdict(list)
        for start, row, kind in nsmallest(SHOWN_ROWS, first):
            rows[start].append(Mismatch(kind, row))
        if rows:
            async for chunk, numbers in self._landed():
                if chunk.start in rows:
                    await self._name(chunk, numbers, dataset_id, rows[chunk.start])

    # --- both -----------------------------------------------------------------------------------------------------------

    def _pages(
        self, dataset_id: str, row_bytes: int, at_most: int, counted: int | None = None
    ) -> AsyncIterator[list[StoredRow]]:
        return row_pages(
            self._asking, self._destination, dataset_id, row_bytes=row_bytes, at_most=at_most, counted=counted
        )

    async def _note(self, chunk: Chunk, first: Mapping[int, int], dataset_id: str, comparison: Comparison) -> None:
        self._count_compared(chunk)
        self.found.rows_differing += comparison.count
        if comparison.count:
            await self._name(chunk, first, dataset_id, comparison.first)

    def _count_compared(self, chunk: Chunk) -> None:
        self.found.chunks_compared += 1
        self.found.rows_compared += chunk.rows

    async def _name(
        self, chunk: Chunk, first: Mapping[int, int], dataset_id: str, mismatches: Sequence[Mismatch]
    ) -> None:
        """Keep what differs, the first rows with their places in the source. *first*: the chunk's first line in each file."""
        shown = mismatches[: SHOWN_ROWS - len(self.found.row_differences)]
        wanted = {m.sent for m in shown if m.sent is not None}
        places = await self._sent.places(chunk, wanted, first) if wanted else {}
        for mismatch in shown:
            place = None if mismatch.sent is None else places[mismatch.sent]
            self.found.row_differences.append(
                RowDifference(
                    kind=mismatch.kind,
                    chunk=str(chunk.id),
                    file=None if place is None else place.file,
                    row_number=None if place is None else place.row_number,
                    byte_offset=None if place is None else place.byte_offset,
                    dataset_id=dataset_id,
                    dataset_row=None if mismatch.stored is None else mismatch.stored + 1,
                )
            )

    def _differs(self, dataset_id: str, what: str) -> None:
        self.found.dataset_differences.append(DatasetDifference(dataset_id, what))


class _Listed:
    """What a look shows, by id and by name."""

    def __init__(self, look: Look) -> None:
        self.by_id = {dataset.id: dataset for dataset in look.seen}
        self.by_name: defaultdict[str, list[Seen]] = defaultdict(list)
        for dataset in look.seen:
            self.by_name[dataset.name].append(dataset)

    def id_of(self, chunk: Chunk) -> str | None:
        """The dataset that holds *chunk*, None where that is not known: nobody knew its id, and not just one has its name."""
        named = self.by_name.get(chunk.name, ())
        return chunk.remote_id or (named[0].id if len(named) == 1 else None)


_PLACE = Struct("<IQ4x")
"""A part, and where a chunk starts: as long as a key."""


def _hash(id_: str | int) -> bytes:
    return xxhash.xxh3_128_digest(str(id_).encode())


def _by_start(records: Iterator[tuple[Any, ...]]) -> dict[int, bytearray]:
    """The rows' keys by where their chunks start."""
    found: defaultdict[int, bytearray] = defaultdict(bytearray)
    for place, key in records:
        found[_PLACE.unpack(place)[1]] += key
    return found
