"""Comparing all of a lane's chunks with the one dataset that they were appended to.

Rows are found by their ids: ids and rows are sorted into buckets on disk first, so memory is bounded whatever the sizes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from heapq import nsmallest
from struct import Struct
from typing import Any

import xxhash
from anyio.lowlevel import checkpoint

from bulkup.destinations.base import PAGE_ROWS, ReadBackUnavailable
from bulkup.doubt.settlement import Look, Seen
from bulkup.doubt.verification import SHOWN_ROWS, Kind, Mismatch, compare_unordered, split_keys
from bulkup.flow.buckets import Buckets
from bulkup.flow.verify_context import COMPARED, VerifyContext
from bulkup.journal import every_ids

__all__ = ["OneDataset"]

NOT_CHOSEN = -1
"""In place of where a chunk starts: its rows are known, and not compared."""


class OneDataset:
    """Compares where all chunks are in one dataset."""

    def __init__(self, comparing: VerifyContext) -> None:
        self._with = comparing
        self._destination = comparing.lane.destination
        self._chunks = comparing.chunks
        self._findings = comparing.findings
        self._found = comparing.findings.found

    async def compare(self, look: Look) -> None:
        """All of the lane's chunks with the one dataset, by its number of rows and by the rows' ids."""
        self._found.datasets = len(look.seen)
        if not look.seen:
            if self._with.lane.tally.totals.chunks_landed:
                name = self._destination.dataset_name
                self._findings.differs(
                    "", f"there is no dataset named {name}: {self._found.rows_landed:,} rows are gone"
                )
            return
        extra = self._check_count(look)
        await self._chunks.choose()
        if not self._chunks.count:
            return
        try:
            await self._compare_by_ids(look, extra)
        except ReadBackUnavailable as why:
            self._found.unverifiable.append(f"the rows cannot be read back: {why}")

    def _check_count(self, look: Look) -> int:
        """How many rows too many there are."""
        first = look.seen[0].id
        if any(dataset.rows is None for dataset in look.seen):
            self._found.unverifiable.append("the service does not say how many rows there are")
            return 0
        if self._with.survey is None:
            self._found.unverifiable.append(
                f"how many rows were there before the run is not known, so its {look.rows:,} cannot be told from them"
            )
            return 0
        base = self._with.survey.rows
        self._found.rows_of_others = self._with.others.rows
        least = base + self._found.rows_landed + self._with.others.rows
        if least <= look.rows <= least + self._found.rows_in_doubt:
            return 0
        if look.rows > least and self._with.others.unclear:
            run = self._with.others.unclear[0]
            self._found.unverifiable.append(
                f"{look.rows - least:,} rows more than are accounted for, and how many run {run} has put there is not known"
            )
            return 0
        doubt = f", and {self._found.rows_in_doubt:,} are in doubt" if self._found.rows_in_doubt else ""
        others = f", {self._with.others.rows:,} are of other runs into it" if self._with.others.rows else ""
        numbers = f"{base:,} were there before, {self._found.rows_landed:,} have landed{others}{doubt}"
        off = f"{least - look.rows:,} are missing" if look.rows < least else f"{look.rows - least:,} too many"
        self._findings.differs(first, f"holds {look.rows:,} rows: {numbers}: {off}")
        return max(0, look.rows - least)

    async def _compare_by_ids(self, look: Look, extra: int) -> None:
        """Rows are found by the ids that were given for them; chunks without ids among the rows that no id explains."""
        parts = self._chunks.parts(max(look.rows, self._found.rows_landed))
        with ExitStack() as stack:
            known, stored, by_chunk, unexplained, expected = (
                stack.enter_context(Buckets(self._with.scratch, parts, layout))
                for layout in ("q", "16s", "16s", "", "QI?")
            )
            async for line in every_ids(self._with.lane.journal):
                chunk_start = line.position if line.position in self._chunks else NOT_CHOSEN
                for id_ in line.ids:
                    known.add(_hash(id_), chunk_start)
            mean = self._with.lane.tally.totals.bytes_landed // max(1, self._found.rows_landed)
            tally = self._with.lane.tally
            tally.begin_stage("rows read back", look.rows)
            for dataset in look.seen:
                shown, at_most = 0, self._most_rows(dataset)
                async for page in self._with.pages(dataset.id, mean, at_most, dataset.rows):
                    shown += len(page)
                    tally.stage_done += len(page)
                    for row in page:
                        stored.add(_hash("" if row.id is None else row.id), row.key)
                if shown > at_most:
                    raise ReadBackUnavailable(
                        f"its pages show {shown:,} rows, and there can be no more than {at_most:,}"
                    )
            for part in range(known.parts):
                self._join(part, known, stored, by_chunk, unexplained)
                await checkpoint()
            tally.begin_stage(COMPARED, self._chunks.count)
            dataset_id = look.seen[0].id
            is_ours_alone = self._with.survey is not None and not self._with.survey.found
            await self._compare_parts(dataset_id, by_chunk, expected, with_extra=extra > 0 and is_ours_alone)
            await self._explain(dataset_id, unexplained, expected)

    async def _compare_parts(self, dataset_id: str, by_chunk: Buckets, expected: Buckets, *, with_extra: bool) -> None:
        """The chosen chunks beside the rows that their ids belong to. What is *expected* among the other rows: those of chunks
        without ids, and with *with_extra* all others too, which may be there twice."""
        part, there = -1, dict[int, bytearray]()
        async for chunk, first in self._chunks.landed():
            if chunk.start not in self._chunks:
                continue
            if part != self._chunks.part_of(chunk.start):
                part = self._chunks.part_of(chunk.start)
                there = {}  # lest two parts be held at once
                there = _by_start(by_chunk.read(part))
            has_ids = chunk.ids_at is not None
            keys = await self._with.sent.keys(chunk)
            if has_ids:
                await self._findings.note(
                    chunk, first, dataset_id, compare_unordered(keys, bytes(there.get(chunk.start, b"")))
                )
            else:
                self._findings.count_compared(chunk)
            if with_extra or not has_ids:
                for place, key in enumerate(split_keys(keys)):
                    expected.add(key, chunk.start, place, has_ids)

    def _most_rows(self, dataset: Seen) -> int:
        """How many rows its pages may show: somebody may add some meanwhile."""
        base = self._with.survey.rows if self._with.survey is not None else 0
        ours = base + self._found.rows_landed + self._found.rows_in_doubt + self._with.others.rows
        return max(dataset.rows or 0, ours) + PAGE_ROWS

    def _join(self, part: int, known: Buckets, stored: Buckets, by_chunk: Buckets, unexplained: Buckets) -> None:
        """Which chunk each of the stored rows belongs to, by its id."""
        owner: dict[bytes, int] = dict(known.read(part))
        for id_, key in stored.read(part):
            start = owner.get(id_)
            if start is None:
                unexplained.add(key)
            elif start != NOT_CHOSEN:
                by_chunk.add(_PLACE.pack(self._chunks.part_of(start), start), key)

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
        self._found.rows_differing += count
        rows: defaultdict[int, list[Mismatch]] = defaultdict(list)
        for start, row, kind in nsmallest(SHOWN_ROWS, first):
            rows[start].append(Mismatch(kind, row))
        if rows:
            async for chunk, numbers in self._chunks.landed():
                if chunk.start in rows:
                    await self._findings.name(chunk, numbers, dataset_id, rows[chunk.start])


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
