"""Finding what an endpoint takes: which cell to measure next, which one is best, and what limits it. Nothing here sends.

A *sweep* measures *cells* of a grid: a chunk size, and a number of requests at once. A cell is a short run: as many warm-up
requests as go at once, then as many again (at least two) that are measured. Sizes are bytes of whole bodies, times seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

__all__ = [
    "Attempt",
    "Budget",
    "Cell",
    "CellResult",
    "Fate",
    "Grid",
    "Limit",
    "ToldQuota",
    "Verdict",
    "best_of",
    "ceiling",
    "cost_of",
    "is_reached",
    "judge",
    "next_cell",
    "quota_per_minute",
    "requests_of",
]

SAME = 0.9
"""Goodputs that differ by less than this share count as equal: a cell is a few requests."""

BUSY = 0.85
"""From this share of one core on the client's CPU is what limits."""

SLOW_ANSWER = 0.5
"""From this share of a round trip on it is the answer that is waited for, not the body that is on its way."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """Bodies of at most *chunk_bytes*, *concurrency* of them at once."""

    chunk_bytes: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class Grid:
    """The chunk sizes and the numbers at once that may be tried, each ascending."""

    chunk_bytes: tuple[int, ...]
    concurrencies: tuple[int, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All of them."""
        return tuple(Cell(size, count) for size in self.chunk_bytes for count in self.concurrencies)


@dataclass(frozen=True, slots=True)
class Budget:
    """Requests and bytes of bodies: what may be spent, what something costs, or what is left."""

    requests: int
    body_bytes: int

    def covers(self, cost: Budget) -> bool:
        """Whether *cost* can be spent of it."""
        return cost.requests <= self.requests and cost.body_bytes <= self.body_bytes

    def minus(self, cost: Budget) -> Budget:
        """What is left of it."""
        return Budget(self.requests - cost.requests, self.body_bytes - cost.body_bytes)


class Fate(StrEnum):
    """What became of one request of a sweep."""

    TAKEN = "taken"
    TOLD_TO_WAIT = "told to wait"
    TOO_LARGE = "too large"
    LOST = "lost"
    NOT_SENT = "not sent"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request. Moments are of one monotonic clock; *body_sent_at* is when the last of the body was handed to the connection.
    *wait_s*: how long the service asked for quiet, where it did."""

    fate: Fate
    body_bytes: int
    began_at: float
    body_sent_at: float
    ended_at: float
    wait_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """What a cell came to. *attempts* are in the order in which they began; *elapsed_s* and *cpu_s* (of this process) are the
    whole cell's."""

    cell: Cell
    attempts: tuple[Attempt, ...]
    elapsed_s: float
    cpu_s: float

    @property
    def measured(self) -> tuple[Attempt, ...]:
        """The requests that count: taken, and behind the warm-up."""
        return tuple(a for a in self.attempts[self.cell.concurrency :] if a.fate is Fate.TAKEN)

    @property
    def round_trips_s(self) -> tuple[float, ...]:
        """From the start of each measured request to the end of its answer, ascending."""
        return tuple(sorted(a.ended_at - a.began_at for a in self.measured))

    @property
    def goodput(self) -> float:
        """Bytes a second: what is at once, over the median round trip (Little's law). 0 where nothing was measured."""
        if not self.measured:
            return 0.0
        size = median(a.body_bytes for a in self.measured)
        return self.cell.concurrency * size / max(median(self.round_trips_s), 1e-6)

    def goodput_within(self, requests_per_minute: float | None) -> float:
        """The same under a quota."""
        if requests_per_minute is None or not self.measured:
            return self.goodput
        return min(self.goodput, median(a.body_bytes for a in self.measured) * requests_per_minute / 60)

    @property
    def answer_share(self) -> float:
        """The share of a round trip that is waited for the answer, once the body is on its way: the median."""
        shares = [(a.ended_at - a.body_sent_at) / max(a.ended_at - a.began_at, 1e-6) for a in self.measured]
        return median(shares) if shares else 0.0

    @property
    def cpu_share(self) -> float:
        """How busy this process was, in cores."""
        return self.cpu_s / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def is_clean(self) -> bool:
        """Every request was taken."""
        return all(a.fate is Fate.TAKEN for a in self.attempts)


class Limit(StrEnum):
    """What keeps the best cell from being faster."""

    QUOTA = "the quota"
    CLIENT_CPU = "this machine's CPU"
    SERVER = "the server"
    NETWORK = "the network"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """*best* is None where nothing could be measured. *why* is a line for a person. *quota_per_minute*: requests a minute, as told
    by the user or, from refusals, about."""

    best: CellResult | None
    limit: Limit | None
    why: str
    quota_per_minute: float | None
    largest_taken: int | None
    """The largest body that was taken, where a larger one was refused for its size (413)."""


def requests_of(cell: Cell) -> int:
    """How many requests a cell takes: its warm-up and what is measured."""
    return cell.concurrency + max(2, cell.concurrency)


def cost_of(cell: Cell) -> Budget:
    """What a cell takes at most."""
    return Budget(requests_of(cell), requests_of(cell) * cell.chunk_bytes)


def ceiling(grid: Grid, budget: Budget) -> Budget:
    """The most that a sweep of *grid* can spend within *budget*, its opening request (of the smallest size) included."""
    costs = [Budget(1, grid.chunk_bytes[0]), *map(cost_of, grid.cells)]
    return Budget(
        min(budget.requests, sum(cost.requests for cost in costs)),
        min(budget.body_bytes, sum(cost.body_bytes for cost in costs)),
    )


def next_cell(
    grid: Grid, results: Sequence[CellResult], left: Budget, *, requests_per_minute: float | None = None
) -> Cell | None:
    """The cell to measure next, None at the end: every neighbour of the best is measured, or *left* covers none.

    First every size with the fewest at once, ascending; then uphill from the best so far: more at once, larger, smaller, fewer.
    Sizes that were refused as too large are left out. Where the best already uses up the quota, only a larger size can do better.
    """
    sizes = [size for size in grid.chunk_bytes if size < _refused_from(results)]
    measured = {result.cell for result in results}
    for size in sizes:
        cell = Cell(size, grid.concurrencies[0])
        if cell not in measured and left.covers(cost_of(cell)):
            return cell
    best = best_of(results, requests_per_minute)
    if best is None:
        return None
    size, count = best.cell.chunk_bytes, best.cell.concurrency
    more, fewer = _beside(grid.concurrencies, count)
    larger, smaller = _beside(sizes, size)
    wanted = [*(Cell(other, count) for other in larger)]
    if best.goodput_within(requests_per_minute) == best.goodput:
        wanted = [
            *(Cell(size, other) for other in more),
            *wanted,
            *(Cell(other, count) for other in smaller),
            *(Cell(size, other) for other in fewer),
        ]
    return next((cell for cell in wanted if cell not in measured and left.covers(cost_of(cell))), None)


def _beside(values: Sequence[int], value: int) -> tuple[Sequence[int], Sequence[int]]:
    """What stands next above *value* and next below it, each one or none."""
    above = [other for other in values if other > value][:1]
    below = [other for other in values if other < value][-1:]
    return above, below


def _refused_from(results: Iterable[CellResult]) -> float:
    sizes = (r.cell.chunk_bytes for r in results if any(a.fate is Fate.TOO_LARGE for a in r.attempts))
    return min(sizes, default=float("inf"))


def best_of(results: Sequence[CellResult], requests_per_minute: float | None = None) -> CellResult | None:
    """The cell with the highest goodput within the quota. Of those that are as good, the one with the largest chunks (fewer
    requests, fewer datasets), then the fewest at once. Cells with a request that was not taken only where there is no other."""
    measured = [result for result in results if result.measured]
    candidates = [result for result in measured if result.is_clean] or measured
    top = max((result.goodput_within(requests_per_minute) for result in candidates), default=0.0)
    return max(
        (result for result in candidates if result.goodput_within(requests_per_minute) >= SAME * top),
        key=lambda result: (result.cell.chunk_bytes, -result.cell.concurrency),
        default=None,
    )


def quota_per_minute(attempts: Sequence[Attempt]) -> float | None:
    """About how many requests a minute the service takes, from its last 429 or 503: those taken until then, over the time until
    it would take more. None without one, or where it gives no number."""
    refused = [a for a in attempts if a.fate is Fate.TOLD_TO_WAIT]
    if not refused:
        return None
    last = max(refused, key=lambda a: a.ended_at)
    taken = sum(a.fate is Fate.TAKEN and a.ended_at <= last.ended_at for a in attempts)
    span_s = last.ended_at - min(a.began_at for a in attempts) + (last.wait_s or 0.0)
    return taken * 60 / span_s if taken and span_s > 0 else None


@dataclass(frozen=True, slots=True)
class ToldQuota:
    """Requests a minute, as the user says, or the service in its headers: *by* is `you` or `the service`."""

    per_minute: float
    by: str


def judge(grid: Grid, results: Sequence[CellResult], *, opening: Sequence[Attempt], told: ToldQuota | None) -> Verdict:
    """What was found. *told* is the quota where somebody says it, *opening* what was sent before any cell."""
    attempts = [*opening, *(a for result in results for a in result.attempts)]
    seen = quota_per_minute(attempts)
    quota = told.per_minute if told is not None else seen
    best = best_of(results, quota)
    limit, why = (None, "nothing could be measured") if best is None else _limit(grid, results, best, attempts, told)
    refused = any(a.fate is Fate.TOO_LARGE for a in attempts)
    taken = [a.body_bytes for a in attempts if a.fate is Fate.TAKEN]
    return Verdict(
        best=best,
        limit=limit,
        why=why,
        quota_per_minute=quota,
        largest_taken=max(taken) if refused and taken else None,
    )


def _limit(
    grid: Grid, results: Sequence[CellResult], best: CellResult, attempts: Sequence[Attempt], told: ToldQuota | None
) -> tuple[Limit, str]:
    if told is not None and best.goodput_within(told.per_minute) < best.goodput:
        return (
            Limit.QUOTA,
            f"{told.per_minute:g} requests a minute, as {told.by} said; the endpoint would take {best.goodput / 1e6:.1f} MB/s",
        )
    if refused := sum(a.fate is Fate.TOLD_TO_WAIT for a in attempts):
        return Limit.QUOTA, f"the service told {refused} of {len(attempts)} requests to wait (429, 503)"
    if best.cpu_share >= BUSY:
        return Limit.CLIENT_CPU, f"this process kept {best.cpu_share:.0%} of a core busy"
    if _is_open_above(grid, results, best):
        edge = best.cell.concurrency == grid.concurrencies[-1]
        more = "higher --concurrencies" if edge else "more --max-requests or --max-bytes"
        return Limit.NOT_REACHED, f"more requests at once were not tried: give {more}"
    if best.answer_share >= SLOW_ANSWER:
        return Limit.SERVER, f"{best.answer_share:.0%} of a round trip is spent waiting for the answer"
    return (
        Limit.NETWORK,
        f"{1 - best.answer_share:.0%} of a round trip is spent sending the body: the network, or how fast the server reads",
    )


def _is_open_above(grid: Grid, results: Sequence[CellResult], best: CellResult) -> bool:
    """More at once was not tried at the best size, and as far as it was, it paid."""
    column = [result for result in results if result.cell.chunk_bytes == best.cell.chunk_bytes and result.measured]
    if len(grid.concurrencies) == 1 or any(r.cell.concurrency > best.cell.concurrency for r in column):
        return False
    return all(r.goodput < SAME * best.goodput for r in column if r.cell.concurrency < best.cell.concurrency)


def is_reached(best: CellResult, results: Iterable[CellResult]) -> bool:
    """Whether more requests at once than in the *best* cell were tried, with the same bodies: only then is its number a limit."""
    return any(
        result.attempts
        and result.cell.chunk_bytes == best.cell.chunk_bytes
        and result.cell.concurrency > best.cell.concurrency
        for result in results
    )
