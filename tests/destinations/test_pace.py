"""Every request of a read-back has a slot of its own: none goes beside the quota, and each is repeated by itself."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import anyio
import pytest

from bulkup.destinations.base import Destination
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.doubt.settlement import Match
from bulkup.encoding import RowOptions, decide
from bulkup.model import Block
from tests.destinations.answering import Asked, Said, collinear, nebius, said
from tests.flow.alone import Alone, now_s
from tests.pacing.virtual import run_virtual

ROW = b'{"a":"x"}'
PLAN = decide(Block(ROW + b"\n", 0, len(ROW) + 1), NEBIUS, RowOptions(preset="identity"))
SCHEMA = [{"name": "a", "type": {"name": "string"}}]
SIZE = 3
PAGES = 7


class Served:
    """Both services, as far as they are read: a list of some pages, datasets of some rows. *went* is when each request came."""

    def __init__(self, refuse: Mapping[int, Said] | None = None) -> None:
        self.went: list[float] = []
        self.refuse = refuse or {}

    def answer(self, path: str, params: Mapping[str, str], body: bytes) -> Said:
        self.went.append(now_s())
        if (refusal := self.refuse.get(len(self.went))) is not None:
            return refusal
        if b"getUploaded" in body:
            return said({"data": {"getUploadedDatasetByPageAndSpaceId": self._space(_page(body))}})
        if b"getDatasetRows" in body:
            return said({"data": {"getDatasetRowsByDatasetId": {"count": 0, "rows": []}}})
        if path == "/v1/datasets":
            return said(self._list(params.get("after")))
        if path.endswith("/content"):
            offset, limit = int(params["offset"]), int(params["limit"])
            return said({"rows": [{"a": "x"}] * max(0, min(limit, SIZE - offset))})
        return said({"id": path.rpartition("/")[2], "name": "set", "status": "READY", "schema": SCHEMA})

    def _list(self, after: str | None) -> dict[str, Any]:
        number = 0 if after is None else int(after) + 1
        record = {"id": str(number), "name": "other", "status": "READY", "folder": "/f"}
        return {"data": [record], "has_more": number + 1 < PAGES, "last_id": str(number)}

    def _space(self, number: int) -> dict[str, Any]:
        return {"count": PAGES, "datasets": [{"id": str(number), "name": "set" if number == 3 else "other", "rows": 5}]}


def _page(body: bytes) -> int:
    found = re.search(rb"page: (\d+)", body)
    assert found is not None
    return int(found[1])


Question = Callable[[Alone, Destination], Awaitable[object]]

QUESTIONS: dict[str, tuple[Callable[[Asked], Destination], Question, int]] = {
    "nebius: a status": (nebius, lambda alone, to: to.poll(alone.requests.ask, "d1"), 1),
    "nebius: a look": (nebius, lambda alone, to: to.look(alone.requests.ask), PAGES),
    "nebius: a look at two lists": (
        partial(nebius, ai_project_id="p"),
        lambda alone, to: to.look(alone.requests.ask),
        2 * PAGES,
    ),
    "nebius: a match": (nebius, lambda alone, to: to.match(alone.requests.ask, "d1", rows=SIZE, plan=PLAN), 3),
    "nebius: a page of rows": (nebius, lambda alone, to: to.read_rows(alone.requests.ask, "d1", 0), 1),
    "collinear: a look": (collinear, lambda alone, to: to.look(alone.requests.ask), PAGES),
    "collinear: a page of rows": (collinear, lambda alone, to: to.read_rows(alone.requests.ask, "d1", 0), 1),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_at_a_hundred_a_minute_no_more_than_a_hundred_go_in_any_minute(question: str) -> None:
    """However many ask at once, and however many requests each question takes."""
    make, ask, each = QUESTIONS[question]
    served = Served()

    async def main() -> None:
        alone = Alone(requests_per_minute=100)
        destination = make(Asked(served.answer))

        async def several() -> None:
            for _ in range(-(-280 // (8 * each))):
                await ask(alone, destination)

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(several)

    run_virtual(main)
    assert len(served.went) >= 280
    assert len(served.went) % each == 0
    busiest = max(sum(at <= later < at + 60 for later in served.went) for at in served.went)
    assert 95 <= busiest <= 101, "the one at the minute's start and the one at its end are both in it"


@pytest.mark.parametrize("question", [name for name, (_, _, each) in QUESTIONS.items() if each > 1])
def test_a_request_that_is_refused_is_made_again_by_itself(question: str) -> None:
    """The answers before it stand; and the gate is closed meanwhile."""
    make, ask, each = QUESTIONS[question]
    refusal = said({"detail": "too many"}, 429)
    refusal.headers["Retry-After"] = "20"  # type: ignore[index]
    served = Served({3: refusal})

    async def main() -> object:
        return await ask(Alone(), make(Asked(served.answer)))

    found = run_virtual(main)
    assert found is Match.SAME or getattr(found, "unavailable", "") is None
    assert len(served.went) == each + 1
    assert served.went[3] - served.went[2] == pytest.approx(20, abs=0.01)
