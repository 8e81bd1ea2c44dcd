"""A dataset's rows come in pages, and these are read to their end or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.seam import PAGE_ROWS, AnswerTooLarge, Destination, ReadBackUnavailable, StoredRow
from bulkup.flow.asker import Asker
from bulkup.flow.looking import row_pages
from tests.examples import examples


class Asking:
    """Asks at once."""

    async def ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        return await question()


class Paged:
    """A dataset of *count* rows, of which no page holds more than *cap*; where *counts_pages*, pages are counted by what they
    hold, and not by what was asked for. Pages of more than *largest* rows are too large."""

    def __init__(
        self, count: int, *, cap: int = PAGE_ROWS, counts_pages: bool = False, largest: int = PAGE_ROWS
    ) -> None:
        self.rows = [StoredRow(number, b"%016d" % number) for number in range(count)]
        self.cap, self.counts_pages, self.largest = cap, counts_pages, largest
        self.requests = 0

    async def read_rows(self, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS) -> list[StoredRow]:
        self.requests += 1
        size = min(page_rows, self.cap)
        start = page * (size if self.counts_pages else page_rows)
        found = self.rows[start : start + size]
        if len(found) > self.largest:
            raise AnswerTooLarge("too large")
        return found


async def read(
    paged: object, *, at_most: int = 10**9, counted: int | None = None, row_bytes: int = 1
) -> list[StoredRow]:
    asker, destination = cast("Asker", Asking()), cast("Destination", paged)
    pages = row_pages(asker, destination, "d", row_bytes=row_bytes, at_most=at_most, counted=counted)
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


class Again(Paged):
    """Ignores the page's number."""

    async def read_rows(self, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS) -> list[StoredRow]:
        return await super().read_rows(dataset_id, 0, page_rows=page_rows)


@pytest.mark.parametrize("count", [1, 999, 1000, 5000])
async def test_the_same_page_again_is_no_reading(count: int) -> None:
    with pytest.raises(ReadBackUnavailable, match="again"):
        await read(Again(count))


class Short(Paged):
    """One page in the middle is not whole."""

    async def read_rows(self, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS) -> list[StoredRow]:
        found = await super().read_rows(dataset_id, page, page_rows=page_rows)
        return found[:-1] if page == 1 else found


async def test_a_page_in_the_middle_that_is_short_is_no_reading() -> None:
    with pytest.raises(ReadBackUnavailable, match="shorter"):
        await read(Short(3000))


class Shallow(Paged):
    """Shows no more than three pages."""

    async def read_rows(self, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS) -> list[StoredRow]:
        return [] if page >= 3 else await super().read_rows(dataset_id, page, page_rows=page_rows)


async def test_pages_that_end_before_the_count_are_no_reading() -> None:
    with pytest.raises(ReadBackUnavailable, match="end after 3,000 rows, and it counts 3,500"):
        await read(Shallow(3500), counted=3500)


class Endless(Paged):
    """There is always one more."""

    async def read_rows(self, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS) -> list[StoredRow]:
        self.requests += 1
        return [StoredRow(page * page_rows + number, bytes(16)) for number in range(page_rows)]


@pytest.mark.parametrize("at_most", [0, 1, 999, 1000, 20_000])
async def test_pages_without_end_end_by_what_may_be_there(at_most: int) -> None:
    paged = Endless(0)
    assert len(await read(paged, at_most=at_most)) > at_most
    assert paged.requests <= at_most // PAGE_ROWS + 2
