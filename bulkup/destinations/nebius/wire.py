"""Nebius Token Factory: `POST /v1/datasets`, one dataset a request.

Grounds of each fact: `docs/endpoints.md`; the contract is the published reference of "Create a dataset by uploading data".
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from bulkup.destinations.base import (
    PAGE_ROWS,
    Asking,
    Capabilities,
    Envelope,
    Payload,
    ReadBackUnavailable,
    StoredRow,
)
from bulkup.destinations.http import (
    CODEC_ERRORS,
    LOOK_BYTES,
    ROW_BYTES,
    ask,
    decoded,
    has_path,
    is_usable_id,
    lost,
    readable,
    refusal,
)
from bulkup.destinations.listing import Listing
from bulkup.destinations.nebius import NEBIUS
from bulkup.destinations.nebius.rows import TARGET, wire_schema
from bulkup.destinations.row_keys import key_of, unreadable_key
from bulkup.destinations.sightings import Sightings
from bulkup.doubt.by_name import BY_NAME
from bulkup.doubt.settlement import Look, Match, Seen
from bulkup.encoding import RowPlan, Target
from bulkup.outcome import Accepted, InDoubt, Outcome, RemoteStatus
from bulkup.rows.exact import NotJsonError, read
from bulkup.tokens.secret import holds_secret
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import Transport, TransportFailure
from bulkup.transport.classify import BadRequest

__all__ = ["NebiusDestination"]

RECORD_BYTES = 4 * 1024 * 1024
"""How large a dataset's record may be (it holds the schema)."""

NAME_CHARACTERS = 1000

UPLOAD_PATH = "/v1/datasets"

PAGE = 100


class _Record(msgspec.Struct, gc=False):
    """A dataset, as far as a list of them is read. [ref, seen]"""

    id: str
    name: str | None = None
    status: str | None = None
    folder: str | None = None


class _Dataset(_Record, gc=False):
    """A dataset, as far as it is asked for by itself."""

    schema: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Page(msgspec.Struct, gc=False):
    """One page of `GET /v1/datasets`. [seen]"""

    data: list[_Record]
    has_more: bool | None = None
    last_id: str | None = None


class _Object(msgspec.Struct, gc=False):
    """Any object."""


class _AnyRows(msgspec.Struct, gc=False):
    rows: list[_Object]


class _Rows(msgspec.Struct, gc=False):
    """Rows of a dataset, each as it stands in the answer. [openapi, seen]"""

    rows: list[msgspec.Raw]


_DATASET = msgspec.json.Decoder(_Dataset)
_PAGE = msgspec.json.Decoder(_Page)
_ANY_ROWS = msgspec.json.Decoder(_AnyRows)
_ROWS = msgspec.json.Decoder(_Rows)


class _AtMost:
    """Decodes a page of rows that may hold so many."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def decode(self, data: bytes) -> list[msgspec.Raw]:
        count = len(_ANY_ROWS.decode(data).rows)  # objects, all of them, before each is held by itself
        if count > self._rows:
            raise msgspec.ValidationError(f"{count:,} rows where {self._rows:,} were asked for")
        return _ROWS.decode(data).rows


class NebiusDestination:
    """A dataset, or a family of them, in one folder of Nebius Token Factory."""

    name = NEBIUS.name
    capabilities = Capabilities(
        gives_row_ids=False, max_chunk_bytes=NEBIUS.max_chunk_bytes, max_chunk_rows=NEBIUS.max_chunk_rows
    )
    policy = BY_NAME

    def __init__(
        self, transport: Transport, token: TokenSource, *, dataset_name: str, folder: str, ai_project_id: str | None
    ) -> None:
        self._transport = transport
        self.token = token
        self.dataset_name = dataset_name
        self._folder = folder
        self._ai_project_id = ai_project_id
        self._taken: set[str] = set()
        self.known_datasets = 0
        self._ours = re.compile(re.escape(dataset_name) + r"(-\d{5,}(-\d{3,})?-[0-9a-f]{8})?")

    @property
    def identity(self) -> str:
        return f"{self.name} {self._transport.base_url} {self._ai_project_id or '-'} {self._folder} {self.dataset_name}"

    @property
    def target(self) -> Target:
        return TARGET

    def envelope(self, name: str, plan: RowPlan) -> Envelope:
        assert plan.schema is not None, "rows for Nebius have a schema"
        head: dict[str, Any] = {"name": name, "schema": wire_schema(plan.schema), "folder": self._folder}
        if self._ai_project_id is not None:
            head["ai_project_id"] = self._ai_project_id
        return Envelope(orjson.dumps(head)[:-1] + b',"rows":[', b"]}", "application/json")

    async def send(self, payload: Payload, on_bytes: Callable[[int], None]) -> Outcome:
        try:
            async with self._transport.exchange(
                "POST", UPLOAD_PATH, token=self.token.current, body=payload, on_bytes=on_bytes
            ) as answer:
                if answer.status not in (200, 201):
                    return await refusal(answer, bad_request=BadRequest.NOTHING_STORED)
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

    async def poll(self, asking: Asking, remote_id: str) -> RemoteStatus:
        return _status(await self._dataset(asking, remote_id))

    async def look(self, asking: Asking) -> Look:
        """The list of the whole account, and of the project where one is named: whether the plain list leaves its datasets out is
        open, so absence needs both."""
        at = time.time()
        seen = Sightings()
        listed = 0
        scopes: list[dict[str, str]] = [{}]
        if self._ai_project_id is not None:
            scopes.append({"ai_project_id": self._ai_project_id})
        for scope in scopes:
            try:
                listed = max(listed, await self._list(asking, scope, seen))
            except ReadBackUnavailable as why:
                return Look(at, seen, unavailable=str(why))
        return Look(at, seen, listed=listed)

    async def is_there(self, asking: Asking) -> bool:
        return await has_path(asking, self._transport, self.token, UPLOAD_PATH)

    async def _list(self, asking: Asking, scope: dict[str, str], seen: Sightings) -> int:
        """Add to *seen* the datasets of our names that a list shows; how many it shows in all.

        Raises `ReadBackUnavailable` where the list cannot be read to its end.
        """
        listing = Listing("GET /v1/datasets", self.known_datasets)
        params = {"limit": str(PAGE), **scope}
        while True:
            page = await ask(asking, self._transport, self.token, "GET", "/v1/datasets", _PAGE, params=params)
            ours: list[Seen] = []
            for record in page.data:
                if record.name is not None and self._is_ours(record, record.name):
                    if not is_usable_id(record.id):
                        raise listing.broke("shows a dataset of our name with an id that is not valid")
                    ours.append(Seen(record.id, record.name, _status(record), None))
            seen.add(ours)
            if page.data:
                listing.page([record.id for record in page.data])
            if page.has_more is False or (page.has_more is None and not page.data):
                return listing.datasets
            after = page.last_id or (page.data[-1].id if page.data else None)
            if not page.data or after is None:
                raise listing.broke("says that there is more, and not where")
            listing.cursor(after)
            params["after"] = after

    async def match(self, asking: Asking, dataset_id: str, *, rows: int, plan: RowPlan) -> Match:
        assert plan.schema is not None, "rows for Nebius have a schema"
        try:
            if not _is_schema((await self._dataset(asking, dataset_id)).schema, wire_schema(plan.schema)):
                return Match.OTHER
            last = await self._content(asking, dataset_id, rows - 1, 1)
            behind = await self._content(asking, dataset_id, rows, 1)
        except ReadBackUnavailable:
            return Match.UNKNOWN
        return Match.SAME if len(last) == 1 and not behind else Match.OTHER

    async def read_rows(
        self, asking: Asking, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS
    ) -> list[StoredRow]:
        rows = await self._content(asking, dataset_id, page * page_rows, page_rows)
        try:
            return [StoredRow(None, self.row_key(bytes(row))) for row in rows]
        except CODEC_ERRORS:
            raise ReadBackUnavailable(f"GET /v1/datasets/{dataset_id}/content gave a row that cannot be read") from None

    def row_key(self, row: bytes) -> bytes:
        try:
            return key_of(_without_nulls(read(row)))
        except NotJsonError:  # sent unread, under trust
            return unreadable_key(row)

    async def _dataset(self, asking: Asking, dataset_id: str) -> _Dataset:
        path = f"/v1/datasets/{dataset_id}"
        found = await ask(asking, self._transport, self.token, "GET", path, _DATASET, max_bytes=RECORD_BYTES)
        if found.id != dataset_id:
            raise ReadBackUnavailable(f"GET {path} answered something else than that dataset")
        return found

    async def _content(self, asking: Asking, dataset_id: str, offset: int, limit: int) -> list[msgspec.Raw]:
        """Rows of a dataset, at most *limit*. [openapi, seen]"""
        path = f"/v1/datasets/{dataset_id}/content"
        params = {"limit": str(limit), "offset": str(offset)}
        max_bytes = ROW_BYTES if limit == 1 else LOOK_BYTES
        return await ask(
            asking, self._transport, self.token, "GET", path, _AtMost(limit), params=params, max_bytes=max_bytes
        )

    def _is_ours(self, record: _Record, name: str) -> bool:
        return self._ours.fullmatch(name) is not None and record.folder == self._folder


def _is_schema(raw: msgspec.Raw, schema: list[dict[str, Any]]) -> bool:
    try:
        return bool(orjson.loads(bytes(raw)) == schema)
    except CODEC_ERRORS:
        return False


def _status(record: _Record) -> RemoteStatus:
    match record.status:
        case "READY":
            return RemoteStatus.READY
        case "FAILED":
            return RemoteStatus.FAILED
        case _:  # PENDING; TEMPORARY and DRAFT are not explained anywhere, so they are not taken for READY
            return RemoteStatus.PENDING


def _without_nulls(row: Any) -> Any:
    """Null and absent are the same, since the service may give one back as the other. [open]"""
    return {name: value for name, value in row.items() if value is not None} if isinstance(row, dict) else row


def _accepted(data: bytes, name: str) -> Outcome:
    """*data* is the answer to the upload of a dataset that is to be called *name*."""
    try:
        record = decoded(data, _DATASET, "POST /v1/datasets")
    except ReadBackUnavailable:
        return InDoubt("the service answered success with what is no dataset's record")
    if record.name is None or len(record.name) > NAME_CHARACTERS:
        return InDoubt("the service answered success with what is no dataset's record")
    if not is_usable_id(record.id):
        return InDoubt("the service answered success without a usable dataset id")
    if record.name != name and holds_secret([record.name]):
        return InDoubt("the service answered success with a secret in the dataset's name")
    error = bytes(record.error)
    reason = "" if error in (b"null", b'""') else readable(error)
    return Accepted(record.id, record.name, _status(record), reason=reason)
