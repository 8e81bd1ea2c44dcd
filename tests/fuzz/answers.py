"""Answers: whatever a service sends, a destination gives an outcome or says that it cannot be read, and keeps no token.

A case takes the honest answer of one request, breaks it, and hands it on in pieces of any size. A list that is broken in its
pages must be no look, or show what is there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import orjson
from multidict import CIMultiDict

from bulkup.destinations.base import LookFailed, ReadBackUnavailable
from bulkup.destinations.collinear.wire import CollinearDestination
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.destinations.nebius.wire import NebiusDestination
from bulkup.encoding import RowOptions, RowPlan, decide
from bulkup.model import Block
from bulkup.outcome import Accepted, InDoubt
from tests.destinations.answering import SECRET, Asked, Said, collinear, nebius, payload
from tests.destinations.asking import at_once

__all__ = ["one"]

ROWS = 5
SAMPLE = b'{"a":1}\n'
PLAN: RowPlan = decide(Block(SAMPLE, 0, len(SAMPLE)), NEBIUS, RowOptions(preset="identity"))

RECORD = {
    "id": "ds1",
    "name": "set",
    "status": "READY",
    "schema": [{"name": "a", "type": {"name": "integer"}}],
    "folder": "/f",
    "error": None,
}
STORED = {"id": 7, "convPrefix": [{"role": "user", "content": "q"}], "response": {"role": "assistant", "content": "a"}}
ECHO = [{"id": f"row-{number}", "a": 1} for number in range(ROWS)]
HONEST: dict[str, Any] = {
    "/v1/datasets": RECORD,
    "/v1/datasets/ds1": RECORD,
    "/v1/datasets/ds1/content": {"rows": [{"a": 1}], "version": "1"},
    "/api/v1/dataset/upload": ECHO,
    "/graphql": {"data": {"getDatasetRowsByDatasetId": {"count": 1, "rows": [STORED]}}},
    "list": {"object": "list", "data": [RECORD], "has_more": False, "last_id": "ds1"},
    "datasets": {
        "data": {
            "getUploadedDatasetByPageAndSpaceId": {"count": 1, "datasets": [{"id": "c1", "name": "set", "rows": 5}]}
        }
    },
    "refusal": {"detail": [{"loc": ["body", "rows", 1], "msg": "bad", "type": "t"}]},
}
NASTY = (
    b"null", b"true", b"-0", b"1e400", b"1" + b"0" * 400, b"18446744073709551616", b"[]", b"{}", b'""', b"[[[[", b"}}",
    b'"\\ud800"',
    b"\xff\xfe", b"\x00", b"\n", b'"' + b"x" * 300 + b'"', b"[" * 300 + b"]" * 300, b"[" * 3000 + b"]" * 3000, b"NaN", b"<html>",
    b"<title>" + SECRET.encode() + b"</title>", SECRET.encode(), b'"' + SECRET.encode() + b'"', b",", b":", b'"id":', b'{"id":',
)  # fmt: skip
STATUSES = (
    200,
    200,
    200,
    201,
    202,
    204,
    299,
    301,
    400,
    401,
    402,
    403,
    404,
    408,
    409,
    413,
    422,
    429,
    500,
    503,
    520,
    999,
)
HEADERS = ("Retry-After", "Date", "Content-Type", "Content-Disposition", "X-RateLimit-Limit-Requests", "Location")
VALUES = (
    "0", "-1", "1e9", "9" * 400, "Sun, 01 Mar 2026 12:00:30 GMT", "Wed, 21 Oct 9999999999999 07:28:00 GMT", "text/html", SECRET,
    'attachment; filename="ds-1.json"', 'filename="../../x.json"', f'attachment; filename="{SECRET}.json"', "\udcff", "", " ",
)  # fmt: skip


def one(case: Random, scratch: Path) -> None:
    """One answer, or one list in pages, of either service."""
    asyncio.run(_a_list(case) if case.random() < 0.3 else _an_answer(case))


async def _an_answer(case: Random) -> None:
    given: list[str] = []

    def answer(path: str, params: Mapping[str, str], body: bytes) -> Said:
        key = "list" if path == "/v1/datasets" and not body else "datasets" if b"getUploaded" in body else path
        value = HONEST["refusal"] if case.random() < 0.15 else HONEST[key]
        data = _broken(orjson.dumps(value), case)
        headers = CIMultiDict({case.choice(HEADERS): case.choice(VALUES) for _ in range(case.randrange(3))})
        status = case.choice(STATUSES)
        given.append(f"{path}: {status} {dict(headers)} {data[:600]!r} of {len(data)} bytes")
        return Said(status, list(_pieces(data, case)), headers)

    asked = Asked(answer)
    destination: NebiusDestination | CollinearDestination = nebius(asked) if case.random() < 0.5 else collinear(asked)
    chunk = payload(destination, ROWS)
    requests: tuple[Callable[[], Awaitable[Any]], ...] = (
        lambda: destination.send(chunk, lambda _: None),
        lambda: destination.send(chunk, lambda _: None),
        lambda: destination.look(at_once),
        lambda: destination.poll(at_once, "ds1"),
        lambda: destination.match(at_once, "ds1", rows=1, plan=PLAN),
        lambda: destination.read_rows(at_once, "ds1", 0),
    )
    try:
        came = await case.choice(requests)()
    except (LookFailed, ReadBackUnavailable) as failed:
        came = f"{failed}{getattr(failed, 'outcome', '')}"
    except Exception as error:
        raise AssertionError(f"{error!r} of {given}") from error
    assert SECRET not in repr(came), f"the token is kept: {came!r} of {given}"
    assert "\n" not in getattr(came, "reason", ""), f"{came!r} of {given}"
    assert len(getattr(came, "reason", "")) < 1000, f"{came!r} of {given}"
    if isinstance(came, Accepted) and isinstance(destination, CollinearDestination):
        assert came.ids is not None, given
        assert len(set(came.ids)) == ROWS, f"{came!r} of {given}"
        orjson.dumps(came.ids)
    if isinstance(came, Accepted | InDoubt):
        assert asked.requests == 1, f"{came!r} after {asked.requests} requests"


def _broken(data: bytes, case: Random) -> bytes:
    """*data* with up to four things done to it."""
    for _ in range(case.choice((0, 1, 1, 2, 4))):
        at = case.randrange(len(data) + 1)
        to = min(len(data), at + case.randrange(12))
        match case.randrange(5):
            case 0:
                data = data[:at] + case.choice(NASTY) + data[at:]
            case 1:
                data = data[:at] + case.choice(NASTY) + data[to:]
            case 2:
                data = data[:at]
            case 3:
                values = [found.span() for found in re.finditer(rb'"[^"]*"|\d+|null|true|false', data)]
                if values:
                    start, stop = case.choice(values)
                    data = data[:start] + case.choice(NASTY) + data[stop:]
            case _ if data:
                place = case.randrange(len(data))
                data = data[:place] + bytes([data[place] ^ 1 << case.randrange(8)]) + data[place + 1 :]
    return data


def _pieces(data: bytes, case: Random) -> list[bytes]:
    pieces = []
    while data:
        size = case.choice((1, 7, 100, len(data)))
        pieces.append(data[:size])
        data = data[size:]
    return pieces


async def _a_list(case: Random) -> None:
    """A service with datasets, of which some are ours, that is not true to its pages in some way. It never says that its list ends
    where it does not: that cannot be seen."""
    count, size = case.randrange(40), case.randint(1, 12)
    names = [case.choice(("set", "other", "set-00001-0123abcd")) for _ in range(count)]
    records = [
        {"id": f"d{number:03}", "name": name, "status": "READY", "folder": "/f"} for number, name in enumerate(names)
    ]
    fault = case.choice(("none", "ignored", "empty", "no cursor", "unsaid", "again", "null"))
    at = case.randrange(5)
    asked_pages = 0

    def nebius_page(path: str, params: Mapping[str, str], body: bytes) -> Said:
        nonlocal asked_pages
        hit = asked_pages >= at
        asked_pages += 1
        after = None if fault == "ignored" and hit else params.get("after")
        start = 1 + next((number for number, one in enumerate(records) if one["id"] == after), -1)
        part: list[Any] = records[start : start + size]
        page: dict[str, Any] = {
            "data": part,
            "has_more": start + size < count,
            "last_id": part[-1]["id"] if part else None,
        }
        if hit:
            match fault:
                case "empty" if page["has_more"]:
                    page["data"] = []
                case "no cursor" if page["has_more"]:
                    page |= {"last_id": None, "data": []}
                case "unsaid":
                    del page["has_more"]
                case "again" if page["has_more"]:
                    page["last_id"] = records[0]["id"]
                case "null" if part:
                    page["data"] = [None, *part[1:]]
        return Said(200, [orjson.dumps(page)])

    def collinear_page(path: str, params: Mapping[str, str], body: bytes) -> Said:
        nonlocal asked_pages
        hit = asked_pages >= at
        asked_pages += 1
        found = re.search(rb"page: (\d+)", body)
        assert found is not None
        number = 0 if fault == "ignored" and hit else int(found.group(1))
        start = max(0, number * size - (fault == "again" and hit))
        part: list[Any] = records[start : start + size]
        if (hit and fault in ("empty", "no cursor") and part) or (hit and fault == "null" and part):
            part = [] if fault != "null" else [None, *part[1:]]
        listing = {"count": None if fault == "unsaid" and hit else count, "datasets": part}
        return Said(200, [orjson.dumps({"data": {"getUploadedDatasetByPageAndSpaceId": listing}})])

    is_nebius = case.random() < 0.5
    asked = Asked(nebius_page if is_nebius else collinear_page)
    look = await (nebius(asked) if is_nebius else collinear(asked)).look(at_once)
    ours = {one["id"] for one in records if one["name"] == "set" or (is_nebius and one["name"] != "other")}
    told = f"{'nebius' if is_nebius else 'collinear'}, {fault} from page {at}, {count} by {size}: {look!r}, ours {sorted(ours)}"
    assert look.ids <= ours, told
    assert look.unavailable is not None or look.ids == ours, told
    assert asked.requests <= count + 3, f"{asked.requests} requests: {told}"
    assert fault != "none" or look.unavailable is None, told
