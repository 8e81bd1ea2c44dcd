"""What each thing that a journal is told makes of a chunk, of the totals, and of what is asked later: on disk and in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence, TileSpan, Totals
from bulkup.errors import JournalUnusable
from bulkup.journal import (
    Journal,
    LaneJournal,
    SqliteJournal,
    every_chunk,
    every_ids,
    landed_without_ids,
    memory,
    queries,
    sqlite,
)
from bulkup.journal.base import BY_A_PERSON, LOST
from bulkup.journal.facts import DECISIONS, PLANNED_WHOLE, SURVEY, Decided, LaneFact, RunFact, Survey
from bulkup.journal.memory import MemoryJournal
from bulkup.journal.postgres import keeper, questions
from bulkup.journal.postgres.keeper import PostgresJournal
from bulkup.journal.postgres.wanted import Wanted
from tests.flow.rig import scratch_dir
from tests.journal.chunks import LANE, NUMBERS, chunk, ids_line
from tests.journal.postgres_server import postgres_server, unique

ONE = chunk(0)
SENDING = replace(ONE, state=ChunkState.SENDING, attempts=1, last_byte_at=5.0)
DOUBT = replace(SENDING, state=ChunkState.IN_DOUBT, reason="lost", last_byte_at=6.0)


@pytest.fixture(params=["on disk", "in memory", "in PostgreSQL"])
async def journal(request: pytest.FixtureRequest) -> AsyncIterator[Journal]:
    with scratch_dir() as scratch:
        opened = _opened(request.param, Path(scratch))
        yield opened
        opened.close()


def _opened(kind: str, folder: Path) -> Journal:
    match kind:
        case "on disk":
            return SqliteJournal.open(folder, create=True)
        case "in memory":
            return MemoryJournal()
        case _:
            return PostgresJournal.open(postgres_server().address(), folder, unique(), Wanted())


@pytest.fixture
def lane(journal: Journal) -> LaneJournal:
    """With another lane beside it, which holds chunks of the same numbers and is never touched."""
    return journal.lane(LANE)


OTHER = "another"


async def beside(journal: Journal) -> None:
    """What another lane holds: nothing of it may be seen or changed."""
    other = journal.lane(OTHER)
    await other.plan([chunk(0, lane=OTHER), chunk(7, 5, lane=OTHER)], tiles=[TileSpan(n, n, n + 1) for n in range(9)])
    await other.sending(chunk(7, 5, lane=OTHER).id, 99.0)
    await other.landed(chunk(7, 5, lane=OTHER).id, "of-another", evidence=Evidence.ANSWER)


async def stored(lane: LaneJournal, number: int = 0, child: int = 0) -> Chunk | None:
    return await lane.chunk(number, child)


async def doubt(lane: LaneJournal, number: int = 0, at: float = 5.0) -> None:
    await lane.sending(chunk(number).id, at)
    await lane.in_doubt(chunk(number).id, "lost", at + 1)


Told = Callable[[LaneJournal], Awaitable[object]]

CHANGES: dict[str, tuple[Chunk, Told, Chunk]] = {
    "planned": (ONE, lambda lane: lane.fact(NUMBERS[0]), ONE),
    "sending": (ONE, lambda lane: lane.sending(ONE.id, 7.0), replace(SENDING, last_byte_at=7.0)),
    "sending again": (
        replace(DOUBT, was_answered=True),
        lambda lane: lane.sending(ONE.id, 7.0),
        replace(DOUBT, state=ChunkState.SENDING, attempts=2, last_byte_at=7.0),
    ),
    "planned again": (DOUBT, lambda lane: lane.plan_again(ONE.id, "why"), replace(DOUBT, state=ChunkState.PLANNED, reason="why")),
    "planned again without a reason": (
        DOUBT,
        lambda lane: lane.plan_again(ONE.id),
        replace(DOUBT, state=ChunkState.PLANNED, reason=None),
    ),
    "answered": (
        SENDING,
        lambda lane: lane.answered(ONE.id, "ds"),
        replace(SENDING, state=ChunkState.ANSWERED, remote_id="ds"),
    ),
    "landed by its answer": (
        DOUBT,
        lambda lane: lane.landed(ONE.id, "ds", evidence=Evidence.ANSWER),
        replace(DOUBT, state=ChunkState.LANDED, remote_id="ds", evidence=Evidence.ANSWER, reason=None),
    ),
    "landed by a look": (
        DOUBT,
        lambda lane: lane.landed(ONE.id, "ds", evidence=Evidence.READ_BACK),
        replace(DOUBT, state=ChunkState.LANDED, remote_id="ds", evidence=Evidence.READ_BACK, reason=None),
    ),
    "in doubt": (SENDING, lambda lane: lane.in_doubt(ONE.id, "lost", 6.0), DOUBT),
    "in doubt though it was answered": (
        SENDING,
        lambda lane: lane.in_doubt(ONE.id, "lost", 6.0, was_answered=True),
        replace(DOUBT, was_answered=True),
    ),
    "in doubt anew, without an answer": (
        replace(DOUBT, was_answered=True),
        lambda lane: lane.in_doubt(ONE.id, "again", 9.0),
        replace(DOUBT, reason="again", last_byte_at=9.0),
    ),
    "absent": (
        replace(DOUBT, absences=1),
        lambda lane: lane.absent(ONE.id),
        replace(DOUBT, state=ChunkState.PLANNED, reason=None, absences=2),
    ),
    "held": (DOUBT, lambda lane: lane.held(ONE.id, "numbers"), replace(DOUBT, reason="numbers")),
    "landed by a person": (
        DOUBT,
        lambda lane: lane.landed_by_a_person(ONE.id, "ds", 8.0),
        replace(DOUBT, state=ChunkState.LANDED, remote_id="ds", evidence=Evidence.PERSON, reason=BY_A_PERSON),
    ),
    "absent by a person": (
        DOUBT,
        lambda lane: lane.absent_by_a_person(ONE.id, 8.0),
        replace(DOUBT, state=ChunkState.PLANNED, reason=BY_A_PERSON, absences=1),
    ),
    "refused": (
        replace(SENDING, lines=((0, 5),), rejected=2),
        lambda lane: lane.refused(ONE.id, "why", b"{}\n"),
        replace(SENDING, lines=((0, 5),), state=ChunkState.REFUSED, rejected=5, rows=0, reason="why"),
    ),
    "split": (
        SENDING,
        lambda lane: lane.replace(ONE.id, [], "why"),
        replace(SENDING, state=ChunkState.SPLIT, reason="why"),
    ),
    "lost by a crash": (
        SENDING,
        lambda lane: lane.recover(9.0),
        replace(DOUBT, reason=LOST, last_byte_at=9.0),
    ),
    "not lost, as it was not being sent": (DOUBT, lambda lane: lane.recover(9.0), DOUBT),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
async def test_what_becomes_of_a_chunk(journal: Journal, lane: LaneJournal, what: str) -> None:
    """Of it alone: its neighbour, and another lane's chunk of the same number, stay as they are. The totals follow."""
    before, tell, after = CHANGES[what]
    neighbours = [chunk(0, 1), chunk(1)]
    await beside(journal)
    await lane.plan([before, *neighbours])
    await tell(lane)
    assert await stored(lane) == after
    assert [await stored(lane, 0, 1), await stored(lane, 1)] == neighbours
    other = journal.lane(OTHER)
    assert await other.chunk(0, 0) == chunk(0, lane=OTHER)
    totals = Totals()
    for one in (after, *neighbours):
        totals.move(one, None, one.state)
    assert await lane.totals() == totals
    assert (await other.totals()).chunks == 2


@pytest.mark.parametrize("state", [ChunkState.LANDED, ChunkState.REFUSED, ChunkState.SPLIT, ChunkState.EMPTY])
async def test_an_end_moves_nowhere(lane: LaneJournal, state: ChunkState) -> None:
    is_sent = state in (ChunkState.LANDED, ChunkState.SPLIT)
    ended = replace(ONE, state=state, rows=3 if is_sent else 0, rejected=0 if is_sent else 3)
    ended = replace(ended, remote_id="ds", evidence=Evidence.ANSWER) if state is ChunkState.LANDED else ended
    await lane.plan([ended])
    assert await stored(lane) == ended
    with pytest.raises(AssertionError, match="chunk 00000 is not open in the journal"):
        await lane.sending(ONE.id, 1.0)
    assert await lane.open_chunks(*ChunkState) == []
    assert await stored(lane) == ended


async def test_a_crash_loses_what_was_being_sent_in_its_lane(journal: Journal, lane: LaneJournal) -> None:
    await beside(journal)
    await journal.lane(OTHER).sending(chunk(0, lane=OTHER).id, 1.0)
    await lane.plan([chunk(n) for n in range(4)])
    for number in (1, 3):
        await lane.sending(chunk(number).id, 1.0)
    assert await lane.recover(9.0) == 2
    assert [c.id.tile for c in await lane.open_chunks(ChunkState.IN_DOUBT)] == [1, 3]
    assert [c.id.tile for c in await lane.open_chunks(ChunkState.PLANNED)] == [0, 2]
    assert len(await journal.lane(OTHER).open_chunks(ChunkState.SENDING)) == 1


async def test_when_what_landed_was_stored_at_the_earliest(journal: Journal, lane: LaneJournal) -> None:
    """By an answer: after its first byte. Found by a look or by a person, or told late:
    nobody knows. Of several in a dataset the last counts."""
    await lane.plan([chunk(n) for n in range(7)])
    known = [("a", Evidence.ANSWER), ("a", Evidence.ANSWER), ("b", Evidence.COUNT), ("c", Evidence.READ_BACK)]
    for number, (id_, evidence) in enumerate([*known, ("e", Evidence.KEPT_ANSWER)]):
        await lane.sending(chunk(number).id, 10.0 + number)
        await lane.landed(chunk(number).id, id_, evidence=evidence)
    for number, id_ in ((5, "d"), (6, "")):
        await doubt(lane, number)
        await lane.landed_by_a_person(chunk(number).id, id_, 1.0)
    assert await lane.landings() == {"a": 11.0, "b": 0.0, "c": 0.0, "d": 0.0, "e": 0.0}


async def test_what_people_said_stays_in_its_order(lane: LaneJournal) -> None:
    await lane.plan([chunk(0), chunk(1, 3)])
    await lane.absent_by_a_person(chunk(0).id, 5.0)
    await lane.landed_by_a_person(chunk(1, 3).id, "ds", 6.0)
    assert await lane.fact(DECISIONS) == (
        Decided("00000", "absent", 5.0),
        Decided("00001-003", "landed", 6.0),
    )


async def test_what_was_called_absent_is_kept_whatever_has_become_of_it(journal: Journal, lane: LaneJournal) -> None:
    await lane.plan([chunk(n) for n in range(4)])
    await journal.lane(OTHER).plan([chunk(9, lane=OTHER)])
    await journal.lane(OTHER).absent(chunk(9, lane=OTHER).id)
    for number in (2, 0):
        await doubt(lane, number)
        await lane.absent(chunk(number).id)
    await lane.landed(chunk(2).id, "ds", evidence=Evidence.ANSWER)
    await lane.absent_by_a_person(chunk(3).id, 1.0)
    assert await lane.absences() == 3
    assert [(c.id.tile, c.absences, c.state.value) for c in await lane.called_absent()] == [
        (0, 1, "planned"),
        (2, 1, "landed"),
        (3, 1, "planned"),
    ]


async def test_row_ids_are_those_of_what_has_landed_with_ids(journal: Journal, lane: LaneJournal) -> None:
    """And not those of another lane's chunk with that number; what landed without any is named."""
    chunks = [chunk(n) for n in range(4)]
    await lane.plan(chunks)
    other = journal.lane(OTHER)
    await other.plan([chunk(1, lane=OTHER)])
    theirs = ids_line(chunk(1, lane=OTHER), 90)
    await other.landed(chunk(1, lane=OTHER).id, "o", evidence=Evidence.ANSWER, ids=theirs)
    await lane.landed(chunks[2].id, "ds", evidence=Evidence.ANSWER, ids=ids_line(chunks[2], 7))
    await lane.landed(chunks[0].id, "ds", evidence=Evidence.ANSWER, ids=ids_line(chunks[0], 1, "two"))
    await lane.landed(chunks[1].id, "ds", evidence=Evidence.COUNT)
    found = [(line.chunk, line.position, line.ids) async for line in every_ids(lane)]
    assert found == [("00002", 2000, [7]), ("00000", 0, [1, "two"])]
    assert [str(one.id) async for one in landed_without_ids(lane)] == ["00001"]
    at = [one.ids_at async for one in every_chunk(lane)]
    assert at == [len(theirs) + len(ids_line(chunks[2], 7)), None, len(theirs), None]


async def test_ids_come_in_pages(lane: LaneJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    for kept in (sqlite, memory, keeper):
        monkeypatch.setattr(kept, "PAGE_BYTES", 400)
    chunks = [chunk(n) for n in range(20)]
    await lane.plan(chunks)
    for one in chunks:
        await lane.landed(one.id, "ds", evidence=Evidence.ANSWER, ids=ids_line(one, one.id.tile))
    first, at = await lane.page_of_ids()
    assert 1 < len(first) < 10
    assert at is not None
    assert [line.ids async for line in every_ids(lane)] == [[n] for n in range(20)]
    assert (await lane.page_of_ids(at))[0][0].ids == [len(first)]


@pytest.mark.parametrize("per_page", [1, 2, 3, 7, 100])
async def test_chunks_come_in_pages_by_position(
    lane: LaneJournal, monkeypatch: pytest.MonkeyPatch, per_page: int
) -> None:
    """Whatever order they were numbered in, the empty ones too, and a page may end within a tile."""
    for kept in (queries, memory, questions):
        monkeypatch.setattr(kept, "PAGE_CHUNKS", per_page)
    whole, cut, empty = chunk(0), chunk(1), replace(chunk(2, rows=0), stop=2000)
    pieces = [
        replace(chunk(1, child), start=start, stop=start + 2) for child, start in ((3, 1000), (1, 1002), (2, 1004))
    ]
    await lane.plan([replace(chunk(3), start=2000), whole, cut, empty])
    await lane.replace(cut.id, pieces, "cut")
    found = [str(one.id) async for one in every_chunk(lane)]
    assert found == ["00000", "00001-003", "00001-001", "00001-002", "00002", "00003"]
    assert len(await lane.page()) == min(per_page, 6)
    for one in (pieces[2], whole, pieces[0]):
        await lane.landed(one.id, "ds", evidence=Evidence.COUNT)
    assert [str(one.id) async for one in landed_without_ids(lane)] == ["00000", "00001-003", "00001-002"]


async def test_a_refusal_and_a_split_keep_what_was_rejected(lane: LaneJournal) -> None:
    await lane.plan([chunk(0), chunk(1), chunk(2)], rejects=b"planned\n")
    await lane.refused(chunk(0).id, "why", b"refused\n")
    await lane.replace(chunk(1).id, [chunk(1, 1, rows=1), chunk(1, 2, rows=2)], "cut", b"cut\n")
    await lane.replace(chunk(2).id, [chunk(2, 1)], "cut")
    assert [(c.id.tile, c.id.child) for c in await lane.open_chunks(ChunkState.PLANNED)] == [(1, 1), (1, 2), (2, 1)]
    assert await lane.totals() == replace(Totals(), lines=9, rows_rejected=3, rows_left=6, chunks=4, chunks_left=3)


async def test_numbers_are_never_used_twice(journal: Journal, lane: LaneJournal) -> None:
    await beside(journal)
    assert await lane.next_child(7) == 1
    await lane.plan([chunk(7)])
    assert await lane.next_child(7) == 1
    await lane.plan([chunk(7, 4), chunk(8, 9)])
    assert await lane.next_child(7) == 5


async def test_planning_goes_on_behind_what_is_planned(journal: Journal, lane: LaneJournal) -> None:
    await beside(journal)
    assert await lane.frontier() == (0, None)
    assert await lane.planned_to() is None
    await lane.plan([chunk(0, 1)])
    assert await lane.frontier() == (0, chunk(0, 1).stop)
    await lane.plan([chunk(1)], tiles=[TileSpan(0, 0, 1000)])
    assert await lane.frontier() == (1, chunk(1).stop)
    await lane.plan([], tiles=[TileSpan(1, 1000, 2000)])
    assert await lane.frontier() == (2, None)
    assert await lane.planned_to() == chunk(1).stop


async def test_what_the_destination_holds(journal: Journal, lane: LaneJournal) -> None:
    await beside(journal)
    await lane.plan([replace(chunk(n), name="b" if n == 0 else "a") for n in range(4)])
    for number, id_ in enumerate(["x", "y", "", "z"]):
        await lane.landed(chunk(number).id, id_, evidence=Evidence.ANSWER)
    assert await lane.remote_ids("a") == {"y", "z"}
    assert await lane.remote_ids("n-7-5") == set()


async def test_facts_are_a_lanes_or_the_runs(journal: Journal, lane: LaneJournal) -> None:
    """Under the same key, too; and what was never recorded is what stands for nothing."""
    of_lane: LaneFact[list[int]] = LaneFact("a key", list[int], [9])
    of_run: RunFact[dict[str, int]] = RunFact("a key", dict[str, int], {})
    assert (await lane.fact(of_lane), await journal.fact(of_run)) == ([9], {})
    await lane.set_fact(of_lane, [1])
    await journal.set_fact(of_run, {"a": 2})
    await lane.set_fact(of_lane, [1, 2])
    assert (await lane.fact(of_lane), await journal.fact(of_run)) == ([1, 2], {"a": 2})
    assert await journal.lane(OTHER).fact(of_lane) == [9]


async def test_a_fact_that_is_not_of_its_kind_is_told(lane: LaneJournal) -> None:
    """Only one that nothing hangs on counts as not recorded."""
    wrong: LaneFact[int] = LaneFact(PLANNED_WHOLE.key, int, 0)
    await lane.set_fact(wrong, 5)
    assert await lane.fact(replace(PLANNED_WHOLE, is_needed=False)) is False
    with pytest.raises(JournalUnusable, match="the fact 'planned whole' makes no sense"):
        await lane.fact(PLANNED_WHOLE)


@pytest.mark.parametrize("what", ["nothing", "a chunk", "a tile"])
async def test_a_journal_is_blank_until_something_is_planned(journal: Journal, lane: LaneJournal, what: str) -> None:
    await lane.set_fact(NUMBERS[0], 1)
    if what == "a chunk":
        await lane.plan([chunk(0)])
    if what == "a tile":
        await lane.plan([], tiles=[TileSpan(0, 0, 9)])
    assert await journal.is_blank() is (what == "nothing")


async def test_the_latest_time_of_all_lanes(journal: Journal, lane: LaneJournal) -> None:
    """Of anything sent, or looked at."""

    def survey(at: float) -> Survey:
        return Survey(at=at, found=(), unavailable=None, listed=0)

    assert await journal.latest_time() == 0.0
    await lane.set_fact(SURVEY, survey(5.0))
    other: LaneFact[Survey | None] = LaneFact("other", Survey, None)
    await lane.set_fact(other, survey(50.0))
    assert await journal.latest_time() == 5.0
    await lane.plan([chunk(0), chunk(1)])
    await lane.sending(chunk(1).id, 9.0)
    await lane.sending(chunk(0).id, 8.0)
    assert await journal.latest_time() == 9.0
    await journal.lane(OTHER).set_fact(SURVEY, survey(11.0))
    assert await journal.latest_time() == 11.0


def test_a_chunks_number_as_people_read_it() -> None:
    assert str(ChunkId(LANE, 7, 0)) == "00007"
    assert str(ChunkId(LANE, 123_456, 12)) == "123456-012"


COUNTED = replace(chunk(0, rows=3, blank=2, rejected=4))


@pytest.mark.parametrize(
    ("state", "rows"),
    [
        (ChunkState.LANDED, {"rows_landed": 3, "chunks_landed": 1, "bytes_landed": 21}),
        (ChunkState.IN_DOUBT, {"rows_in_doubt": 3, "chunks_in_doubt": 1}),
        (ChunkState.SENDING, {"rows_in_doubt": 3, "chunks_in_doubt": 1}),
        (ChunkState.PLANNED, {"rows_left": 3, "chunks_left": 1}),
        (ChunkState.ANSWERED, {"rows_left": 3, "chunks_left": 1}),
    ],
)
def test_what_a_state_counts_as(state: ChunkState, rows: dict[str, int]) -> None:
    """Every row is accounted for, and what moves away counts there no more."""
    totals, both = Totals(), {"lines": 9, "rows_blank": 2, "rows_rejected": 4, "chunks": 1}
    totals.move(COUNTED, None, state)
    assert totals == Totals(**both, **rows)
    assert totals.rows_read == 7
    totals.move(COUNTED, state, ChunkState.PLANNED)
    assert totals == Totals(**both, rows_left=3, chunks_left=1)
    totals.move(COUNTED, ChunkState.PLANNED, ChunkState.SPLIT)
    assert totals == Totals()


def test_what_is_refused_or_empty_has_no_good_rows() -> None:
    totals = Totals()
    for state in (ChunkState.REFUSED, ChunkState.EMPTY):
        totals.move(replace(COUNTED, rows=0), None, state)
        with pytest.raises(AssertionError, match=r"^a refused or empty chunk has no good rows$"):
            totals.move(COUNTED, None, state)
