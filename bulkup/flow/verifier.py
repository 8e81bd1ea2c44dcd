"""Comparing one lane's destination with the source: what is asked and read; `bulkup.verification` says what differs.

Memory is bounded whatever the sizes: a chunk's rows are 16 bytes each, and where rows must be found by their ids, ids and
rows are sorted into buckets on disk first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from struct import Struct
from typing import Any

import anyio
import xxhash
from anyio.lowlevel import checkpoint

from bulkup.chunk import Chunk, ChunkState, Totals
from bulkup.destinations.base import PAGE_ROWS, Asking, Destination, NotThere, ReadBackUnavailable, StoredRow
from bulkup.encoding import RowPlan
from bulkup.flow.ahead import begun_ahead
from bulkup.flow.buckets import Buckets
from bulkup.flow.halt import Halt, Halted
from bulkup.flow.looking import expect_datasets, row_pages
from bulkup.flow.sent_rows import SentRows
from bulkup.outcome import RemoteStatus
from bulkup.row_numbers import first_rows
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
    choose,
    compare_in_order,
    compare_unordered,
    split_keys,
)

__all__ = ["Ids", "Verifier"]

AT_ONCE = 8
"""How many datasets are asked about at once."""

READ_AT_ONCE, READ_BYTES = 4, 32 * 1024 * 1024
"""The contents of so many datasets are read at once, as long as the rows' keys come to no more (or it is one)."""

PART_ROWS = 200_000
"""How many rows are put together at once, where they are found by id."""

Ids = Callable[[], Iterator[tuple[str, Sequence[str | int]]]]
"""The ids of landed chunks' rows, chunk by chunk, with the chunk's name in the journal."""


class Verifier:
    """Reads back one lane's datasets and compares. Stores nothing anywhere."""

    def __init__(
        self,
        *,
        destination: Destination,
        plan: RowPlan,
        chunks: Sequence[Chunk],
        totals: Totals,
        read_whole: bool,
        survey: Mapping[str, Any] | None,
        others: Others,
        ids: Ids,
        sent: SentRows,
        asking: Asking,
        halt: Halt,
        scratch: Path,
        sample: float,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        """*chunks* are all of the lane's, by position; *survey* is what the destination held before the run, None if that was
        never seen; *others* is what other runs have put there since."""
        self._destination = destination
        self._plan = plan
        self._all_chunks = chunks
        self._survey = survey if survey is not None and survey["unavailable"] is None else None
        self._others = others
        self._ids = ids
        self._sent = sent
        self._asking = asking
        self._halt = halt
        self._scratch = scratch
        self._say = say
        self._landed = [c for c in chunks if c.state is ChunkState.LANDED and c.rows]
        self._chosen = [self._landed[n] for n in choose(len(self._landed), sample, seed)]
        self.found = LaneVerification(
            rows_landed=totals.rows_landed,
            rows_in_doubt=totals.rows_in_doubt,
            rows_rejected=totals.rows_rejected,
            rows_left=totals.rows_left,
            read_whole=read_whole,
            chunks_landed=len(self._landed),
        )

    async def verify(self) -> None:
        """Compare; what was found stands in `found`. Raises `SourceChanged`, `SourceUnreadable`, `LocalDisk`."""
        expect_datasets(self._destination, self._survey, len(self._all_chunks))
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

    # --- each chunk has a dataset of its own --------------------------------------------------------------------------

    async def compare_each(self, look: Look) -> None:
        """Each of the lane's chunks with the dataset that it made."""
        seen = {dataset.id: dataset for dataset in look.seen}
        self._name_doubles(look)
        ids = {chunk.id: chunk.remote_id or _only_one_named(chunk.name, look) for chunk in self._landed}
        self.found.datasets = len(self._landed)
        self._say(f"asking about {len(self._landed):,} datasets: status, schema and rows")
        readable: set[str] = set()
        waiting = iter(self._landed)

        async def check() -> None:
            with suppress(Halted):
                for chunk in waiting:
                    if (dataset_id := ids[chunk.id]) is None:
                        self.found.unverifiable.append(f"which dataset holds chunk {chunk.id} is not known")
                    elif await self._check_dataset(chunk, dataset_id, seen.get(dataset_id)):
                        readable.add(dataset_id)

        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(check)
        self._halt.check()
        self._say_sample()
        await self._compare_datasets(
            [(chunk, id_) for chunk in self._chosen if (id_ := ids[chunk.id]) is not None and id_ in readable]
        )

    def _name_doubles(self, look: Look) -> None:
        """Two datasets under one chunk's name hold its rows twice."""
        if self._survey is None:
            return
        before = {id_ for id_, _, _ in self._survey["found"]}
        ours = {chunk.remote_id: chunk for chunk in self._landed}
        names = {chunk.name: chunk for chunk in self._landed}
        for dataset in look.seen:
            chunk = names.get(dataset.name)
            if chunk is None or dataset.id in before or dataset.id in ours or dataset.status == RemoteStatus.FAILED:
                continue
            if chunk.remote_id:
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

    async def _compare_datasets(self, chosen: Sequence[tuple[Chunk, str]]) -> None:
        """Several are read at once, and compared in their chunks' order: the source is read forwards."""
        await begun_ahead(
            ((one, KEY_BYTES * one[0].rows) for one in chosen),
            self._stored_keys,
            self._compare_dataset,
            halt=self._halt,
            at_once=READ_AT_ONCE,
            memory_bytes=READ_BYTES,
        )

    async def _stored_keys(self, one: tuple[Chunk, str]) -> bytes | ReadBackUnavailable:
        """The keys of a dataset's rows, in order, or why they cannot be read back."""
        chunk, dataset_id = one
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

    async def _compare_dataset(self, one: tuple[Chunk, str], stored: bytes | ReadBackUnavailable) -> None:
        chunk, dataset_id = one
        if isinstance(stored, ReadBackUnavailable):
            self.found.unverifiable.append(f"dataset {dataset_id}: {stored}")
            return
        await self._note(chunk, dataset_id, compare_in_order(await self._sent.keys(chunk), stored))

    # --- all chunks are in one dataset --------------------------------------------------------------------------------

    async def compare_all(self, look: Look) -> None:
        """All of the lane's chunks with the one dataset, by its number of rows and by the rows' ids."""
        self.found.datasets = len(look.seen)
        if not look.seen:
            if self._landed:
                name = self._destination.dataset_name
                self._differs("", f"there is no dataset named {name}: {self.found.rows_landed:,} rows are gone")
            return
        extra = self._check_count(look)
        self._say_sample()
        if not self._chosen:
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
        base = sum(rows or 0 for _, _, rows in self._survey["found"])
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
        chosen = {str(chunk.id): number for number, chunk in enumerate(self._chosen)}
        parts = 1 + max(look.rows, self.found.rows_landed) // PART_ROWS
        with ExitStack() as stack:
            known, stored, by_chunk, unexplained, expected = (
                stack.enter_context(Buckets(self._scratch, parts, layout)) for layout in ("I", "16s", "16s", "", "II?")
            )
            with_ids = set()
            for name, ids in self._ids():
                number = chosen.get(name, len(chosen))
                with_ids.add(number)
                for id_ in ids:
                    known.add(_hash(id_), number)
                await checkpoint()
            mean = sum(c.body_bytes for c in self._landed) // max(1, self.found.rows_landed)
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
            is_ours_alone = self._survey is not None and not self._survey["found"]
            for part in range(by_chunk.parts):
                there = _by_number(by_chunk.read(part))
                for number in self._in_part(part, by_chunk.parts):
                    chunk = self._chosen[number]
                    keys = await self._sent.keys(chunk)
                    if number in with_ids:
                        await self._note(chunk, dataset_id, compare_unordered(keys, bytes(there.get(number, b""))))
                    else:
                        self._count_compared(chunk)
                    if number not in with_ids or (extra and is_ours_alone):
                        for place, key in enumerate(split_keys(keys)):
                            expected.add(key, number, place, number in with_ids)
            await self._explain(dataset_id, unexplained, expected)

    def _most_rows(self, dataset: Seen) -> int:
        """How many rows its pages may show: somebody may add some meanwhile."""
        base = sum(rows or 0 for _, _, rows in self._survey["found"]) if self._survey is not None else 0
        ours = base + self.found.rows_landed + self.found.rows_in_doubt + self._others.rows
        return max(dataset.rows or 0, ours) + PAGE_ROWS

    def _in_part(self, part: int, parts: int) -> list[int]:
        """The chosen chunks whose rows are in that part, ascending."""
        return [number for number in range(len(self._chosen)) if self._part_of(number, parts) == part]

    def _part_of(self, number: int, parts: int) -> int:
        return number * parts // len(self._chosen)

    def _join(self, part: int, known: Buckets, stored: Buckets, by_chunk: Buckets, unexplained: Buckets) -> None:
        """Which chunk each of the stored rows belongs to, by its id."""
        owner: dict[bytes, int] = dict(known.read(part))
        for id_, key in stored.read(part):
            number = owner.get(id_)
            if number is None:
                unexplained.add(key)
            elif number < len(self._chosen):
                by_chunk.add(_PLACE.pack(self._part_of(number, by_chunk.parts), number), key)

    async def _explain(self, dataset_id: str, unexplained: Buckets, expected: Buckets) -> None:
        """The chosen chunks without ids must be among the rows that no id explains; of what is then left, rows that were sent
        are there twice."""
        missing: defaultdict[int, list[Mismatch]] = defaultdict(list)
        for part in range(expected.parts):
            left = Counter(key for (key,) in unexplained.read(part))
            for has_ids, kind in ((False, Kind.MISSING), (True, Kind.EXTRA)):
                for key, number, row, its in expected.read(part):
                    if its != has_ids:
                        continue
                    if (left[key] > 0) is has_ids:
                        missing[number].append(Mismatch(kind, row))
                    left[key] -= 1
            await checkpoint()
        for number, mismatches in sorted(missing.items()):
            await self._name(self._chosen[number], dataset_id, Comparison(len(mismatches), tuple(mismatches)))

    # --- both -----------------------------------------------------------------------------------------------------------

    def _say_sample(self) -> None:
        self._say(f"comparing the rows of {len(self._chosen):,} of {len(self._landed):,} chunks")

    def _pages(
        self, dataset_id: str, row_bytes: int, at_most: int, counted: int | None = None
    ) -> AsyncIterator[list[StoredRow]]:
        return row_pages(
            self._asking, self._destination, dataset_id, row_bytes=row_bytes, at_most=at_most, counted=counted
        )

    async def _note(self, chunk: Chunk, dataset_id: str, comparison: Comparison) -> None:
        self._count_compared(chunk)
        if comparison.count:
            await self._name(chunk, dataset_id, comparison)

    def _count_compared(self, chunk: Chunk) -> None:
        self.found.chunks_compared += 1
        self.found.rows_compared += chunk.rows

    async def _name(self, chunk: Chunk, dataset_id: str, comparison: Comparison) -> None:
        """Keep what differs, the first rows with their places in the source."""
        self.found.rows_differing += comparison.count
        shown = comparison.first[: SHOWN_ROWS - len(self.found.row_differences)]
        wanted = {m.sent for m in shown if m.sent is not None}
        first = next(rows for other, rows in first_rows(self._all_chunks) if other.id == chunk.id) if wanted else {}
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


_PLACE = Struct("<II8x")


def _hash(id_: str | int) -> bytes:
    return xxhash.xxh3_128_digest(str(id_).encode())


def _by_number(records: Iterator[tuple[Any, ...]]) -> dict[int, bytearray]:
    """The rows' keys by their chunks' numbers."""
    found: defaultdict[int, bytearray] = defaultdict(bytearray)
    for place, key in records:
        found[_PLACE.unpack(place)[1]] += key
    return found


def _only_one_named(name: str, look: Look) -> str | None:
    found = [dataset.id for dataset in look.seen if dataset.name == name]
    return found[0] if len(found) == 1 else None
