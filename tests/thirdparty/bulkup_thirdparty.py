"""A destination in one file, as another distribution would bring it: sets of rows in boxes, to which each request appends.

The service is made up. It gives an id for each row, names the rows that it refuses, and says how many rows a set has.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

import msgspec
import orjson

from bulkup.destinations.assumptions import TOLD_TO_WAIT, TOO_LARGE, Assumption, Ground
from bulkup.destinations.base import PAGE_ROWS, Asking, Capabilities, Envelope, Payload, ReadBackUnavailable, StoredRow
from bulkup.destinations.http import ask, decoded, is_usable_id, lost, refusal
from bulkup.destinations.listing import Listing
from bulkup.destinations.row_keys import key_of, unreadable_key
from bulkup.destinations.service import DatasetAt, Service
from bulkup.destinations.settings import DestinationSettings
from bulkup.doubt.by_count import BY_COUNT
from bulkup.doubt.policy import Policy
from bulkup.doubt.settlement import Look, Match, Seen
from bulkup.encoding import ColumnRows, RowPlan, Target
from bulkup.outcome import Accepted, InDoubt, Outcome, RemoteStatus
from bulkup.rows.exact import NotJsonError, read
from bulkup.settings.option import Option, OptionTable
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import Transport, TransportFailure
from bulkup.transport.classify import BadRequest

__all__ = ["THIRDPARTY"]

ANSWER_BYTES = 1024 * 1024


class BoxOptions(OptionTable):
    """Where a set is."""

    box: Annotated[str, Option(metavar="BOX", meaning="the box", needed="the box's name")]


class Boxes(BoxOptions, DestinationSettings):
    """A set of rows in *box*."""

    service = "thirdparty"
    place = ("box",)

    url: str = "http://127.0.0.1:9"


class _Set(msgspec.Struct):
    id: str
    name: str
    rows: int


class _Sets(msgspec.Struct):
    sets: list[_Set]
    more: bool


class _Row(msgspec.Struct):
    id: int
    row: msgspec.Raw


class _Rows(msgspec.Struct):
    rows: list[_Row]


class _Appended(msgspec.Struct):
    set: str
    ids: list[int]


_SETS = msgspec.json.Decoder(_Sets)
_ROWS = msgspec.json.Decoder(_Rows)
_APPENDED = msgspec.json.Decoder(_Appended)


class BoxDestination:
    """One set of rows in one box."""

    name = "thirdparty"
    capabilities = Capabilities(gives_row_ids=True, max_chunk_bytes=4 * 1024 * 1024, max_chunk_rows=10_000)
    policy = BY_COUNT
    target = Target(name="thirdparty", title="Third Party", rows=ColumnRows())

    def __init__(self, dataset: DatasetAt, transport: Transport, token: TokenSource) -> None:
        self.dataset_name = dataset.name
        self.token = token
        self._transport = transport
        self._box = str(dataset.place["box"])

    @property
    def identity(self) -> str:
        return f"{self.name} {self._transport.base_url} {self._box} {self.dataset_name}"

    def envelope(self, name: str, plan: RowPlan) -> Envelope:
        address = orjson.dumps({"box": self._box, "set": self.dataset_name})
        return Envelope(address[:-1] + b',"rows":[', b"]}", "application/json")

    async def send(self, payload: Payload, on_bytes: Callable[[int], None]) -> Outcome:
        try:
            async with self._transport.exchange(
                "POST", "/append", token=self.token.current, body=payload, on_bytes=on_bytes
            ) as answer:
                if answer.status != 200:
                    return await refusal(answer, bad_request=BadRequest.NOTHING_STORED)
                data = await answer.read(ANSWER_BYTES)
        except TransportFailure as failure:
            return lost(failure)
        try:
            appended = decoded(data, _APPENDED, "POST /append")
        except ReadBackUnavailable:
            return InDoubt("the service answered success with what is no such answer")
        ids = tuple(appended.ids)
        if len(set(ids)) != payload.rows or len(ids) != payload.rows:
            return InDoubt(f"the service answered success with {len(ids)} ids where {payload.rows} rows were sent")
        if not is_usable_id(appended.set):
            return InDoubt("the service answered success without a usable id")
        return Accepted(appended.set, self.dataset_name, RemoteStatus.READY, ids)

    async def poll(self, asking: Asking, remote_id: str) -> RemoteStatus:
        raise ReadBackUnavailable(f"a set has no status ({remote_id})")

    async def look(self, asking: Asking) -> Look:
        at = time.time()
        seen: list[Seen] = []
        listing = Listing("GET /sets", 0)
        try:
            while True:
                params = {"box": self._box, "after": str(listing.datasets)}
                page = await ask(asking, self._transport, self.token, "GET", "/sets", _SETS, params=params)
                seen += [
                    Seen(one.id, one.name, RemoteStatus.READY, one.rows)
                    for one in page.sets
                    if one.name == self.dataset_name
                ]
                if page.sets:
                    listing.page([one.id for one in page.sets])
                if not page.more:
                    return Look(at, tuple(seen), listed=listing.datasets)
                if not page.sets:
                    raise listing.broke("says that it goes on, and does not")
        except ReadBackUnavailable as why:
            return Look(at, tuple(seen), unavailable=str(why))

    async def match(self, asking: Asking, dataset_id: str, *, rows: int, plan: RowPlan) -> Match:
        return Match.UNKNOWN  # a chunk is no set of its own

    async def read_rows(
        self, asking: Asking, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS
    ) -> list[StoredRow]:
        path = f"/sets/{dataset_id}/rows"
        params = {"offset": str(page * page_rows), "limit": str(page_rows)}
        found = await ask(asking, self._transport, self.token, "GET", path, _ROWS, params=params)
        return [StoredRow(one.id, self.row_key(bytes(one.row))) for one in found.rows]

    def row_key(self, row: bytes) -> bytes:
        try:
            return key_of(read(row))
        except NotJsonError:
            return unreadable_key(row)


class _ThirdParty(Service):
    name = "thirdparty"
    title = "Third Party"
    full_title = "The Third Party"
    token_variable = "THIRDPARTY_KEY"
    url = "http://127.0.0.1:9"
    max_chunk_bytes = BoxDestination.capabilities.max_chunk_bytes
    max_chunk_rows = BoxDestination.capabilities.max_chunk_rows
    options = BoxOptions
    settings = Boxes
    policy: Policy = BY_COUNT
    assumptions = (
        Assumption("Rows that are counted are stored.", Ground.OPEN),
        TOLD_TO_WAIT,
        TOO_LARGE,
    )

    def destination(self, dataset: DatasetAt, transport: Transport, token: TokenSource) -> BoxDestination:
        return BoxDestination(dataset, transport, token)

    def made_up_row(self, asked: str, said: str) -> dict[str, object]:
        return {"question": asked, "answer": said}


THIRDPARTY = _ThirdParty()
