"""What differs between destinations whose chunks have names and those whose rows are counted, each rule by itself."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence, Totals
from bulkup.doubt.by_count import BY_COUNT
from bulkup.doubt.by_name import BY_NAME
from bulkup.doubt.naming import family_name, widest_name
from bulkup.doubt.policy import DOUBTS_TO_SETTLE, Policy
from bulkup.doubt.settlement import Known, Look, Seen

QUIET = 30.0
NOTHING = Known(frozenset(), 0, {}, 0)


def chunk(number: int, rows: int = 10) -> Chunk:
    return Chunk(
        id=ChunkId("lane", number, 0), state=ChunkState.PLANNED, name=f"name-{number}", start=0, stop=100, file=0,
        byte_offset=number * 100, lines=((0, rows),), rows=rows, blank=0, rejected=0, body_bytes=100, raw_hash=b"",
        rows_hash=b"\xab" * 16, verbatim=False,
    )  # fmt: skip


def seen(number: int, status: str = "READY", rows: int | None = None) -> Seen:
    return Seen(f"id-{number}", f"name-{number}", status, rows)


def test_each_is_named_by_place_and_content_where_there_are_several() -> None:
    one = ChunkId("lane", 42, 3)
    assert BY_NAME.chunk_name("set", one, b"\xab" * 16, is_family=True) == "set-00042-003-abababab"
    assert BY_NAME.chunk_name("set", one, b"\xab" * 16, is_family=False) == "set"
    assert {BY_COUNT.chunk_name("set", one, b"", is_family=is_family) for is_family in (True, False)} == {"set"}


def test_evidence_and_search_are_as_the_guarantees_say() -> None:
    assert (BY_NAME.evidence, BY_NAME.bad_rows, BY_NAME.has_dataset_per_chunk) == (Evidence.READ_BACK, 4, True)
    assert (BY_COUNT.evidence, BY_COUNT.bad_rows, BY_COUNT.has_dataset_per_chunk) == (Evidence.COUNT, 8, False)


@pytest.mark.parametrize(
    ("policy", "landed", "doubts", "patience_s"),
    [
        (BY_NAME, 0, 1, 0.0),
        (BY_NAME, 5, 1, 0.0),
        (BY_COUNT, 0, 1, inf),
        (BY_COUNT, 0, DOUBTS_TO_SETTLE, inf),
        (BY_COUNT, 1, DOUBTS_TO_SETTLE - 1, None),
        (BY_COUNT, 1, DOUBTS_TO_SETTLE, 3 * QUIET),
    ],
)
def test_what_an_earlier_process_left_is_settled_first_as_far_as_need_be(
    policy: Policy, landed: int, doubts: int, patience_s: float | None
) -> None:
    """By a name one look tells; a chunk that may have made the dataset is settled before anything else is sent."""
    totals = Totals(chunks_landed=landed, chunks_in_doubt=doubts)
    assert policy.patience_at_start_s(totals, QUIET) == patience_s


def test_only_datasets_that_are_ready_and_that_nothing_explains_are_compared() -> None:
    look = Look(0.0, (seen(1), seen(2, "PENDING"), seen(3, "FAILED"), seen(4), seen(5), seen(6)))
    known = Known(frozenset({"id-4"}), 0, {"id-5": 0.0}, 10)
    doubts = [chunk(number) for number in (1, 2, 3, 4, 5)]
    assert BY_NAME.to_compare(doubts, look, known) == [(doubts[0], "id-1")]
    assert BY_COUNT.to_compare(doubts, look, known) == []


def test_a_look_shows_all_that_has_landed_or_not() -> None:
    known = Known(frozenset(), 5, {"id-1": 0.0, "id-2": 0.0}, 20)
    assert BY_NAME.shows_all(Look(0.0, (seen(1), seen(2), seen(3))), known)
    assert not BY_NAME.shows_all(Look(0.0, (seen(1), seen(3))), known)
    assert BY_COUNT.shows_all(Look(0.0, (seen(1, rows=25),)), known)
    assert not BY_COUNT.shows_all(Look(0.0, (seen(1, rows=24),)), known)


def test_the_audit_by_name_finds_a_dataset_that_nothing_explains() -> None:
    again = [chunk(1), chunk(2)]
    look = Look(0.0, (seen(1),))
    assert BY_NAME.trouble(Look(0.0), NOTHING, again, []) is None
    assert "chunk 00001 (file 0, byte 100, 10 rows)" in str(BY_NAME.trouble(look, NOTHING, again, []))
    assert BY_NAME.trouble(look, NOTHING, again, [chunk(1)]) is None, "it is in doubt again"
    hidden = Known(frozenset(), 0, {"id-9": 0.0}, 10)
    assert BY_NAME.trouble(look, hidden, again, []) == "the service does not show all that has landed"


def test_the_audit_by_count_finds_rows_that_nothing_explains() -> None:
    again = [chunk(1, 10), chunk(2, 7)]
    known = Known(frozenset(), 5, {"id": 0.0}, 20)

    def trouble(rows: int, *doubts: Chunk) -> str | None:
        return BY_COUNT.trouble(Look(0.0, (seen(1, rows=rows),)), known, again, doubts)

    assert trouble(25) is None
    assert trouble(24) == "the service does not show all that has landed: 24 rows, not 25"
    assert trouble(32, chunk(3, 7)) is None, "what is in doubt may account for it"
    said = str(trouble(32))
    assert said.startswith("7 rows too many; ")
    assert "chunk 00002" in said
    assert "chunk 00001" not in said, "only the chunk with as many rows"
    assert "chunk 00001" in str(trouble(28)), "none has as many: it may be any of them"
    refused = replace(chunk(4), rows=0, rejected=7)
    assert "7 rows)" in str(BY_COUNT.trouble(Look(0.0, (seen(1, rows=32),)), known, [refused], []))


def test_what_is_said_before_sending() -> None:
    assert BY_NAME.announcement("set", 1) == "one dataset, set"
    exactly = BY_NAME.announcement("set", 1200, is_exact=True)
    assert exactly == "1,200 datasets, named set-<tile>-<hash>: each request makes one"
    assert BY_NAME.announcement("set", 1200) == "about 1,200 datasets, named set-<tile>-<hash>: each request makes one"
    assert str(BY_NAME.announcement_of_added("set")).endswith("named set-<tile>-<hash>")
    assert (BY_COUNT.announcement("set", 7), BY_COUNT.announcement_of_added("set")) == (None, None)


async def test_a_comparer_is_told_which_way_to_compare_by_which_look() -> None:
    told: list[tuple[str, Look]] = []

    class Told:
        async def compare_each(self, look: Look) -> None:
            told.append(("each", look))

        async def compare_all(self, look: Look) -> None:
            told.append(("all", look))

    look = Look(1.0)
    await BY_NAME.compare(look, Told())
    await BY_COUNT.compare(look, Told())
    assert told == [("each", look), ("all", look)]


@pytest.mark.parametrize("chunk", [ChunkId("nebius", 0, 0), ChunkId("nebius", 9_999_999, 9_999)])
def test_no_name_of_a_chunk_is_longer_than_what_was_left_for_it(chunk: ChunkId) -> None:
    """The room for rows is what the envelope with the widest name leaves."""
    assert len(family_name("rows", chunk, bytes(16))) <= len(widest_name("rows"))
