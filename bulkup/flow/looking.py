"""Reading back: a look and when it began, and a dataset's rows page by page, to their end or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from bulkup.destinations.base import (
    PAGE_ROWS,
    AnswerTooLarge,
    Asking,
    Destination,
    ListsDatasets,
    ReadBackUnavailable,
    StoredRow,
)
from bulkup.doubt.settlement import Look
from bulkup.flow.clock import Clock
from bulkup.journal.facts import Survey
from bulkup.light_dataclass import replace

__all__ = ["dated_look", "expect_datasets", "row_pages"]

T = TypeVar("T")

PAGE_BYTES = 4 * 1024 * 1024
"""About how much one page of rows should come to."""


def expect_datasets(destination: Destination, survey: Survey | None, made: int) -> None:
    """Before a look: the run's first look is *survey*, and it may have made *made* datasets since."""
    if isinstance(destination, ListsDatasets):
        before = 0 if survey is None else len(survey.found) if survey.listed is None else survey.listed
        destination.known_datasets = made + before


async def dated_look(asking: Asking, destination: Destination, clock: Clock) -> Look:
    """A look that says by *clock* when its first request began, and how long it took. (A destination knows the machine's clock.)"""
    at = clock.unix()
    has_begun = False

    async def timed(request: Callable[[], Awaitable[T]], /) -> T:
        async def first() -> T:
            nonlocal at, has_begun
            if not has_begun:
                at = clock.unix()  # again, where it is made again
            found = await request()
            has_begun = True
            return found

        return await asking(first)

    look = await destination.look(timed)
    return replace(look, at=at, took_s=clock.unix() - at)


async def row_pages(
    asking: Asking,
    destination: Destination,
    dataset_id: str,
    *,
    row_bytes: int,
    at_most: int,
    counted: int | None = None,
) -> AsyncIterator[list[StoredRow]]:
    """A dataset's rows, of about *row_bytes* bytes each, in pages of a bounded size: smaller ones where an answer turns out too
    large, or where the service gives fewer than it was asked for. They end with an empty page, or with more than *at_most* rows.

    Raises `ReadBackUnavailable` where they cannot be read to their end: the same page comes again, one in the middle is short, or
    the last is a full one and they are fewer than the *counted* ones that the service says there are.
    """
    page_rows = max(1, min(PAGE_ROWS, PAGE_BYTES // max(1, row_bytes)))
    number = given = 0
    is_smaller = False
    before: list[StoredRow] = []  # the page that is given on once it is known to be whole, or the last
    while given <= at_most:
        how = {} if page_rows == PAGE_ROWS else {"page_rows": page_rows}
        try:
            page = await destination.read_rows(asking, dataset_id, number, **how)
        except AnswerTooLarge:
            if page_rows == 1 or number:  # pages of another size would not go on where these ended
                raise
            page_rows = max(1, page_rows // 8)
            continue
        if (
            not page
            and number == 1
            and not is_smaller
            and counted is not None
            and len(before) < min(page_rows, counted)
        ):
            # It may give no more in a page: then others stand right behind these.
            behind = await destination.read_rows(asking, dataset_id, 1, page_rows=len(before))
            if not {(row.id, row.key) for row in behind} <= {(row.id, row.key) for row in before}:
                page = behind
        if page and before:
            if {row.id for row in page} & {row.id for row in before} - {None}:
                raise ReadBackUnavailable(f"dataset {dataset_id}: its pages show the same rows again")
            if len(before) < page_rows:
                if number > 1 or is_smaller:
                    raise ReadBackUnavailable(f"dataset {dataset_id}: a page in the middle is shorter than the others")
                page_rows, number, before = len(before), 0, []  # so many are what the service gives
                is_smaller = True
                continue
        if before:
            yield before
            given += len(before)
        if not page:
            if counted is not None and given < counted and before and len(before) == page_rows:
                what = f"its pages end after {given:,} rows, and it counts {counted:,}"
                raise ReadBackUnavailable(f"dataset {dataset_id}: {what}")
            return
        before, number = page, number + 1
