"""A dataset's rows come in pages, and these are read to their end or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.base import (
    PAGE_ROWS,
    AnswerTooLarge,
    Asking,
    Destination,
    LookFailed,
    ReadBackUnavailable,
    StoredRow,
)
from bulkup.doubt.settlement import Look
from bulkup.flow import looking
from bulkup.flow.looking import dated_look, expect_datasets, row_pages
from bulkup.journal.facts import Survey
from bulkup.outcome import CloseGate
from tests.destinations.asking import at_once
from tests.examples import examples
from tests.flow.alone import UNIX_S, virtual
from tests.pacing.virtual import run_virtual

T = TypeVar("T")


class Paged:
    """A dataset of *count* rows, of which no page holds more than *cap*; where *counts_pages*, pages are counted by what they
    hold, and not by what was asked for. Pages of more than *largest* rows are too large."""

    def __init__(
        self, count: int, *, cap: int = PAGE_ROWS, counts_pages: bool = False, largest: int = PAGE_ROWS
    ) -> None:
        self.rows = [StoredRow(number, b"%016d" % number) for number in range(count)]
        self.cap, self.counts_pages, self.largest = cap, counts_pages, largest
        self.requests = 0

    async def read_rows(
        self, asking: Asking, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS
    ) -> list[StoredRow]:
        assert (asking, dataset_id) == (at_once, "d")
        self.requests += 1
        assert self.requests < 1_000, "it is asked without end"
        size = min(page_rows, self.cap)
        start = page * (size if self.counts_pages else page_rows)
        found = self.rows[start : start + size]
        if len(found) > self.largest:
            raise AnswerTooLarge("too large")
        return found


async def read(
    paged: object, *, at_most: int = 10**9, counted: int | None = None, row_bytes: int = 1
) -> list[StoredRow]:
    destination = cast("Destination", paged)
    pages = row_pages(at_once, destination, "d", row_bytes=row_bytes, at_most=at_most, counted=counted)
    return [row async for page in pages for row in page]


@examples(120)
@given(st.integers(0, 60), st.integers(1, 60), st.booleans(), st.integers(1, 60), st.integers(1, 10_000_000))
async def test_all_rows_once_in_order(count: int, cap: int, counts_pages: bool, largest: int, row_bytes: int) -> None:
    """Whatever a page holds at most, and however the service counts them."""
    paged = Paged(count, cap=cap, counts_pages=counts_pages, largest=largest)
    assert await read(paged, counted=count, row_bytes=row_bytes) == paged.rows


async def test_a_cap_is_found_out_by_one_page_more() -> None:
    paged = Paged(950, cap=100)
    assert len(await read(paged, counted=950)) == 950
    assert paged.requests == 3 + 11


async def test_a_row_that_is_counted_and_not_shown_is_missing() -> None:
    """The pages come to their end: what stands behind the last of them was asked for."""
    paged = Paged(599)
    assert await read(paged, counted=600) == paged.rows


@pytest.mark.parametrize("count", [1, 599, PAGE_ROWS])
async def test_what_stands_behind_all_that_are_counted_is_not_asked_for(count: int) -> None:
    paged = Paged(count)
    assert await read(paged, counted=count) == paged.rows
    assert paged.requests == 2


class Clamped(Paged):
    """Has no page behind the last one: small pages begin with the first again."""

    async def read_rows(
        self, asking: Asking, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS
    ) -> list[StoredRow]:
        at = page if page_rows == PAGE_ROWS else 0
        return await super().read_rows(asking, dataset_id, at, page_rows=page_rows)


async def test_the_same_rows_behind_the_last_page_are_nothing_new() -> None:
    paged = Clamped(599)
    assert await read(paged, counted=600) == paged.rows
    assert paged.requests == 3


class Again(Paged):
    """Ignores the page's number."""

    async def read_rows(
        self, asking: Asking, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS
    ) -> list[StoredRow]:
        return await super().read_rows(asking, dataset_id, 0, page_rows=page_rows)


@pytest.mark.parametrize("count", [1, 999, 1000, 5000])
async def test_the_same_page_again_is_no_reading(count: int) -> None:
    with pytest.raises(ReadBackUnavailable, match="again"):
        await read(Again(count))


class Short(Paged):
    """One page in the middle is not whole."""

    async def read_rows(
        self, asking: Asking, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS
    ) -> list[StoredRow]:
        found = await super().read_rows(asking, dataset_id, page, page_rows=page_rows)
        return found[:-1] if page == 1 else found


async def test_a_page_in_the_middle_that_is_short_is_no_reading() -> None:
    """It is not tried with pages of that size."""
    paged = Short(3000)
    with pytest.raises(ReadBackUnavailable, match="shorter"):
        await read(paged)
    assert paged.requests == 3


class Shrinking(Paged):
    """Gives ever fewer rows in a page."""

    async def read_rows(
        self, asking: Asking, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS
    ) -> list[StoredRow]:
        found = await super().read_rows(asking, dataset_id, page, page_rows=page_rows)
        return found[: page_rows * 9 // 10]


async def test_a_size_is_found_out_once() -> None:
    """The second page of those of the smaller size shows that these are not whole either."""
    paged = Shrinking(5000)
    with pytest.raises(ReadBackUnavailable, match="shorter"):
        await read(paged)
    assert paged.requests == 4


class Shallow(Paged):
    """Shows no more than three pages."""

    async def read_rows(
        self, asking: Asking, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS
    ) -> list[StoredRow]:
        return [] if page >= 3 else await super().read_rows(asking, dataset_id, page, page_rows=page_rows)


async def test_pages_that_end_before_the_count_are_no_reading() -> None:
    with pytest.raises(ReadBackUnavailable, match="end after 3,000 rows, and it counts 3,500"):
        await read(Shallow(3500), counted=3500)


class Endless(Paged):
    """There is always one more."""

    async def read_rows(
        self, asking: Asking, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS
    ) -> list[StoredRow]:
        self.requests += 1
        return [StoredRow(page * page_rows + number, bytes(16)) for number in range(page_rows)]


@pytest.mark.parametrize("at_most", [0, 1, 999, 1000, 20_000])
async def test_pages_without_end_end_by_what_may_be_there(at_most: int) -> None:
    paged = Endless(0)
    assert len(await read(paged, at_most=at_most)) > at_most
    assert paged.requests <= at_most // PAGE_ROWS + 2


class Lists:
    """A destination that is asked for its list in pages."""

    known_datasets = -1


TWO = [["a", "rows", 1], ["b", "rows", None]]


@pytest.mark.parametrize(("survey", "known"), [(None, 5), ({"found": TWO, "listed": 9}, 14), ({"found": TWO}, 7)])
def test_as_many_datasets_may_be_listed_as_the_first_look_listed_and_the_run_made(
    survey: dict[str, Any] | None, known: int
) -> None:
    """A record of an earlier version says only what was found."""
    lists = Lists()
    record = None if survey is None else msgspec.convert({"at": 1.0, "unavailable": None, **survey}, Survey)
    expect_datasets(cast("Destination", lists), record, 5)
    assert lists.known_datasets == known


@pytest.mark.parametrize(
    ("row_bytes", "requests"),
    [(0, 3), (1, 3), (2, 5), (10, 21), (20, 41), (21, 41), (10**9, 41)],
)
async def test_a_page_is_of_about_so_many_bytes_and_of_one_row_at_least(
    row_bytes: int, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20 bytes here; 40 rows and the empty page at their end."""
    monkeypatch.setattr(looking, "PAGE_BYTES", 20)
    paged = Paged(40)
    assert await read(paged, row_bytes=row_bytes) == paged.rows
    assert paged.requests == requests


async def test_a_page_that_is_too_large_is_asked_for_in_eighths() -> None:
    paged = Paged(250, largest=125)
    assert await read(paged) == paged.rows
    assert paged.requests == 1 + 2 + 1


async def test_two_rows_that_are_too_large_may_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "PAGE_BYTES", 20)
    paged = Paged(4, largest=1)
    assert await read(paged, row_bytes=10) == paged.rows


async def test_one_row_that_is_too_large_is_no_reading() -> None:
    with pytest.raises(AnswerTooLarge):
        await read(Paged(4, largest=0), row_bytes=10**9)


class LargeLater(Paged):
    """What comes after the first page is too large."""

    async def read_rows(
        self, asking: Asking, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS
    ) -> list[StoredRow]:
        if page:
            raise AnswerTooLarge("too large")
        return await super().read_rows(asking, dataset_id, page, page_rows=page_rows)


async def test_pages_of_another_size_do_not_go_on_where_others_ended() -> None:
    with pytest.raises(AnswerTooLarge):
        await read(LargeLater(3000))


class Dated:
    """A look of three requests of two seconds; the first one fails at first."""

    def __init__(self) -> None:
        self.asked = 0

    async def look(self, asking: Asking) -> Look:
        for _ in range(3):
            await asking(self._page)
        return Look(0.0, unavailable="x")

    async def _page(self) -> None:
        self.asked += 1
        await asyncio.sleep(2)
        if self.asked == 1:
            raise LookFailed(CloseGate("HTTP 429", 100.0))


async def after_ten_seconds(request: Callable[[], Awaitable[T]], /) -> T:
    """An `Asking`: that is how long a slot takes; a failure is waited out for a hundred."""
    await asyncio.sleep(10)
    try:
        return await request()
    except LookFailed:
        await asyncio.sleep(100)
        return await request()


def test_a_look_is_dated_by_the_runs_clock_from_its_first_answer_to_its_last() -> None:
    """What was waited before the request that was answered is no part of it; what was waited between its requests is."""

    async def main() -> Look:
        return await dated_look(after_ten_seconds, cast("Destination", Dated()), virtual())

    look = run_virtual(main)
    assert look.unavailable == "x"
    assert look.at - UNIX_S == pytest.approx(10 + 2 + 100, abs=0.01)
    assert look.took_s == pytest.approx(2 + 2 * (10 + 2), abs=0.01)


def test_a_look_that_had_nothing_to_ask_is_of_the_moment_it_began() -> None:
    class Knows:
        async def look(self, asking: Asking) -> Look:
            await asyncio.sleep(3)
            return Look(0.0)

    async def main() -> Look:
        await asyncio.sleep(5)
        return await dated_look(at_once, cast("Destination", Knows()), virtual())

    look = run_virtual(main)
    assert (look.at - UNIX_S, look.took_s) == pytest.approx((5, 3), abs=0.01)
