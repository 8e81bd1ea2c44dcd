"""Settling one lane's doubts: looks, verdicts, and what follows from them in the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence, Set
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from math import inf
from typing import assert_never

from anyio import CancelScope, create_task_group

from bulkup.chunk import FAILED_ONCE, Chunk, ChunkState
from bulkup.destinations.base import ReadBackUnavailable, StoredRow
from bulkup.errors import as_one_error
from bulkup.flow.clock import Clock
from bulkup.flow.context import PlannedLane
from bulkup.flow.looking import dated_look, expect_datasets, row_pages
from bulkup.journal import LaneJournal, every_ids, landed_without_ids
from bulkup.journal.facts import FAILED_DATASETS, REFUSALS_STORE_NOTHING, SURVEY
from bulkup.model import Block
from bulkup.outcome import RemoteStatus
from bulkup.settlement import (
    PATIENCE_QUIET_PERIODS,
    Absent,
    Doubt,
    FailedThere,
    Held,
    Known,
    Look,
    Match,
    NotYet,
    PageBack,
    Present,
    Verdict,
    judge_by_rows,
    judge_rest,
    wait_or_hold,
)

__all__ = ["Audit", "Settler", "count_out"]

ROWS_HELD = 500_000
"""How many rows one settlement may read back: they are held in memory."""

MIN_WAIT_S = 0.01


@dataclass(frozen=True, slots=True)
class Audit:
    """What a last look came to: *late* says what is wrong; *unseen* why there was no look to be had. Both None: all is well."""

    late: str | None = None
    unseen: str | None = None


class Settler:
    """Decides what became of one lane's chunks in doubt. Its requests take slots like any other."""

    def __init__(self, planned: PlannedLane, on_present: Callable[[], None]) -> None:
        """*on_present* is called for each chunk that turns out to be there."""
        self._planned = planned
        self._lane = lane = planned.lane
        self._on_present = on_present
        self._destination = lane.destination
        self._policy = lane.destination.policy
        self._journal = lane.journal
        self._requests = lane.requests
        self._halt = lane.halt
        self._tally = lane.tally
        self._clock = lane.clock
        self._quiet_s = lane.chosen.run.settle_after_s

    async def settle(self, *, patience_s: float = inf) -> None:
        """Settle what can be settled within *patience_s* seconds. What is not stored is planned again.

        What needs longer stays in doubt for the next time: something may have landed by then that decides it. Nothing may be
        in flight meanwhile.
        """
        deadline = self._clock.unix() + patience_s
        page_backs = self._tally.page_backs
        looks: list[Look] = []
        resendable = held = landed = 0
        while chunks := await self._journal.open_chunks(ChunkState.IN_DOUBT):
            looks.append(await self._polled(await self._look(), {chunk.name for chunk in chunks}))
            verdicts = await self._judge(chunks, looks)
            by_id = {chunk.id: chunk for chunk in chunks}
            for verdict in verdicts:
                await self._carry_out(by_id[verdict.chunk], verdict)
            resendable += sum(isinstance(v, Absent | FailedThere) for v in verdicts)
            landed += sum(isinstance(v, Present) for v in verdicts)
            held = sum(isinstance(v, Held) for v in verdicts)
            waits = [v for v in verdicts if isinstance(v, NotYet) and v.at <= deadline]
            if not waits:
                break
            await self._wait(waits)
        if looks:
            paged = ", rows paged back" if self._tally.page_backs > page_backs else ""
            self._lane.say(
                f"settled doubts with {len(looks)} looks{paged}: {landed} had landed, {resendable} had not and go again, "
                f"{held} held"
            )

    async def audit(self) -> Audit:
        """What a last look shows of chunks that were called absent and sent again: whether each is there once.

        Source: the design's rule that a late arrival is found and its rows named, never silent.
        """
        again = await self._journal.called_absent()
        known = await self._known()
        if not again:
            return Audit()
        if known is None:
            return _unseen(again, "what the destination held before the run could not be seen")
        look = await self._whole_look(known)
        if look.unavailable is not None:
            return _unseen(again, look.unavailable)
        doubts = await self._journal.open_chunks(ChunkState.IN_DOUBT)
        return Audit(late=self._policy.trouble(look, known, again, doubts))

    async def _whole_look(self, known: Known) -> Look:
        """A look that shows all that has landed, a quiet period or more after the last of it; the last one, if none does."""
        for _ in range(PATIENCE_QUIET_PERIODS):
            await self._halt.unless_halted(lambda: self._clock.sleep(max(MIN_WAIT_S, self._quiet_s)))
            look = await self._look()
            if look.unavailable is not None or self._policy.shows_all(look, known):
                break
        return look

    async def _judge(self, chunks: Sequence[Chunk], looks: Sequence[Look]) -> list[Verdict]:
        doubts = [_doubt(chunk, self._clock) for chunk in chunks]
        known = await self._known()
        if known is None:
            return [Held(d.chunk, "what the destination held before the run could not be seen") for d in doubts]
        matches = await self._matches(self._policy.to_compare(chunks, looks[-1], known))
        judged = self._policy.judge(doubts, looks, known, matches, self._quiet_s)
        if isinstance(judged, PageBack):
            return await self._by_rows(judged, chunks, looks, known)
        return judged

    async def _polled(self, look: Look, names: set[str]) -> Look:
        """*look* with the latest status of what it shows as PENDING under *names*: a list may say so for longer than it is."""
        seen = []
        for dataset in look.seen:
            status = dataset.status
            if status == RemoteStatus.PENDING and dataset.name in names:
                with suppress(ReadBackUnavailable):
                    status = await self._destination.poll(self._requests.ask, dataset.id)
            seen.append(replace(dataset, status=status))
        return replace(look, seen=tuple(seen))

    async def _matches(self, pairs: Sequence[tuple[Chunk, str]]) -> dict[str, Match]:
        """Whether each of the datasets holds the chunk that it is paired with, by the datasets' ids."""
        found: dict[str, Match] = {}

        async def match(chunk: Chunk, dataset_id: str) -> None:
            found[dataset_id] = await self._match(chunk, dataset_id)

        with as_one_error():
            async with create_task_group() as tasks:  # as many at a time as there are slots
                for chunk, dataset_id in pairs:
                    tasks.start_soon(match, chunk, dataset_id)
        return found

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

    async def _by_rows(
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
        self._tally.page_backs += 1
        explained = await self._explained({row.id for row in stored})
        unexplained = Counter(row.key for row in stored if row.id not in explained.ids)
        unexplained.subtract(explained.rows)
        contents = {chunk.id: await self._content(chunk) for chunk in chunks}
        present = judge_by_rows(page_back.doubts, contents, +unexplained, known)
        if present is None:
            return _all_held(page_back, "and the rows read back do not tell which")
        return judge_rest(page_back.doubts, present, looks, known, self._quiet_s)

    async def _read_back(self, dataset_id: str, at_most: int, row_bytes: int) -> list[StoredRow]:
        """The dataset's rows; where there are more than *at_most*, as many as show it. Raises `ReadBackUnavailable`."""
        rows: list[StoredRow] = []
        pages = row_pages(self._requests.ask, self._destination, dataset_id, row_bytes=row_bytes, at_most=at_most)
        async for page in pages:
            rows += page
        return rows

    async def _content(self, chunk: Chunk) -> Counter[bytes]:
        """The rows of a chunk, read from the source again."""
        found: Counter[bytes] = Counter()
        cursor = self._lane.source.cursor()
        try:
            async with aclosing(cursor.read(chunk.start, chunk.stop)) as items:
                async for item in items:
                    if isinstance(item, Block):
                        rows = [row.body for row in self._planned.chunker.encode_rows(item) if row.body is not None]
                        found.update(map(self._destination.row_key, rows))
        finally:
            await cursor.aclose()
        return found

    async def _explained(self, stored: Set[str | int | None]) -> Explained:
        """What accounts for rows that are there, under the ids *stored*: the ids of landed chunks, and the rows of those that have
        none."""
        ids: set[str | int] = set()
        async for line in every_ids(self._journal):
            ids.update(id_ for id_ in line.ids if id_ in stored)
        rows: Counter[bytes] = Counter()
        async for chunk in landed_without_ids(self._journal):
            rows.update(await self._content(chunk))
        return Explained(ids, rows)

    async def _known(self) -> Known | None:
        survey = await self._journal.fact(SURVEY)
        if survey is None or survey.unavailable is not None:
            return None
        others = await self._lane.others(survey.at)
        totals, failed = await self._journal.totals(), await self._journal.fact(FAILED_DATASETS)
        return Known(
            before=survey.ids.union(failed),
            base_rows=survey.rows + others.rows,
            landed=await self._journal.landings(),
            landed_rows=totals.rows_landed,
            unclear=others.unclear,
        )

    async def _look(self) -> Look:
        made = self._tally.totals.chunks + self._tally.requests
        expect_datasets(self._destination, await self._journal.fact(SURVEY), made)
        return await dated_look(self._requests.ask, self._destination, self._clock)

    async def _wait(self, waits: Sequence[NotYet]) -> None:
        until = min(wait.at for wait in waits)
        self._requests.pacing.waiting_for_evidence = waits[0].why
        try:
            await self._halt.unless_halted(lambda: self._clock.sleep(max(MIN_WAIT_S, until - self._clock.unix())))
        finally:
            self._requests.pacing.waiting_for_evidence = ""

    async def _carry_out(self, chunk: Chunk, verdict: Verdict) -> None:
        with CancelScope(shield=True):  # journal and totals must not part when the lane ends in between
            await self._follow(chunk, verdict)

    async def _follow(self, chunk: Chunk, verdict: Verdict) -> None:
        totals = self._tally.totals
        match verdict:
            case Present(_, remote_id):
                await self._journal.landed(chunk.id, remote_id, evidence=self._policy.evidence)
                totals.move(chunk, ChunkState.IN_DOUBT, ChunkState.LANDED)
                self._tally.rows_landed += chunk.rows
                self._on_present()
            case Absent() if chunk.was_answered:
                await self._journal.set_fact(REFUSALS_STORE_NOTHING, True)
                await self._journal.plan_again(chunk.id)
                totals.move(chunk, ChunkState.IN_DOUBT, ChunkState.PLANNED)
            case Absent():
                await self._journal.absent(chunk.id)
                totals.move(chunk, ChunkState.IN_DOUBT, ChunkState.PLANNED)
            case FailedThere(_, remote_id):
                await count_out(self._journal, remote_id)
                await self._journal.plan_again(chunk.id, FAILED_ONCE)
                totals.move(chunk, ChunkState.IN_DOUBT, ChunkState.PLANNED)
            case Held(_, why):
                await self._journal.held(chunk.id, why)
            case NotYet():
                pass
            case _:
                assert_never(verdict)


@dataclass(frozen=True, slots=True)
class Explained:
    """Ids of rows that landed chunks account for, and the contents of landed rows whose ids are not known."""

    ids: Set[str | int]
    rows: Counter[bytes]


def _doubt(chunk: Chunk, clock: Clock) -> Doubt:
    return Doubt(chunk.id, chunk.name, chunk.rows, clock.sent_at(chunk.last_byte_at), chunk.was_answered)


def _all_held(page_back: PageBack, why: str) -> list[Verdict]:
    return [Held(doubt.chunk, f"{page_back.why}, {why}") for doubt in page_back.doubts]


async def count_out(journal: LaneJournal, remote_id: str) -> None:
    """The service failed on this dataset: from now on it is none of ours, lest it pass for the next attempt's."""
    known = await journal.fact(FAILED_DATASETS)
    if remote_id not in known:
        await journal.set_fact(FAILED_DATASETS, (*known, remote_id))


def _unseen(again: Sequence[Chunk], why: str) -> Audit:
    return Audit(
        unseen=f"whether each chunk that was sent again ({len(again):,} in all) is there once could not be looked up in the end "
        f"({why}); the same command looks again"
    )
