"""The sink counts what it takes, exactly, however the bytes come."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks.bodies import CountingReader, multiset
from benchmarks.certificate import make_certificate
from benchmarks.measure import RunningSink, running_sink
from benchmarks.pace import Capacity, Quota, parse_steps

_BOUNDARY = "b-1"


@pytest.fixture(params=[(), ("--check",)], ids=["plain", "check"])
def sink(request: pytest.FixtureRequest) -> Iterator[str]:
    with running_sink(request.param) as running:
        yield running.url


def summary(url: str) -> dict[str, Any]:
    return RunningSink(url).summary()


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
    with running_sink(["--check"]) as running:
        url = running.url
        body, content_type = _form(_rows(3))
        bad = body.replace(b'"response"', b'"response', 1)
        assert _call(url, "POST", "/api/v1/dataset/upload", bad, content_type)[0] == 400
        assert _call(url, "POST", "/api/v1/dataset/upload", body[:-4], content_type)[0] == 400
        assert _call(url, "POST", "/v1/datasets", b'{"name":"n","rows":[1]}')[0] == 400
        assert _call(url, "POST", "/v1/else", b"{}")[0] == 400
        found = summary(url)
        assert (found["requests"], found["bytes"], found["rows"], found["refused"]) == (0, 0, 0, 4)


def test_a_quota_lets_one_pass_at_a_time_and_a_second_of_them_at_once() -> None:
    quota = Quota(600, with_headers=True, retry_after_s=1)
    assert [quota.admits(at)[0] for at in (0.0, 0.05, 0.1, 0.15, 0.2)] == [True, False, True, False, True]
    assert sum(quota.admits(100.0)[0] for _ in range(20)) == 10
    assert quota.refused == 12


def test_a_quota_says_what_is_left_of_the_minute_and_when_to_come_again() -> None:
    quota = Quota(600, with_headers=True, retry_after_s=2)
    _, headers = quota.admits(0.0)
    assert "x-ratelimit-limit-requests: 600" in headers
    assert "x-ratelimit-remaining-requests: 599" in headers
    assert "Retry-After" not in headers
    assert "Retry-After: 2" in quota.admits(0.0)[1]
    assert Quota(600, with_headers=False, retry_after_s=None).admits(0.0) == (True, "")


def test_the_sink_refuses_what_is_over_the_quota_and_does_not_count_it() -> None:
    with running_sink(["--requests-per-minute", "60", "--retry-after-s", "7"]) as running:
        body, content_type = _form(_rows(3))
        first, second = (_call(running.url, "POST", "/api/v1/dataset/upload", body, content_type) for _ in range(2))
        assert (first[0], second[0], second[2]["Retry-After"]) == (200, 429, "7")
        found = running.summary()
        assert (found["requests"], found["rows"], found["limited"]) == (1, 3, 1)
        running.forget()
        assert running.summary()["requests"] == 0


def test_capacity_follows_its_steps() -> None:
    capacity = Capacity(parse_steps("16:20,4:10,8:5"), 0.0)
    with capacity.served():
        began = capacity.began_at()
    assert began is not None
    assert [capacity.servers(began + later) for later in (0.0, 19.9, 20.1, 29.9, 30.1, 1000.0)] == [16, 16, 4, 4, 8, 8]


def test_the_sink_serves_tls_that_its_authority_vouches_for(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made = make_certificate(tmp_path)
    with running_sink(["--certificate", str(made.chain), "--key", str(made.key)]) as running:
        place = running.url.removeprefix("https://")
        trusting = ssl.create_default_context(cafile=made.authority)
        connection = http.client.HTTPSConnection(place, timeout=10, context=trusting)
        body, content_type = _form(_rows(2))
        connection.request("POST", "/api/v1/dataset/upload", body, {"Content-Type": content_type})
        assert len(orjson.loads(connection.getresponse().read())) == 2
        connection.close()
        assert running.summary()["rows"] == 2
