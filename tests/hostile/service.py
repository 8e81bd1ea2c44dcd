"""Both services in their plainest form, spoken over raw sockets, so that any bytes can take the place of an answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

__all__ = ["Answer", "Request", "Service", "answer_bytes", "serving"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the honest service would answer."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def answer_bytes(answer: Answer, *, length: int | None = None) -> bytes:
    """*answer* on the wire; *length* is told in place of the body's own."""
    head = [f"HTTP/1.1 {answer.status} Said", f"Content-Length: {len(answer.body) if length is None else length}"]
    head += [f"{name}: {value}" for name, value in answer.headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + answer.body


@dataclass(slots=True)
class Request:
    """One request, read whole. *reply* sends bytes and waits until they are taken; *honest* is what should be answered."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter
    honest: Answer = Answer(500, b"")

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def is_upload(self) -> bool:
        return self.method == "POST" and self.path != "/graphql"

    async def reply(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


Hostile = Callable[[Request], Awaitable[None]]
"""Answers in the service's place. Afterwards the connection is closed."""


@dataclass(slots=True)
class Service:
    """*hostile* answers in place of what *chooses* it for; where it *stores*, an upload is stored before that."""

    chooses: Callable[[Request], bool] = lambda _: False
    hostile: Hostile | None = None
    stores: bool = True
    url: str = ""
    rows: list[Any] = field(default_factory=list)
    datasets: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                request = await self._request(reader, writer)
                self.requests.append(f"{request.method} {request.path}")
                is_hostile = self.hostile is not None and self.chooses(request)
                if not is_hostile or self.stores or not request.is_upload:
                    request.honest = self._honest(request)
                if is_hostile and self.hostile is not None:
                    await self.hostile(request)
                    break
                await request.reply(answer_bytes(request.honest))
        writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return Request(method, parts.path, query, headers, body, writer)

    def _honest(self, request: Request) -> Answer:
        match request.method, request.path.split("/")[1:]:
            case "POST", ["v1", "datasets"]:
                return self._create(orjson.loads(request.body))
            case "GET", ["v1", "datasets"]:
                after = request.query.get("after")
                start = 1 + next((n for n, d in enumerate(self.datasets) if d["id"] == after), -1)
                page = self.datasets[start : start + 100]
                more = start + 100 < len(self.datasets)
                return _json(
                    {"object": "list", "data": page, "has_more": more, "last_id": page[-1]["id"] if page else None}
                )
            case "GET", ["v1", "datasets", id_]:
                return next((_json(d) for d in self.datasets if d["id"] == id_), _json({"detail": "none"}, 404))
            case "GET", ["v1", "datasets", id_, "content"]:
                start, limit = int(request.query["offset"]), int(request.query["limit"])
                rows = next(d["rows"] for d in self.datasets if d["id"] == id_)
                return _json({"rows": rows[start : start + limit], "version": "1"})
            case "POST", ["api", "v1", "dataset", "upload"]:
                return self._append(request.body)
            case "POST", ["graphql"]:
                return self._query(orjson.loads(request.body)["query"])
            case _:
                return _json({"detail": "no such place"}, 404)

    def _create(self, sent: dict[str, Any]) -> Answer:
        record = {"id": f"ds{len(self.datasets):04}", "status": "READY", "error": None} | sent
        self.datasets.append(record)
        self.rows += sent["rows"]
        return _json({name: value for name, value in record.items() if name != "rows"}, 201)

    def _append(self, body: bytes) -> Answer:
        rows = orjson.loads(body[body.index(b"\r\n\r\n[") + 4 : body.rindex(b"]\r\n--") + 1])
        found = re.search(rb'name="dataset_name"\r\n\r\n(.*?)\r\n', body)
        assert found is not None
        if not self.datasets:
            self.datasets.append({"id": "co0001", "name": found.group(1).decode(), "rows": []})
        stored = self.datasets[0]["rows"]
        made = [row | {"id": f"row-{number:06}"} for number, row in enumerate(rows, len(stored))]
        stored += made
        self.rows += rows
        return Answer(200, orjson.dumps(made), (("Content-Disposition", 'attachment; filename="co0001.json"'),))

    def _query(self, query: str) -> Answer:
        numbers = list(map(int, re.findall(r"(?:page|limit|pageSize): (\d+)", query)))
        start, stop = numbers[0] * numbers[1], (numbers[0] + 1) * numbers[1]
        if "getUploadedDataset" in query:
            listed = [{"id": d["id"], "name": d["name"], "rows": len(d["rows"])} for d in self.datasets[start:stop]]
            return _json(
                {"data": {"getUploadedDatasetByPageAndSpaceId": {"count": len(self.datasets), "datasets": listed}}}
            )
        rows = self.datasets[0]["rows"] if self.datasets else []
        page = [
            {
                "id": row["id"],
                "convPrefix": row["conv_prefix"],
                "response": row["response"],
                "groundTruth": row.get("ground_truth"),
                "context": row.get("context"),
            }
            for row in rows[start:stop]
        ]
        return _json({"data": {"getDatasetRowsByDatasetId": {"count": len(rows), "rows": page}}})


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, orjson.dumps(value), (("Content-Type", "application/json"),))


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[Service]:
    """*service* on a port of this machine."""
    tasks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await service.talk(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=1 << 20)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield service
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
