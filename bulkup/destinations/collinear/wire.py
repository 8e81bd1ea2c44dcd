"""Collinear AI: `POST /api/v1/dataset/upload`, multipart, which creates a dataset or appends to it.

Grounds of each fact: `docs/endpoints.md`; the contract is the published reference of "Upload New Dataset".
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Callable
from typing import TypeVar

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
from bulkup.destinations.collinear import COLLINEAR
from bulkup.destinations.collinear.echo import BadEcho, EchoReader
from bulkup.destinations.collinear.rows import TARGET
from bulkup.destinations.http import (
    CODEC_ERRORS,
    LOOK_BYTES,
    ROW_BYTES,
    Decoder,
    JsonBody,
    RowId,
    ask,
    has_path,
    is_usable_id,
    lost,
    refusal,
)
from bulkup.destinations.listing import Listing
from bulkup.destinations.row_keys import key_of, unreadable_key
from bulkup.doubt.by_count import BY_COUNT
from bulkup.doubt.settlement import Look, Match, Seen
from bulkup.encoding import RowPlan, Target
from bulkup.outcome import Accepted, InDoubt, Outcome, RemoteStatus
from bulkup.rows.exact import NotJsonError, read
from bulkup.tokens.secret import holds_secret
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import Answer, Transport, TransportFailure
from bulkup.transport.classify import BadRequest

__all__ = ["CollinearDestination"]

UPLOAD_PATH = "/api/v1/dataset/upload"

PAGE = 100

T = TypeVar("T")

_ROWS = (
    "{ getDatasetRowsByDatasetId(datasetId: %s, page: %d, pageSize: %d) "
    "{ count rows { id convPrefix { role content } response { role content } groundTruth context } } }"
)

_DATASETS = "{ getUploadedDatasetByPageAndSpaceId(spaceId: %s, page: %d, limit: %d) { count datasets { id name rows createdAt } } }"
"""Arguments stand in the query itself: the schema's names for their types are not published."""


class _Dataset(msgspec.Struct, gc=False):
    """A dataset in a list. [sdk]"""

    id: str | int
    name: str | None = None
    rows: int | float | str | None = None


class _Listing(msgspec.Struct, gc=False):
    count: int
    datasets: list[_Dataset]


class _Datasets(msgspec.Struct, gc=False):
    listing: _Listing = msgspec.field(name="getUploadedDatasetByPageAndSpaceId")


class _DatasetsAnswer(msgspec.Struct, gc=False):
    data: _Datasets


class _Turn(msgspec.Struct, gc=False):
    role: str | None
    content: str | None


class _StoredRow(msgspec.Struct, gc=False, rename="camel"):
    """A row that is read back. [sdk]"""

    id: RowId
    conv_prefix: list[_Turn]
    response: _Turn
    ground_truth: msgspec.Raw = msgspec.Raw(b"null")
    context: str | None = None


class _RowsPage(msgspec.Struct, gc=False):
    rows: list[_StoredRow]


class _Rows(msgspec.Struct, gc=False):
    page: _RowsPage = msgspec.field(name="getDatasetRowsByDatasetId")


class _RowsAnswer(msgspec.Struct, gc=False):
    data: _Rows


_FILE_NAME = re.compile(r'filename\*?="?([^";]*)', re.IGNORECASE)
_FILE_OF_DATASET = re.compile(r'filename="?([A-Za-z0-9_-]{1,200})\.json"?')

_DATASETS_ANSWER = msgspec.json.Decoder(_DatasetsAnswer)
_ROWS_ANSWER = msgspec.json.Decoder(_RowsAnswer)


class CollinearDestination:
    """One dataset in one space of Collinear AI."""

    name = COLLINEAR.name
    capabilities = Capabilities(
        gives_row_ids=True, max_chunk_bytes=COLLINEAR.max_chunk_bytes, max_chunk_rows=COLLINEAR.max_chunk_rows
    )
    policy = BY_COUNT

    def __init__(self, transport: Transport, token: TokenSource, *, dataset_name: str, space_id: str) -> None:
        self._transport = transport
        self.token = token
        self.dataset_name = dataset_name
        self._space_id = space_id
        self.known_datasets = 0
        self._boundary = "bulkup-" + secrets.token_hex(16)

    @property
    def identity(self) -> str:
        return f"{self.name} {self._transport.base_url} {self._space_id} {self.dataset_name}"

    @property
    def target(self) -> Target:
        return TARGET

    def envelope(self, name: str, plan: RowPlan) -> Envelope:
        def part(field: str, value: str) -> str:
            return f'--{self._boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'

        prefix = (
            part("dataset_name", self.dataset_name)
            + part("space_id", self._space_id)
            + f'--{self._boundary}\r\nContent-Disposition: form-data; name="file"; filename="chunk.json"\r\n'
            "Content-Type: application/json\r\n\r\n["
        )
        return Envelope(
            prefix.encode(),
            f"]\r\n--{self._boundary}--\r\n".encode(),
            f"multipart/form-data; boundary={self._boundary}",
        )

    async def send(self, payload: Payload, on_bytes: Callable[[int], None]) -> Outcome:
        try:
            async with self._transport.exchange(
                "POST", UPLOAD_PATH, token=self.token.current, body=payload, on_bytes=on_bytes
            ) as answer:
                if answer.status not in (200, 201):
                    return await refusal(answer, bad_request=BadRequest.OPEN)
                return await self._accepted(answer, payload)
        except TransportFailure as failure:
            return lost(failure)

    async def poll(self, asking: Asking, remote_id: str) -> RemoteStatus:
        raise ReadBackUnavailable(f"Collinear has no status for dataset {remote_id}")

    async def look(self, asking: Asking) -> Look:
        seen: dict[str, Seen] = {}
        listing = Listing("POST /graphql", self.known_datasets)
        at = time.time()
        try:
            for page in itertools.count():
                found = await self._datasets(asking, page)
                for record in found.datasets:
                    if record.name == self.dataset_name:
                        one = _seen(record, listing)
                        seen[one.id] = one
                if found.datasets:
                    listing.page([str(record.id) for record in found.datasets])
                if listing.datasets >= found.count:  # a short page proves nothing: the service may cap pages [open]
                    break
                if not found.datasets:
                    raise listing.broke(f"listed {listing.datasets:,} of {found.count:,} datasets")
        except ReadBackUnavailable as why:
            return Look(at, tuple(seen.values()), unavailable=str(why))
        return Look(at, tuple(seen.values()), listed=listing.datasets)

    async def is_there(self, asking: Asking) -> bool:
        return await has_path(asking, self._transport, self.token, UPLOAD_PATH)

    async def match(self, asking: Asking, dataset_id: str, *, rows: int, plan: RowPlan) -> Match:
        return Match.UNKNOWN  # a chunk is no dataset of its own here

    async def read_rows(
        self, asking: Asking, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS
    ) -> list[StoredRow]:
        query = _ROWS % (orjson.dumps(dataset_id).decode(), page, page_rows)
        answer = await self._ask(asking, query, _ROWS_ANSWER, ROW_BYTES if page_rows == 1 else LOOK_BYTES)
        rows = answer.data.page.rows
        if len(rows) > page_rows:
            raise ReadBackUnavailable(f"POST /graphql gave {len(rows):,} rows where {page_rows:,} were asked for")
        try:
            stored = [StoredRow(row.id, _stored_key(row)) for row in rows]
        except CODEC_ERRORS:
            raise ReadBackUnavailable("POST /graphql gave a row that cannot be read") from None
        if holds_secret([row.id for row in rows if row.id is not None]):
            raise ReadBackUnavailable("POST /graphql gave a row's id with a secret in it")
        return stored

    def row_key(self, row: bytes) -> bytes:
        try:
            sent = read(row)
            turns = [[turn["role"], turn["content"]] for turn in (*sent["conv_prefix"], sent["response"])]
            return key_of([turns, sent.get("ground_truth"), sent.get("context")])
        except (NotJsonError, LookupError, TypeError, AttributeError):  # sent unread, under trust, or with a key twice
            return unreadable_key(row)

    async def _datasets(self, asking: Asking, page: int) -> _Listing:
        """One page of the space's datasets, and how many there are in all. [sdk]"""
        query = _DATASETS % (orjson.dumps(self._space_id).decode(), page, PAGE)
        return (await self._ask(asking, query, _DATASETS_ANSWER)).data.listing

    async def _ask(self, asking: Asking, query: str, decoder: Decoder[T], max_bytes: int = LOOK_BYTES) -> T:
        body = JsonBody(orjson.dumps({"query": query}))
        return await ask(
            asking, self._transport, self.token, "POST", "/graphql", decoder, body=body, max_bytes=max_bytes
        )

    async def _accepted(self, answer: Answer, payload: Payload) -> Outcome:
        """The echo: as many rows as were sent, each with an id of its own. [ref]"""
        echo = EchoReader(payload.rows, payload.body_bytes)
        try:
            async for data in answer.blocks():
                echo.feed(data)
            ids = echo.ids(payload.rows)
        except BadEcho as why:
            return InDoubt(f"the service answered success, but {why}")
        if holds_secret(ids) or holds_secret(_file_names(answer)):
            return InDoubt("the service answered success with a secret in a row's id or the file's name")
        return Accepted(_dataset_id(answer), self.dataset_name, RemoteStatus.READY, ids)


def _file_names(answer: Answer) -> list[str]:
    """What `Content-Disposition` calls the file, without its ending: the header's own words are no names."""
    return [name.removesuffix(".json") for name in _FILE_NAME.findall(answer.headers.get("Content-Disposition", ""))]


def _dataset_id(answer: Answer) -> str:
    """The dataset's id, from `Content-Disposition: attachment; filename="<dataset_id>.json"` [sdk]; empty if it is not there."""
    found = _FILE_OF_DATASET.search(answer.headers.get("Content-Disposition", ""))
    return found.group(1) if found else ""


def _seen(record: _Dataset, listing: Listing) -> Seen:
    if not is_usable_id(str(record.id)):
        raise listing.broke("shows a dataset of our name with an id that is not valid")
    rows = record.rows if isinstance(record.rows, int) and record.rows >= 0 else None
    return Seen(str(record.id), str(record.name), RemoteStatus.READY, rows)


def _stored_key(row: _StoredRow) -> bytes:
    turns = [[turn.role, turn.content] for turn in (*row.conv_prefix, row.response)]
    return key_of([turns, read(bytes(row.ground_truth)), row.context])
