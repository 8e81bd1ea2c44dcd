"""Nebius Token Factory's dataset calls.

`POST /v1/datasets` and its record are [ref]; the list, the content and `option` are [openapi, seen]; that a second
call of one name makes a second dataset is [seen]. The list's order (oldest first here) and what stands in it for an
unknown `after` are [open].
"""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from .answers import Answer, RefusedError, json_answer
from .body import read
from .columns import columns, error, row_problems
from .settings import FaultName, ServiceName, Settings
from .slices import rows_of
from .state import State
from .store import Dataset, Upload
from .uploads import refuse_marked

__all__ = ["NebiusUpload", "changed", "content", "listed", "polled", "read_create"]

_FIELDS = frozenset({"name", "schema", "folder", "rows", "ai_project_id"})


class NebiusUpload:
    """`POST /v1/datasets`."""

    service: ServiceName = "nebius"

    def read(self, body: bytearray, content_type: str, settings: Settings) -> Upload:
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(
                422, [error(["body"], "Input should be a valid dictionary (is it JSON?)", "model_attributes_type")]
            )
        return read_create(_json(body), settings, rows_of(body))

    async def store(self, state: State, upload: Upload, begun: int) -> Dataset:
        return await state.store.create(upload)

    async def answer(self, state: State, dataset: Dataset, upload: Upload, fault: FaultName) -> Answer:
        said = _record(dataset)
        if fault == "wrong_id_count":
            del said["id"]
        elif fault == "repeated_ids":
            said["id"] = (await state.store.datasets("nebius"))[0].id
        return json_answer(said)


def read_create(given: object, settings: Settings, texts: list[bytes] | None = None) -> Upload:
    """What a create's JSON says, held to its own schema; *texts* are its rows as they were sent. Raises `RefusedError` 422."""
    if not isinstance(given, dict):
        raise RefusedError(422, [error(["body"], "Input should be a valid dictionary", "model_attributes_type")])
    problems = [
        error(["body", key], "Extra inputs are not permitted", "extra_forbidden") for key in given.keys() - _FIELDS
    ]
    for key, kind, types in (
        ("name", "string", str),
        ("folder", "string", str),
        ("schema", "list", list),
        ("rows", "list", list),
    ):
        if key not in given:
            problems.append(error(["body", key], "Field required", "missing"))
        elif not isinstance(given[key], types):
            problems.append(error(["body", key], f"Input should be a valid {kind}", f"{kind}_type"))
    if not isinstance(given.get("ai_project_id"), str | None):
        problems.append(error(["body", "ai_project_id"], "Input should be a valid string", "string_type"))
    if isinstance(given.get("schema"), list):
        declared = columns(given["schema"], problems)
        if not problems:
            problems = row_problems(given["rows"], declared)
    if problems:
        raise RefusedError(422, problems)
    meant = Upload(
        "nebius",
        given["name"],
        given["folder"],
        [orjson.dumps(row) for row in given["rows"]] if texts is None else texts,
        project=given.get("ai_project_id"),
        schema=orjson.dumps(given["schema"]),
        polls=settings.pending_polls,
        ends=settings.pending_ends,
    )
    refuse_marked(meant, settings, ["body", "rows"])
    return meant


async def listed(request: web.Request, state: State) -> Answer:
    """`GET /v1/datasets?limit&after`."""
    limit = _number(request, "limit", 20, 1, 100)
    project = request.query.get("ai_project_id")
    found = await state.store.datasets("nebius", until=state.seen_until("nebius"))
    if project is not None or state.settings.list_scope == "project":
        found = [dataset for dataset in found if dataset.project == project]
    start = 0
    if (after := request.query.get("after")) is not None:
        start = next((n for n, dataset in enumerate(found, 1) if dataset.id == after), -1)
        if start < 0:
            raise RefusedError(404, f"Dataset {after} not found")
    if (stuck_at := state.settings.list_stuck_at) is not None:
        start, limit = 0, min(limit, stuck_at)
    page = found[start : start + limit]
    return json_answer(
        {
            "object": "list",
            "data": [_record(dataset) for dataset in page],
            "has_more": start + limit < len(found),
            "last_id": page[-1].id if page else None,
        }
    )


async def polled(request: web.Request, state: State) -> Answer:
    """`GET /v1/datasets/{id}`. Each counts as a poll of a PENDING dataset."""
    dataset = await state.store.poll("nebius", request.match_info["id"])
    return json_answer(_record(_there(request, dataset)))


async def content(request: web.Request, state: State) -> Answer:
    """`GET /v1/datasets/{id}/content?limit&offset`. A FAILED dataset has no rows."""
    limit = _number(request, "limit", 100, 1, 1000)
    offset = _number(request, "offset", 0, 0, 1 << 40)
    until = state.seen_until("nebius")
    dataset = _there(request, await state.store.find("nebius", request.match_info["id"]))
    rows = [] if dataset.status == "FAILED" else await state.store.rows(dataset, offset, limit, until)
    texts = [text for _, text in rows]
    if state.settings.missing_columns == "null":
        names = [column["name"] for column in orjson.loads(dataset.schema or b"[]")]
        texts = [_filled(text, names) for text in texts]
    version = orjson.dumps(_version(dataset))
    return Answer(200, b'{"rows":[' + b",".join(texts) + b'],"version":' + version + b"}")


async def changed(request: web.Request, state: State) -> Answer:
    """`PATCH /v1/datasets/{id}` {name?, folder?}."""
    given = _json(await read(request, 1 << 20))
    if not isinstance(given, dict) or not given.keys() <= {"name", "folder"}:
        raise RefusedError(422, [error(["body"], "Only name and folder can be changed", "extra_forbidden")])
    for key, value in given.items():
        if not isinstance(value, str):
            raise RefusedError(422, [error(["body", key], "Input should be a valid string", "string_type")])
    dataset = _there(request, await state.store.find("nebius", request.match_info["id"]))
    renamed = await state.store.rename(dataset, given.get("name", dataset.name), given.get("folder", dataset.place))
    return json_answer(_record(renamed))


def _record(dataset: Dataset) -> dict[str, Any]:
    """The published record [ref]."""
    return {
        "id": dataset.id,
        "name": dataset.name,
        "status": dataset.status,
        "schema": orjson.loads(dataset.schema or b"[]"),
        "metadata": {},
        "folder": dataset.place,
        "current_version": _version(dataset),
        "created_at": int(dataset.created_at),
        "error": "The dataset could not be built" if dataset.status == "FAILED" else None,
        "ai_project_id": dataset.project,
    }


def _version(dataset: Dataset) -> str | None:
    """Null until the dataset is READY [seen: it can be null]."""
    return dataset.id[::-1][:22] if dataset.status == "READY" else None


def _filled(text: bytes, names: list[str]) -> bytes:
    row = orjson.loads(text)
    absent = [b"%b:null" % orjson.dumps(name) for name in names if name not in row]
    return text if not absent else b"{" + b",".join([text[1:-1]] * bool(row) + absent) + b"}"


def _there(request: web.Request, dataset: Dataset | None) -> Dataset:
    if dataset is None:
        raise RefusedError(404, f"Dataset {request.match_info['id']} not found")
    return dataset


def _json(body: bytearray) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as broken:
        raise RefusedError(
            422, [error(["body", broken.pos], f"JSON decode error: {broken}", "json_invalid")]
        ) from broken


def _number(request: web.Request, key: str, default: int, low: int, high: int) -> int:
    text = request.query.get(key, str(default))
    number = int(text) if text.isdecimal() and len(text) < 16 else -1
    if not low <= number <= high:
        raise RefusedError(
            422, [error(["query", key], f"Input should be an integer from {low} to {high}", "int_parsing")]
        )
    return number
