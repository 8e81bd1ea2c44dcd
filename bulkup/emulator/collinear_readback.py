"""Collinear AI's read-back: two GraphQL queries [sdk] and two REST calls [openapi].

The answers' fields are published; the orders (oldest first) and what a page size may be are [open].
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from aiohttp import web

from .answers import Answer, RefusedError, json_answer
from .body import read
from .collinear import with_id
from .columns import error
from .graphql import Field, GraphqlError, Shape, fields, select
from .state import State
from .store import Dataset

__all__ = ["all_rows", "by_name", "download", "graphql"]

_TURN: Final[Shape] = {"role": None, "content": None}
_SHAPES: Final[Mapping[str, Shape]] = {
    "getUploadedDatasetByPageAndSpaceId": {
        "count": None,
        "datasets": {"id": None, "name": None, "rows": None, "createdAt": None},
    },
    "getDatasetRowsByDatasetId": {
        "count": None,
        "rows": {"id": None, "convPrefix": _TURN, "response": _TURN, "groundTruth": None, "context": None},
    },
}
_MAX_QUERY_BYTES: Final = 1 << 20


async def graphql(request: web.Request, state: State) -> Answer:
    """`POST /graphql` {query, variables}."""
    try:
        given = orjson.loads(await read(request, _MAX_QUERY_BYTES))
        query, variables = given["query"], given.get("variables") or {}
        if not isinstance(query, str) or not isinstance(variables, dict):
            raise TypeError
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return json_answer({"errors": [{"message": "No GraphQL query found in the request"}]}, 400)
    try:
        return json_answer({"data": {field.key: await _resolve(state, field) for field in fields(query, variables)}})
    except GraphqlError as wrong:
        return json_answer({"data": None, "errors": [{"message": str(wrong)}]})


async def _resolve(state: State, field: Field) -> Any:
    shape = _SHAPES.get(field.name)
    resolver = _RESOLVERS.get(field.name)
    if shape is None or resolver is None:
        raise GraphqlError(f"Cannot query field '{field.name}' on type 'Query'.")
    return select(await resolver(state, field), field.fields, shape, field.name)


async def _datasets(state: State, field: Field) -> Any:
    space = _uuid(field, "spaceId")
    start, end = _page(state, field, "limit")
    until = state.seen_until("collinear")
    found = await state.store.datasets("collinear", place=space, until=until)
    page = [
        {
            "id": dataset.id,
            "name": dataset.name,
            "rows": await state.store.count(dataset, until),
            "createdAt": _moment(dataset),
        }
        for dataset in found[start:end]
    ]
    return {"count": len(found), "datasets": page}


async def _rows(state: State, field: Field) -> Any:
    until = state.seen_until("collinear")
    dataset = await state.store.find("collinear", _uuid(field, "datasetId"), until)
    if dataset is None:
        raise GraphqlError("Dataset not found")
    start, end = _page(state, field, "pageSize")
    rows = await state.store.rows(dataset, start, end - start, until)
    return {"count": await state.store.count(dataset, until), "rows": [_graph_row(*row) for row in rows]}


_RESOLVERS: Final[Mapping[str, Callable[[State, Field], Awaitable[Any]]]] = {
    "getUploadedDatasetByPageAndSpaceId": _datasets,
    "getDatasetRowsByDatasetId": _rows,
}


def _graph_row(row_id: str | None, text: bytes) -> dict[str, Any]:
    row = orjson.loads(text)
    return {
        "id": row_id,
        "convPrefix": row["conv_prefix"],
        "response": row["response"],
        "groundTruth": row.get("ground_truth"),
        "context": row.get("context"),
    }


def _uuid(field: Field, key: str) -> str:
    try:
        return str(uuid.UUID(field.arguments[key]))
    except (KeyError, ValueError, TypeError, AttributeError) as wrong:
        raise GraphqlError(f"Argument '{key}' of '{field.name}' should be a UUID.") from wrong


def _page(state: State, field: Field, key: str) -> tuple[int, int]:
    """The page's first item and the one behind its last."""
    page, size = field.arguments.get("page"), field.arguments.get(key)
    if type(page) is not int or type(size) is not int or page < 0 or size < 1:
        raise GraphqlError(f"Arguments 'page' and '{key}' of '{field.name}' should be integers, from 0 and from 1.")
    size = min(size, state.settings.graphql_page_cap or size)
    return page * size, (page + 1) * size


async def download(request: web.Request, state: State) -> Answer:
    """`GET /api/v1/dataset/{id}/download`: all rows, each with its id."""
    try:
        dataset_id = str(uuid.UUID(request.match_info["id"]))
    except ValueError as wrong:
        raise RefusedError(
            422, [error(["path", "dataset_id"], "Input should be a valid UUID", "uuid_parsing")]
        ) from wrong
    until = state.seen_until("collinear")
    dataset = await state.store.find("collinear", dataset_id, until)
    if dataset is None:
        raise RefusedError(404, "Dataset not found")
    headers = {"Content-Disposition": f'attachment; filename="{dataset.id}.json"'}
    return Answer(200, _array(all_rows(state, dataset, until), with_id, b"[", b"]"), headers)


async def by_name(request: web.Request, state: State) -> Answer:
    """`POST /api/v1/dataset/name` {dataset_name, space_id}: the oldest of that name, all rows at once."""
    try:
        given = orjson.loads(await read(request, _MAX_QUERY_BYTES))
        name, space = str(given["dataset_name"]), str(uuid.UUID(given["space_id"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as wrong:
        raise RefusedError(
            422, [error(["body"], "dataset_name and space_id (a UUID) are required", "missing")]
        ) from wrong
    until = state.seen_until("collinear")
    found = await state.store.datasets("collinear", place=space, name=name, until=until)
    if not found:
        raise RefusedError(404, "Dataset not found")
    moment = _moment(found[0])

    def annotation(row_id: str | None, text: bytes) -> bytes:
        row = orjson.loads(text)
        return orjson.dumps(
            {
                "id": row_id,
                "db_id": row_id,
                "conv_prefix": row["conv_prefix"],
                "response": row["response"]["content"],
                "judge_feedback": {},
                "human_feedback": {},
                "judge_feedback_rating": {},
                "created_at": moment,
                "ground_truth": row.get("ground_truth"),
            }
        )

    head = b'{"dataset_id":"%b","dataset_annotations":[' % found[0].id.encode()
    return Answer(200, _array(all_rows(state, found[0], until), annotation, head, b"]}"))


async def all_rows(state: State, dataset: Dataset, until: float | None) -> AsyncIterator[tuple[str | None, bytes]]:
    """All visible rows, read a thousand at a time."""
    offset = 0
    while batch := await state.store.rows(dataset, offset, 1000, until):
        offset += len(batch)
        for row in batch:
            yield row


async def _array(
    rows: AsyncIterator[tuple[str | None, bytes]], text: Callable[[str | None, bytes], bytes], head: bytes, tail: bytes
) -> AsyncIterator[bytes]:
    piece = bytearray(head)
    between = b""
    async for row in rows:
        piece += between + text(*row)
        between = b","
        if len(piece) >= 64 * 1024:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece) + tail


def _moment(dataset: Dataset) -> str:
    return datetime.fromtimestamp(dataset.created_at, UTC).isoformat()
