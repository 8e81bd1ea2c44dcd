"""The lines of the design's table of doubts, each as a decision from evidence."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from bulkup.chunk import ChunkId
from bulkup.settlement import (
    LAST_ONES_QUIET_PERIODS,
    PATIENCE_QUIET_PERIODS,
    Absent,
    Doubt,
    FailedThere,
    Held,
    Look,
    Match,
    NotYet,
    PageBack,
    Present,
    Seen,
    Verdict,
    World,
    judge_by_count,
    judge_by_name,
    judge_by_rows,
)

QUIET = 30.0
T0 = 1_000_000.0
LAST_BYTE = T0 + 100
FOUR = LAST_BYTE + LAST_ONES_QUIET_PERIODS * QUIET


def chunk(number: int) -> ChunkId:
    return ChunkId("lane", number, 0)


def doubt(number: int = 1, rows: int = 10, *, at: float = LAST_BYTE, answered: bool = False) -> Doubt:
    return Doubt(chunk(number), f"name-{number}", rows, at, answered)


def dataset(number: int = 1, status: str = "READY", *, id_: str | None = None) -> Seen:
    return Seen(id_ or f"id-{number}", f"name-{number}", status, None)


CONTROL = Seen("control", "name-99", "READY", None)
LATER = World(frozenset(), 0, {"control": LAST_BYTE + QUIET + 1}, 10)
"""A chunk has landed that began to be sent a quiet period after the doubt's last byte."""
EARLIER = World(frozenset(), 0, {"control": LAST_BYTE + QUIET - 1}, 10)
NOTHING = World(frozenset(), 0, {}, 0)


def by_name(
    *looks: Look, world: World = LATER, match: Match = Match.SAME, doubts: tuple[Doubt, ...] = (doubt(),)
) -> list[Verdict]:
    matches = {d.id: match for d in looks[-1].seen if d.status == "READY"}
    return judge_by_name(doubts, looks, world, matches, QUIET)


def look(at: float, *seen: Seen) -> Look:
    return Look(at, seen)


def counted(at: float, rows: int, *more: Seen) -> Look:
    return Look(at, (Seen("id", "rows", "READY", rows), *more))


def still(rows: int, at: float = FOUR + QUIET) -> tuple[Look, Look]:
    """Two equal counts a quiet period apart."""
    return counted(at - QUIET, rows), counted(at, rows)


def by_count(*looks: Look, world: World, doubts: tuple[Doubt, ...]) -> list[Verdict] | PageBack:
    return judge_by_count(doubts, looks, world, QUIET)


class TestByName:
    def test_a_dataset_of_its_name_that_matches_is_the_chunk(self) -> None:
        assert by_name(look(LAST_BYTE, dataset())) == [Present(chunk(1), "id-1")]

    def test_a_dataset_that_was_there_before_is_not(self) -> None:
        world = replace(LATER, before=frozenset({"id-1"}))
        assert by_name(look(LAST_BYTE + QUIET, dataset(), CONTROL), world=world) == [Absent(chunk(1))]

    def test_nor_is_one_that_another_chunk_landed_in(self) -> None:
        world = replace(LATER, landed={**LATER.landed, "id-1": T0})
        assert by_name(look(LAST_BYTE + QUIET, dataset(), CONTROL), world=world) == [Absent(chunk(1))]

    def test_two_datasets_of_its_name_hold_it(self) -> None:
        (verdict,) = by_name(look(FOUR, dataset(), dataset(id_="other"), CONTROL))
        assert isinstance(verdict, Held)
        assert "id-1, other" in verdict.why

    @pytest.mark.parametrize("status", ["PENDING", "DRAFT"])
    def test_pending_waits_and_is_held_in_the_end(self, status: str) -> None:
        first = look(FOUR, dataset(status=status), CONTROL)
        (verdict,) = by_name(first)
        assert verdict == NotYet(chunk(1), FOUR + QUIET, f"dataset id-1 (name-1) is {status}")
        last = replace(first, at=FOUR + PATIENCE_QUIET_PERIODS * QUIET + 1)
        assert isinstance(by_name(first, last)[0], Held)

    def test_other_content_waits_for_the_rest_to_show_and_is_held_in_the_end(self) -> None:
        first = look(FOUR, dataset(), CONTROL)
        assert isinstance(by_name(first, match=Match.OTHER)[0], NotYet)
        last = replace(first, at=FOUR + PATIENCE_QUIET_PERIODS * QUIET + 1)
        assert isinstance(by_name(first, last, match=Match.OTHER)[0], Held)

    def test_content_that_nobody_can_read_is_no_evidence(self) -> None:
        assert isinstance(by_name(look(FOUR, dataset(), CONTROL), match=Match.UNKNOWN)[0], NotYet)

    def test_failed(self) -> None:
        assert by_name(look(LAST_BYTE, dataset(status="FAILED"))) == [FailedThere(chunk(1), "id-1")]

    def test_failed_and_stored_by_another_attempt(self) -> None:
        seen = look(LAST_BYTE, dataset(status="FAILED"), dataset(id_="second"))
        assert by_name(seen) == [Present(chunk(1), "second")]

    def test_the_dataset_that_failed_at_an_earlier_attempt_says_nothing_of_this_one(self) -> None:
        """Its id is out: else a body on its way would be sent again."""
        world = replace(LATER, before=frozenset({"id-1"}))
        (verdict,) = by_name(look(LAST_BYTE + 1, dataset(status="FAILED"), CONTROL), world=world)
        assert verdict == NotYet(chunk(1), LAST_BYTE + QUIET, "its body may still be on its way")

    def test_no_read_back(self) -> None:
        (verdict,) = by_name(Look(FOUR, unavailable="HTTP 404"))
        assert verdict == Held(chunk(1), "no read-back: HTTP 404")

    def test_not_absent_before_a_quiet_period_is_over(self) -> None:
        (verdict,) = by_name(look(LAST_BYTE + QUIET - 0.001, CONTROL))
        assert verdict == NotYet(chunk(1), LAST_BYTE + QUIET, "its body may still be on its way")

    def test_absent_after_a_quiet_period_if_the_look_shows_something_newer(self) -> None:
        assert by_name(look(LAST_BYTE + QUIET, CONTROL)) == [Absent(chunk(1))]

    def test_not_absent_where_the_look_does_not_show_what_is_newer(self) -> None:
        verdicts = [by_name(*[look(LAST_BYTE + n * QUIET) for n in range(1, last)]) for last in range(2, 14)]
        assert all(isinstance(v, NotYet) for (v,) in verdicts)
        assert isinstance(by_name(*[look(LAST_BYTE + n * QUIET) for n in range(1, 20)])[0], Held)

    def test_what_is_older_is_no_control(self) -> None:
        (verdict,) = by_name(look(LAST_BYTE + QUIET, CONTROL), world=EARLIER)
        assert verdict == NotYet(chunk(1), FOUR, "nothing has landed after it that a look could show")

    @pytest.mark.parametrize("world", [EARLIER, NOTHING])
    def test_the_last_one_needs_four_quiet_periods_and_two_equal_looks(self, world: World) -> None:
        assert isinstance(by_name(look(FOUR, CONTROL), world=world)[0], NotYet)
        assert isinstance(by_name(look(FOUR, CONTROL), look(FOUR + QUIET - 1, CONTROL), world=world)[0], NotYet)
        assert isinstance(by_name(look(FOUR, CONTROL), look(FOUR + QUIET, CONTROL, dataset(5)), world=world)[0], NotYet)
        assert by_name(look(FOUR, CONTROL), look(FOUR + QUIET, CONTROL), world=world) == [Absent(chunk(1))]

    def test_the_last_one_needs_looks_that_show_all_that_has_landed(self) -> None:
        assert isinstance(by_name(look(FOUR), look(FOUR + QUIET), world=EARLIER)[0], NotYet)


class TestByCount:
    WORLD = World(frozenset(), 100, {"id": LAST_BYTE + 1}, 50)

    def test_one_set_fits(self) -> None:
        doubts = (doubt(1, 10), doubt(2, 15), doubt(3, 7))
        assert by_count(*still(150 + 17), world=self.WORLD, doubts=doubts) == [
            Present(chunk(1), "id"), Absent(chunk(2)), Present(chunk(3), "id"),
        ]  # fmt: skip

    def test_none_is_there(self) -> None:
        doubts = (doubt(1, 10), doubt(2, 15))
        assert by_count(*still(150), world=self.WORLD, doubts=doubts) == [Absent(chunk(1)), Absent(chunk(2))]

    @pytest.mark.parametrize("doubts", [(doubt(1, 10), doubt(2, 10)), (doubt(1, 10), doubt(2, 4), doubt(3, 6))])
    def test_several_sets_fit(self, doubts: tuple[Doubt, ...]) -> None:
        judged = by_count(*still(160), world=self.WORLD, doubts=doubts)
        assert isinstance(judged, PageBack)
        assert judged.doubts == doubts

    def test_all_of_equal_size_are_there(self) -> None:
        doubts = tuple(doubt(n, 10) for n in range(30))
        judged = by_count(*still(450), world=self.WORLD, doubts=doubts)
        assert judged == [Present(d.chunk, "id") for d in doubts]

    def test_no_set_fits(self) -> None:
        judged = by_count(*still(163), world=self.WORLD, doubts=(doubt(1, 10), doubt(2, 15)))
        assert isinstance(judged, list)
        assert all(isinstance(v, Held) and "shows 163 rows; 100 were there and 50 have landed" in v.why for v in judged)

    def test_rows_missing_from_the_count(self) -> None:
        first = counted(FOUR, 149)
        (verdict,) = by_count(*still(149), world=self.WORLD, doubts=(doubt(),)) or ()  # type: ignore[misc]
        assert isinstance(verdict, NotYet)
        last = counted(FOUR + PATIENCE_QUIET_PERIODS * QUIET + 1, 149)
        (verdict,) = by_count(first, last, world=self.WORLD, doubts=(doubt(),))  # type: ignore[misc]
        assert isinstance(verdict, Held)
        assert "149 rows; 100 were there and 50 have landed" in verdict.why

    @pytest.mark.parametrize(
        "looks",
        [
            (counted(FOUR, 160),),
            (counted(FOUR, 150), counted(FOUR + QUIET, 160)),
            (counted(FOUR, 160), counted(FOUR + QUIET - 0.1, 160)),
            (counted(FOUR, 160), counted(FOUR + 1, 150), counted(FOUR + QUIET, 160)),
        ],
    )
    def test_nothing_is_decided_while_the_count_moves(self, looks: tuple[Look, ...]) -> None:
        (verdict,) = by_count(*looks, world=self.WORLD, doubts=(doubt(),))  # type: ignore[misc]
        assert isinstance(verdict, NotYet)

    def test_not_absent_before_a_quiet_period_is_over(self) -> None:
        looks = still(150, LAST_BYTE + QUIET - 1)
        (verdict,) = by_count(*looks, world=self.WORLD, doubts=(doubt(),))  # type: ignore[misc]
        assert verdict == NotYet(chunk(1), LAST_BYTE + QUIET, "its body may still be on its way")

    def test_the_last_one_needs_four_quiet_periods(self) -> None:
        world = replace(self.WORLD, landed={"id": LAST_BYTE - 1})
        (verdict,) = by_count(*still(150, FOUR - 1), world=world, doubts=(doubt(),))  # type: ignore[misc]
        assert isinstance(verdict, NotYet)
        assert by_count(*still(150, FOUR), world=world, doubts=(doubt(),)) == [Absent(chunk(1))]

    def test_the_creating_one(self) -> None:
        looks = (Look(FOUR - QUIET), Look(FOUR))
        assert by_count(*looks[:1], world=NOTHING, doubts=(doubt(),)) != [Absent(chunk(1))]
        assert by_count(*looks, world=NOTHING, doubts=(doubt(),)) == [Absent(chunk(1))]
        assert by_count(*still(10), world=NOTHING, doubts=(doubt(),)) == [Present(chunk(1), "id")]

    def test_what_was_refused_needs_only_a_still_count(self) -> None:
        looks = still(150, LAST_BYTE + QUIET)
        world = replace(self.WORLD, landed={})
        assert by_count(*looks, world=world, doubts=(doubt(answered=True),)) == [Absent(chunk(1))]

    def test_what_was_refused_may_be_stored_in_part_so_sums_prove_nothing(self) -> None:
        """Ten rows more: the other chunk, or ten of this one's fifteen."""
        doubts = (doubt(1, 15, answered=True), doubt(2, 10))
        judged = by_count(*still(60), world=replace(self.WORLD, base_rows=0), doubts=doubts)
        assert isinstance(judged, PageBack)
        judged = by_count(*still(160), world=self.WORLD, doubts=doubts)
        assert isinstance(judged, list)
        assert all(isinstance(v, Held) for v in judged)

    def test_two_datasets_of_the_name(self) -> None:
        looks = (counted(FOUR, 10, dataset()), counted(FOUR + QUIET, 10, dataset()))
        (verdict,) = by_count(*looks, world=NOTHING, doubts=(doubt(),))  # type: ignore[misc]
        assert isinstance(verdict, Held)
        assert "2 datasets have that name: id, id-1" in verdict.why

    def test_no_read_back(self) -> None:
        judged = by_count(Look(FOUR, unavailable="HTTP 403"), world=self.WORLD, doubts=(doubt(),))
        assert judged == [Held(chunk(1), "no read-back: HTTP 403")]


def rows(text: str) -> Counter[bytes]:
    """A letter a row."""
    return Counter(letter.encode() for letter in text)


def found(there: str, *chunks: str, base: int = 0) -> set[int] | None:
    """Which of *chunks* are among the rows *there*, *base* of which were there before the run."""
    doubts = [doubt(n, len(text)) for n, text in enumerate(chunks)]
    contents = {d.chunk: rows(text) for d, text in zip(doubts, chunks, strict=True)}
    judged = judge_by_rows(doubts, contents, rows(there), World(frozenset(), base, {}, 0))
    return None if judged is None else {id_.tile for id_ in judged}


class TestByRows:
    def test_the_rows_tell(self) -> None:
        assert found("abgh", "ab", "cd", "gh") == {0, 2}

    def test_none_is_there(self) -> None:
        assert found("", "ab", "cd") == set()

    def test_equal_contents_stand_for_each_other_lowest_first(self) -> None:
        assert found("abab", "ab", "ab", "ab") == {0, 1}

    def test_rows_in_another_order_are_the_same(self) -> None:
        assert found("ba", "ab", "ac") == {0}

    def test_how_often_a_row_stands_counts(self) -> None:
        assert found("abc", "aab", "abc") == {1}

    def test_rows_of_before_with_equal_content_leave_it_open(self) -> None:
        assert found("abcd", "ab", "cd", base=2) is None

    def test_rows_of_before_with_other_content_do_not(self) -> None:
        assert found("xycd", "ab", "cd", base=2) == {1}

    def test_rows_of_before_that_look_like_a_chunk_which_is_not_there(self) -> None:
        assert found("ab", "ab", "cd", base=2) == set()

    def test_two_different_sets_leave_it_open(self) -> None:
        assert found("abcd", "ab", "cd", "ac", "bd") is None

    def test_rows_of_nobody_leave_it_open(self) -> None:
        assert found("abx", "ab", "cd") is None

    def test_part_of_a_chunk_leaves_it_open(self) -> None:
        assert found("a", "ab", "cd") is None

    def test_thousands_of_candidates_end(self) -> None:
        chunks = [f"{chr(n)}{chr(n + 1)}" for n in range(1000, 4000)]
        assert found("".join(chunks[:-1]) + "x", *chunks) is None
