"""`/_emulator/…`: how a test steers the emulator and sees what it holds. No token, but only from this machine."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson
from aiohttp import web

from .answers import Answer, RefusedError, json_answer, problem, send
from .body import read
from .collinear import read_rows, with_id
from .collinear_readback import all_rows
from .gate import Handler, Reader
from .nebius import read_create
from .settings import SERVICES, ServiceName
from .state import STATE, State
from .store import Dataset

__all__ = ["routes"]


def routes() -> list[web.RouteDef]:
    """All of `/_emulator`."""
    return [
        web.get("/_emulator/settings", _local(_settings)),
        web.post("/_emulator/settings", _local(_change)),
        web.get("/_emulator/summary", _local(_summary)),
        web.get("/_emulator/rows", _local(_rows)),
        web.post("/_emulator/rows", _local(_write)),
        web.post("/_emulator/reset", _local(_reset)),
        web.post("/_emulator/close", _local(_close)),
        web.get("/_emulator/idle", _local(_idle)),
        web.route("*", "/_emulator/trap{path:.*}", _local(_trap)),
    ]


def _local(reader: Reader) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        state = request.app[STATE]
        try:
            if not ipaddress.ip_address(request.remote or "").is_loopback:
                raise RefusedError(403, "Only from this machine")
            answer = await reader(request, state)
        except (RefusedError, ValueError) as refused:
            status, detail = (
                (refused.status, refused.detail) if isinstance(refused, RefusedError) else (400, str(refused))
            )
            answer = problem(state, request, status, detail)
        return await send(request, answer)

    return handle


async def _given(request: web.Request) -> dict[str, Any]:
    body = await read(request)
    given = orjson.loads(body) if body else {}
    if not isinstance(given, dict):
        raise ValueError("a JSON object is wanted")
    return given


async def _settings(_: web.Request, state: State) -> Answer:
    return json_answer(msgspec.to_builtins(state.settings))


async def _change(request: web.Request, state: State) -> Answer:
    state.patch(await _given(request))
    return await _settings(request, state)


async def _summary(_: web.Request, state: State) -> Answer:
    said: dict[str, Any] = {}
    for service in SERVICES:
        counted = state.tallies[service].as_json()
        counted["script_left"] = state.dice.left(service)
        counted["datasets"] = [_described(dataset) for dataset in await state.store.datasets(service)]
        said[service] = counted
    return json_answer(said)


def _described(dataset: Dataset) -> dict[str, Any]:
    place = "folder" if dataset.service == "nebius" else "space_id"
    return {
        "id": dataset.id,
        "name": dataset.name,
        place: dataset.place,
        "ai_project_id": dataset.project,
        "status": dataset.status,
        "rows": dataset.rows,
        "created_at": dataset.created_at,
    }


async def _rows(request: web.Request, state: State) -> Answer:
    """All rows as JSON lines, whatever a reader sees; those of FAILED datasets only where asked for by id."""
    service = _service(request.query)
    wanted = request.query.get("dataset_id")
    datasets = [
        dataset
        for dataset in await state.store.datasets(service)
        if (dataset.status != "FAILED" if wanted is None else dataset.id == wanted)
    ]
    if wanted is not None and not datasets:
        raise RefusedError(404, f"Dataset {wanted} not found")
    ids = request.query.get("with_ids", "0") not in {"0", ""} and service == "collinear"

    async def lines() -> Any:
        piece = bytearray()
        for dataset in datasets:
            async for row_id, text in all_rows(state, dataset, None):
                piece += (with_id(row_id, text) if ids else text) + b"\n"
                if len(piece) >= 256 * 1024:
                    yield bytes(piece)
                    piece.clear()
        yield bytes(piece)

    return Answer(200, lines(), content_type="application/x-ndjson")


async def _write(request: web.Request, state: State) -> Answer:
    """Another writer: the same rules, no token, no faults, no counters."""
    given = await _given(request)
    service = _service(given)
    del given["service"]
    name = given.pop("dataset_name", None) or given.pop("name", "")
    if service == "nebius":
        dataset = await state.store.create(read_create({"folder": "/", **given, "name": name}, state.settings))
    else:
        meant = read_rows(name, str(given.get("space_id", "")), given.get("rows") or [], state.settings)
        dataset = await state.store.append(meant, None)
    return json_answer({"dataset_id": dataset.id, "rows": dataset.rows})


async def _reset(_: web.Request, state: State) -> Answer:
    await state.reset()
    return json_answer({"reset": True})


async def _close(request: web.Request, state: State) -> Answer:
    """Refuse connections for so many seconds. The port is shut and all others are cut off when this answers."""
    seconds = (await _given(request)).get("seconds")
    if not isinstance(seconds, int | float) or seconds < 0 or state.shut is None:
        raise ValueError("seconds, a number, is wanted, of an emulator that listens by itself")
    await state.shut(seconds, request.transport)
    return Answer(200, orjson.dumps({"closed_for_s": seconds}), {"Connection": "close"})


async def _idle(request: web.Request, state: State) -> Answer:
    """Wait until no upload is under way or still to be stored, for `timeout_s` (10) at most."""
    try:
        async with asyncio.timeout(float(request.query.get("timeout_s", "10"))):
            await state.idle()
    except TimeoutError:
        return json_answer({"idle": False}, 503)
    return json_answer({"idle": True})


async def _trap(request: web.Request, state: State) -> Answer:
    """Where `redirect_307` leads. Nobody should come here, least of all with a token."""
    service: ServiceName = "nebius" if request.match_info["path"].startswith("/v1/") else "collinear"
    state.tallies[service].redirects_followed += 1
    state.tallies[service].tokens_sent_after_redirect += "Authorization" in request.headers
    await read(request)
    return json_answer({"detail": "A redirect was followed"}, 418)


def _service(given: Mapping[str, Any]) -> ServiceName:
    for service in SERVICES:
        if given.get("service") == service:
            return service
    raise ValueError("service, one of nebius and collinear, is wanted")
