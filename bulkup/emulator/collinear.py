"""Collinear AI's upload call.

The form, creating or appending by name, the array that creates, the streamed echo with an `id` in each row: [ref]; the
dataset's id in `Content-Disposition`: [sdk]. That an append must be an array too, and that of several datasets of one
name the oldest is appended to, is this emulator's choice [open].
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

import orjson

from .answers import Answer, RefusedError
from .columns import error
from .conversations import file_rows, label_problem, row_problems
from .multipart import MalformedFormError, Part, parts
from .settings import FaultName, ServiceName, Settings
from .state import State
from .store import Dataset, Upload
from .uploads import refuse_marked

__all__ = ["CollinearUpload", "read_rows", "row_ids", "stream", "with_id"]

_PIECE_BYTES = 64 * 1024


class CollinearUpload:
    """`POST /api/v1/dataset/upload`."""

    service: ServiceName = "collinear"

    def read(self, body: bytearray, content_type: str, settings: Settings) -> Upload:
        try:
            fields = {part.name: part for part in parts(body, content_type)}
        except MalformedFormError as broken:
            if not content_type.lower().startswith("multipart/form-data"):
                raise RefusedError(422, _missing(("file", "dataset_name", "space_id"))) from broken
            raise RefusedError(400, "There was an error parsing the body") from broken
        if absent := [key for key in ("file", "dataset_name", "space_id") if key not in fields]:
            raise RefusedError(422, _missing(absent))
        if fields["file"].file_name is None:
            raise RefusedError(422, [error(["body", "file"], "Expected a file", "value_error")])
        name, space = _text(fields["dataset_name"]), _text(fields["space_id"])
        rows, texts = file_rows(fields["file"])
        return read_rows(name, space, rows, settings, texts)

    async def store(self, state: State, upload: Upload, begun: int) -> Dataset:
        return await state.store.append(upload, begun if state.settings.racing_creates == "two" else None)

    async def answer(self, state: State, dataset: Dataset, upload: Upload, fault: FaultName) -> Answer:
        said = _misnumbered(state, upload, fault)
        headers = {"Content-Disposition": f'attachment; filename="{dataset.id}.json"'}
        return Answer(200, stream(map(with_id, said.ids, said.rows)), headers)


def read_rows(name: str, space: str, rows: list[Any], settings: Settings, texts: list[bytes] | None = None) -> Upload:
    """An upload of *rows*, held to what is published; *texts* are the rows as they were sent.

    Raises `RefusedError`: 422 for the structure, 400 for a label.
    """
    if not name:
        raise RefusedError(
            422, [error(["body", "dataset_name"], "String should have at least 1 character", "string_too_short")]
        )
    try:
        space = str(uuid.UUID(space))
    except ValueError as broken:
        raise RefusedError(
            422, [error(["body", "space_id"], "Input should be a valid UUID", "uuid_parsing")]
        ) from broken
    if problems := row_problems(rows, last_user=settings.last_turn == "user"):
        raise RefusedError(422, problems)
    texts = [orjson.dumps(row) for row in rows] if texts is None else texts
    meant = Upload("collinear", name, space, texts, row_ids(len(rows)))
    refuse_marked(meant, settings, ["body", "file"])
    for number, row in enumerate(rows):
        if (words := label_problem(row)) is not None:
            raise RefusedError(400, words, replace(meant, rows=meant.rows[:number], ids=meant.ids[:number]))
    return meant


def row_ids(count: int) -> list[str]:
    """As many ids in the form of UUIDs, none of which was there before."""
    made = str(uuid.UUID(bytes=os.urandom(16), version=4))[:24]
    return [f"{made}{number:012x}" for number in range(count)]


def with_id(row_id: str | None, row: bytes) -> bytes:
    """The row's JSON text with the id as its first key."""
    return b'{"id":"%b"%b%b' % ((row_id or "").encode(), b"," if len(row) > 2 else b"", row[1:])


async def stream(rows: Iterable[bytes]) -> AsyncIterator[bytes]:
    """*rows* as a JSON array, in pieces."""
    piece = bytearray(b"[")
    between = b""
    for row in rows:
        piece += between
        piece += row
        between = b","
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece) + b"]"


def _misnumbered(state: State, upload: Upload, fault: FaultName) -> Upload:
    """The rows and ids to echo, wrong where *fault* says so."""
    if fault == "repeated_ids":
        rows = upload.rows if len(upload.rows) > 1 else [*upload.rows, *upload.rows]
        return replace(upload, rows=rows, ids=[*upload.ids[:1], *upload.ids[:1], *upload.ids[2:]][: len(rows)])
    if fault != "wrong_id_count":
        return upload
    how = state.settings.wrong_ids
    if how == "one_more" or (how == "either" and state.dice.chance.random() < 0.5):
        return replace(
            upload, rows=[*upload.rows, *upload.rows[:1]], ids=[*upload.ids, *row_ids(1)][: len(upload.rows) + 1]
        )
    return replace(upload, rows=upload.rows[:-1], ids=upload.ids[:-1])


def _text(part: Part) -> str:
    try:
        return bytes(part.data).decode("utf-8")
    except UnicodeDecodeError as broken:
        raise RefusedError(
            422, [error(["body", part.name], "Input should be a valid string", "string_type")]
        ) from broken


def _missing(keys: Iterable[str]) -> list[dict[str, Any]]:
    return [error(["body", key], "Field required", "missing") for key in keys]
