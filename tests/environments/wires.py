"""What stands between bulkup and a service, or in a service's place: TLS with a certificate of any kind, a proxy, a server that
answers whatever a test wants."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Authority", "Certificate", "Request", "answer", "answering", "listening", "proxying", "relaying"]

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Certificate:
    chain: Path
    key: Path

    @property
    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context


class Authority:
    """A certificate authority of one test, made by `openssl`."""

    def __init__(self, folder: Path, name: str = "an authority of our own") -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self.file, self._key = folder / "authority.pem", folder / "authority.key"
        _openssl(
            "req", "-x509", *_EC, "-keyout", self._key, "-out", self.file, "-days", 2, "-subj", f"/CN={name}",
            "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip

    def certificate(self, *, names: str = "IP:127.0.0.1", days: int = 2) -> Certificate:
        """One for *names* (as subjectAltName has them). It has expired where *days* is below 0."""
        made = Certificate(self._folder / f"{days}.pem", self._folder / f"{days}.key")
        request, extensions = self._folder / "request.csr", self._folder / "names.cnf"
        extensions.write_text(f"subjectAltName={names}")
        _openssl("req", *_EC, "-keyout", made.key, "-out", request, "-subj", "/CN=a service")
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self._key, "-CAcreateserial", "-days", days,
            "-extfile", extensions, "-out", made.chain,
        )  # fmt: skip
        return made

    @property
    def itself(self) -> Certificate:
        """The authority's own certificate, as a service's that nobody signed."""
        return Certificate(self.file, self._key)


_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _openssl(*arguments: object) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@asynccontextmanager
async def listening(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A port where each connection is *handle*'s."""
    tasks: set[asyncio.Task[None]] = set()
    bugs: list[Exception] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handle(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except Exception as bug:  # noqa: BLE001 - a test's own mistake is told below
            bugs.append(bug)
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert not bugs, bugs


def relaying(port: int) -> Handler:
    """Whatever comes goes to *port* of this machine, and what that answers comes back."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await _both(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            far_writer.transport.abort()

    return handle


def proxying(port: int, heads: list[bytes], refusal: bytes | None = None) -> Handler:
    """A proxy by whose CONNECT everything leads to *port*; *heads* gets what it was asked. With a *refusal* it answers that."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(refusal or b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        if refusal is None:
            await relaying(port)(reader, writer)

    return handle


async def _both(*pumps: Awaitable[None]) -> None:
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def token(self) -> str:
        return self.headers["authorization"].removeprefix("Bearer ")


def answer(status: int, content: Any = b"", **headers: str) -> bytes:
    """An answer's bytes; what is not bytes becomes JSON. Headers' names have `_` for `-`."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answering(answers: Callable[[Request], bytes]) -> Handler:
    """A service that reads each request whole and answers it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, path, _ = first.split(" ", 2)
            writer.write(answers(Request(method, path, headers, body)))
            await writer.drain()

    return handle
