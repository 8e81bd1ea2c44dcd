"""Collinear's upload and read-back, as strict as published."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import aiohttp
import orjson
import pytest

from bulkup.emulator import Emulator
from bulkup.emulator.multipart import MalformedFormError, parts

from .calls import HEADERS, SPACE, Client, turn_row, under_way, until
from .conftest import Clock

LIST = """query List($spaceId: UUID!, $page: Int!, $limit: Int = 50) {
  getUploadedDatasetByPageAndSpaceId(spaceId: $spaceId, page: $page, limit: $limit) {
    count datasets { id name rows createdAt } } }"""
ROWS = """{ getDatasetRowsByDatasetId(datasetId: "%s", page: %d, pageSize: %d) {
  count, rows { id convPrefix { role content } response { role content } groundTruth context } } }"""


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [turn_row(f"row {number}", ground_truth=number % 2, context="é\n") for number in range(first, first + count)]


def dataset_id(headers: Any) -> str:
    disposition = headers["Content-Disposition"]
    assert disposition.startswith('attachment; filename="')
    return str(disposition.removeprefix('attachment; filename="').removesuffix('.json"'))


async def test_the_echo_streams_the_rows_back_with_ids(client: Client) -> None:
    """Chunked, in order, an id in each that does not repeat, the dataset's own id in the header."""
    sent = rows(500)
    status, echo, headers = await client.upload(sent)
    assert status == 200
    assert headers["Transfer-Encoding"] == "chunked"
    assert headers["Content-Type"] == "application/json"
    ids = [row.pop("id") for row in echo]
    assert len(set(ids)) == 500
    assert echo == sent
    assert await client.stored("collinear") == sent
    assert [row["id"] for row in await client.stored("collinear", with_ids="1")] == ids
    (held,) = (await client.counted("collinear"))["datasets"]
    assert (held["id"], held["name"], held["space_id"], held["rows"]) == (dataset_id(headers), "d", SPACE, 500)


async def test_a_second_upload_appends_by_name_and_space(client: Client) -> None:
    first = dataset_id((await client.upload(rows(2)))[2])
    again = dataset_id((await client.upload(rows(3, 2)))[2])
    other = dataset_id((await client.upload(rows(1), space="00000000-0000-4000-8000-000000000000"))[2])
    assert first == again != other
    assert await client.stored("collinear", dataset_id=first) == rows(5)


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"more": 1}, ["more"]),
        ({"conv_prefix": "a"}, ["conv_prefix"]),
        ({"conv_prefix": []}, ["conv_prefix"]),
        ({"conv_prefix": [{"role": "assistant", "content": "a"}]}, ["conv_prefix"]),
        ({"conv_prefix": [{"role": "user"}]}, ["conv_prefix", 0, "content"]),
        ({"conv_prefix": [{"role": "user", "content": None}]}, ["conv_prefix", 0, "content"]),
        (
            {"conv_prefix": [{"role": "robot", "content": ""}, {"role": "user", "content": ""}]},
            ["conv_prefix", 0, "role"],
        ),
        ({"response": "a"}, ["response"]),
        ({"response": {"role": "user", "content": "a"}}, ["response", "role"]),
        ({"context": 3}, ["context"]),
        ({"context": None}, ["context"]),
    ],
)
async def test_a_row_of_another_shape_is_422_with_its_loc(
    client: Client, change: dict[str, Any], loc: list[Any]
) -> None:
    status, said, _ = await client.upload([turn_row("good"), turn_row("bad") | change])
    assert status == 422
    assert [item["loc"] for item in said["detail"]] == [["body", "file", 1, *loc]]
    assert await client.stored("collinear") == []


@pytest.mark.parametrize("label", ["1", True, 1.0, 2**63, [1]])
async def test_a_label_that_is_no_integer_is_400_and_stores_nothing(client: Client, label: object) -> None:
    status, said, _ = await client.upload([turn_row("good"), turn_row("bad", ground_truth=label)])
    assert status == 400
    assert said["detail"].startswith("invalid input for query argument $5: ")
    assert (await client.counted("collinear"))["datasets"] == []


async def test_the_400_has_the_databases_words(client: Client) -> None:
    _, said, _ = await client.upload([turn_row("bad", ground_truth="x")])
    words = "invalid input for query argument $5: 'x' ('str' object cannot be interpreted as an integer)"
    assert said == {"detail": words}


async def test_a_400_can_have_stored_the_rows_before(client: Client, emulator: Emulator) -> None:
    emulator.patch(partial_400="rows_before")
    sent = [turn_row("a"), turn_row("b"), turn_row("bad", ground_truth="x"), turn_row("c")]
    assert (await client.upload(sent))[0] == 400
    assert await client.stored("collinear") == sent[:2]


async def test_a_last_turn_of_anybody_is_a_switch(client: Client, emulator: Emulator) -> None:
    emulator.patch(last_turn="any")
    assert (await client.upload([turn_row("a") | {"conv_prefix": []}]))[0] == 200


@pytest.mark.parametrize("file", [b"{}", b'{"a":1}\n{"a":2}', b"[", b"\xff", b"3"])
async def test_a_file_that_is_no_array_is_422(client: Client, file: bytes) -> None:
    status, said, _ = await client.upload(file=file)
    assert status == 422
    assert said["detail"][0]["loc"] == ["body", "file"]


async def test_csv_holds_plain_strings(client: Client) -> None:
    file = b'conv_prefix,response,ground_truth,context\r\n"a, b",B,1,x\r\nc,C,,\r\n'
    assert (await client.upload(file=file, file_name="x.csv"))[0] == 200
    first, second = await client.stored("collinear")
    assert first["conv_prefix"] == [{"role": "user", "content": "a, b"}]
    assert (first["ground_truth"], first["context"]) == (1, "x")
    assert second == {
        "conv_prefix": [{"role": "user", "content": "c"}],
        "response": {"role": "assistant", "content": "C"},
    }


async def test_a_space_that_is_no_uuid_is_422(client: Client) -> None:
    status, said, _ = await client.upload(space="here")
    assert (status, said["detail"][0]["loc"]) == (422, ["body", "space_id"])


async def test_a_form_without_its_fields_is_422(client: Client) -> None:
    form = aiohttp.FormData({"dataset_name": "d"}, default_to_multipart=True)
    status, said, _ = await client.call("POST", "/api/v1/dataset/upload", data=form)
    assert (status, [item["loc"][1] for item in said["detail"]]) == (422, ["file", "space_id"])
    assert (await client.call("POST", "/api/v1/dataset/upload", json={}))[0] == 422


async def test_a_form_that_breaks_off_is_400(client: Client) -> None:
    headers = {**HEADERS, "Content-Type": "multipart/form-data; boundary=b"}
    data = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.json"\r\n\r\n[]'
    assert (await client.call("POST", "/api/v1/dataset/upload", data=data, headers=headers))[0] == 400


def test_a_form_is_cut_at_its_delimiters_only() -> None:
    """Whatever the file holds: dashes, line breaks, beginnings of delimiters, nothing."""
    chance = random.Random(3)
    for _ in range(300):
        file = "".join(
            chance.choices(["\r", "\n", "-", "--", "\r\n--", "b", "--a", "x"], k=chance.randrange(9))
        ).encode()
        if b"\r\n--bb" in file:
            continue
        body = b'--bb\r\nContent-Disposition: form-data; name="f"; filename="g.json"\r\n\r\n' + file + b"\r\n--bb--\r\n"
        (part,) = parts(bytearray(body), "multipart/form-data; boundary=bb")
        assert (part.name, part.file_name, bytes(part.data)) == ("f", "g.json", file)
        with pytest.raises(MalformedFormError):
            parts(bytearray(body[: -6 - len("--bb")]), 'multipart/form-data; boundary="bb"')


async def test_overlapping_first_uploads_make_two_datasets(client: Client, emulator: Emulator) -> None:
    """Each began before the other was stored; the next appends to the older."""
    ids = await _race(client, emulator)
    assert len(ids) == 2
    assert dataset_id((await client.upload(rows(1)))[2]) == (await client.counted("collinear"))["datasets"][0]["id"]


async def test_overlapping_first_uploads_can_make_one_dataset(client: Client, emulator: Emulator) -> None:
    emulator.patch(racing_creates="one")
    assert len(await _race(client, emulator)) == 1


async def _race(client: Client, emulator: Emulator) -> set[str]:
    go = asyncio.Event()

    async def held(body: bytes) -> Any:
        yield body[:100]
        await go.wait()
        yield body[100:]

    form = aiohttp.FormData({"dataset_name": "d", "space_id": SPACE})
    form.add_field("file", orjson.dumps(rows(1)), filename="x.json", content_type="application/json")
    payload = form()
    body = await payload.as_bytes()
    headers = {**HEADERS, "Content-Type": payload.content_type}
    slow = asyncio.create_task(client.call("POST", "/api/v1/dataset/upload", data=held(body), headers=headers))
    await until(lambda: under_way(emulator, "collinear") == 1)
    quick = await client.upload(rows(1))
    go.set()
    return {dataset_id(quick[2]), dataset_id((await slow)[2])}


async def test_graphql_lists_datasets_with_their_counts(client: Client) -> None:
    made = [dataset_id((await client.upload(rows(n + 1), name=f"d{n}"))[2]) for n in range(3)]
    said = await client.graphql(LIST, spaceId=SPACE, page=1, limit=2)
    page = said["data"]["getUploadedDatasetByPageAndSpaceId"]
    assert page["count"] == 3
    assert [(item["id"], item["name"], item["rows"]) for item in page["datasets"]] == [(made[2], "d2", 3)]
    assert page["datasets"][0]["createdAt"].startswith("2023-11-14T22:13:20")
    everything = await client.graphql(LIST, spaceId=SPACE, page=0)
    assert len(everything["data"]["getUploadedDatasetByPageAndSpaceId"]["datasets"]) == 3


async def test_graphql_pages_through_rows(client: Client) -> None:
    _, echo, headers = await client.upload([*rows(4), turn_row("bare")])
    pages = [await client.graphql(ROWS % (dataset_id(headers), page, 2)) for page in range(4)]
    found = [page["data"]["getDatasetRowsByDatasetId"] for page in pages]
    assert [page["count"] for page in found] == [5] * 4
    assert [len(page["rows"]) for page in found] == [2, 2, 1, 0]
    read = [row for page in found for row in page["rows"]]
    assert [row["id"] for row in read] == [row["id"] for row in echo]
    assert read[4] | {"id": ""} == {
        "id": "",
        "convPrefix": [{"role": "user", "content": "bare"}],
        "response": {"role": "assistant", "content": "BARE"},
        "groundTruth": None,
        "context": None,
    }


@pytest.mark.parametrize(
    "query",
    [
        "{ somethingElse { count } }",
        "{ getDatasetRowsByDatasetId",
        "{ getDatasetRowsByDatasetId(page: 0) { count } }",
        '{ getDatasetRowsByDatasetId(datasetId: "SPACE", page: 0, pageSize: 1) { count rows } }',
        '{ getUploadedDatasetByPageAndSpaceId(spaceId: "SPACE", page: 0, limit: 1) { size } }',
        '{ getUploadedDatasetByPageAndSpaceId(spaceId: "SPACE", page: 0) { count } }',
        "mutation { x }",
        "{ a ? }",
        '{ a(b: "',
        "",
    ],
)
async def test_graphql_refuses_what_it_does_not_know(client: Client, query: str) -> None:
    said = await client.graphql(query.replace("SPACE", SPACE))
    assert said["errors"][0]["message"]
    assert said["data"] is None


async def test_graphql_can_cap_a_page_silently(client: Client, emulator: Emulator) -> None:
    _, _, headers = await client.upload(rows(5))
    emulator.patch(graphql_page_cap=2)
    said = await client.graphql(ROWS % (dataset_id(headers), 1, 1000))
    assert len(said["data"]["getDatasetRowsByDatasetId"]["rows"]) == 2


async def test_rest_reads_back_all_rows(client: Client) -> None:
    sent = rows(1500)
    _, echo, headers = await client.upload(sent)
    assert await client.get(f"/api/v1/dataset/{dataset_id(headers)}/download") == echo
    given = {"dataset_name": "d", "space_id": SPACE}
    status, named, _ = await client.call("POST", "/api/v1/dataset/name", json=given)
    assert (status, named["dataset_id"]) == (200, dataset_id(headers))
    assert [item["ground_truth"] for item in named["dataset_annotations"]] == [row["ground_truth"] for row in sent]
    assert named["dataset_annotations"][0]["response"] == "ROW 0"
    assert (await client.call("POST", "/api/v1/dataset/name", json={**given, "dataset_name": "e"}))[0] == 404
    assert (await client.call("GET", f"/api/v1/dataset/{SPACE}/download"))[0] == 404
    assert (await client.call("GET", "/api/v1/dataset/x/download"))[0] == 422


async def test_a_lagging_reader_sees_the_first_rows(client: Client, emulator: Emulator, clock: Clock) -> None:
    _, _, headers = await client.upload(rows(2))
    clock.now += 10
    await client.upload(rows(3, 2))
    emulator.patch(readback={"collinear": "lagging"}, readback_lag_s=5)
    for seen in (2, 5):
        listed = await client.graphql(LIST, spaceId=SPACE, page=0)
        assert listed["data"]["getUploadedDatasetByPageAndSpaceId"]["datasets"][0]["rows"] == seen
        paged = await client.graphql(ROWS % (dataset_id(headers), 0, 10))
        assert paged["data"]["getDatasetRowsByDatasetId"]["count"] == seen
        assert len(paged["data"]["getDatasetRowsByDatasetId"]["rows"]) == seen
        clock.now += 5
