"""A server that takes whole bodies as fast as the machine can carry them, and answers as both services' contracts do.

    python -m benchmarks.sink --port 0 --port-file port.txt [--check]

Plain sockets, one thread a connection, `recv_into` one buffer. It keeps nothing: rows are counted by the key that begins each
row of the benchmark's files, and `--check` parses every body instead. What it has taken stands at `GET /_sink/summary`.
It is no emulator: it makes no faults, asks for no token and gives nothing back.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import sys
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bodies import BadBody, BodyReader, CheckingReader, CountingReader

__all__ = ["Sink", "main"]

COLLINEAR = "/api/v1/dataset/upload"
NEBIUS = "/v1/datasets"

_BEGINS_ROW = {COLLINEAR: b'"conv_prefix"', NEBIUS: b'{"messages":'}
"""Neither can stand inside a JSON string: its quotes would be escaped."""

_BUFFER_BYTES = 256 * 1024
_NO_DATASETS = b'{"data":{"getUploadedDatasetByPageAndSpaceId":{"count":0,"datasets":[]}}}'
_EMPTY_PAGE = b'{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}'
_NAME = re.compile(rb'"name":("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, slots=True)
class _Head:
    """What of a request's head matters here."""

    method: str
    path: str
    length: int
    content_type: str
    wants_continue: bool


class _Stream:
    """A connection's bytes, through one buffer that is filled by the kernel."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0

    def head(self) -> _Head | None:
        """The next request's head; None where the connection ends before one."""
        while (stop := self._buffer.find(b"\r\n\r\n", self._start, self._end)) < 0:
            if self._start:
                self._buffer[: self._end - self._start] = self._buffer[self._start : self._end]
                self._start, self._end = 0, self._end - self._start
            if not self._receive():
                return None
        lines = self._buffer[self._start : stop].decode("latin-1").split("\r\n")
        self._start = stop + 4
        method, target, _ = lines[0].split(" ", 2)
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if "transfer-encoding" in fields:
            raise BadBody("the sink takes bodies of a stated length only")
        return _Head(
            method,
            target.partition("?")[0],
            int(fields.get("content-length", "0")),
            fields.get("content-type", ""),
            fields.get("expect", "").lower() == "100-continue",
        )

    def body(self, length: int, reader: BodyReader | None) -> bytes:
        """Feed a body of *length* bytes to *reader*; its first bytes. Raises ConnectionError where it is cut off."""
        first = b""
        while length:
            if self._start == self._end:
                self._start = self._end = 0
                if not self._receive():
                    raise ConnectionError("the body was cut off")
            stop = min(self._end, self._start + length)
            if len(first) < 1024:
                first += self._buffer[self._start : min(stop, self._start + 1024)]
            if reader is not None:
                reader.feed(self._buffer, self._start, stop)
            length -= stop - self._start
            self._start = stop
        return first

    def _receive(self) -> bool:
        if self._end == len(self._buffer):
            raise BadBody("the head is too long")
        count = self._connection.recv_into(self._view[self._end :])
        self._end += count
        return count > 0


class _Echoes:
    """Collinear's answer: as many rows as came, each with an id of its own. Made by the block, not by the row."""

    def __init__(self) -> None:
        self._pool = b""
        self._width = 1

    def of(self, rows: int, request: int) -> bytes:
        if rows * self._width > len(self._pool):
            elements = [b'{"id":"~~~~~~~~-%012d"},' % number for number in range(max(rows, 16_384))]
            self._pool, self._width = b"".join(elements), len(elements[0])
        return b"[" + self._pool[: rows * self._width - 1].replace(b"~~~~~~~~", b"%08x" % request) + b"]"


class Sink:
    """Counts what it takes. *check*: bodies are parsed whole, and one that cannot be is answered 400."""

    def __init__(self, *, check: bool) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._requests = self._bytes = self._rows = self._refused = self._digest = 0
        self._dataset_id = str(uuid.uuid4())

    def summary(self) -> dict[str, object]:
        """Uploads taken: how many, bytes of their bodies, rows; and the CPU seconds that it all took."""
        with self._lock:
            return {
                "requests": self._requests,
                "bytes": self._bytes,
                "rows": self._rows,
                "refused": self._refused,
                "checked": self._check,
                "digest": self._digest,
                "cpu_s": round(time.process_time(), 3),
            }

    def serve(self, listener: socket.socket) -> None:
        """Accept for ever."""
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream, echoes = _Stream(connection), _Echoes()
        with connection, suppress(ConnectionError):
            while True:
                try:
                    head = stream.head()
                    if head is None:
                        return
                    if head.wants_continue:
                        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                    answer, headers = self._answer(head, stream, echoes)
                    connection.sendall(_response("200 OK", answer, headers))
                except BadBody as why:
                    with self._lock:
                        self._refused += 1
                    connection.sendall(_response("400 Bad Request", str(why).encode(), "Connection: close\r\n"))
                    return

    def _answer(self, head: _Head, stream: _Stream, echoes: _Echoes) -> tuple[bytes, str]:
        match head.method, head.path:
            case "POST", "/api/v1/dataset/upload":
                request, rows, _ = self._take(head, stream)
                filename = f'Content-Disposition: attachment; filename="{self._dataset_id}.json"\r\n'
                return echoes.of(rows, request), filename
            case "POST", "/v1/datasets":
                _, _, first = self._take(head, stream)
                return _record(first), ""
        stream.body(head.length, None)
        match head.method, head.path:
            case "GET", "/v1/datasets":
                return _EMPTY_PAGE, ""
            case "POST", "/graphql":
                return _NO_DATASETS, ""
            case "GET", "/_sink/summary":
                return json.dumps(self.summary()).encode(), ""
        raise BadBody(f"the sink knows no {head.method} {head.path}")

    def _take(self, head: _Head, stream: _Stream) -> tuple[int, int, bytes]:
        """One upload: its number, its rows, its first bytes."""
        checking = CheckingReader(head.content_type) if self._check else None
        reader = checking or CountingReader(_BEGINS_ROW[head.path])
        first = stream.body(head.length, reader)
        rows = reader.rows()
        with self._lock:
            self._requests += 1
            self._bytes += head.length
            self._rows += rows
            self._digest = (self._digest + (checking.digest if checking else 0)) % 2**64
            return self._requests, rows, first


def _record(first: bytes) -> bytes:
    """Nebius's answer: a dataset of the body's name, ready."""
    name = _NAME.search(first)
    if name is None:
        raise BadBody("the body does not begin with a dataset's name")
    now = int(time.time())
    return b'{"id":"%s","name":%b,"status":"READY","error":null,"created_at":%d,"updated_at":%d}' % (
        str(uuid.uuid4()).encode(),
        name.group(1),
        now,
        now,
    )


def _response(status: str, body: bytes, headers: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def _end_with_the_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sink", description="Take uploads and count them.")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes any that is free")
    parser.add_argument("--port-file", type=Path, help="write the port there once it is open")
    parser.add_argument("--check", action="store_true", help="parse every body")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when standard input does")
    wanted = parser.parse_args()
    with socket.create_server(("127.0.0.1", wanted.port), backlog=256) as listener:
        port = listener.getsockname()[1]
        if wanted.port_file is not None:
            part = wanted.port_file.with_name(wanted.port_file.name + ".part")
            part.write_text(str(port))
            part.replace(wanted.port_file)
        print(f"sink on http://127.0.0.1:{port}", flush=True)
        if wanted.until_stdin_closes:
            threading.Thread(target=_end_with_the_parent, daemon=True).start()
        with suppress(KeyboardInterrupt):
            Sink(check=wanted.check).serve(listener)


if __name__ == "__main__":
    main()
