"""Real servers on loopback: a web server that gives ranges and has every bad habit, S3 by moto, and a stand-in of the hub."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import boto3
from aiohttp import web

__all__ = ["AWS", "BUCKET", "S3", "Asked", "Hub", "Web", "WebFile"]

AWS = {
    "AWS_ACCESS_KEY_ID": "AKIA5TESTKEY00000001",
    "AWS_SECRET_ACCESS_KEY": "aws/secret+61f0c2a98be47d",
    "AWS_REGION": "us-east-1",
}
SIGNATURE = "0a1b2c3d4e5f60718293"
BUCKET = "rows-of-ours"


@dataclass
class WebFile:
    """*ranges*: whether the server gives parts of it; *length*: whether it says how long it is."""

    data: bytes
    etag: str | None = '"v1"'
    ranges: bool = True
    length: bool = True


@dataclass(frozen=True)
class Asked:
    path: str
    range: str | None
    authorization: str | None


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Served:
    """An aiohttp application in a thread of its own."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        assert self._ready.wait(10)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(10)
            self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)

        async def start() -> web.AppRunner:
            async def handle(request: web.Request) -> web.StreamResponse:
                headers = request.headers
                self.asked.append(Asked(request.path_qs, headers.get("Range"), headers.get("Authorization")))
                return await self.answer(request)

            application = web.Application()
            application.router.add_route("*", "/{path:.*}", handle)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            return runner

        runner = self._loop.run_until_complete(start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())


class Web(Served):
    """A web server. *faults* are had by the next requests, one each: a status, `("reset", bytes)`, `("drip", seconds)`,
    `("to", url)` for a redirect, `("s3", status, code)` for S3's error, or None for none."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, WebFile] = {}
        self.faults: deque[Any] = deque()
        self.redirects: dict[str, str] = {}
        self.pause_s = 0.0
        self.most_at_once = self._at_once = 0
        self.on_request: Callable[[web.Request], None] = lambda _: None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.on_request(request)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(self.pause_s)
        self._at_once -= 1
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, tuple) and fault[0] == "s3":
            text = f"<?xml version='1.0'?><Error><Code>{fault[2]}</Code><Message>no</Message></Error>"
            return web.Response(status=fault[1], text=text, content_type="application/xml")
        if isinstance(fault, int):
            return web.Response(status=fault, headers={"Retry-After": "0"} if fault == 503 else {})
        where = fault[1] if isinstance(fault, tuple) and fault[0] == "to" else self.redirects.get(request.path)
        if where is not None:
            return web.Response(status=302, headers={"Location": where})
        file = self.files.get(request.path)
        return web.Response(status=404) if file is None else await self._give(request, file, fault)

    async def _give(self, request: web.Request, file: WebFile, fault: Any) -> web.StreamResponse:
        headers = {"ETag": file.etag} if file.etag else {}
        if file.etag and request.headers.get("If-Match", file.etag) != file.etag:
            return web.Response(status=412)
        data, status = file.data, 200
        asked = request.http_range if file.ranges and "Range" in request.headers else None
        if asked is not None:
            start, stop, _ = asked.indices(len(data))
            if start >= stop:
                return web.Response(status=416, headers={"Content-Range": f"bytes */{len(data)}", **headers})
            data, status = data[start:stop], 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(file.data)}"
        response = web.StreamResponse(status=status, headers=headers)
        if file.length:
            response.content_length = len(data)
        await response.prepare(request)
        if fault is not None and fault[0] == "reset":
            await response.write(data[: fault[1]])
            assert request.transport is not None
            request.transport.abort()
        elif fault is not None and fault[0] == "drip":
            for at in range(0, len(data), max(1, len(data) // 4)):
                await response.write(data[at : at + max(1, len(data) // 4)])
                await asyncio.sleep(fault[1])
        else:
            await response.write(data)
        return response


class S3:
    """S3 by moto's own server, and what fills it."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._server.start()
        try:
            host, port = self._server.get_host_and_port()
            self.url = f"http://{host}:{port}"
            self.client = boto3.client(
                "s3",
                endpoint_url=self.url,
                region_name=AWS["AWS_REGION"],
                aws_access_key_id=AWS["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=AWS["AWS_SECRET_ACCESS_KEY"],
            )
            self.client.create_bucket(Bucket=BUCKET)
            yield
        finally:
            self._server.stop()

    def put(self, key: str, data: bytes) -> str:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)
        return f"s3://{BUCKET}/{key}"

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=key)

    def empty(self) -> None:
        for found in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
            self.delete(found["Key"])


@dataclass
class Hub(Served):
    """The hub's list and resolve calls for one dataset, `ours/rows`, whose *revisions* name its *files* by commit. *token*: it is
    private, and this opens it. The files themselves are on another server, to which the hub redirects."""

    store: Web = field(default_factory=Web)
    token: str | None = None
    revisions: dict[str, str] = field(default_factory=lambda: {"main": "c0ffee" * 6 + "abcd"})
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def put(self, revision: str, commit: str, files: dict[str, bytes]) -> None:
        self.revisions[revision] = commit
        self.files[commit] = files

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response(
                {"error": "Repository not found"}, status=401, headers={"X-Error-Code": "RepoNotFound"}
            )
        parts = [unquote(part) for part in request.rel_url.raw_path.strip("/").split("/")]
        if parts[:4] == ["api", "datasets", "ours", "rows"]:
            return await self._api(request, parts[4:])
        if parts[:3] == ["datasets", "ours", "rows"] and parts[3] == "resolve":
            commit, path = parts[4], "/".join(parts[5:])
            data = self.files.get(commit, {}).get(path)
            if data is None:
                return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
            self.store.files[f"/cdn/{_oid(data)}"] = WebFile(data, f'"{_oid(data)}"')
            return web.Response(
                status=302, headers={"Location": f"{self.store.url}/cdn/{_oid(data)}?X-Sig={SIGNATURE}"}
            )
        return web.json_response(
            {"error": "Repository not found"}, status=404, headers={"X-Error-Code": "RepoNotFound"}
        )

    async def _api(self, request: web.Request, parts: list[str]) -> web.StreamResponse:
        revision = parts[1] if len(parts) > 1 else "main"
        commit = self.revisions.get(revision, revision)
        files = self.files.get(commit)
        if files is None:
            return web.json_response(
                {"error": "Invalid rev id"}, status=404, headers={"X-Error-Code": "RevisionNotFound"}
            )
        if not parts or parts[0] == "revision":
            return web.json_response({"id": "ours/rows", "sha": commit, "siblings": [], "tags": [], "private": False})
        if parts[0] == "paths-info":
            asked = (await request.post()).getall("paths", []) or (await request.json())["paths"]
            return web.json_response([_entry(path, files[path]) for path in map(str, asked) if path in files])
        folder = "/".join(parts[2:])
        below = {path: data for path, data in files.items() if path.startswith(f"{folder}/" if folder else "")}
        return web.json_response([_entry(path, data) for path, data in below.items()])


def _entry(path: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
