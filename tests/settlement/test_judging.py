"""The lines of the design's table of doubts, each as a decision from evidence."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from bulkup.chunk import ChunkId
from bulkup.doubt import settlement
from bulkup.doubt.settlement import (
    LAST_ONES_QUIET_PERIODS,
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
    Seen,
    Verdict,
    judge_by_count,
    judge_by_name,
    judge_by_rows,
    judge_rest,
)

QUIET = 30.0
SOON = 0.001
T0 = 1_000_000.0
LAST_BYTE = T0 + 100
FOUR = LAST_BYTE + LAST_ONES_QUIET_PERIODS * QUIET
IMPATIENT = FOUR + PATIENCE_QUIET_PERIODS * QUIET + SOON


def chunk(number: int) -> ChunkId:
    return ChunkId("lane", number, 0)


def doubt(number: int = 1, rows: int = 10, *, at: float = LAST_BYTE, answered: bool = False) -> Doubt:
    return Doubt(chunk(number), f"name-{number}", rows, at, answered)


def dataset(number: int = 1, status: str = "READY", *, id_: str | None = None) -> Seen:
    return Seen(id_ or f"id-{number}", f"name-{number}", status, None)


CONTROL = Seen("control", "name-99", "READY", None)
LATER = Known(frozenset(), 0, {"control": LAST_BYTE + QUIET + 1}, 10)
"""A chunk has landed that began to be sent a quiet period after the doubt's last byte."""
EARLIER = Known(frozenset(), 0, {"control": LAST_BYTE + QUIET - 1}, 10)
NOTHING = Known(frozenset(), 0, {}, 0)


def by_name(
    *looks: Look, known: Known = LATER, match: Match | None = Match.SAME, doubts: tuple[Doubt, ...] = (doubt(),)
) -> list[Verdict]:
    """*match* of every dataset seen; None: none was compared."""
    matches = {} if match is None else {d.id: match for d in looks[-1].seen}
    return judge_by_name(doubts, looks, known, matches, QUIET)


def look(at: float, *seen: Seen) -> Look:
    return Look(at, seen)


def counted(at: float, rows: int, *more: Seen) -> Look:
    return Look(at, (Seen("id", "rows", "READY", rows), *more))


def still(rows: int, at: float = FOUR + QUIET) -> tuple[Look, Look]:
    """Two equal counts a quiet period apart."""
    return counted(at - QUIET, rows), counted(at, rows)


def by_count(*looks: Look, known: Known, doubts: tuple[Doubt, ...]) -> list[Verdict] | PageBack:
    return judge_by_count(doubts, looks, known, QUIET)


class TestByName:
    def test_a_dataset_of_its_name_that_matches_is_the_chunk(self) -> None:
        assert by_name(look(LAST_BYTE, dataset())) == [Present(chunk(1), "id-1")]

    def test_a_dataset_that_was_there_before_is_not(self) -> None:
        known = replace(LATER, before=frozenset({"id-1"}))
        assert by_name(look(LAST_BYTE + QUIET, dataset(), CONTROL), known=known) == [Absent(chunk(1))]

    def test_nor_is_one_that_another_chunk_landed_in(self) -> None:
        known = replace(LATER, landed={**LATER.landed, "id-1": T0})
        assert by_name(look(LAST_BYTE + QUIET, dataset(), CONTROL), known=known) == [Absent(chunk(1))]

    def test_two_datasets_of_its_name_hold_it(self) -> None:
        (verdict,) = by_name(look(FOUR, dataset(), dataset(id_="other"), CONTROL))
        assert verdict == Held(chunk(1), "2 datasets are named name-1: id-1, other")

    @pytest.mark.parametrize("status", ["PENDING", "DRAFT"])
    @pytest.mark.parametrize("match", [*Match, None])
    def test_what_is_not_ready_waits_and_is_held_in_the_end(self, status: str, match: Match | None) -> None:
        """Whatever its content seems to be: it may not show all of its rows yet."""
        first, why = look(FOUR, dataset(status=status), CONTROL), f"dataset id-1 (name-1) is {status}"
        assert by_name(first, match=match) == [NotYet(chunk(1), FOUR + QUIET, why)]
        assert by_name(first, replace(first, at=IMPATIENT), match=match) == [Held(chunk(1), why)]

    @pytest.mark.parametrize(
        ("match", "why"),
        [
            (Match.OTHER, "dataset id-1 is named name-1 and holds something else"),
            (Match.UNKNOWN, "dataset id-1 (name-1) is READY"),
            (None, "dataset id-1 (name-1) is READY"),
        ],
    )
    def test_ready_without_evidence_of_the_content_waits_and_is_held_in_the_end(
        self, match: Match | None, why: str
    ) -> None:
        """Other content may be the chunk's own, of which a part does not show yet; content that nobody has read is no evidence."""
        first = look(FOUR, dataset(), CONTROL)
        assert by_name(first, match=match) == [NotYet(chunk(1), FOUR + QUIET, why)]
        assert by_name(first, replace(first, at=IMPATIENT), match=match) == [Held(chunk(1), why)]

    def test_patience_is_over_after_twelve_quiet_periods_and_not_at_their_end(self) -> None:
        first = look(FOUR, dataset(status="PENDING"), CONTROL)
        end = FOUR + PATIENCE_QUIET_PERIODS * QUIET
        assert by_name(first, replace(first, at=end)) == [
            NotYet(chunk(1), end + QUIET, "dataset id-1 (name-1) is PENDING")
        ]
        assert isinstance(by_name(first, replace(first, at=end + SOON))[0], Held)

    def test_failed(self) -> None:
        assert by_name(look(LAST_BYTE, dataset(status="FAILED"))) == [FailedThere(chunk(1), "id-1")]

    def test_failed_and_stored_by_another_attempt(self) -> None:
        seen = look(LAST_BYTE, dataset(status="FAILED"), dataset(id_="second"))
        assert by_name(seen) == [Present(chunk(1), "second")]

    def test_the_dataset_that_failed_at_an_earlier_attempt_says_nothing_of_this_one(self) -> None:
        """Its id is out: else a body on its way would be sent again."""
        known = replace(LATER, before=frozenset({"id-1"}))
        (verdict,) = by_name(look(LAST_BYTE + 1, dataset(status="FAILED"), CONTROL), known=known)
        assert verdict == NotYet(chunk(1), LAST_BYTE + QUIET, "its body may still be on its way")

    def test_no_read_back(self) -> None:
        (verdict,) = by_name(Look(FOUR, unavailable="HTTP 404"))
        assert verdict == Held(chunk(1), "the service cannot be read back: HTTP 404")

    def test_not_absent_before_a_quiet_period_is_over(self) -> None:
        (verdict,) = by_name(look(LAST_BYTE + QUIET - SOON, CONTROL))
        assert verdict == NotYet(chunk(1), LAST_BYTE + QUIET, "its body may still be on its way")

    def test_absent_after_a_quiet_period_if_the_look_shows_something_newer(self) -> None:
        assert by_name(look(LAST_BYTE + QUIET, CONTROL)) == [Absent(chunk(1))]

    @pytest.mark.parametrize(("began_at", "is_newer"), [(0.0, False), (SOON, True)])
    def test_what_began_as_the_quiet_period_ended_is_no_control(self, began_at: float, is_newer: bool) -> None:
        """Only what was sent later than that was stored after whatever may still have been on its way."""
        known = replace(LATER, landed={"control": LAST_BYTE + QUIET + began_at})
        (verdict,) = by_name(look(LAST_BYTE + QUIET, CONTROL), known=known)
        open_ = NotYet(chunk(1), FOUR, "nothing has landed after it that a look could show")
        assert verdict == (Absent(chunk(1)) if is_newer else open_)

    def test_not_absent_where_the_look_does_not_show_what_is_newer(self) -> None:
        verdicts = [by_name(*[look(LAST_BYTE + n * QUIET) for n in range(1, last)]) for last in range(2, 14)]
        assert all(isinstance(v, NotYet) for (v,) in verdicts)
        assert isinstance(by_name(*[look(LAST_BYTE + n * QUIET) for n in range(1, 20)])[0], Held)

    def test_what_is_older_is_no_control(self) -> None:
        (verdict,) = by_name(look(LAST_BYTE + QUIET, CONTROL), known=EARLIER)
        assert verdict == NotYet(chunk(1), FOUR, "nothing has landed after it that a look could show")

    @pytest.mark.parametrize("known", [EARLIER, NOTHING])
    def test_the_last_one_needs_four_quiet_periods_and_two_equal_looks(self, known: Known) -> None:
        assert isinstance(by_name(look(FOUR, CONTROL), known=known)[0], NotYet)
        assert isinstance(by_name(look(FOUR, CONTROL), look(FOUR + QUIET - 1, CONTROL), known=known)[0], NotYet)
        assert isinstance(by_name(look(FOUR, CONTROL), look(FOUR + QUIET, CONTROL, dataset(5)), known=known)[0], NotYet)
        assert by_name(look(FOUR, CONTROL), look(FOUR + QUIET, CONTROL), known=known) == [Absent(chunk(1))]

    def test_the_last_one_needs_four_quiet_periods_to_the_end(self) -> None:
        def seen(at: float) -> Verdict:
            return by_name(look(at - QUIET, CONTROL), look(at, CONTROL), known=EARLIER)[0]

        assert seen(FOUR - SOON) == NotYet(chunk(1), FOUR, "nothing has landed after it that a look could show")
        assert seen(FOUR) == Absent(chunk(1))

    @pytest.mark.parametrize(("took_s", "is_control"), [(0.0, True), (QUIET, True), (QUIET + SOON, False)])
    def test_a_look_that_took_longer_than_a_quiet_period_has_no_control(self, took_s: float, is_control: bool) -> None:
        """Its end shows what had landed by then; its begin may have shown an older state of the list."""
        (verdict,) = by_name(replace(look(LAST_BYTE + QUIET, CONTROL), took_s=took_s))
        open_ = NotYet(chunk(1), FOUR, "nothing has landed after it that a look could show")
        assert verdict == (Absent(chunk(1)) if is_control else open_)

    def test_the_next_look_begins_a_quiet_period_after_the_end_of_the_last(self) -> None:
        """What the last one saw, it may have seen at its end."""
        long = replace(look(FOUR, CONTROL), took_s=100.0)
        why = "two looks a quiet period apart have not been equal yet"
        assert by_name(long, known=EARLIER) == [NotYet(chunk(1), FOUR + 100 + QUIET, why)]
        (verdict,) = by_name(long, look(FOUR + 100 + QUIET - SOON, CONTROL), known=EARLIER)
        assert isinstance(verdict, NotYet)
        assert by_name(long, look(FOUR + 100 + QUIET, CONTROL), known=EARLIER) == [Absent(chunk(1))]

    def test_patience_counts_from_the_end_of_the_first_look(self) -> None:
        known = replace(EARLIER, landed={**EARLIER.landed, "id-5": T0})
        why, long = (
            "the list does not show 1 of 2 datasets that have landed",
            replace(look(FOUR, CONTROL), took_s=100.0),
        )
        last = FOUR + 100 + PATIENCE_QUIET_PERIODS * QUIET
        assert by_name(long, look(last, CONTROL), known=known) == [NotYet(chunk(1), last + QUIET, why)]
        assert by_name(long, look(last + SOON, CONTROL), known=known) == [Held(chunk(1), why)]

    def test_two_equal_looks_are_enough_whatever_was_seen_before(self) -> None:
        looks = (look(FOUR - QUIET, CONTROL, dataset(5)), look(FOUR, CONTROL), look(FOUR + QUIET, CONTROL))
        why = "two looks a quiet period apart have not been equal yet"
        assert by_name(*looks[:2], known=EARLIER) == [NotYet(chunk(1), FOUR + QUIET, why)]
        assert by_name(*looks, known=EARLIER) == [Absent(chunk(1))]

    def test_the_last_one_needs_looks_that_show_all_that_has_landed(self) -> None:
        """How many are not shown is said."""
        known = replace(EARLIER, landed={**EARLIER.landed, "id-5": T0, "id-6": T0})
        seen, why = look(FOUR, dataset(5)), "the list does not show 2 of 3 datasets that have landed"
        assert by_name(seen, replace(seen, at=FOUR + QUIET), known=known) == [NotYet(chunk(1), FOUR + 2 * QUIET, why)]
        assert by_name(seen, replace(seen, at=IMPATIENT), known=known) == [Held(chunk(1), why)]


class TestByCount:
    WORLD = Known(frozenset(), 100, {"id": LAST_BYTE + 1}, 50)

    def test_one_set_fits(self) -> None:
        doubts = (doubt(1, 10), doubt(2, 15), doubt(3, 7))
        assert by_count(*still(150 + 17), known=self.WORLD, doubts=doubts) == [
            Present(chunk(1), "id"), Absent(chunk(2)), Present(chunk(3), "id"),
        ]  # fmt: skip

    def test_none_is_there(self) -> None:
        doubts = (doubt(1, 10), doubt(2, 15))
        assert by_count(*still(150), known=self.WORLD, doubts=doubts) == [Absent(chunk(1)), Absent(chunk(2))]

    @pytest.mark.parametrize("doubts", [(doubt(1, 10), doubt(2, 10)), (doubt(1, 10), doubt(2, 4), doubt(3, 6))])
    def test_several_sets_fit(self, doubts: tuple[Doubt, ...]) -> None:
        why = "the dataset shows 160 rows; 100 were there and 50 have landed: several sets of chunks in doubt add up to the"
        why = f"{why} difference"
        assert by_count(*still(160), known=self.WORLD, doubts=doubts) == PageBack(doubts, why)

    def test_all_of_equal_size_are_there(self) -> None:
        doubts = tuple(doubt(n, 10) for n in range(30))
        judged = by_count(*still(450), known=self.WORLD, doubts=doubts)
        assert judged == [Present(d.chunk, "id") for d in doubts]

    def test_no_set_fits(self) -> None:
        why = "no set of chunks in doubt adds up to the difference, so somebody else writes to it"
        why = f"the dataset shows 163 rows; 100 were there and 50 have landed: {why}"
        doubts = (doubt(1, 10), doubt(2, 15))
        first, second = still(163)
        due = first.ended_at + LAST_ONES_QUIET_PERIODS * QUIET
        for look in (second, replace(second, at=due)):  # a count that lags looks like this too
            judged = by_count(first, look, known=self.WORLD, doubts=doubts)
            assert judged == [NotYet(d.chunk, look.at + QUIET, why) for d in doubts]
        judged = by_count(first, second, replace(second, at=due + 0.001), known=self.WORLD, doubts=doubts)
        assert judged == [Held(d.chunk, why) for d in doubts]

    @pytest.mark.parametrize("sums", [3, 4])
    def test_so_many_sums_are_looked_through_and_no_more(self, sums: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of 1 and 2 rows there are the sums 0, 1, 2 and 3. What is more than the difference is none."""
        monkeypatch.setattr(settlement, "MAX_SUBSETS", sums)
        judged = by_count(*still(153), known=self.WORLD, doubts=(doubt(1, 1), doubt(2, 2), doubt(3, 4)))
        assert isinstance(judged, PageBack) is (sums == 3)

    def test_rows_missing_from_the_count(self) -> None:
        first, last = counted(FOUR, 149), counted(IMPATIENT, 149)
        why = "the dataset shows 149 rows; 100 were there and 50 have landed: rows are missing from the count"
        assert by_count(first, known=self.WORLD, doubts=(doubt(),)) == [NotYet(chunk(1), FOUR + QUIET, why)]
        assert by_count(first, last, known=self.WORLD, doubts=(doubt(),)) == [Held(chunk(1), why)]

    def test_of_unclear_runs_the_first_is_named(self) -> None:
        """It is to be settled first: the next, if any, is named then."""
        known = replace(self.WORLD, unclear=("run-a", "run-b"))
        why = (
            "it is not known how many rows run run-a has put into the same dataset: settle that run first, or say what you "
            "know about this chunk"
        )
        judged = by_count(*still(160), known=known, doubts=(doubt(1), doubt(2)))
        assert judged == [Held(chunk(1), why), Held(chunk(2), why)]

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
        why = "the count has not stood still for a quiet period"
        judged = by_count(*looks, known=self.WORLD, doubts=(doubt(),))
        assert judged == [NotYet(chunk(1), looks[-1].at + QUIET, why)]

    def test_a_count_has_stood_still_since_the_end_of_the_look_that_showed_it(self) -> None:
        """When in a long look it was counted nobody knows."""
        long, why = replace(counted(FOUR, 150), took_s=100.0), "the count has not stood still for a quiet period"
        judged = by_count(long, counted(FOUR + 100 + QUIET - SOON, 150), known=self.WORLD, doubts=(doubt(),))
        assert judged == [NotYet(chunk(1), FOUR + 100 + 2 * QUIET - SOON, why)]
        judged = by_count(long, counted(FOUR + 100 + QUIET, 150), known=self.WORLD, doubts=(doubt(),))
        assert judged == [Absent(chunk(1))]

    @pytest.mark.parametrize("before", [0, 1, 2])
    def test_not_absent_before_a_quiet_period_is_over(self, before: int) -> None:
        """By the time of the last look, however many there have been."""
        end = LAST_BYTE + QUIET

        def looks(at: float) -> list[Look]:
            return [*(counted(LAST_BYTE - 99 + n, 150) for n in range(before)), *still(150, at)]

        judged = by_count(*looks(end - SOON), known=self.WORLD, doubts=(doubt(),))
        assert judged == [NotYet(chunk(1), end, "its body may still be on its way")]
        assert by_count(*looks(end), known=self.WORLD, doubts=(doubt(),)) == [Absent(chunk(1))]

    @pytest.mark.parametrize(("began_at", "is_newer"), [(-1.0, False), (0.0, False), (SOON, True)])
    def test_what_began_as_its_last_byte_left_is_no_control(self, began_at: float, is_newer: bool) -> None:
        known = replace(self.WORLD, landed={"id": LAST_BYTE + began_at})
        judged = by_count(*still(150, LAST_BYTE + QUIET), known=known, doubts=(doubt(),))
        open_ = NotYet(chunk(1), FOUR, "nothing has landed after it that a look could show")
        assert judged == [Absent(chunk(1)) if is_newer else open_]

    def test_the_last_one_needs_four_quiet_periods(self) -> None:
        known = replace(self.WORLD, landed={"id": LAST_BYTE - 1})
        (verdict,) = by_count(*still(150, FOUR - SOON), known=known, doubts=(doubt(),))  # type: ignore[misc]
        assert isinstance(verdict, NotYet)
        assert by_count(*still(150, FOUR), known=known, doubts=(doubt(),)) == [Absent(chunk(1))]

    def test_the_creating_one(self) -> None:
        looks = (Look(FOUR - QUIET), Look(FOUR))
        assert by_count(*looks[:1], known=NOTHING, doubts=(doubt(),)) != [Absent(chunk(1))]
        assert by_count(*looks, known=NOTHING, doubts=(doubt(),)) == [Absent(chunk(1))]
        assert by_count(*still(10), known=NOTHING, doubts=(doubt(),)) == [Present(chunk(1), "id")]

    def test_what_was_refused_needs_only_a_still_count(self) -> None:
        looks = still(150, LAST_BYTE + QUIET)
        known = replace(self.WORLD, landed={})
        assert by_count(*looks, known=known, doubts=(doubt(answered=True),)) == [Absent(chunk(1))]

    def test_what_was_refused_may_be_stored_in_part_so_sums_prove_nothing(self) -> None:
        """Ten rows more: the other chunk, or ten of this one's fifteen."""
        doubts = (doubt(1, 15, answered=True), doubt(2, 10))
        why = "have landed: a part of a refused chunk may be stored"
        judged = by_count(*still(60), known=replace(self.WORLD, base_rows=0), doubts=doubts)
        assert judged == PageBack(doubts, f"the dataset shows 60 rows; 0 were there and 50 {why}")
        judged = by_count(*still(160), known=self.WORLD, doubts=doubts)
        why = f"the dataset shows 160 rows; 100 were there and 50 {why}"
        assert judged == [Held(chunk(1), why), Held(chunk(2), why)]

    def test_two_datasets_of_the_name(self) -> None:
        looks = (counted(FOUR, 10, dataset()), counted(FOUR + QUIET, 10, dataset()))
        judged = by_count(*looks, known=NOTHING, doubts=(doubt(),))
        assert judged == [Held(chunk(1), "2 datasets have that name: id, id-1")]

    def test_what_is_there_is_in_the_dataset_of_the_last_look(self) -> None:
        looks = (counted(T0, 150), Look(FOUR - QUIET), Look(FOUR - QUIET), counted(FOUR, 160))
        judged = judge_rest((doubt(),), frozenset({chunk(1)}), looks, self.WORLD, QUIET)
        assert judged == [Present(chunk(1), "id")]

    def test_no_read_back(self) -> None:
        judged = by_count(Look(FOUR, unavailable="HTTP 403"), known=self.WORLD, doubts=(doubt(),))
        assert judged == [Held(chunk(1), "the service cannot be read back: HTTP 403")]


def rows(text: str) -> Counter[bytes]:
    """A letter a row."""
    return Counter(letter.encode() for letter in text)


def found(there: str, *chunks: str, base: int = 0) -> set[int] | None:
    """Which of *chunks* are among the rows *there*, *base* of which were there before the run."""
    doubts = [doubt(n, len(text)) for n, text in enumerate(chunks)]
    contents = {d.chunk: rows(text) for d, text in zip(doubts, chunks, strict=True)}
    judged = judge_by_rows(doubts, contents, rows(there), Known(frozenset(), base, {}, 0))
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

    def test_all_of_them_need_the_rows_of_all(self) -> None:
        """Each may be there, and so may be as many rows as both have: but not both."""
        assert found("abcx", "ab", "bc") is None

    def test_a_row_that_is_there_once_is_of_one_chunk(self) -> None:
        assert found("abcd", "ab", "bc", "cd") == {0, 2}

    def test_two_different_sets_leave_it_open(self) -> None:
        assert found("abcd", "ab", "cd", "ac", "bd") is None

    def test_rows_of_nobody_leave_it_open(self) -> None:
        assert found("abx", "ab", "cd") is None

    def test_part_of_a_chunk_leaves_it_open(self) -> None:
        assert found("a", "ab", "cd") is None

    def test_thousands_of_candidates_end(self) -> None:
        chunks = [f"{chr(n)}{chr(n + 1)}" for n in range(1000, 4000)]
        assert found("".join(chunks[:-1]) + "x", *chunks) is None

    @pytest.mark.parametrize(
        ("there", "chunks", "base", "steps", "answer"),
        [
            ("abab", ["ab", "ab", "ab"], 0, 8, {0, 1}),
            ("abcde", ["de", "abc"], 2, 6, {1}),  # "de" and "abc" are more than there can be: that costs no step
        ],
    )
    def test_so_many_steps_are_taken_and_no_more(
        self, there: str, chunks: list[str], base: int, steps: int, answer: set[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A set counts only once all have been looked at: there may be another."""
        monkeypatch.setattr(settlement, "MAX_SUBSETS", steps)
        assert found(there, *chunks, base=base) == answer
        monkeypatch.setattr(settlement, "MAX_SUBSETS", steps - 1)
        assert found(there, *chunks, base=base) is None

    def test_so_many_candidates_are_looked_through_and_no_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(settlement, "MAX_CANDIDATES", 3)
        assert found("abab", "ab", "ab", "ab") == {0, 1}
        monkeypatch.setattr(settlement, "MAX_CANDIDATES", 2)
        assert found("abab", "ab", "ab", "ab") is None
