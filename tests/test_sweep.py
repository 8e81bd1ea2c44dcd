"""Planning and judging a sweep: which cell comes next, what is best, what limits it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.bench.sweep import (
    Attempt,
    Budget,
    Cell,
    CellResult,
    Fate,
    Grid,
    Limit,
    ToldQuota,
    best_of,
    ceiling,
    cost_of,
    is_reached,
    judge,
    next_cell,
    quota_per_minute,
    requests_of,
)

MB = 1_000_000
GRID = Grid((1 * MB, 4 * MB, 16 * MB), (1, 2, 4, 8, 16))
PLENTY = Budget(10_000, 1 << 50)


def attempt(
    fate: Fate = Fate.TAKEN,
    *,
    size: int = MB,
    at: float = 0.0,
    takes: float = 1.0,
    answer: float = 0.9,
    wait_s: float | None = None,
) -> Attempt:
    """*answer*: the share of *takes* in which the answer is waited for."""
    sent_at = at + takes * (1 - answer)
    return Attempt(fate=fate, body_bytes=size, began_at=at, body_sent_at=sent_at, ended_at=at + takes, wait_s=wait_s)


def result(
    cell: Cell, goodput: float, *, cpu: float = 0.1, answer: float = 0.9, troubled: Fate | None = None
) -> CellResult:
    takes = cell.concurrency * cell.chunk_bytes / goodput
    fates = [Fate.TAKEN] * requests_of(cell)
    if troubled is not None:
        fates[-1] = troubled
    attempts = tuple(attempt(fate, size=cell.chunk_bytes, takes=takes, answer=answer) for fate in fates)
    return CellResult(cell=cell, attempts=attempts, elapsed_s=2 * takes, cpu_s=2 * takes * cpu)


Endpoint = Callable[[Cell], float]
"""The goodput that it gives a cell."""


def latency_bound(cell: Cell) -> float:
    """Each request takes 0.5 s besides its bytes; 8 at once are served side by side, 200 MB/s in all."""
    return min(200e6, min(cell.concurrency, 8) * cell.chunk_bytes / (0.5 + cell.chunk_bytes / 100e6))


def one_at_a_time(cell: Cell) -> float:
    return cell.chunk_bytes / (0.05 + cell.chunk_bytes / 80e6)


def chokes_on_large(cell: Cell) -> float:
    return min(cell.concurrency, 4) * 20e6 / (1 + (cell.chunk_bytes / 4e6 - 1) ** 2)


def sweep(
    endpoint: Endpoint, budget: Budget = PLENTY, grid: Grid = GRID, quota: float | None = None
) -> tuple[list[CellResult], Budget]:
    results: list[CellResult] = []
    left = budget
    while (cell := next_cell(grid, results, left, requests_per_minute=quota)) is not None:
        results.append(result(cell, endpoint(cell)))
        left = left.minus(cost_of(cell))
    return results, left


@pytest.mark.parametrize("endpoint", [latency_bound, one_at_a_time, chokes_on_large])
def test_it_finds_the_best_cell_without_trying_all(endpoint: Endpoint) -> None:
    results, _ = sweep(endpoint)
    best = best_of(results)
    assert best is not None
    assert endpoint(best.cell) >= 0.9 * max(map(endpoint, GRID.cells))
    assert len(results) < len(GRID.cells)
    assert len({r.cell for r in results}) == len(results)


def test_sizes_come_first_and_the_smallest_of_them() -> None:
    results, _ = sweep(latency_bound)
    assert [r.cell for r in results[:3]] == [Cell(size, 1) for size in GRID.chunk_bytes]


@given(
    st.sets(st.integers(1, 50), min_size=1, max_size=4),
    st.sets(st.integers(1, 32), min_size=1, max_size=5),
    st.integers(1, 300),
    st.integers(1, 3000),
    st.randoms(use_true_random=False),
)
def test_no_budget_is_exceeded(
    sizes: set[int], counts: set[int], requests: int, body_bytes: int, chance: object
) -> None:
    """Whatever the endpoint gives; and the sweep ends."""
    import random

    assert isinstance(chance, random.Random)
    grid = Grid(tuple(sorted(sizes)), tuple(sorted(counts)))
    budget = Budget(requests, body_bytes)
    results, left = sweep(lambda _: chance.uniform(1, 100), budget, grid)
    assert left.requests >= 0
    assert left.body_bytes >= 0
    assert len(results) <= len(grid.cells)
    most = ceiling(grid, budget)
    assert budget.covers(most)
    assert sum(len(r.attempts) for r in results) <= most.requests


def test_a_quota_that_is_used_up_needs_no_more_at_once() -> None:
    """Nothing is spent on finding out what cannot help."""
    results, _ = sweep(latency_bound, quota=30.0)
    assert [r.cell for r in results] == [Cell(size, 1) for size in GRID.chunk_bytes]
    assert len(sweep(latency_bound, quota=100_000.0)[0]) > 3


def test_a_size_that_is_refused_is_not_tried_again_nor_a_larger_one() -> None:
    refused = CellResult(
        cell=Cell(4 * MB, 1), attempts=(attempt(Fate.TOO_LARGE, size=4 * MB),), elapsed_s=1.0, cpu_s=0.1
    )
    results = [result(Cell(MB, 1), 5e6), refused]
    while (cell := next_cell(GRID, results, PLENTY)) is not None:
        assert cell.chunk_bytes == MB
        results.append(result(cell, 5e6 * cell.concurrency))
    verdict = judge(GRID, results, opening=[], told=None)
    assert verdict.largest_taken == MB
    assert verdict.best is not None
    assert verdict.best.cell == Cell(MB, 16)


def test_of_equals_the_largest_chunks_then_the_fewest_at_once() -> None:
    cells = [Cell(MB, 4), Cell(4 * MB, 4), Cell(4 * MB, 2), Cell(16 * MB, 1)]
    results = [result(cell, goodput) for cell, goodput in zip(cells, (100e6, 96e6, 95e6, 80e6), strict=True)]
    best = best_of(results)
    assert best is not None
    assert best.cell == Cell(4 * MB, 2)


def test_a_cell_in_which_something_was_lost_is_best_only_where_there_is_no_other() -> None:
    lossy = result(Cell(MB, 8), 90e6, troubled=Fate.LOST)
    clean = result(Cell(MB, 1), 10e6)
    assert best_of([lossy, clean]) is clean
    assert best_of([lossy]) is lossy
    assert best_of([]) is None


@pytest.mark.parametrize("concurrency", [1, 2, 16])
def test_a_run_warms_up_and_then_measures_at_least_two(concurrency: int) -> None:
    cell = Cell(MB, concurrency)
    measured = result(cell, 1e6).measured
    assert len(measured) == max(2, concurrency) == requests_of(cell) - concurrency
    assert cost_of(cell).body_bytes == requests_of(cell) * MB


def test_goodput_leaves_the_warm_up_out() -> None:
    slow, fast = attempt(takes=9.0), attempt(takes=1.0)
    cell = CellResult(cell=Cell(MB, 2), attempts=(slow, slow, fast, fast), elapsed_s=10, cpu_s=0)
    assert cell.goodput == pytest.approx(2 * MB)
    assert len(cell.measured) == 2


def test_a_quota_makes_the_largest_chunk_the_best() -> None:
    """30 requests a minute: what a request holds is the throughput."""
    results = [result(Cell(MB, 16), 100e6), result(Cell(16 * MB, 1), 20e6)]
    verdict = judge(GRID, results, opening=[], told=ToldQuota(30.0, "you"))
    assert verdict.best is results[1]
    assert verdict.limit is Limit.QUOTA
    assert judge(GRID, results, opening=[], told=None).best is results[0]


def test_the_quota_is_read_off_a_refusal() -> None:
    """Ten taken in 10 s, then told to wait 10 s more: thirty a minute."""
    attempts = [attempt(at=number, takes=0.5) for number in range(10)]
    refused = attempt(Fate.TOLD_TO_WAIT, at=9.5, takes=0.5, wait_s=10.0)
    assert quota_per_minute([*attempts, refused]) == pytest.approx(30.0)
    assert quota_per_minute(attempts) is None
    assert quota_per_minute([refused]) is None


def column(*goodputs: float, cpu: float = 0.1, answer: float = 0.9) -> list[CellResult]:
    """The largest chunks with 1, 2, 4, … at once."""
    counts = GRID.concurrencies[: len(goodputs)]
    return [
        result(Cell(16 * MB, count), goodput, cpu=cpu, answer=answer)
        for count, goodput in zip(counts, goodputs, strict=True)
    ]


@pytest.mark.parametrize(
    ("results", "limit"),
    [
        (column(20e6, 40e6, 41e6), Limit.SERVER),
        (column(20e6, 40e6, 41e6, answer=0.1), Limit.NETWORK),
        (column(20e6, 40e6, 41e6, cpu=0.95), Limit.CLIENT_CPU),
        (column(20e6, 40e6), Limit.NOT_REACHED),
        (column(20e6), Limit.NOT_REACHED),
        (column(20e6, 40e6, 80e6, 160e6, 320e6), Limit.NOT_REACHED),
        ([*column(20e6, 40e6), result(Cell(16 * MB, 4), 41e6, troubled=Fate.TOLD_TO_WAIT)], Limit.QUOTA),
    ],
)
def test_what_limits(results: list[CellResult], limit: Limit) -> None:
    assert judge(GRID, results, opening=[], told=None).limit is limit


def test_a_grid_of_one_number_at_once_has_nothing_above_it() -> None:
    only = [result(Cell(MB, 4), 10e6)]
    assert judge(Grid((MB,), (4,)), only, opening=[], told=None).limit is Limit.SERVER


def test_nothing_measured_has_no_verdict() -> None:
    verdict = judge(GRID, [], opening=[attempt()], told=None)
    assert (verdict.best, verdict.limit) == (None, None)


def test_a_limit_is_one_only_if_more_was_tried() -> None:
    """With the same bodies: what was never passed is no ceiling for later uploads."""
    alone, both, other = (result(Cell(*cell), 1.0) for cell in ((4, 1), (4, 2), (8, 2)))
    assert not is_reached(alone, [alone, other])
    assert is_reached(alone, [alone, both])
    assert not is_reached(alone, [alone, replace(both, attempts=())])
