"""The calls that the tests make, as a client makes them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson

from bulkup.emulator import Emulator, ServiceName

SPACE = "3c90c3cc-0d44-4b50-8888-8dd25736052a"
HEADERS = {"Authorization": "Bearer token-1"}
SCHEMA = [{"name": "text", "type": {"name": "string"}}]


def turn_row(text: str, **more: Any) -> dict[str, Any]:
    """A row as Collinear publishes it."""
    return {
        "conv_prefix": [{"role": "user", "content": text}],
        "response": {"role": "assistant", "content": text.upper()},
        **more,
    }


class Client:
    """One session against one emulator. Each call gives (status, parsed JSON or None, headers)."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        options.setdefault("headers", HEADERS)
        async with self.session.request(method, self.url + path, allow_redirects=False, **options) as answer:
            body = await answer.read()
            try:
                return answer.status, orjson.loads(body), answer.headers
            except orjson.JSONDecodeError:
                return answer.status, None, answer.headers

    async def get(self, path: str, **options: Any) -> Any:
        """The parsed answer of a GET that works."""
        status, said, _ = await self.call("GET", path, **options)
        assert status == 200, said
        return said

    async def create(self, rows: list[Any] | None = None, **given: Any) -> tuple[int, Any, Any]:
        """Nebius's create."""
        body = {"name": "n", "schema": SCHEMA, "folder": "/f", "rows": [{"text": "a"}] if rows is None else rows}
        headers = {**HEADERS, "Content-Type": "application/json"}
        return await self.call("POST", "/v1/datasets", data=io.BytesIO(orjson.dumps(body | given)), headers=headers)

    async def upload(
        self,
        rows: Any = None,
        *,
        name: str = "d",
        space: str = SPACE,
        file: bytes | None = None,
        file_name: str = "x.json",
        **options: Any,
    ) -> tuple[int, Any, Any]:
        """Collinear's upload."""
        data = orjson.dumps([turn_row("a")] if rows is None else rows) if file is None else file
        form = aiohttp.FormData()
        form.add_field("dataset_name", name)
        form.add_field("space_id", space)
        form.add_field("file", io.BytesIO(data), filename=file_name, content_type="application/json")
        return await self.call("POST", "/api/v1/dataset/upload", data=form, **options)

    async def graphql(self, query: str, **variables: Any) -> Any:
        status, said, _ = await self.call("POST", "/graphql", json={"query": query, "variables": variables})
        assert status == 200
        return said

    async def stored(self, service: ServiceName, **query: str) -> list[Any]:
        """The rows that the emulator holds."""
        async with self.session.get(self.url + "/_emulator/rows", params={"service": service, **query}) as answer:
            assert answer.status == 200
            return [orjson.loads(line) for line in (await answer.read()).splitlines()]

    async def counted(self, service: ServiceName) -> dict[str, Any]:
        return dict((await self.get("/_emulator/summary"))[service])

    async def send(self, service: ServiceName, rows: list[str]) -> tuple[int, Any, Any]:
        """Upload rows that differ by their text, whatever the service."""
        if service == "nebius":
            return await self.create([{"text": text} for text in rows])
        return await self.upload([turn_row(text) for text in rows])


async def until(true: Callable[[], bool]) -> None:
    """Give way until *true*; the test's own timeout bounds it."""
    while not true():
        await asyncio.sleep(0)


def under_way(emulator: Emulator, service: ServiceName) -> int:
    return emulator.state.tallies[service].concurrent_uploads
