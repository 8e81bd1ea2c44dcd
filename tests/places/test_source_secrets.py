"""What servers, proxies and libraries repeat of a source's secrets, however they write it, stands nowhere."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest

from bulkup.errors import BulkupError
from bulkup.sources import PlaceAccess, hide, open_source
from bulkup.sources.places import close_all, listing
from bulkup.tokens.secret import holds_secret, known_secrets
from tests.places.servers import AWS

PASSWORD = 'pa/ss "wörd"+71c0'
SIGNATURE = "MEYCIQDx7/Zk+3c0ffee=="
SESSION = "IQoJb3JpZ2luX2VjE/////+session/00f7"
HUB = "hf_Q7xTestTestTestTest00"
SAS = "sv=2022-11-02&sp=rl&sig=Zm9vYmFyYmF6cXV4c2ln%2Fw%3D%3D"
PROXY = "pr0xy-pass-88aa12"


def _as_it_is(text: str) -> str:
    return text


def _base64(text: str) -> str:
    return base64.b64encode(f"me:{text}".encode()).decode()


def _in_json(text: str) -> str:
    return json.dumps({"error": text})[1:-1]


def _twice(text: str) -> str:
    return quote(quote(text, safe=""), safe="")


WAYS: list[Callable[[str], str]] = [_as_it_is, lambda text: quote(text, safe=""), _twice, _base64, _in_json]


@contextmanager
def echoing(status: int, text: str, headers: str = "") -> Iterator[int]:
    """A server that says *text* in its reason and its body. Its port."""
    server = socket.create_server(("127.0.0.1", 0))
    reason = text.replace("\r", " ").replace("\n", " ")
    body = f"<Error><Code>Bad</Code><Message>{text}</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n"

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(head.encode() + body)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


@pytest.fixture(autouse=True)
def _knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkup.tokens.secret._known", ())
    monkeypatch.setattr(listing, "LOOK_S", 0.0)


def ends_quietly(locator: str, *secrets: str, endpoint: str | None = None) -> None:
    """*secrets* are known once it was read, and what is said of it shows none of them."""
    close_all()
    with pytest.raises(BulkupError) as caught:
        open_source([hide(locator)], max_row_bytes=1000, access=PlaceAccess(endpoint_url=endpoint))
    assert set(secrets) <= set(known_secrets())
    assert not holds_secret([str(caught.value)]), caught.value
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("way", WAYS)
def test_what_a_web_server_repeats(way: Callable[[str], str]) -> None:
    for secret, status in ((PASSWORD, 418), (SIGNATURE, 400), (PASSWORD, 403), (SIGNATURE, 500)):
        with echoing(status, way(secret)) as port:
            url = f"http://me:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/rows.jsonl?sig={quote(SIGNATURE, safe='')}"
            ends_quietly(url, PASSWORD, SIGNATURE)


def test_where_a_web_server_sends_us() -> None:
    for where in (f"http://192.0.2.1/?{quote(SIGNATURE)}", f"ftp://{SIGNATURE.replace('/', '.')}/", "//"):
        with echoing(302, "Found", f"Location: {where}\r\n") as port:
            ends_quietly(f"http://127.0.0.1:{port}/rows.jsonl?sig={quote(SIGNATURE, safe='')}", SIGNATURE)


def test_a_long_user_without_a_password_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with echoing(418, HUB) as port:
        ends_quietly(f"http://{HUB}@127.0.0.1:{port}/rows.jsonl", HUB)


@pytest.mark.parametrize("way", WAYS)
def test_what_a_store_repeats(way: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION)
    for secret in (AWS["AWS_SECRET_ACCESS_KEY"], SESSION, AWS["AWS_ACCESS_KEY_ID"]):
        with echoing(400, way(secret)) as port:
            ends_quietly("s3://b/x.jsonl", secret, endpoint=f"http://127.0.0.1:{port}")


def test_what_azure_repeats_of_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "ours")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", SAS)
    signature = "Zm9vYmFyYmF6cXV4c2ln/w=="
    for text in (SAS, f"sig={signature}", f"sig={quote(signature, safe='')}"):
        with echoing(400, text) as port:
            ends_quietly("az://b/x.jsonl", SAS, signature, endpoint=f"http://127.0.0.1:{port}/ours")


def test_what_the_hub_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", HUB)
    for status in (400, 401):
        with echoing(status, HUB) as port:
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
            ends_quietly("hf://datasets/o/n/x.jsonl", HUB)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("locator", ["https://data.example/x.jsonl", "s3://b/x.jsonl"])
def test_what_a_proxy_repeats(monkeypatch: pytest.MonkeyPatch, locator: str, way: Callable[[str], str]) -> None:
    with echoing(418, way(PROXY)) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PROXY}@127.0.0.1:{port}")
        ends_quietly(locator, PROXY, endpoint="https://minio.example")
