"""Nebius's calls, as strict as published."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from bulkup.emulator import Emulator

from .calls import SCHEMA, Client
from .conftest import Clock


def column(name: str, kind: str, *, option: bool = False) -> dict[str, Any]:
    return {"name": name, "type": {"name": "option", "item": {"name": kind}} if option else {"name": kind}}


async def test_create_answers_the_published_record(client: Client) -> None:
    """Every field of the reference, and what was sent comes back in it."""
    status, said, _ = await client.create(name="one", ai_project_id="p")
    assert status == 200
    dataset_id, version = said.pop("id"), said.pop("current_version")
    assert len(dataset_id) == 32
    assert int(dataset_id, 16)
    assert version
    assert said == {
        "name": "one",
        "status": "READY",
        "schema": SCHEMA,
        "metadata": {},
        "folder": "/f",
        "created_at": 1_700_000_000,
        "error": None,
        "ai_project_id": "p",
    }


async def test_two_calls_of_one_name_make_two_datasets(client: Client) -> None:
    """There is no append and no idempotency."""
    ids = {(await client.create(name="same"))[1]["id"] for _ in range(2)}
    assert len(ids) == 2
    assert [dataset["name"] for dataset in (await client.get("/v1/datasets"))["data"]] == ["same", "same"]


@pytest.mark.parametrize("key", ["name", "schema", "folder", "rows"])
async def test_a_missing_field_is_422_with_its_loc(client: Client, key: str) -> None:
    body: dict[str, Any] = {"name": "n", "schema": SCHEMA, "folder": "/f", "rows": []}
    del body[key]
    status, said, _ = await client.call("POST", "/v1/datasets", json=body)
    assert status == 422
    assert {"loc": ["body", key], "msg": "Field required", "type": "missing"} in said["detail"]


@pytest.mark.parametrize(
    ("given", "loc"),
    [
        ({"name": 3}, ["body", "name"]),
        ({"ai_project_id": 3}, ["body", "ai_project_id"]),
        ({"more": 3}, ["body", "more"]),
        ({"rows": {}}, ["body", "rows"]),
        ({"rows": [3]}, ["body", "rows", 0]),
        ({"schema": [{"name": "text"}]}, ["body", "schema", 0, "type", "name"]),
        ({"schema": [column("text", "varchar")]}, ["body", "schema", 0, "type", "name"]),
        ({"schema": [{"name": "text", "type": {"name": "option"}}]}, ["body", "schema", 0, "type", "item"]),
        ({"schema": [*SCHEMA, *SCHEMA]}, ["body", "schema", 1, "name"]),
    ],
)
async def test_a_mistyped_field_is_422_with_its_loc(client: Client, given: dict[str, Any], loc: list[Any]) -> None:
    status, said, _ = await client.create(**given)
    assert status == 422
    assert [item["loc"] for item in said["detail"]] == [loc]


@pytest.mark.parametrize(
    ("kind", "value", "good"),
    [
        ("string", "", True),
        ("string", 3, False),
        ("string", None, False),
        ("integer", -(2**63), True),
        ("integer", 2**63, False),
        ("integer", True, False),
        ("integer", 1.0, False),
        ("boolean", False, True),
        ("boolean", 0, False),
        ("double", 3, True),
        ("float", 3.5, True),
        ("float", "3.5", False),
        ("float", True, False),
        ("list", [1, "a"], True),
        ("list", {}, False),
        ("struct", {"a": 1}, True),
        ("json", [None], True),
    ],
)
async def test_values_must_have_their_columns_type(client: Client, kind: str, value: object, good: bool) -> None:
    status, said, _ = await client.create([{"c": value}], schema=[{"name": "c", "type": {"name": kind}}])
    assert status == (200 if good else 422)
    assert good or said["detail"][0]["loc"] == ["body", "rows", 0, "c"]


async def test_every_bad_row_is_named_and_nothing_is_stored(client: Client) -> None:
    rows = [{"text": "a"}, {"text": 3}, {}, {"text": "b", "more": 1}]
    status, said, _ = await client.create(rows)
    assert status == 422
    assert [item["loc"] for item in said["detail"]] == [
        ["body", "rows", 1, "text"],
        ["body", "rows", 2, "text"],
        ["body", "rows", 3, "more"],
    ]
    assert [item["type"] for item in said["detail"]] == ["string_type", "missing", "extra_forbidden"]
    assert (await client.counted("nebius"))["datasets"] == []


async def test_null_and_absence_are_for_option_columns(client: Client) -> None:
    """Both are stored as sent, and read back as null."""
    schema = [column("a", "string"), column("b", "integer", option=True)]
    rows = [{"a": "x"}, {"a": "y", "b": None}, {"a": "z", "b": 3}]
    _, said, _ = await client.create(rows, schema=schema)
    content = await client.get(f"/v1/datasets/{said['id']}/content")
    assert content["rows"] == [{"a": "x", "b": None}, {"a": "y", "b": None}, {"a": "z", "b": 3}]
    assert await client.stored("nebius") == rows


@pytest.mark.parametrize("body", [b"{", b'{"name": "\\ud800"}', b"\xff", b"[]"])
async def test_what_is_not_a_json_object_is_422(client: Client, body: bytes) -> None:
    headers = {"Authorization": "Bearer t", "Content-Type": "application/json"}
    assert (await client.call("POST", "/v1/datasets", data=body, headers=headers))[0] == 422


async def test_another_content_type_is_422(client: Client) -> None:
    body = orjson.dumps({"name": "n", "schema": SCHEMA, "folder": "/f", "rows": []})
    headers = {"Authorization": "Bearer t", "Content-Type": "text/plain"}
    assert (await client.call("POST", "/v1/datasets", data=body, headers=headers))[0] == 422


async def test_the_list_goes_by_pages(client: Client) -> None:
    ids = [(await client.create())[1]["id"] for _ in range(5)]
    seen: list[str] = []
    query = "?limit=2"
    while True:
        page = await client.get("/v1/datasets" + query)
        assert page["object"] == "list"
        seen += [dataset["id"] for dataset in page["data"]]
        if not page["has_more"]:
            break
        query = f"?limit=2&after={page['last_id']}"
    assert seen == ids
    assert (await client.get(f"/v1/datasets?after={ids[-1]}"))["last_id"] is None
    assert (await client.call("GET", "/v1/datasets?limit=101"))[0] == 422
    assert (await client.call("GET", "/v1/datasets?after=nobody"))[0] == 404


async def test_the_list_can_be_scoped_to_a_project(client: Client, emulator: Emulator) -> None:
    await client.create(ai_project_id="p")
    emulator.patch(list_scope="project")
    assert (await client.get("/v1/datasets"))["data"] == []
    assert len((await client.get("/v1/datasets?ai_project_id=p"))["data"]) == 1


async def test_content_goes_by_offset(client: Client) -> None:
    _, said, _ = await client.create([{"text": str(number)} for number in range(250)])
    path = f"/v1/datasets/{said['id']}/content"
    first = await client.get(path)
    assert len(first["rows"]) == 100
    assert first["version"] == said["current_version"]
    assert (await client.get(path + "?offset=249&limit=1"))["rows"] == [{"text": "249"}]
    assert (await client.get(path + "?offset=250&limit=1"))["rows"] == []
    assert (await client.call("GET", path + "?limit=1001"))[0] == 422


async def test_a_dataset_can_be_renamed(client: Client) -> None:
    _, said, _ = await client.create()
    status, changed, _ = await client.call("PATCH", f"/v1/datasets/{said['id']}", json={"name": "m"})
    assert (status, changed["name"], changed["folder"]) == (200, "m", "/f")
    assert (await client.call("PATCH", f"/v1/datasets/{said['id']}", json={"rows": []}))[0] == 422


@pytest.mark.parametrize("path", ["/v1/datasets/none", "/v1/datasets/none/content", "/v1/elsewhere", "/"])
async def test_what_is_not_there_is_404_in_json(client: Client, path: str) -> None:
    status, said, _ = await client.call("GET", path)
    assert status == 404
    assert said["detail"]


@pytest.mark.parametrize("end", ["READY", "FAILED"])
async def test_a_dataset_is_pending_for_so_many_polls(client: Client, emulator: Emulator, end: str) -> None:
    emulator.patch(pending_polls=2, pending_ends=end)
    _, said, _ = await client.create()
    assert said["status"] == "PENDING"
    assert said["current_version"] is None
    polls = [(await client.get(f"/v1/datasets/{said['id']}"))["status"] for _ in range(4)]
    assert polls == ["PENDING", "PENDING", end, end]


async def test_a_dataset_can_be_pending_for_ever(client: Client, emulator: Emulator) -> None:
    emulator.patch(pending_polls=-1)
    _, said, _ = await client.create()
    assert {(await client.get(f"/v1/datasets/{said['id']}"))["status"] for _ in range(5)} == {"PENDING"}


async def test_a_failed_dataset_has_an_error_and_no_rows(client: Client, emulator: Emulator) -> None:
    """Its rows count for nothing unless they are asked for by id."""
    emulator.patch(script={"nebius": ["failed_status"]})
    _, said, _ = await client.create()
    assert said["status"] == "FAILED"
    assert said["error"]
    assert (await client.get(f"/v1/datasets/{said['id']}/content"))["rows"] == []
    assert await client.stored("nebius") == []
    assert await client.stored("nebius", dataset_id=said["id"]) == [{"text": "a"}]


async def test_a_lagging_reader_sees_what_is_old_enough(client: Client, emulator: Emulator, clock: Clock) -> None:
    _, old, _ = await client.create(name="old")
    clock.now += 10
    _, new, _ = await client.create(name="new")
    emulator.patch(readback="lagging", readback_lag_s=5)
    assert [dataset["id"] for dataset in (await client.get("/v1/datasets"))["data"]] == [old["id"]]
    assert (await client.get(f"/v1/datasets/{new['id']}/content"))["rows"] == []
    clock.now += 5
    assert len((await client.get("/v1/datasets"))["data"]) == 2
    assert (await client.get(f"/v1/datasets/{new['id']}/content"))["rows"] == [{"text": "a"}]
