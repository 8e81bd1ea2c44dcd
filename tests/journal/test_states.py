"""What each thing that the journal is told makes of a chunk, of the totals, and of what is asked about them later."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence, TileSpan, Totals
from bulkup.errors import JournalUnusable
from bulkup.journal import Journal, LaneJournal
from bulkup.journal.journal import BY_A_PERSON, DECISIONS
from bulkup.journal.reading import view
from bulkup.journal.records import read_chunks, to_chunk, to_row
from bulkup.receipt import RemoteEntry
from tests.flow.rig import scratch_dir
from tests.journal.chunks import LANE, chunk

ONE = chunk(0)
SENDING = replace(ONE, state=ChunkState.SENDING, attempts=1, last_byte_at=5.0)
DOUBT = replace(SENDING, state=ChunkState.IN_DOUBT, reason="lost", last_byte_at=6.0)
LOST = "the process ended while this was being sent"


@pytest.fixture
async def journal() -> AsyncIterator[Journal]:
    with scratch_dir() as scratch:
        opened = Journal.open(Path(scratch), create=True)
        yield opened
        opened.close()


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
    "planned": (ONE, lambda lane: lane.fact("anything"), ONE),
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
        replace(SENDING, rejected=2),
        lambda lane: lane.refused(ONE.id, "why", b"{}\n"),
        replace(SENDING, state=ChunkState.REFUSED, rejected=5, rows=0, reason="why"),
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
    if before.state is ChunkState.SENDING:
        journal._writer.under_way += 1
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
    ended = replace(ONE, state=state, rows=0 if state in (ChunkState.REFUSED, ChunkState.EMPTY) else 3)
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
    """By an answer: after its first byte. Found by a look or by a person: nobody knows. Of several in a dataset the last counts."""
    await lane.plan([chunk(n) for n in range(6)])
    for number, (id_, evidence) in enumerate(
        [("a", Evidence.ANSWER), ("a", Evidence.ANSWER), ("b", Evidence.COUNT), ("c", Evidence.READ_BACK)]
    ):
        await lane.sending(chunk(number).id, 10.0 + number)
        await lane.landed(chunk(number).id, id_, evidence=evidence)
    for number, id_ in ((4, "d"), (5, "")):
        await doubt(lane, number)
        await lane.landed_by_a_person(chunk(number).id, id_, 1.0)
    assert await lane.landings() == {"a": 11.0, "b": 0.0, "c": 0.0, "d": 0.0}
    with view(journal.folder) as shown:
        assert shown.evidence(LANE) == {"a person": 2, "answer": 2, "count": 1, "read-back": 1}
        assert shown.datasets(LANE) == 6


async def test_what_people_said_stays_in_its_order(lane: LaneJournal) -> None:
    await lane.plan([chunk(0), chunk(1, 3)])
    await lane.absent_by_a_person(chunk(0).id, 5.0)
    await lane.landed_by_a_person(chunk(1, 3).id, "ds", 6.0)
    assert await lane.fact(DECISIONS) == [
        {"chunk": "00000", "said": "absent", "at": 5.0},
        {"chunk": "00001-003", "said": "landed", "at": 6.0},
    ]


async def test_what_was_called_absent_is_kept_whatever_has_become_of_it(journal: Journal, lane: LaneJournal) -> None:
    await lane.plan([chunk(n) for n in range(4)])
    await journal.lane(OTHER).plan([chunk(9, lane=OTHER)])
    await journal.lane(OTHER).absent(chunk(9, lane=OTHER).id)
    for number in (2, 0):
        await doubt(lane, number)
        await lane.absent(chunk(number).id)
    await lane.landed(chunk(2).id, "ds", evidence=Evidence.ANSWER)
    await lane.absent_by_a_person(chunk(3).id, 1.0)
    assert [(c.id.tile, c.absences, c.state.value) for c in await lane.called_absent()] == [
        (0, 1, "planned"),
        (2, 1, "landed"),
        (3, 1, "planned"),
    ]


def ids_line(one: Chunk, *ids: object, lane: str = LANE) -> bytes:
    record = {"lane": lane, "chunk": str(one.id), "position": one.start, "file": 0, "byte_offset": one.start}
    return json.dumps({**record, "dataset_id": "ds", "rows": len(ids), "ids": ids}).encode() + b"\n"


async def test_row_ids_count_of_what_has_landed_only(journal: Journal, lane: LaneJournal) -> None:
    """And not of another lane's chunk with that number, nor of one that is open again; what landed without any is named."""
    chunks = [chunk(n) for n in range(4)]
    await lane.plan(chunks)
    other = journal.lane(OTHER)
    await other.plan([chunk(1, lane=OTHER)])
    await other.landed(chunk(1, lane=OTHER).id, "o", evidence=Evidence.ANSWER, ids=ids_line(chunks[1], 90, lane=OTHER))
    await lane.landed(chunks[0].id, "ds", evidence=Evidence.ANSWER, ids=ids_line(chunks[0], 1, "two"))
    await lane.landed(chunks[1].id, "ds", evidence=Evidence.COUNT)
    await lane.landed(chunks[2].id, "ds", evidence=Evidence.ANSWER, ids=ids_line(chunks[3], 7))
    ids, without = await lane.landed_ids()
    assert ids == {1, "two"}
    assert [c.id.tile for c in without] == [1, 2]


async def test_a_refusal_and_a_split_write_what_was_rejected(lane: LaneJournal) -> None:
    await lane.plan([chunk(0), chunk(1), chunk(2)], rejects=b"planned\n")
    await lane.refused(chunk(0).id, "why", b"refused\n")
    await lane.replace(chunk(1).id, [chunk(1, 1, rows=1), chunk(1, 2, rows=2)], "cut", b"cut\n")
    await lane.replace(chunk(2).id, [chunk(2, 1)], "cut")
    assert lane._logs["rejects.jsonl"].path.read_bytes() == b"planned\nrefused\ncut\n"
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
    assert (journal.folder / "rejects.jsonl").read_bytes() == b""


async def test_what_the_destination_holds(journal: Journal, lane: LaneJournal) -> None:
    await beside(journal)
    await lane.plan([replace(chunk(n), name="b" if n == 0 else "a") for n in range(4)])
    for number, id_ in enumerate(["x", "y", "", "z"]):
        await lane.landed(chunk(number).id, id_, evidence=Evidence.ANSWER)
    with view(journal.folder) as shown:
        assert shown.remote(LANE, 2) == [RemoteEntry("x", "b", 3), RemoteEntry("y", "a", 3)]
        assert len(shown.remote(LANE, 9)) == shown.datasets(LANE) == 4
    assert await lane.remote_ids("a") == {"y", "z"}
    assert await lane.remote_ids("n-7-5") == set()


async def test_facts_are_a_lanes_or_the_runs(journal: Journal, lane: LaneJournal) -> None:
    await lane.set_fact("of the lane", {"a": [1, None]})
    await journal.set_fact("of the run", [2])
    await lane.set_fact("of the lane", "anew")
    assert (await lane.fact("of the lane"), await journal.fact("of the run")) == ("anew", [2])
    assert (await journal.fact("of the lane"), await lane.fact("of the run")) == (None, None)
    assert await journal.lane("").fact("of the run") == [2]
    assert await lane.chunk(9, 9) is None


async def test_a_fact_that_is_not_of_its_kind_is_told(lane: LaneJournal) -> None:
    await lane.set_fact("planned whole", 5)
    with pytest.raises(JournalUnusable, match="the fact 'planned whole' makes no sense"):
        await lane.fact("planned whole")


@pytest.mark.parametrize("what", ["nothing", "a chunk", "a tile"])
async def test_a_journal_is_blank_until_something_is_planned(journal: Journal, lane: LaneJournal, what: str) -> None:
    await lane.set_fact("anything", 1)
    if what == "a chunk":
        await lane.plan([chunk(0)])
    if what == "a tile":
        await lane.plan([], tiles=[TileSpan(0, 0, 9)])
    assert await journal.is_blank() is (what == "nothing")


async def test_the_latest_time_of_all_lanes(journal: Journal, lane: LaneJournal) -> None:
    """Of anything sent, or looked at."""

    def survey(at: float) -> dict[str, Any]:
        return {"at": at, "found": [], "unavailable": None, "listed": 0}

    assert await journal.latest_time() == 0.0
    await lane.set_fact("survey", survey(5.0))
    await lane.set_fact("other", survey(50.0))
    assert await journal.latest_time() == 5.0
    await lane.plan([chunk(0), chunk(1)])
    await lane.sending(chunk(1).id, 9.0)
    await lane.sending(chunk(0).id, 8.0)
    assert await journal.latest_time() == 9.0
    await journal.lane(OTHER).set_fact("survey", survey(11.0))
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


async def test_another_process_reads_every_chunk_but_what_was_split_in_order(
    journal: Journal, lane: LaneJournal
) -> None:
    await beside(journal)
    await lane.plan([chunk(2), chunk(0), chunk(1), chunk(0, 1)])
    await lane.landed(chunk(0).id, "ds", evidence=Evidence.ANSWER)
    await lane.replace(chunk(1).id, [chunk(1, 2), chunk(1, 1)], "cut")
    read = list(read_chunks(journal.folder, LANE))
    assert [str(one.id) for one in read] == ["00000", "00000-001", "00001-001", "00001-002", "00002"]
    assert read[0] == await stored(lane)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE chunks SET state = 'gone'", "a chunk that makes no sense: 'gone' is not a valid ChunkState"),
        ("UPDATE chunks SET lines = 'x'", "a chunk that makes no sense: unexpected character"),
        ("UPDATE chunks SET evidence = 'hearsay'", "a chunk that makes no sense: 'hearsay' is not a valid Evidence"),
    ],
)
async def test_a_chunk_that_makes_no_sense_is_told(
    journal: Journal, lane: LaneJournal, change: str, words: str
) -> None:
    """Where it lies, and what to do."""
    await lane.plan([chunk(0)])
    await journal._writer.run(lambda db: db.execute(change) and None)
    database = re.escape(str(journal.folder / "journal.db"))
    with pytest.raises(JournalUnusable, match=f"{database}.*a chunk that makes no sense"):
        list(read_chunks(journal.folder, LANE))
    with pytest.raises(JournalUnusable, match=f"{database}.*{words}"):
        await lane.chunk(0, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE sums SET evidence = 'hearsay'", "'hearsay' is not a valid Evidence"),
        ("UPDATE sums SET state = 'gone'", "'gone' is not a valid ChunkState"),
    ],
)
async def test_so_are_sums(journal: Journal, lane: LaneJournal, change: str, words: str) -> None:
    await lane.plan([chunk(0)])
    await lane.landed(chunk(0).id, "ds", evidence=Evidence.ANSWER)
    await journal._writer.run(lambda db: db.execute(change) and None)
    with pytest.raises(JournalUnusable, match=words), view(journal.folder) as shown:
        shown.totals(LANE)
        shown.evidence(LANE)


def test_a_record_of_other_columns_is_no_chunk() -> None:
    record = to_row(chunk(0))[:-2]
    assert to_chunk(record) == chunk(0)
    with pytest.raises(sqlite3.DatabaseError, match="makes no sense"):
        to_chunk((*record, "one more"))


async def test_so_many_chunks_are_under_way(journal: Journal, lane: LaneJournal) -> None:
    """By this the pace of commits is chosen."""
    await lane.plan([chunk(n) for n in range(7)])
    for number in range(7):
        await lane.sending(chunk(number).id, 1.0)
    assert journal._writer.under_way == 7
    ends: list[Callable[[ChunkId], Awaitable[None]]] = [
        lambda id_: lane.landed(id_, "ds", evidence=Evidence.ANSWER),
        lambda id_: lane.in_doubt(id_, "lost", 1.0),
        lane.plan_again,
        lambda id_: lane.answered(id_, "ds"),
    ]
    for number, end in enumerate(ends):
        await end(chunk(number).id)
        assert journal._writer.under_way == 6 - number


@pytest.mark.parametrize("name", ["rejects.jsonl", "ids.jsonl"])
async def test_opened_again_a_log_goes_on_where_its_good_part_ends(tmp_path: Path, name: str) -> None:
    for number in range(2):
        journal = Journal.open(tmp_path, create=not number)
        lane = journal.lane(LANE)
        await lane.plan([chunk(number)], rejects=b"%d\n" % number)
        await lane.landed(chunk(number).id, "ds", evidence=Evidence.ANSWER, ids=b"%d\n" % number)
        journal.close()
        with (tmp_path / name).open("ab") as log:
            log.write(b"half a li")
    Journal.open(tmp_path, create=False).close()
    assert (tmp_path / name).read_bytes() == b"0\n1\n"
