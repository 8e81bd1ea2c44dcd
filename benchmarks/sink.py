"""A server that takes whole bodies as fast as the machine can carry them, and answers as both services' contracts do.

    python -m benchmarks.sink --port 0 --port-file port.txt [--check] [--certificate C --key K] [--requests-per-minute N]

Plain sockets, one thread a connection, `recv_into` one buffer. It keeps nothing: rows are counted by the key that begins each
row of the benchmark's files, and `--check` parses every body instead. What it has taken stands at `GET /_sink/summary`.
It is no emulator: it asks for no token and gives nothing back; but it can hold its clients back, as `benchmarks.pace` says.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import ssl
import sys
import threading
import time
import uuid
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bodies import BadBody, BodyReader, CheckingReader, CountingReader
from benchmarks.pace import Capacity, Quota, parse_steps

__all__ = ["Sink", "Ways", "main"]

COLLINEAR = "/api/v1/dataset/upload"
NEBIUS = "/v1/datasets"

_COLLINEAR_KEY = b'"conv_prefix"'
"""Begins each row. It cannot stand inside a JSON string: its quotes would be escaped."""

_OK = "200 OK"
_BUFFER_BYTES = 256 * 1024
_NO_DATASETS = b'{"data":{"getUploadedDatasetByPageAndSpaceId":{"count":0,"datasets":[]}}}'
_EMPTY_PAGE = b'{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}'
_NAME = re.compile(rb'"name":\s*("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, slots=True)
class _Head:
    """What of a request's head matters here."""

    method: str
    path: str
    length: int
    content_type: str
    wants_continue: bool


class _Stream:
    """A connection's bytes, through one buffer that is filled in place."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How the sink behaves. *nebius_key* begins each row that goes to Nebius; *echo*: whether Collinear's answer has ids.

    *latency_s* lies between the last byte and the answer. *times*: keep the moment at which each upload was answered.
    """

    check: bool = False
    nebius_key: str = "messages"
    echo: bool = True
    latency_s: float = 0.0
    quota: Quota | None = None
    capacity: Capacity | None = None
    times: bool = False
    tls: ssl.SSLContext | None = None


class Sink:
    """Counts what it takes. Where bodies are checked, one that cannot be parsed is answered 400."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._check = ways.check
        self._begins_row = {COLLINEAR: _COLLINEAR_KEY, NEBIUS: b'"%b":' % ways.nebius_key.encode()}
        self._lock = threading.Lock()
        self._forget()
        self._dataset_id = str(uuid.uuid4())

    def _forget(self) -> None:
        with self._lock:
            self._requests = self._bytes = self._rows = self._refused = self._digest = 0
            self._first_at: float | None = None
            self._last_at: float | None = None
            self._times: list[tuple[float, int]] = []

    def summary(self) -> dict[str, object]:
        """Uploads taken: how many, bytes of their bodies, rows; the CPU seconds that it all took; when the first began and the
        last was answered (`time.monotonic`, one for all processes); how many were refused for the quota (*limited*)."""
        with self._lock:
            return {
                "requests": self._requests,
                "bytes": self._bytes,
                "rows": self._rows,
                "refused": self._refused,
                "checked": self._check,
                "digest": self._digest,
                "first_at": self._first_at,
                "last_at": self._last_at,
                "began_at": self._ways.capacity.began_at() if self._ways.capacity else None,
                "limited": self._ways.quota.refused if self._ways.quota else 0,
                "times": self._times,
                "cpu_s": round(time.process_time(), 3),
            }

    def serve(self, listener: socket.socket) -> None:
        """Accept for ever."""
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, plain: socket.socket) -> None:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with plain, suppress(ConnectionError, ssl.SSLError):
            if self._ways.tls is None:
                self._serve(plain)
            else:
                with self._ways.tls.wrap_socket(plain, server_side=True) as connection:
                    self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        stream, echoes = _Stream(connection), _Echoes()
        while True:
            try:
                head = stream.head()
                if head is None:
                    return
                if head.wants_continue:
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                status, answer, headers = self._answer(head, stream, echoes)
                connection.sendall(_response(status, answer, headers))
            except BadBody as why:
                with self._lock:
                    self._refused += 1
                connection.sendall(_response("400 Bad Request", str(why).encode(), "Connection: close\r\n"))
                return

    def _answer(self, head: _Head, stream: _Stream, echoes: _Echoes) -> tuple[str, bytes, str]:
        if head.method == "POST" and head.path in self._begins_row:
            return self._upload(head, stream, echoes)
        stream.body(head.length, None)
        match head.method, head.path:
            case "GET", "/v1/datasets":
                return _OK, _EMPTY_PAGE, ""
            case "POST", "/graphql":
                return _OK, _NO_DATASETS, ""
            case "POST", "/_sink/forget":
                self._forget()
                return _OK, b"{}", ""
            case "GET", "/_sink/summary":
                return _OK, json.dumps(self.summary()).encode(), ""
        raise BadBody(f"the sink knows no {head.method} {head.path}")

    def _upload(self, head: _Head, stream: _Stream, echoes: _Echoes) -> tuple[str, bytes, str]:
        began = time.monotonic()
        with self._lock:
            self._first_at = began if self._first_at is None else self._first_at
        checking = CheckingReader(head.content_type) if self._check else None
        reader = checking or CountingReader(self._begins_row[head.path])
        first = stream.body(head.length, reader)
        rows = reader.rows()
        passes, headers = self._ways.quota.admits(time.monotonic()) if self._ways.quota else (True, "")
        if self._ways.latency_s:
            time.sleep(self._ways.latency_s)
        if not passes:
            return "429 Too Many Requests", b'{"detail":"Too many requests"}', headers
        with self._ways.capacity.served() if self._ways.capacity else nullcontext():
            request = self._took(head.length, rows, checking.digest if checking else 0)
        if head.path == NEBIUS:
            return _OK, _record(first), headers
        headers += f'Content-Disposition: attachment; filename="{self._dataset_id}.json"\r\n'
        return _OK, echoes.of(rows, request) if self._ways.echo else b"[]", headers

    def _took(self, size: int, rows: int, digest: int) -> int:
        """Count an upload; its number."""
        with self._lock:
            self._requests += 1
            self._bytes += size
            self._rows += rows
            self._digest = (self._digest + digest) % 2**64
            self._last_at = time.monotonic()
            if self._ways.times:
                self._times.append((self._last_at, size))
            return self._requests


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


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sink", description="Take uploads and count them.")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes any that is free")
    parser.add_argument("--port-file", type=Path, help="write the port there once it is open")
    parser.add_argument("--check", action="store_true", help="parse every body")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when standard input does")
    parser.add_argument("--nebius-key", default="messages", help="the key that begins each row sent to /v1/datasets")
    parser.add_argument("--no-echo", action="store_true", help="answer Collinear's uploads with an empty array")
    parser.add_argument("--certificate", type=Path, help="serve TLS with it")
    parser.add_argument("--key", type=Path, help="the certificate's private key")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="between the last byte and the answer")
    parser.add_argument("--requests-per-minute", type=float, help="refuse what is above with 429")
    parser.add_argument("--quota-headers", action="store_true", help="say so in x-ratelimit headers")
    parser.add_argument("--retry-after-s", type=int, help="what a 429 says")
    parser.add_argument(
        "--capacity", type=parse_steps, help="SERVERS:SECONDS,… requests at a time, one after the other"
    )
    parser.add_argument("--service-ms", type=float, default=50.0, help="the work on one request, with --capacity")
    parser.add_argument("--times", action="store_true", help="keep the moment of every answer for the summary")
    return parser.parse_args()


def _ways(wanted: argparse.Namespace) -> Ways:
    quota = None
    if wanted.requests_per_minute:
        quota = Quota(wanted.requests_per_minute, with_headers=wanted.quota_headers, retry_after_s=wanted.retry_after_s)
    return Ways(
        check=wanted.check,
        nebius_key=wanted.nebius_key,
        echo=not wanted.no_echo,
        latency_s=wanted.latency_ms / 1000,
        quota=quota,
        capacity=Capacity(wanted.capacity, wanted.service_ms / 1000) if wanted.capacity else None,
        times=wanted.times,
        tls=_tls(wanted.certificate, wanted.key),
    )


def main() -> None:
    """The command."""
    wanted = _arguments()
    sink = Sink(_ways(wanted))
    with socket.create_server(("127.0.0.1", wanted.port), backlog=256) as listener:
        port = listener.getsockname()[1]
        if wanted.port_file is not None:
            part = wanted.port_file.with_name(wanted.port_file.name + ".part")
            part.write_text(str(port))
            part.replace(wanted.port_file)
        print(f"sink on {'https' if wanted.certificate else 'http'}://127.0.0.1:{port}", flush=True)
        if wanted.until_stdin_closes:
            threading.Thread(target=_end_with_the_parent, daemon=True).start()
        with suppress(KeyboardInterrupt):
            sink.serve(listener)


if __name__ == "__main__":
    main()
