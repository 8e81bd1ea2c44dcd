"""Collinear AI: `POST /api/v1/dataset/upload`, multipart, which creates a dataset or appends to it.

Grounds of each fact: `docs/endpoints.md`; the contract is the published reference of "Upload New Dataset".
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import Any

import orjson
import xxhash

from bulkup.classify import BadRequest
from bulkup.destinations.collinear_rows import COLLINEAR
from bulkup.destinations.echo import BadEcho, EchoReader
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
from bulkup.destinations.wire import JsonBody, ask, lost, refusal
from bulkup.encoding import RowPlan, Target
from bulkup.outcome import Accepted, InDoubt, Outcome, RemoteStatus
from bulkup.secret import holds_secret
from bulkup.settlement import Look, Match, Seen
from bulkup.token_source import TokenSource
from bulkup.transport import Answer, Transport, TransportFailure

__all__ = ["CollinearDestination"]

PAGE = 100
MAX_PAGES = 10_000

_ROWS = (
    "{ getDatasetRowsByDatasetId(datasetId: %s, page: %d, pageSize: %d) "
    "{ count rows { id convPrefix { role content } response { role content } groundTruth context } } }"
)

_DATASETS = "{ getUploadedDatasetByPageAndSpaceId(spaceId: %s, page: %d, limit: %d) { count datasets { id name rows createdAt } } }"
"""Arguments stand in the query itself: the schema's names for their types are not published."""


class CollinearDestination:
    """One dataset in one space of Collinear AI."""

    name = "collinear"
    capabilities = Capabilities(
        creates=Creates.FIRST_CHUNK,
        settles=Settles.BY_COUNT,
        gives_row_ids=True,
        max_chunk_bytes=8 * 1024 * 1024,
        max_chunk_rows=50_000,  # the answer holds an id for each row: this bounds what must be kept of it
    )

    def __init__(self, transport: Transport, token: TokenSource, *, dataset_name: str, space_id: str) -> None:
        self._transport = transport
        self.token = token
        self.dataset_name = dataset_name
        self._space_id = space_id
        self._boundary = "bulkup-" + secrets.token_hex(16)

    @property
    def identity(self) -> str:
        return f"collinear {self._transport.base_url} {self._space_id} {self.dataset_name}"

    @property
    def target(self) -> Target:
        return COLLINEAR

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
                "POST", "/api/v1/dataset/upload", token=self.token.current, body=payload, on_bytes=on_bytes
            ) as answer:
                if answer.status not in (200, 201):
                    return await refusal(answer, self.token, bad_request=BadRequest.OPEN)
                return await self._accepted(answer, payload.rows)
        except TransportFailure as failure:
            return lost(failure)

    async def poll(self, remote_id: str) -> RemoteStatus:
        raise ReadBackUnavailable(f"Collinear has no status for dataset {remote_id}")

    async def look(self) -> Look:
        seen: list[Seen] = []
        listed = 0
        at = time.time()
        try:
            for page in range(MAX_PAGES):
                datasets, total = await self._datasets(page)
                found = [_seen(record) for record in datasets if record.get("name") == self.dataset_name]
                if holds_secret([each.id for each in found]):
                    raise ReadBackUnavailable("POST /graphql answered a dataset's id with a secret in it")
                seen += found
                listed += len(datasets)
                if listed >= total:  # a short page proves nothing: the service may cap pages [open]
                    break
                if not datasets:
                    raise ReadBackUnavailable(f"POST /graphql listed {listed:,} of {total:,} datasets")
        except ReadBackUnavailable as why:
            return Look(at, unavailable=str(why))
        return Look(at, tuple(seen))

    async def match(self, dataset_id: str, *, rows: int, plan: RowPlan) -> Match:
        return Match.UNKNOWN  # a chunk is no dataset of its own here

    async def read_rows(self, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS) -> list[StoredRow]:
        query = _ROWS % (orjson.dumps(dataset_id).decode(), page, page_rows)
        answer = await ask(
            self._transport, self.token, "POST", "/graphql", body=JsonBody(orjson.dumps({"query": query}))
        )
        try:
            rows = answer["data"]["getDatasetRowsByDatasetId"]["rows"]
            stored = [StoredRow(row["id"], _stored_key(row)) for row in rows]
        except (KeyError, TypeError):
            raise ReadBackUnavailable("POST /graphql answered no rows") from None
        if holds_secret([row.id for row in stored if row.id is not None]):
            raise ReadBackUnavailable("POST /graphql answered a row's id with a secret in it")
        return stored

    def row_key(self, row: bytes) -> bytes:
        sent = orjson.loads(row)
        return _key(sent["conv_prefix"], sent["response"], sent.get("ground_truth"), sent.get("context"))

    async def _datasets(self, page: int) -> tuple[list[dict[str, Any]], int]:
        """One page of the space's datasets, and how many there are in all. [sdk]"""
        query = _DATASETS % (orjson.dumps(self._space_id).decode(), page, PAGE)
        body = JsonBody(orjson.dumps({"query": query}))
        answer = await ask(self._transport, self.token, "POST", "/graphql", body=body)
        try:
            listing = answer["data"]["getUploadedDatasetByPageAndSpaceId"]
            return [record for record in listing["datasets"] if isinstance(record, dict)], int(listing["count"])
        except (KeyError, TypeError, ValueError):
            raise ReadBackUnavailable("POST /graphql answered no list of datasets") from None

    async def _accepted(self, answer: Answer, rows: int) -> Outcome:
        """The echo: as many rows as were sent, each with an id of its own. [ref]"""
        echo = EchoReader()
        try:
            async for data in answer.blocks():
                echo.feed(data)
            ids = echo.ids(rows)
        except BadEcho as why:
            return InDoubt(f"the service answered success, but {why}")
        if holds_secret(ids) or holds_secret([answer.headers.get("Content-Disposition", "")]):
            return InDoubt("the service answered success with a secret in a row's id or the file's name")
        return Accepted(_dataset_id(answer), self.dataset_name, RemoteStatus.READY, ids)


def _dataset_id(answer: Answer) -> str:
    """The dataset's id, from `Content-Disposition: attachment; filename="<dataset_id>.json"` [sdk]; empty if it is not there."""
    found = re.search(r'filename="?([\w-]{1,200})\.json"?', answer.headers.get("Content-Disposition", ""))
    return found.group(1) if found else ""


def _seen(record: dict[str, Any]) -> Seen:
    rows = record.get("rows")
    return Seen(
        str(record.get("id")), str(record.get("name")), RemoteStatus.READY, rows if isinstance(rows, int) else None
    )


def _stored_key(row: dict[str, Any]) -> bytes:
    return _key(row["convPrefix"], row["response"], row.get("groundTruth"), row.get("context"))


def _key(conv_prefix: list[Any], response: dict[str, Any], ground_truth: int | None, context: str | None) -> bytes:
    """A row's content, whatever the order of its keys."""
    turns = [(turn["role"], turn["content"]) for turn in (*conv_prefix, response)]
    return xxhash.xxh3_128_digest(orjson.dumps((turns, ground_truth, context)))
