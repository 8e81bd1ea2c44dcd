"""A list that was not read to its end is no look: nobody may conclude from it that something is not there."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations import listing
from bulkup.destinations.base import ReadBackUnavailable
from tests.destinations.answering import Asked, Said, collinear, nebius, said
from tests.destinations.asking import at_once
from tests.examples import examples


def record(number: int, name: str = "other") -> dict[str, Any]:
    return {"id": f"d{number:07}", "name": name, "status": "READY", "folder": "/f"}


def page(data: list[Any], *, more: Any = False, last: Any = None) -> dict[str, Any]:
    return {"object": "list", "data": data, "has_more": more, "last_id": last}


FULL = [record(number) for number in range(100)]

_NUMBERS = itertools.count()

BROKEN: dict[str, Callable[[str | None], dict[str, Any]]] = {
    "the cursor is ignored": lambda _: page(FULL, more=True, last="d0000099"),
    "the cursor goes round": lambda after: page(
        [record(int((after or "d0")[1:]) % 3 + 1)], more=True, last=f"d{int((after or 'd0')[1:]) % 3 + 1}"
    ),
    "the cursor stays, and what it shows does not": lambda _: page([record(next(_NUMBERS))], more=True, last="d1"),
    "the page is the same under new cursors": lambda after: page(FULL, more=True, last=f"{after}x"),
    "the last page is the first again": lambda after: page(FULL, more=after is None, last="d0000099"),
    "more, and an empty page": lambda _: page([], more=True, last="d0000099"),
    "more, and neither rows nor cursor": lambda _: page([], more=True),
    "whether there is more is no boolean": lambda _: page(FULL, more="false"),
    "whether there is more is not said, and the cursor is ignored": lambda _: page(FULL, more=None),
    "a record is none": lambda _: page([None, *FULL]),
    "a record has no id": lambda _: page([{"name": "set", "folder": "/f"}]),
    "an id of ours leads elsewhere": lambda _: page([{**record(1, "set"), "id": "../other"}]),
    "an id of ours is without end": lambda _: page([{**record(1, "set"), "id": "d" * 300}]),
    "a cursor is without end": lambda _: page(FULL, more=True, last="d" * 2000),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_list_of_nebius_that_does_not_come_to_its_end(how: str) -> None:
    asked = Asked(lambda path, params, body: said(BROKEN[how](params.get("after"))))
    look = await nebius(asked).look(at_once)
    assert look.unavailable
    assert asked.requests < 10


async def test_what_such_a_list_has_shown_is_there_all_the_same() -> None:
    """So a destination that is not empty is not taken for an unknown one."""
    asked = Asked(lambda path, params, body: said(page([record(7, "set")], more=True, last="d7")))
    look = await nebius(asked).look(at_once)
    assert look.unavailable
    assert [one.id for one in look.seen] == ["d0000007"]


async def test_a_projects_list_that_cannot_be_read_leaves_the_look_open() -> None:
    """Whether the plain list leaves out a project's datasets is open: it alone shows no absence."""

    def answer(path: str, params: Mapping[str, str], body: bytes) -> Said:
        return said({"detail": "no"}, 422) if "ai_project_id" in params else said(page(FULL))

    assert (await nebius(Asked(answer)).look(at_once)).unavailable is None
    assert (await nebius(Asked(answer), ai_project_id="p").look(at_once)).unavailable


def paged(records: list[dict[str, Any]], params: Mapping[str, str], size: int) -> dict[str, Any]:
    start = 1 + next((n for n, one in enumerate(records) if one["id"] == params.get("after")), -1)
    part = records[start : start + size]
    return page(part, more=start + size < len(records), last=part[-1]["id"] if part else None)


@examples(40)
@given(st.integers(0, 350), st.integers(1, 100), st.data())
async def test_a_list_that_ends_is_read_to_its_end(count: int, size: int, data: st.DataObject) -> None:
    """However many there are, and however few come in a page."""
    ours = data.draw(st.sets(st.integers(0, max(0, count - 1)), max_size=4)) if count else set()
    records = [record(number, "set" if number in ours else "other") for number in range(count)]
    look = await nebius(Asked(lambda path, params, body: said(paged(records, params, size)))).look(at_once)
    assert look.unavailable is None
    assert {int(one.id[1:]) for one in look.seen} == ours
    assert look.listed == count


async def test_a_list_without_end_ends_by_what_the_run_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the datasets that it has listed and made, and a margin: never by a number of pages alone."""
    monkeypatch.setattr(listing, "MARGIN_DATASETS", 50)
    monkeypatch.setattr(listing, "MARGIN_PAGES", 10)

    def endless(path: str, params: Mapping[str, str], body: bytes) -> Said:
        first = int(params.get("after", "d-1")[1:]) + 1
        return said(page([record(first), record(first + 1)], more=True, last=f"d{first + 1}"))

    asked = Asked(endless)
    destination = nebius(asked)
    assert "does not come to its end" in ((await destination.look(at_once)).unavailable or "")
    assert asked.requests == 11
    asked.requests, destination.known_datasets = 0, 600
    assert (await destination.look(at_once)).unavailable
    assert asked.requests == 326, "two in each page, and 650 may be there"


async def test_a_list_of_many_pages_is_whole() -> None:
    """More than any constant of 0.1.0: 12,000 pages."""
    records = [record(number) for number in range(12_000)]
    records[11_990]["name"] = "set"
    places = {one["id"]: place for place, one in enumerate(records)}

    def answer(path: str, params: Mapping[str, str], body: bytes) -> Said:
        place = places.get(params.get("after", ""), -1) + 1
        return said(page([records[place]], more=place + 1 < len(records), last=records[place]["id"]))

    look = await nebius(Asked(answer)).look(at_once)
    assert (look.unavailable, len(look.seen), look.listed) == (None, 1, 12_000)


# --- Collinear --------------------------------------------------------------------------------------------------------


def graph(datasets: list[Any], count: Any) -> dict[str, Any]:
    return {"data": {"getUploadedDatasetByPageAndSpaceId": {"count": count, "datasets": datasets}}}


def dataset(number: int, name: str = "other") -> dict[str, Any]:
    return {"id": f"c{number}", "name": name, "rows": 5}


def page_of(body: bytes) -> int:
    found = re.search(rb"page: (\d+)", body)
    assert found is not None
    return int(found.group(1))


COLLINEAR: dict[str, Callable[[int], Any]] = {
    "the page's number is ignored": lambda _: graph([dataset(number) for number in range(100)], 250),
    "pages overlap": lambda number: graph([dataset(one) for one in range(number, number + 2)][: 3 - number], 4),
    "fewer than counted": lambda number: graph([dataset(1)] if number == 0 else [], 2),
    "a count that is none": lambda _: graph([dataset(1)], None),
    "a count without end": lambda _: graph([dataset(1)], 10**30),
    "a dataset that is none": lambda _: graph([None], 1),
    "a dataset without an id": lambda _: graph([{"name": "set", "rows": 1}], 1),
    "an id of ours without end": lambda _: graph([{**dataset(1, "set"), "id": "c" * 300}], 1),
    "errors": lambda _: {"errors": [{"message": "no"}], "data": None},
}


@pytest.mark.parametrize("how", COLLINEAR)
async def test_a_list_of_collinear_that_does_not_come_to_its_end(how: str) -> None:
    asked = Asked(lambda path, params, body: said(COLLINEAR[how](page_of(body))))
    look = await collinear(asked).look(at_once)
    assert look.unavailable
    assert asked.requests < 10


async def test_a_page_that_comes_twice_does_not_stand_for_the_one_that_does_not() -> None:
    """The numbers add up, and our dataset was never shown."""
    pages = [[dataset(one) for one in range(100)]] * 2 + [[dataset(one) for one in range(50)]]
    asked = Asked(lambda path, params, body: said(graph(pages[min(2, page_of(body))], 250)))
    assert (await collinear(asked).look(at_once)).unavailable


async def test_more_pages_than_any_constant() -> None:
    def answer(path: str, params: Mapping[str, str], body: bytes) -> Said:
        number = page_of(body)
        return said(graph([dataset(number, "set" if number == 10_500 else "other")], 10_501))

    look = await collinear(Asked(answer)).look(at_once)
    assert (look.unavailable, [one.id for one in look.seen]) == (None, ["c10500"])


def test_a_cursor_is_no_longer_than_a_cursor() -> None:
    """It goes into the next request."""
    found = listing.Listing("GET /v1/datasets", 0)
    found.cursor("x" * listing.CURSOR_CHARACTERS)
    with pytest.raises(ReadBackUnavailable, match="a cursor that is not valid"):
        found.cursor("x" * (listing.CURSOR_CHARACTERS + 1))
