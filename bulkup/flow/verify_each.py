"""Comparing each of a lane's chunks with the dataset that it made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Set
from contextlib import suppress

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from bulkup.chunk import Chunk
from bulkup.destinations.base import PAGE_ROWS, NotThere, ReadBackUnavailable
from bulkup.destinations.sightings import Sightings
from bulkup.doubt.settlement import Look, Match, Seen
from bulkup.doubt.verification import KEY_BYTES, compare_in_order
from bulkup.flow.ahead import begun_ahead
from bulkup.flow.halt import Halted
from bulkup.flow.verify_context import VerifyContext
from bulkup.light_dataclass import dataclass
from bulkup.outcome import RemoteStatus

__all__ = ["READ_AT_ONCE", "EachDataset"]

AT_ONCE = 8
"""How many datasets are asked about at once."""

READ_AT_ONCE, READ_BYTES = 4, 32 * 1024 * 1024
"""The contents of so many datasets are read at once, as long as the rows' keys come to no more (or it is one)."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A landed chunk whose dataset is read back. *first*: the first row's number in each file."""

    chunk: Chunk
    first: Mapping[int, int]
    dataset_id: str


class EachDataset:
    """Compares where each chunk has a dataset of its own."""

    def __init__(self, comparing: VerifyContext) -> None:
        self._with = comparing
        self._destination = comparing.lane.destination
        self._chunks = comparing.chunks
        self._findings = comparing.findings
        self._found = comparing.findings.found
        survey = comparing.survey
        self._before = survey.ids if survey is not None else frozenset()

    async def compare(self, look: Look) -> None:
        """With what *look* shows."""
        there = look.seen if isinstance(look.seen, Sightings) else Sightings(look.seen)
        self._found.datasets = self._with.lane.tally.totals.chunks_landed
        tally = self._with.lane.tally
        count = tally.totals.chunks_landed
        self._with.lane.say(f"asking about {count:,} dataset{'' if count == 1 else 's'}: status, schema and rows")
        tally.begin_stage("datasets asked about", tally.totals.chunks_landed)
        wrong: set[int] = set()
        waiting, taken = anyio.create_memory_object_stream[Chunk](0)

        async def check(chunks: MemoryObjectReceiveStream[Chunk]) -> None:
            with chunks, suppress(Halted):
                async for chunk in chunks:
                    tally.stage_done += 1
                    if not await self._check_chunk(chunk, there):
                        wrong.add(chunk.start)

        async with anyio.create_task_group() as tasks:
            with taken:
                for _ in range(AT_ONCE):
                    tasks.start_soon(check, taken.clone())
            with waiting, suppress(anyio.BrokenResourceError):  # nobody takes more: the lane halts
                async for chunk, _ in self._chunks.landed():
                    await waiting.send(chunk)
        self._with.lane.halt.check()
        await self._chunks.choose()
        await self._compare_datasets(wrong, there)

    async def _check_chunk(self, chunk: Chunk, there: Sightings) -> bool:
        """Whether the rows of the chunk's dataset can be compared. What is wrong otherwise is noted."""
        self._name_doubles(chunk, there)
        dataset_id = _id_of(chunk, there)
        if dataset_id is None:
            self._found.unverifiable.append(f"which dataset holds chunk {chunk.id} is not known")
            return False
        return await self._check_dataset(chunk, dataset_id, there.of_id(dataset_id))

    def _name_doubles(self, chunk: Chunk, there: Sightings) -> None:
        """Two datasets under one chunk's name hold its rows twice."""
        if self._with.survey is None or not chunk.remote_id:
            return
        for dataset in there.of_name(chunk.name):
            if (
                dataset.id != chunk.remote_id
                and dataset.id not in self._before
                and dataset.status != RemoteStatus.FAILED
            ):
                what = f"is a second one named {dataset.name}: the rows of chunk {chunk.id} may be there twice"
                self._findings.differs(dataset.id, what)

    async def _check_dataset(self, chunk: Chunk, dataset_id: str, seen: Seen | None) -> bool:
        """Whether the dataset's rows can be compared. What is wrong with it otherwise is noted."""
        try:
            status = seen.status if seen else await self._destination.poll(self._with.asking, dataset_id)
        except NotThere as why:
            self._findings.differs(
                dataset_id, f"is not there ({why}): the {chunk.rows:,} rows of chunk {chunk.id} are gone"
            )
            return False
        except ReadBackUnavailable as why:
            self._found.unverifiable.append(f"dataset {dataset_id}: {why}")
            return False
        if status != RemoteStatus.READY:
            self._findings.differs(dataset_id, f"is {status}, not READY ({chunk.rows:,} rows, chunk {chunk.id})")
            return False
        match = await self._destination.match(
            self._with.asking, dataset_id, rows=chunk.rows, plan=self._with.planned.plan.rows
        )
        if match is Match.UNKNOWN:
            self._found.unverifiable.append(f"dataset {dataset_id}: its rows cannot be read back")
            return False
        if match is Match.OTHER:
            return await self._say_what_is_other(chunk, dataset_id)
        return True

    async def _say_what_is_other(self, chunk: Chunk, dataset_id: str) -> bool:
        rows = 0
        try:
            async for page in self._with.pages(dataset_id, chunk.body_bytes // chunk.rows, chunk.rows):
                rows += len(page)
        except ReadBackUnavailable as why:
            self._found.unverifiable.append(f"dataset {dataset_id}: {why}")
            return False
        if rows == chunk.rows:
            self._findings.differs(dataset_id, f"has another schema than chunk {chunk.id} was sent with")
        else:
            count = f"{rows:,} rows" + (" or more" if rows > chunk.rows else "")
            self._findings.differs(dataset_id, f"holds {count}, and chunk {chunk.id} had {chunk.rows:,}")
        return True

    async def _compare_datasets(self, wrong: Set[int], there: Sightings) -> None:
        """Several are read at once, and compared in their chunks' order: the source is read forwards."""

        async def chosen() -> AsyncIterator[tuple[_Read, int]]:
            async for chunk, first in self._chunks.landed():
                if chunk.start in self._chunks and chunk.start not in wrong:
                    yield _Read(chunk, first, _id_of(chunk, there) or ""), KEY_BYTES * chunk.rows

        await begun_ahead(
            chosen(),
            self._stored_keys,
            self._compare_dataset,
            halt=self._with.lane.halt,
            at_once=READ_AT_ONCE,
            memory_bytes=READ_BYTES,
        )

    async def _stored_keys(self, one: _Read) -> bytes | ReadBackUnavailable:
        """The keys of a dataset's rows, in order, or why they cannot be read back."""
        chunk, dataset_id = one.chunk, one.dataset_id
        stored = bytearray()
        try:
            is_counted = all(found.dataset_id != dataset_id for found in self._found.dataset_differences)
            counted = chunk.rows if is_counted else None
            at_most = 2 * (chunk.rows + PAGE_ROWS)
            async for page in self._with.pages(dataset_id, chunk.body_bytes // chunk.rows, at_most, counted):
                stored += b"".join(row.key for row in page)
        except ReadBackUnavailable as why:
            return why
        return bytes(stored)

    async def _compare_dataset(self, one: _Read, stored: bytes | ReadBackUnavailable) -> None:
        chunk, dataset_id = one.chunk, one.dataset_id
        if isinstance(stored, ReadBackUnavailable):
            self._found.unverifiable.append(f"dataset {dataset_id}: {stored}")
            return
        await self._findings.note(
            chunk, one.first, dataset_id, compare_in_order(await self._with.sent.keys(chunk), stored)
        )


def _id_of(chunk: Chunk, there: Sightings) -> str | None:
    """The dataset that holds *chunk*, None where that is not known: nobody knew its id, and not just one has its name."""
    if chunk.remote_id:
        return chunk.remote_id
    named = there.of_name(chunk.name)
    return named[0].id if len(named) == 1 else None
