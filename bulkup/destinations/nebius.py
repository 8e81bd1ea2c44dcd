"""Nebius Token Factory: `POST /v1/datasets`, one dataset a request.

Grounds of each fact: `docs/endpoints.md`; the contract is the published reference of "Create a dataset by uploading data".
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
import xxhash

from bulkup.classify import BadRequest
from bulkup.destinations.nebius_rows import NEBIUS, wire_schema
from bulkup.destinations.seam import (
    PAGE_ROWS,
    Capabilities,
    Creates,
    Envelope,
    Payload,
    ReadBackUnavailable,
    Settles,
    StoredRow,
)
from bulkup.destinations.wire import ask, lost, refusal
from bulkup.encoding import RowPlan, Target
from bulkup.outcome import Accepted, InDoubt, Outcome, RemoteStatus
from bulkup.secret import holds_secret, redact
from bulkup.settlement import Look, Match, Seen
from bulkup.token_source import TokenSource
from bulkup.transport import WORDS, Transport, TransportFailure

__all__ = ["NebiusDestination"]

RECORD_BYTES = 4 * 1024 * 1024
"""How large a dataset's record may be (it holds the schema)."""

PAGE = 100


class NebiusDestination:
    """A dataset, or a family of them, in one folder of Nebius Token Factory."""

    name = "nebius"
    capabilities = Capabilities(
        creates=Creates.EACH_CHUNK,
        settles=Settles.BY_NAME,
        gives_row_ids=False,
        max_chunk_bytes=16 * 1024 * 1024,
        max_chunk_rows=None,
    )

    def __init__(
        self, transport: Transport, token: TokenSource, *, dataset_name: str, folder: str, ai_project_id: str | None
    ) -> None:
        self._transport = transport
        self.token = token
        self.dataset_name = dataset_name
        self._folder = folder
        self._ai_project_id = ai_project_id
        self._taken: set[str] = set()
        self._ours = re.compile(re.escape(dataset_name) + r"(-\d{5,}(-\d{3,})?-[0-9a-f]{8})?")

    @property
    def identity(self) -> str:
        return f"nebius {self._transport.base_url} {self._ai_project_id or '-'} {self._folder} {self.dataset_name}"

    @property
    def target(self) -> Target:
        return NEBIUS

    def envelope(self, name: str, plan: RowPlan) -> Envelope:
        assert plan.schema is not None, "rows for Nebius have a schema"
        head: dict[str, Any] = {"name": name, "schema": wire_schema(plan.schema), "folder": self._folder}
        if self._ai_project_id is not None:
            head["ai_project_id"] = self._ai_project_id
        return Envelope(orjson.dumps(head)[:-1] + b',"rows":[', b"]}", "application/json")

    async def send(self, payload: Payload, on_bytes: Callable[[int], None]) -> Outcome:
        try:
            async with self._transport.exchange(
                "POST", "/v1/datasets", token=self.token.current, body=payload, on_bytes=on_bytes
            ) as answer:
                if answer.status not in (200, 201):
                    return await refusal(answer, self.token, bad_request=BadRequest.NOTHING_STORED)
                data = await answer.read(RECORD_BYTES)
        except TransportFailure as failure:
            return lost(failure)
        outcome = _accepted(data, payload.name)
        if isinstance(outcome, Accepted):
            if outcome.remote_id in self._taken:
                return InDoubt(
                    f"the service answered success with dataset {outcome.remote_id}, which is another chunk's"
                )
            self._taken.add(outcome.remote_id)
        return outcome

    async def poll(self, remote_id: str) -> RemoteStatus:
        record = await ask(self._transport, self.token, "GET", f"/v1/datasets/{remote_id}")
        if not isinstance(record, dict) or record.get("id") != remote_id:
            raise ReadBackUnavailable(f"GET /v1/datasets/{remote_id} answered something else than that dataset")
        return _status(record)

    async def look(self) -> Look:
        at = time.time()
        try:
            seen = await self._list({})
        except ReadBackUnavailable as why:
            return Look(at, unavailable=str(why))
        if self._ai_project_id is not None:  # whether the plain list leaves out a project's datasets is open
            with suppress(ReadBackUnavailable):
                seen |= await self._list({"ai_project_id": self._ai_project_id})
        return Look(at, tuple(seen.values()))

    async def _list(self, scope: dict[str, str]) -> dict[str, Seen]:
        """The datasets of our names that a whole list shows, by id."""
        seen: dict[str, Seen] = {}
        params = {"limit": str(PAGE), **scope}
        while True:
            page = await ask(self._transport, self.token, "GET", "/v1/datasets", params=params)
            records, more, last = _page(page)
            for record in records:
                if self._is_ours(record):
                    if holds_secret([record["id"]]):
                        raise ReadBackUnavailable("GET /v1/datasets answered a dataset's id with a secret in it")
                    seen[record["id"]] = Seen(record["id"], record["name"], _status(record), None)
            if not more or params.get("after") == last:
                return seen
            params["after"] = last

    async def match(self, dataset_id: str, *, rows: int, plan: RowPlan) -> Match:
        assert plan.schema is not None, "rows for Nebius have a schema"
        try:
            record = await ask(self._transport, self.token, "GET", f"/v1/datasets/{dataset_id}")
            if not isinstance(record, dict) or record.get("schema") != wire_schema(plan.schema):
                return Match.OTHER
            last, behind = await self._content(dataset_id, rows - 1, 1), await self._content(dataset_id, rows, 1)
        except ReadBackUnavailable:
            return Match.UNKNOWN
        return Match.SAME if len(last) == 1 and not behind else Match.OTHER

    async def read_rows(self, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS) -> list[StoredRow]:
        rows = await self._content(dataset_id, page * page_rows, page_rows)
        return [StoredRow(None, _key(row)) for row in rows]

    def row_key(self, row: bytes) -> bytes:
        return _key(orjson.loads(row))

    async def _content(self, dataset_id: str, offset: int, limit: int) -> list[Any]:
        """Rows of a dataset. [openapi, seen]"""
        params = {"limit": str(limit), "offset": str(offset)}
        page = await ask(self._transport, self.token, "GET", f"/v1/datasets/{dataset_id}/content", params=params)
        if not isinstance(page, dict) or not isinstance(page.get("rows"), list):
            raise ReadBackUnavailable(f"GET /v1/datasets/{dataset_id}/content answered no rows")
        return list(page["rows"])

    def _is_ours(self, record: dict[str, Any]) -> bool:
        return (
            isinstance(record.get("name"), str)
            and isinstance(record.get("id"), str)
            and self._ours.fullmatch(record["name"]) is not None
            and record.get("folder") == self._folder
        )


def _page(page: Any) -> tuple[list[dict[str, Any]], bool, str]:
    """One page of `GET /v1/datasets`: its records, whether more follow, and the id to go on after. [seen]"""
    if not isinstance(page, dict) or not isinstance(page.get("data"), list):
        raise ReadBackUnavailable("GET /v1/datasets answered no list")
    records = [record for record in page["data"] if isinstance(record, dict)]
    last = page.get("last_id") or (records[-1].get("id") if records else None)
    return records, bool(page.get("has_more")) and isinstance(last, str), str(last)


def _status(record: dict[str, Any]) -> RemoteStatus:
    match record.get("status"):
        case "READY":
            return RemoteStatus.READY
        case "FAILED":
            return RemoteStatus.FAILED
        case _:  # PENDING; TEMPORARY and DRAFT are not explained anywhere, so they are not taken for READY
            return RemoteStatus.PENDING


def _key(row: Any) -> bytes:
    """A row's content: null and absent are the same, since the service may give one back as the other. [open]"""
    if isinstance(row, dict):
        row = {name: value for name, value in row.items() if value is not None}
    return xxhash.xxh3_128_digest(orjson.dumps(row, option=orjson.OPT_SORT_KEYS))


def _accepted(data: bytes, name: str) -> Outcome:
    """*data* is the answer to the upload of a dataset that is to be called *name*."""
    try:
        record = orjson.loads(data)
        remote_id, remote_name = record["id"], record["name"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return InDoubt("the service answered success with what is no dataset's record")
    if not isinstance(remote_id, str) or not re.fullmatch(r"[\w.:-]{1,200}", remote_id):
        return InDoubt("the service answered success without a usable dataset id")
    if holds_secret([remote_id] if remote_name == name else [remote_id, str(remote_name)]):
        return InDoubt("the service answered success with a secret in the dataset's id or name")
    error = record.get("error")
    return Accepted(remote_id, str(remote_name), _status(record), reason=redact(str(error))[:WORDS] if error else "")
