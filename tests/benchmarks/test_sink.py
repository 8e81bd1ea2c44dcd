"""The sink counts what it takes, exactly, however the bytes come."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from benchmarks.bodies import CountingReader, multiset
from benchmarks.run import running_sink, summary

_BOUNDARY = "b-1"


@pytest.fixture(params=[False, True], ids=["plain", "check"])
def sink(request: pytest.FixtureRequest) -> Iterator[str]:
    with running_sink(check=request.param) as url:
        yield url


def _rows(count: int) -> list[dict[str, Any]]:
    turn = {"role": "user", "content": 'says "conv_prefix" and {"messages": ñ 🚀'}
    return [{"conv_prefix": [turn], "response": {"role": "assistant", "content": str(n)}} for n in range(count)]


def _form(rows: list[dict[str, Any]]) -> tuple[bytes, str]:
    parts = [
        ('name="dataset_name"', b"d"),
        ('name="space_id"', b"s"),
        ('name="file"; filename="c.json"\r\nContent-Type: application/json', orjson.dumps(rows)),
    ]
    body = b"".join(
        f"--{_BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + value + b"\r\n"
        for head, value in parts
    )
    return body + f"--{_BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={_BOUNDARY}"


def _call(url: str, method: str, path: str, body: bytes = b"", content_type: str = "application/json") -> Any:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, body, {"Content-Type": content_type})
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, data, answer.headers
    finally:
        connection.close()


@pytest.mark.parametrize("step", [1, 2, 5, 12, 13, 14, 40, 1000])
def test_a_key_is_counted_once_wherever_the_pieces_are_cut(step: int) -> None:
    body = b"x" + b'{"conv_prefix":1},' * 37 + b'{"conv_prefi'
    reader = CountingReader(b'"conv_prefix"')
    for start in range(0, len(body), step):
        piece = b"??" + body[start : start + step] + b'"conv_prefix"'
        reader.feed(bytearray(piece), 2, 2 + len(body[start : start + step]))
    assert reader.rows() == 37


def test_collinear_is_answered_with_an_id_for_each_row(sink: str) -> None:
    ids: set[str] = set()
    for count in (1, 700, 20_000):
        body, content_type = _form(_rows(count))
        status, data, headers = _call(sink, "POST", "/api/v1/dataset/upload", body, content_type)
        echo = [row["id"] for row in orjson.loads(data)]
        assert (status, len(echo)) == (200, count)
        assert headers["Content-Disposition"].startswith("attachment; filename=")
        ids.update(echo)
    assert len(ids) == 20_701
    assert summary(sink)["rows"] == 20_701
    assert summary(sink)["requests"] == 3


def test_nebius_is_answered_with_a_new_dataset_of_that_name(sink: str) -> None:
    rows = [{"messages": orjson.dumps([{"role": "user", "content": 'a {"messages": "x"}'}]).decode()}] * 300
    body = orjson.dumps({"name": 'n "1" é', "schema": [{"name": "messages"}], "folder": "/f", "rows": rows})
    records = [orjson.loads(_call(sink, "POST", "/v1/datasets", body)[1]) for _ in range(2)]
    assert [record["name"] for record in records] == ['n "1" é'] * 2
    assert {record["status"] for record in records} == {"READY"}
    assert records[0]["id"] != records[1]["id"]
    found = summary(sink)
    assert (found["requests"], found["rows"], found["bytes"]) == (2, 600, 2 * len(body))
    assert found["digest"] == (multiset(rows * 2) if found["checked"] else 0)


def test_both_services_hold_nothing_before(sink: str) -> None:
    assert orjson.loads(_call(sink, "GET", "/v1/datasets?limit=100")[1])["data"] == []
    listing = orjson.loads(_call(sink, "POST", "/graphql", b'{"query":"{}"}')[1])
    assert listing["data"]["getUploadedDatasetByPageAndSpaceId"] == {"count": 0, "datasets": []}
    assert summary(sink)["requests"] == 0


def test_a_body_that_comes_byte_by_byte_on_a_kept_connection_is_taken_whole(sink: str) -> None:
    body, content_type = _form(_rows(2))
    head = (
        f"POST /api/v1/dataset/upload HTTP/1.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    host, port = sink.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            for byte in head.encode() + body:
                connection.send(bytes([byte]))
            answer = b""
            while not answer.endswith(b"}]"):
                answer += connection.recv(65536)
    assert summary(sink)["rows"] == 4


def test_what_is_broken_is_refused_when_bodies_are_checked() -> None:
    with running_sink(check=True) as url:
        body, content_type = _form(_rows(3))
        bad = body.replace(b'"response"', b'"response', 1)
        assert _call(url, "POST", "/api/v1/dataset/upload", bad, content_type)[0] == 400
        assert _call(url, "POST", "/api/v1/dataset/upload", body[:-4], content_type)[0] == 400
        assert _call(url, "POST", "/v1/datasets", b'{"name":"n","rows":[1]}')[0] == 400
        assert _call(url, "POST", "/v1/else", b"{}")[0] == 400
        assert summary(url) | {"cpu_s": 0} == {
            "requests": 0, "bytes": 0, "rows": 0, "refused": 4, "checked": True, "digest": 0, "cpu_s": 0,
        }  # fmt: skip
