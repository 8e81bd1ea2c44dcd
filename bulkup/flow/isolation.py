"""Cutting a chunk that the service refused: into smaller ones, or around the rows at fault.

Children stand for their parent from one transaction on. On a service where each request makes a dataset, each child is one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence, Set
from contextlib import aclosing
from math import ceil, log2

from bulkup.chunk import Chunk, ChunkId, ChunkState
from bulkup.doubt.naming import widest_name
from bulkup.flow.context import PlannedLane, SendingRound
from bulkup.flow.draft import Drafted, Keep, Placed
from bulkup.flow.prepared import Prepared, changed, listed
from bulkup.flow.reject_lines import reject_lines
from bulkup.flow.tiling import Limits
from bulkup.light_dataclass import dataclass, replace
from bulkup.model import Block, Reject, Stage
from bulkup.outcome import RowsRefused, TooLarge

__all__ = ["IsolationBudget", "Splitter"]

_KEEP = Keep(encoded=True, raw=True)


@dataclass(slots=True)
class IsolationBudget:
    """How many more requests the pieces of one chunk may cost in search of the rows at fault."""

    requests: int


class Splitter:
    """Cuts refused chunks of one lane and sets rows aside."""

    def __init__(self, planned: PlannedLane, sending: SendingRound) -> None:
        self._planned = planned
        self._lane = lane = planned.lane
        self._round = sending
        self._chunker = planned.chunker
        self._journal = lane.journal
        self._destination = lane.destination
        self._source = lane.source

    def budget(self, rows: int) -> IsolationBudget:
        """What the isolation of bad rows may cost for a chunk of *rows* rows: 2·log2(n) requests for each of a few rows."""
        return IsolationBudget(self._destination.policy.bad_rows * 2 * ceil(log2(max(2, rows))))

    async def split(
        self, prepared: Prepared, refusal: TooLarge | RowsRefused, max_body_bytes: int, budget: IsolationBudget
    ) -> list[Prepared]:
        """The chunks that now stand for *prepared*, in order. Empty where all of its rows were set aside."""
        chunk = prepared.chunk
        cuts = await self._chunker.cuts(prepared.items, chunk.rows)
        if len(cuts) <= 1:  # what one row of the source has become stays together
            await self.set_aside(prepared, refusal.reason)
            return []
        if isinstance(refusal, TooLarge):
            return await self._smaller(prepared, refusal, max_body_bytes)
        bad = [row for row in refusal.rows if row < chunk.rows]
        if bad:
            return await self._around(prepared, _with_their_line(bad, cuts, chunk.rows), refusal.reason, budget)
        if budget.requests < 2:
            await self.set_aside(prepared, refusal.reason)
            return []
        budget.requests -= 2
        middle = cuts[min(bisect_left(cuts, chunk.rows // 2), len(cuts) - 1)]
        return await self._replace(prepared, await self._cut_before(prepared, [middle]), refusal.reason)

    async def set_aside(self, prepared: Prepared, reason: str) -> None:
        """Every row of the chunk becomes a rejected row with the service's words. Several together were not tried alone."""
        draft = await self._chunker.whole(prepared.items, Keep(encoded=False, raw=True))
        self._see_the_same(prepared.chunk, [draft])
        rejects = reject_lines(self._lane, await self._refused_rows(draft, reason), isolated=prepared.chunk.rows == 1)
        await self._journal.refused(prepared.chunk.id, reason, rejects)
        self._moved(prepared.chunk, [_refused(prepared.chunk)])

    async def _smaller(self, prepared: Prepared, refusal: TooLarge, max_body_bytes: int) -> list[Prepared]:
        chunk = prepared.chunk
        envelope_bytes = self._planned.envelope_bytes(widest_name(self._destination.dataset_name))
        limits = self._planned.plan.limits(envelope_bytes=envelope_bytes, max_body_bytes=max_body_bytes)
        half = Limits(min(limits.body_bytes, -(-chunk.body_bytes // 2)), limits.rows)
        parts = self._chunker.parts(prepared.items, _KEEP, half, body_bytes=chunk.body_bytes, rows=chunk.rows)
        async with aclosing(parts):
            drafts = [draft async for draft in parts]
        return await self._replace(prepared, drafts, refusal.reason)

    async def _around(
        self, prepared: Prepared, bad: Sequence[int], reason: str, budget: IsolationBudget
    ) -> list[Prepared]:
        """Children between the bad rows, the largest as far as the budget goes; the rest of the rows are rejected rows."""
        at_fault = set(bad)
        edges = sorted(
            edge
            for edge in {edge for row in bad for edge in (row, row + 1)}
            if 0 < edge < prepared.chunk.rows and (edge in at_fault) != (edge - 1 in at_fault)
        )
        drafts = await self._cut_before(prepared, edges)
        named = {place for place, first in enumerate([0, *edges]) if first in at_fault}
        good = sorted(set(range(len(drafts))) - named, key=lambda place: -drafts[place].rows)
        not_tried = set(good[budget.requests :])
        budget.requests -= min(len(good), budget.requests)
        return await self._replace(prepared, drafts, reason, named=named, not_tried=not_tried)

    async def _cut_before(self, prepared: Prepared, rows: Sequence[int]) -> list[Drafted]:
        drafts = self._chunker.cut_before(prepared.items, _KEEP, rows)
        async with aclosing(drafts):
            return [draft async for draft in drafts]

    async def _replace(
        self,
        parent: Prepared,
        drafts: Sequence[Drafted],
        reason: str,
        *,
        named: Set[int] = frozenset(),
        not_tried: Set[int] = frozenset(),
    ) -> list[Prepared]:
        """*drafts* as children of *parent*. Those at the places *named* are set aside, since the service named their rows; those
        *not_tried* are too, since the budget ended before they could be tried without these."""
        self._see_the_same(parent.chunk, drafts)
        first = await self._round.numbers.take(parent.chunk.id.tile, len(drafts))
        rejects = b""
        made: list[tuple[Chunk, Drafted]] = []
        for place, draft in enumerate(drafts):
            id_ = ChunkId(parent.chunk.id.lane, parent.chunk.id.tile, first + place)
            child = draft.chunk(id_, self._name(id_, draft.rows_hash))
            if place in named or place in not_tried:
                rejects += reject_lines(self._lane, await self._refused_rows(draft, reason), isolated=place in named)
                child = _refused(child)
            made.append((child, draft))
        children = [child for child, _ in made]
        await self._journal.replace(parent.chunk.id, children, reason, rejects)
        self._moved(parent.chunk, children)
        return [
            Prepared(child, listed(draft.raw), 0, self._round.executors.hold(draft.encoded), draft.raw)
            for child, draft in made
            if child.state is ChunkState.PLANNED
        ]

    def _see_the_same(self, chunk: Chunk, drafts: Sequence[Drafted]) -> None:
        """Raise `SourceChanged` where *drafts* are not the rows that were planned as *chunk*: a function may give others now."""
        if sum(draft.rows for draft in drafts) != chunk.rows:
            raise changed(chunk, function=self._planned.plan.rows.function)

    def _moved(self, parent: Chunk, children: Sequence[Chunk]) -> None:
        totals = self._lane.tally.totals
        totals.move(parent, ChunkState.PLANNED, ChunkState.SPLIT)
        for child in children:
            totals.move(child, None, child.state)
        self._round.rules.check_rejects()

    def _name(self, chunk: ChunkId, rows_hash: bytes) -> str:
        return self._destination.policy.chunk_name(self._destination.dataset_name, chunk, rows_hash, is_family=True)

    async def _refused_rows(self, draft: Drafted, reason: str) -> list[Placed]:
        """The good rows of *draft* (which holds them as read) as rejected rows of the service's."""
        found: list[Placed] = []
        lines: dict[int, int] = {}
        for item in draft.raw:
            file, _ = self._chunker.place(item.start)
            before = lines.get(file, 0)
            if not isinstance(item, Block):
                lines[file] = before + 1
                continue
            made = await self._chunker.encode_lines(item)
            lines[file] = before + len(made)
            for number, line in enumerate(made):
                for row in line.rows:
                    if row.body is not None:
                        reject = Reject(
                            row.position, number, Stage.SERVER, None, reason, row.row, len(row.row), part=row.part
                        )
                        found.append(Placed(reject, file, before + reject.line))
        return found


def _with_their_line(rows: Sequence[int], cuts: Sequence[int], count: int) -> list[int]:
    """*rows*, and the others that were made of the same rows of the source. *cuts* are where those begin, *count* is the end."""
    if isinstance(cuts, range):
        return list(rows)
    found: set[int] = set()
    for row in rows:
        place = bisect_right(cuts, row)
        found.update(range(cuts[place - 1], cuts[place] if place < len(cuts) else count))
    return sorted(found)


def _refused(chunk: Chunk) -> Chunk:
    return replace(chunk, state=ChunkState.REFUSED, rows=0, rejected=chunk.rejected + chunk.rows)
