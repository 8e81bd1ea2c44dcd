"""Settling one lane's doubts: looks, verdicts, and what follows from them in the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import NoReturn, TypeVar, assert_never

from bulkup.chunk import FAILED_ONCE, Chunk, ChunkState, Evidence
from bulkup.destinations.seam import Destination, LookFailed, ReadBackUnavailable, Settles, StoredRow
from bulkup.errors import ExitCode
from bulkup.flow.chunker import Chunker
from bulkup.flow.clock import Clock
from bulkup.flow.halt import Halt, Halted, Reason
from bulkup.flow.plan import LanePlan
from bulkup.flow.tally import Tally
from bulkup.journal import LaneJournal
from bulkup.model import Block
from bulkup.outcome import CloseGate, RemoteStatus, StopLane, TokenRejected, TryAgain
from bulkup.pacing import Pacing, Patience, full_jitter_s
from bulkup.settlement import (
    Absent,
    Doubt,
    FailedThere,
    Held,
    Look,
    Match,
    NotYet,
    PageBack,
    Present,
    Verdict,
    World,
    judge_by_count,
    judge_by_name,
    judge_by_rows,
    judge_rest,
)
from bulkup.sources import Source

__all__ = ["REFUSALS_STORE_NOTHING", "Settler"]

PAGES = 500
"""How many pages of rows one settlement may read back."""

MIN_WAIT_S = 0.01

REFUSALS_STORE_NOTHING = "refusals store nothing"
"""The fact that a refusal whose effect was open has been seen to store nothing at this service."""

T = TypeVar("T")


class Settler:
    """Decides what became of one lane's chunks in doubt. Its requests take slots like any other."""

    def __init__(
        self,
        *,
        destination: Destination,
        plan: LanePlan,
        journal: LaneJournal,
        source: Source,
        chunker: Chunker,
        pacing: Pacing,
        patience: Patience,
        halt: Halt,
        tally: Tally,
        clock: Clock,
        quiet_s: float,
        on_present: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._destination = destination
        self._plan = plan
        self._journal = journal
        self._source = source
        self._chunker = chunker
        self._pacing = pacing
        self._patience = patience
        self._halt = halt
        self._tally = tally
        self._clock = clock
        self._quiet_s = quiet_s
        self._on_present = on_present
        self._say = say

    async def settle(self, *, patience_s: float = inf) -> None:
        """Settle what can be settled within *patience_s* seconds. What is not stored is planned again.

        What needs longer stays in doubt for the next time: something may have landed by then that decides it. Nothing may be
        in flight meanwhile.
        """
        deadline = self._clock.unix() + patience_s
        looks: list[Look] = []
        resendable = held = landed = 0
        while chunks := await self._journal.open_chunks(ChunkState.IN_DOUBT):
            looks.append(await self._look())
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
            self._tally.settlements += 1
            self._say(
                f"settled doubts with {len(looks)} looks: {landed} had landed, {resendable} had not and go again, {held} held"
            )

    async def audit(self) -> str | None:
        """What a last look shows of chunks that were called absent and sent again: None if each is there once, else what is wrong.

        Source: the design's rule that a late arrival is found and its rows named, never silent.
        """
        again = await self._journal.called_absent()
        if not again:
            return None
        look = await self._look()
        if look.unavailable is not None:
            return None
        world = await self._world()
        if world is None:
            return None
        if self._destination.capabilities.settles is Settles.BY_NAME:
            doubled = [
                chunk
                for chunk in again
                if sum(d.name == chunk.name and d.id not in world.before and d.status != "FAILED" for d in look.seen)
                > 1
            ]
            return _late(doubled) if doubled else None
        surplus = look.rows - world.base_rows - world.landed_rows
        return _late([c for c in again if c.rows == surplus] or again, surplus) if surplus > 0 else None

    async def _judge(self, chunks: Sequence[Chunk], looks: Sequence[Look]) -> list[Verdict]:
        doubts = [_doubt(chunk) for chunk in chunks]
        world = await self._world()
        if world is None:
            return [Held(d.chunk, "what the destination held before the run could not be seen") for d in doubts]
        if self._destination.capabilities.settles is Settles.BY_NAME:
            matches = await self._matches(chunks, looks[-1], world)
            return judge_by_name(doubts, looks, world, matches, self._quiet_s)
        judged = judge_by_count(doubts, looks, world, self._quiet_s)
        if isinstance(judged, PageBack):
            return await self._by_rows(judged, chunks, looks, world)
        return judged

    async def _matches(self, chunks: Sequence[Chunk], look: Look, world: World) -> dict[str, Match]:
        """For each dataset seen under a doubtful chunk's name, whether it holds that chunk."""
        found = {}
        for chunk in chunks:
            for dataset in look.seen:
                if dataset.name != chunk.name or dataset.id in world.before or dataset.id in world.landed:
                    continue
                if dataset.status != RemoteStatus.READY:
                    continue
                found[dataset.id] = await self._ask(
                    partial(self._destination.match, dataset.id, rows=chunk.rows, plan=self._plan.rows)
                )
                if found[dataset.id] is Match.SAME and chunk.name == self._destination.dataset_name:
                    found[dataset.id] = await self._same_content(chunk, dataset.id)
        return found

    async def _same_content(self, chunk: Chunk, dataset_id: str) -> Match:
        """A bare NAME carries no hash, so the rows themselves are compared."""
        try:
            stored, _ = await self._read_back(dataset_id)
        except ReadBackUnavailable:
            return Match.UNKNOWN
        return Match.SAME if Counter(row.key for row in stored) == await self._content(chunk) else Match.OTHER

    async def _by_rows(
        self, page_back: PageBack, chunks: Sequence[Chunk], looks: Sequence[Look], world: World
    ) -> list[Verdict]:
        """The rows themselves tell which of the doubts are there."""
        dataset_id = looks[-1].seen[0].id
        try:
            stored, is_whole = await self._read_back(dataset_id)
        except ReadBackUnavailable as unavailable:
            return _all_held(page_back, f"and the rows cannot be read back: {unavailable}")
        if not is_whole:
            return _all_held(page_back, f"and reading the rows back takes more than {PAGES:,} pages")
        self._tally.page_backs += 1
        explained = await self._explained()
        unexplained = Counter(row.key for row in stored if row.id not in explained.ids)
        unexplained.subtract(explained.rows)
        contents = {chunk.id: await self._content(chunk) for chunk in chunks}
        present = judge_by_rows(page_back.doubts, contents, +unexplained, world)
        if present is None:
            return _all_held(page_back, "and the rows read back do not tell which")
        return judge_rest(page_back.doubts, present, dataset_id, looks, world, self._quiet_s)

    async def _read_back(self, dataset_id: str) -> tuple[list[StoredRow], bool]:
        """The dataset's rows, and whether these are all of them."""
        rows: list[StoredRow] = []
        for number in range(PAGES):
            page = await self._ask(partial(self._destination.read_rows, dataset_id, number))
            if not page:
                return rows, True
            rows += page
        return rows, False

    async def _content(self, chunk: Chunk) -> Counter[bytes]:
        """The rows of a chunk, read from the source again."""
        found: Counter[bytes] = Counter()
        cursor = self._source.cursor()
        try:
            async with aclosing(cursor.read(chunk.start, chunk.stop)) as items:
                async for item in items:
                    if isinstance(item, Block):
                        rows = [row.body for row in self._chunker.encode_rows(item) if row.body is not None]
                        found.update(map(self._destination.row_key, rows))
        finally:
            await cursor.aclose()
        return found

    async def _explained(self) -> Explained:
        """What accounts for rows that are there: the ids of landed chunks, and the rows of those that have none."""
        ids, without = await self._journal.landed_ids()
        rows: Counter[bytes] = Counter()
        for chunk in without:
            rows.update(await self._content(chunk))
        return Explained(ids, rows)

    async def _world(self) -> World | None:
        survey = await self._journal.fact("survey")
        if survey is None or survey["unavailable"] is not None:
            return None
        totals = await self._journal.totals()
        return World(
            before=frozenset(id_ for id_, _, _ in survey["found"]),
            base_rows=sum(rows or 0 for _, _, rows in survey["found"]),
            landed=await self._journal.landings(),
            landed_rows=totals.rows_landed,
        )

    async def _look(self) -> Look:
        return await self._ask(self._destination.look)

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """The answer, however often it takes. Each attempt takes a slot. Stops the lane where patience ends."""
        failures = 0
        while True:
            await self._halt.unless_halted(lambda: self._pacing.enter(rows=0, size=0))
            token = self._destination.token.current
            try:
                return await question()
            except LookFailed as failed:
                failures += 1
                outcome = failed.outcome
            finally:
                self._pacing.leave()
            wait_s = full_jitter_s(failures, self._clock.uniform)
            match outcome:
                case CloseGate(reason, ordered_s):
                    wait_s = wait_s if ordered_s is None else ordered_s
                    self._pacing.gate.close(wait_s, reason)
                    if ordered_s is not None:
                        self._patience.ordered_wait(self._clock.monotonic() + ordered_s)
                case TokenRejected(reason):
                    if await self._destination.token.renew(token):
                        continue
                    self._stop(f"the service does not take the token ({reason})", ExitCode.NO_PERMISSION)
                case StopLane(reason, exit_code):
                    self._stop(reason, exit_code)
                case TryAgain():
                    pass
                case _:
                    assert_never(outcome)
            if self._patience.is_over(self._clock.monotonic()):
                self._stop(f"the service could not be asked for too long: {outcome.reason}", ExitCode.TRY_LATER)
            await self._halt.unless_halted(partial(self._clock.sleep, wait_s))

    def _stop(self, text: str, exit_code: ExitCode) -> NoReturn:
        self._halt.set(Reason(text, exit_code))
        raise Halted

    async def _wait(self, waits: Sequence[NotYet]) -> None:
        until = min(wait.at for wait in waits)
        self._pacing.waiting_for_evidence = waits[0].why
        try:
            await self._halt.unless_halted(lambda: self._clock.sleep(max(MIN_WAIT_S, until - self._clock.unix())))
        finally:
            self._pacing.waiting_for_evidence = ""

    async def _carry_out(self, chunk: Chunk, verdict: Verdict) -> None:
        totals = self._tally.totals
        match verdict:
            case Present(_, remote_id):
                evidence = (
                    Evidence.READ_BACK if self._destination.capabilities.settles is Settles.BY_NAME else Evidence.COUNT
                )
                await self._journal.landed(chunk.id, remote_id, evidence=evidence, at=chunk.last_byte_at or 0.0)
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
            case FailedThere():
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

    ids: frozenset[str | int]
    rows: Counter[bytes]


def _doubt(chunk: Chunk) -> Doubt:
    return Doubt(chunk.id, chunk.name, chunk.rows, chunk.last_byte_at or 0.0, chunk.was_answered)


def _all_held(page_back: PageBack, why: str) -> list[Verdict]:
    return [Held(doubt.chunk, f"{page_back.why}, {why}") for doubt in page_back.doubts]


def _late(chunks: Sequence[Chunk], surplus: int | None = None) -> str:
    named = ", ".join(f"chunk {c.id} (file {c.file}, byte {c.byte_offset:,}, {c.rows:,} rows)" for c in chunks[:5])
    more = f" and {len(chunks) - 5} more" if len(chunks) > 5 else ""
    number = "" if surplus is None else f"{surplus:,} rows too many: "
    return f"{number}stored late, after it had been sent again, so its rows are there twice: {named}{more}"
