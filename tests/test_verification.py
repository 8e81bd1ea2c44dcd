"""Comparing keys: what differs is found, counted and placed, and nothing else is."""

from __future__ import annotations

import math
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from bulkup.doubt.verification import (
    SHOWN_ROWS,
    WINDOW,
    DatasetDifference,
    Kind,
    LaneVerification,
    Sample,
    Verification,
    compare_in_order,
    compare_unordered,
    excluded_share,
)
from bulkup.errors import ExitCode


def key(value: object) -> bytes:
    return xxhash.xxh3_128_digest(str(value).encode())


def packed(values: list[object] | range) -> bytes:
    return b"".join(map(key, values))


def test_equal_is_equal() -> None:
    for compare in (compare_in_order, compare_unordered):
        assert compare(packed(range(1000)), packed(range(1000))).count == 0
        assert compare(b"", b"").count == 0


def test_an_altered_row_is_named() -> None:
    stored: list[object] = list(range(1000))
    stored[412] = "x"
    found = compare_in_order(packed(range(1000)), packed(stored))
    assert [(m.kind, m.sent, m.stored) for m in found.first] == [(Kind.ALTERED, 412, 412)]
    assert [(m.kind, m.sent) for m in compare_unordered(packed(range(1000)), packed(stored)).first] == [
        (Kind.ALTERED, 412)
    ]


def test_a_missing_row_does_not_make_all_behind_it_differ() -> None:
    stored: list[object] = [n for n in range(1000) if n not in (10, 500, 999)]
    found = compare_in_order(packed(range(1000)), packed(stored))
    assert [(m.kind, m.sent, m.stored) for m in found.first] == [(Kind.MISSING, n, None) for n in (10, 500, 999)]
    assert [m.sent for m in compare_unordered(packed(range(1000)), packed(stored)).first] == [10, 500, 999]


def test_an_extra_row_is_told_by_its_place() -> None:
    stored: list[object] = [*range(100), "new", *range(100, 300), 299]
    found = compare_in_order(packed(range(300)), packed(stored))
    assert [(m.kind, m.sent, m.stored) for m in found.first] == [(Kind.EXTRA, None, 100), (Kind.EXTRA, None, 301)]
    assert [m.kind for m in compare_unordered(packed(range(300)), packed(stored)).first] == [Kind.EXTRA] * 2


def test_order_counts_in_one_and_not_in_the_other() -> None:
    stored: list[object] = [1, 0, *range(2, 50)]
    assert compare_in_order(packed(range(50)), packed(stored)).count > 0
    assert compare_unordered(packed(range(50)), packed(stored)).count == 0


def test_duplicates_are_counted() -> None:
    sent: list[object] = ["a", "a", "b"]
    assert compare_unordered(packed(sent), packed(["a", "b", "b"])).count == 1
    assert compare_unordered(packed(sent), packed(["b", "a", "a"])).count == 0


def test_everything_altered_is_counted_and_some_of_it_named() -> None:
    size = 5 * WINDOW + 3
    found = compare_in_order(packed(range(size)), packed([f"x{n}" for n in range(size)]))
    assert found.count == size
    assert len(found.first) == SHOWN_ROWS


small = st.lists(st.sampled_from("abcd"), max_size=12)


@given(small, small)
def test_a_difference_is_found_if_and_only_if_there_is_one(sent: list[object], stored: list[object]) -> None:
    assert (compare_in_order(packed(sent), packed(stored)).count == 0) == (sent == stored)
    in_bags = sorted(map(str, sent)) == sorted(map(str, stored))
    assert (compare_unordered(packed(sent), packed(stored)).count == 0) == in_bags


@given(small, small)
def test_the_mismatches_account_for_both_sides(sent: list[object], stored: list[object]) -> None:
    kinds = [m.kind for m in compare_in_order(packed(sent), packed(stored)).first]
    grown = kinds.count(Kind.EXTRA) - kinds.count(Kind.MISSING)
    assert len(stored) - len(sent) == grown


def chosen(total: int, share: float, seed: int, *, apart: int = 1) -> list[int]:
    """Which of *total* chunks are chosen that start *apart* from each other, by number."""
    sample = Sample(share, seed)
    starts = range(0, total * apart, apart)
    for start in starts:
        sample.show(start)
    sample.count_up()
    if not sample.is_all:
        for start in starts:
            sample.show_again(start)
    found = [number for number, start in enumerate(starts) if start in sample]
    assert (sample.total, sample.count) == (total, len(found))
    return found


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    assert chosen(1000, 0.05, 7) == chosen(1000, 0.05, 7)
    assert chosen(1000, 0.05, 7) != chosen(1000, 0.05, 8)
    assert chosen(3, 0.05, 1) in ([0], [1], [2])
    assert chosen(41, 1.0, 3) == list(range(41))
    assert chosen(0, 0.5, 3) == []
    assert chosen(10, 0.0, 3) == []


@given(st.integers(0, 300), st.floats(0, 1), st.integers(-(2**70), 2**70), st.sampled_from([1, 7, 1 << 40]))
def test_a_sample_is_that_share_rounded_up(total: int, share: float, seed: int, apart: int) -> None:
    assert len(chosen(total, share, seed, apart=apart)) == min(total, math.ceil(total * share - 1e-9))


def test_a_large_sample_holds_next_to_nothing() -> None:
    sample = Sample(0.5, 3)
    for start in range(100_000):
        sample.show(start)
    sample.count_up()
    for start in range(100_000):
        sample.show_again(start)
    assert len(sample._at_cut) < 100
    assert sum(start in sample for start in range(100_000)) == sample.count == 50_000


def test_the_excluded_share_is_the_exact_bound() -> None:
    """At that share a sample of n would be all good with a probability of 5 %."""
    for compared in (1, 3, 59, 1000):
        share = excluded_share(compared, 10**9)
        assert share is not None
        assert math.isclose((1 - share) ** compared, 0.05)
    assert excluded_share(299, 10**9) == pytest.approx(0.00997, abs=1e-5)
    assert excluded_share(5, 5) == 0.0
    assert excluded_share(0, 5) is None


def test_the_bound_holds_when_it_is_tried() -> None:
    """With just that share of the chunks defective, at most about one sample in twenty looks clean."""
    share = excluded_share(30, 1000)
    assert share is not None
    bad = math.ceil(1000 * share)
    clean = sum(min(chosen(1000, 0.03, seed)) >= bad for seed in range(500))
    assert clean / 500 <= 0.08


def test_the_lanes_codes() -> None:
    assert LaneVerification().exit_code == 0
    assert LaneVerification(rows_rejected=5).exit_code == 0
    assert LaneVerification(rows_in_doubt=5).exit_code == ExitCode.IN_DOUBT
    assert LaneVerification(unverifiable=["x"]).exit_code == ExitCode.IN_DOUBT
    assert LaneVerification(rows_left=1).exit_code == ExitCode.TRY_LATER
    assert LaneVerification(read_whole=False).exit_code == ExitCode.TRY_LATER
    differs = LaneVerification(
        dataset_differences=[DatasetDifference("d", "x")], rows_in_doubt=1, stopped=("y", ExitCode.TRY_LATER)
    )
    assert differs.exit_code == ExitCode.DIFFERS
    broken_off = LaneVerification(stopped=("y", ExitCode.TRY_LATER))
    assert broken_off.exit_code == ExitCode.TRY_LATER
    assert Verification("r", 1.0, 1, {"a": broken_off, "b": differs}).exit_code == ExitCode.DIFFERS
    assert Verification("r", 1.0, 1, {"a": broken_off, "b": LaneVerification(rows_in_doubt=1)}).exit_code == 75


def test_nothing_is_said_of_a_sample_that_proves_nothing() -> None:
    def found(**more: Any) -> LaneVerification:
        return LaneVerification(chunks_landed=10, chunks_compared=2, **more)

    assert found().excluded == pytest.approx(1 - 0.05**0.5)
    assert found(rows_differing=1).excluded is None
    assert found(unverifiable=["x"]).excluded is None
    assert found(stopped=("x", ExitCode.TRY_LATER)).excluded is None
