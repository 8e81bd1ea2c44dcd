"""What is the disk's own about a journal: what stands in its tables and makes no sense, and where its logs end."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bulkup.account.receipt import RemoteEntry
from bulkup.chunk import ChunkId, Evidence
from bulkup.errors import JournalUnusable
from bulkup.journal import SqliteJournal
from bulkup.journal.chunk_rows import to_row
from bulkup.journal.queries import to_chunk
from bulkup.journal.reading import read_chunks, view
from bulkup.journal.sqlite import SqliteLane
from tests.journal.chunks import LANE, chunk


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    opened = SqliteJournal.open(tmp_path, create=True)
    yield opened
    opened.close()


@pytest.fixture
def lane(journal: SqliteJournal) -> SqliteLane:
    return journal.lane(LANE)


async def test_another_process_reads_every_chunk_but_what_was_split_in_order(
    tmp_path: Path, journal: SqliteJournal, lane: SqliteLane
) -> None:
    await journal.lane("another").plan([chunk(0, lane="another")])
    await lane.plan([chunk(2), chunk(0), chunk(1), chunk(0, 1)])
    await lane.landed(chunk(0).id, "ds", evidence=Evidence.ANSWER)
    await lane.replace(chunk(1).id, [chunk(1, 2), chunk(1, 1)], "cut")
    read = list(read_chunks(tmp_path, LANE))
    assert [str(one.id) for one in read] == ["00000", "00000-001", "00001-001", "00001-002", "00002"]
    assert read[0] == await lane.chunk(0, 0)


async def test_who_looks_is_shown_what_the_destination_holds(
    tmp_path: Path, journal: SqliteJournal, lane: SqliteLane
) -> None:
    """In the source's order, and by what evidence. Rows in a dataset whose id nobody knows are some of its."""
    await lane.plan([replace(chunk(n), name="b" if n == 0 else "a") for n in range(4)])
    ended = (("x", Evidence.COUNT), ("y", Evidence.ANSWER), ("", Evidence.PERSON), ("z", Evidence.ANSWER))
    for number, (id_, evidence) in enumerate(ended):
        await lane.landed(chunk(number).id, id_, evidence=evidence)
    with view(tmp_path) as shown:
        assert shown.remote(LANE, 2) == [RemoteEntry("x", "b", 3), RemoteEntry("y", "a", 3)]
        assert len(shown.remote(LANE, 9)) == shown.datasets(LANE) == 4
        assert shown.evidence(LANE) == {"a person": 1, "answer": 2, "count": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE chunks SET state = 'gone'", "a chunk that makes no sense: Invalid enum value 'gone'"),
        ("UPDATE chunks SET lines = 'x'", "a chunk that makes no sense: unexpected character"),
        ("UPDATE chunks SET lines = '[[0.7]]'", "a chunk that makes no sense: Expected `array` of length 2, got 1"),
        ("UPDATE chunks SET lines = '[[0,5]]'", "a chunk that makes no sense: 00000 counts 5 lines"),
        ("UPDATE chunks SET evidence = 'hearsay'", "a chunk that makes no sense: Invalid enum value 'hearsay'"),
    ],
)
async def test_a_chunk_that_makes_no_sense_is_told(
    tmp_path: Path, journal: SqliteJournal, lane: SqliteLane, change: str, words: str
) -> None:
    """Where it lies, and what to do."""
    await lane.plan([chunk(0)])
    await journal._writer.run(lambda db: db.execute(change) and None)
    database = re.escape(str(tmp_path / "journal.db"))
    with pytest.raises(JournalUnusable, match=f"{database}.*a chunk that makes no sense"):
        list(read_chunks(tmp_path, LANE))
    with pytest.raises(JournalUnusable, match=f"{database}.*{words}"):
        await lane.chunk(0, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE sums SET evidence = 'hearsay'", "'hearsay' is not a valid Evidence"),
        ("UPDATE sums SET state = 'gone'", "'gone' is not a valid ChunkState"),
    ],
)
async def test_so_are_sums(tmp_path: Path, journal: SqliteJournal, lane: SqliteLane, change: str, words: str) -> None:
    await lane.plan([chunk(0)])
    await lane.landed(chunk(0).id, "ds", evidence=Evidence.ANSWER)
    await journal._writer.run(lambda db: db.execute(change) and None)
    with pytest.raises(JournalUnusable, match=words), view(tmp_path) as shown:
        shown.totals(LANE)
        shown.evidence(LANE)


def test_a_record_of_other_columns_is_no_chunk() -> None:
    record = to_row(chunk(0))[:-2]
    assert to_chunk(record) == chunk(0)
    with pytest.raises(sqlite3.DatabaseError, match="makes no sense"):
        to_chunk((*record, "one more"))


@pytest.mark.parametrize("step", [307, pytest.param(61, marks=pytest.mark.slow)])
async def test_whatever_bit_is_turned_over_a_journal_is_read_or_called_unusable(tmp_path: Path, step: int) -> None:
    """In the schema too, whose bytes may then be no text, and in every bit of what a chunk's lines are."""
    journal = SqliteJournal.open(tmp_path, create=True)
    await journal.lane(LANE).plan([replace(chunk(n, rows=10), lines=((0, 5), (1, 5))) for n in range(3)])
    journal.close()
    path = tmp_path / "journal.db"
    data = path.read_bytes()
    lines = data.index(b"[[0,5],[1,5]]")
    bits = [at * 8 + 7 for at in range(0, len(data), step)] + [*range(lines * 8, (lines + 13) * 8)]
    told = 0
    for bit in bits:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            for one in read_chunks(tmp_path, LANE):
                assert one.line_count == one.rows + one.blank + one.rejected
            SqliteJournal.open(tmp_path, create=False).close()
        except JournalUnusable:
            told += 1
    assert told > 100


async def test_so_many_chunks_are_under_way(journal: SqliteJournal, lane: SqliteLane) -> None:
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
        journal = SqliteJournal.open(tmp_path, create=not number)
        lane = journal.lane(LANE)
        await lane.plan([chunk(number)], rejects=b"%d\n" % number)
        await lane.landed(chunk(number).id, "ds", evidence=Evidence.ANSWER, ids=b"%d\n" % number)
        journal.close()
        with (tmp_path / name).open("ab") as log:
            log.write(b"half a li")
    SqliteJournal.open(tmp_path, create=False).close()
    assert (tmp_path / name).read_bytes() == b"0\n1\n"
