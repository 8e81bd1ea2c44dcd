"""The made-up service of `bulkup_thirdparty`, with the faults that the contract and the crash cells ask for.

`python -m tests.thirdparty.server` serves it in a process of its own, steered as the emulator is.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from bulkup.emulator import Spawned

__all__ = ["FAULTS", "Server", "serving", "spawned_thirdparty"]

PAGE = 50
NAME = "thirdparty"
REFUSED = "refuse me"
FAULTS = (
    "ok", "reset_before_body", "reset_in_body", "reset_after_body", "stored_then_reset", "stored_then_500",
    "stored_late", "503_retry_after", "503_plain", "429", "hang", "garbled_200", "cut_200", "lagging", "another writer",
    "old dataset", "closed port", "failing looks",
)  # fmt: skip
"""Of the crash cells' faults those that this service can have."""

ANSWERS = {
    "401": (401, {}), "402": (402, {}), "403": (403, {}), "307": (307, {"Location": "/elsewhere"}),
    "429": (429, {"Retry-After": "1"}), "503_retry_after": (503, {"Retry-After": "1"}), "503_plain": (503, {}),
    "not_stored_500": (500, {}), "not_stored_408": (408, {}), "not_stored_503": (503, {}), "not_stored_520": (520, {}),
}  # fmt: skip


@dataclass(slots=True)
class _Set:
    id: str
    box: str
    name: str
    rows: list[tuple[int, float, Any]] = field(default_factory=list)
    """Id, time of storing, row."""


class Server:
    """The service. *settings* are as the emulator's, as far as they are known here."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.url = ""
        self._sets: dict[tuple[str, str], _Set] = {}
        self._ids = 0
        self._received = 0
        self._busy = 0
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    # --- the service ----------------------------------------------------------------------------------------------------

    async def append(self, request: web.Request) -> web.StreamResponse:
        self._received += 1
        self._busy += 1
        try:
            return await self._append(request, self._next("script"))
        except ConnectionError:  # the other end has gone
            return web.Response()
        finally:
            self._busy -= 1

    async def _append(self, request: web.Request, fault: str) -> web.StreamResponse:
        if fault in ANSWERS:
            await request.read()
            status, headers = ANSWERS[fault]
            return web.Response(status=status, headers=headers, text="no")
        if fault == "reset_before_body":
            return _reset(request)
        if fault == "reset_in_body":
            await request.content.read(10)
            return _reset(request)
        body = await request.read()
        if len(body) > self.settings.get("max_body_bytes", 1 << 30):
            return web.Response(status=413, text="too large")
        if fault == "reset_after_body":
            return _reset(request)
        asked = orjson.loads(body)
        bad = [number for number, row in enumerate(asked["rows"]) if row.get("text") == REFUSED]
        if bad:
            detail = [{"loc": ["body", "rows", number], "msg": "refused"} for number in bad]
            return web.json_response({"detail": detail}, status=422)
        if fault == "stored_late":
            self._later(self.settings.get("late_s", 0.1), lambda: self.store(asked))
            return _reset(request)
        if fault == "hang" and self.settings.get("hang_body") == "dropped":
            return await _silence(request)
        set_id, ids = self.store(asked)
        if fault == "stored_then_reset":
            return _reset(request)
        if fault == "stored_then_500":
            return web.Response(status=500, text="oh")
        if fault == "hang":
            return await _silence(request)
        answer = orjson.dumps({"set": set_id, "ids": ids[:-1] if fault == "wrong_id_count" else ids})
        if fault == "garbled_200":
            answer = b"<" + answer
        if fault == "cut_200":
            response = web.StreamResponse(headers={"Content-Length": str(len(answer))})
            await response.prepare(request)
            await response.write(answer[:-3])
            return _reset(request)
        return web.Response(body=answer, content_type="application/json")

    def store(self, asked: dict[str, Any]) -> tuple[str, list[int]]:
        key = (asked["box"], asked["set"])
        into = self._sets.setdefault(key, _Set(f"set-{len(self._sets)}", *key))
        ids = []
        for row in asked["rows"]:
            self._ids += 1
            ids.append(self._ids)
            into.rows.append((self._ids, time.monotonic(), row))
        return into.id, ids

    async def list_sets(self, request: web.Request) -> web.StreamResponse:
        if (refused := self._read_fault(request)) is not None:
            return refused
        inside = [one for one in self._sets.values() if one.box == request.query["box"]]
        after = int(request.query["after"])
        shown = [
            {"id": one.id, "name": one.name, "rows": len(self._shown(one))} for one in inside[after : after + PAGE]
        ]
        return web.json_response({"sets": shown, "more": after + PAGE < len(inside)})

    async def list_rows(self, request: web.Request) -> web.StreamResponse:
        if (refused := self._read_fault(request)) is not None:
            return refused
        found = next((one for one in self._sets.values() if one.id == request.match_info["id"]), None)
        if found is None:
            return web.Response(status=404)
        at = int(request.query["offset"])
        page = self._shown(found)[at : at + int(request.query["limit"])]
        return web.json_response({"rows": [{"id": id_, "row": row} for id_, _, row in page]})

    def _shown(self, one: _Set) -> list[tuple[int, float, Any]]:
        is_lagging = self.settings.get("readback", {}).get(NAME) == "lagging"
        before = time.monotonic() - (self.settings.get("readback_lag_s", 0) if is_lagging else 0)
        return [row for row in one.rows if row[1] <= before]

    def _read_fault(self, request: web.Request) -> web.StreamResponse | None:
        match self.settings.get("readback", {}).get(NAME, "on"), self._next("readback_script"):
            case ("off", _):
                return web.Response(status=404)
            case ("forbidden", _):
                return web.Response(status=403)
            case (_, "garbled_200"):
                return web.Response(text="<html>")
            case (_, "429"):
                return web.Response(status=429, headers={"Retry-After": "1"})
            case (_, "not_stored_500" | "503_plain"):
                return web.Response(status=500)
            case (_, "reset_before_body" | "stored_then_reset"):
                return _reset(request)
            case _:
                return None

    def _next(self, script: str) -> str:
        left: list[str] = self.settings.get(script, {}).get(NAME) or []
        return left.pop(0) if left else "ok"

    # --- how it is steered ----------------------------------------------------------------------------------------------

    async def patch(self, request: web.Request) -> web.Response:
        self.settings |= orjson.loads(await request.read())
        return web.Response()

    async def summary(self, _: web.Request) -> web.Response:
        return web.json_response({NAME: {"uploads_received": self._received}})

    async def rows(self, _: web.Request) -> web.Response:
        return web.Response(body=b"\n".join(map(orjson.dumps, self.stored())))

    def stored(self) -> list[Any]:
        """Every row, in whatever set."""
        return [row for one in self._sets.values() for _, _, row in one.rows]

    async def write(self, request: web.Request) -> web.Response:
        given = orjson.loads(await request.read())
        return web.json_response({"dataset_id": self.store(given)[0]})

    async def idle(self, _: web.Request) -> web.Response:
        while self._busy or self._tasks:
            await asyncio.sleep(0.01)
        return web.Response()

    async def reset(self, _: web.Request) -> web.Response:
        self._sets.clear()
        self._received = 0
        return web.Response()

    async def close(self, request: web.Request) -> web.Response:
        await self.shut()
        self._later(orjson.loads(await request.read())["seconds"], self.open)
        return web.Response()

    async def shut(self) -> None:
        """Refuse connections."""
        if self._site is not None:
            await self._site.stop()

    async def open(self) -> None:
        """Take connections, at the port it had before."""
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await self._site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"

    def _later(self, seconds: float, work: Any) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            done = work()
            if asyncio.iscoroutine(done):
                await done

        task = asyncio.ensure_future(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.add_routes(
            [
                web.post("/append", self.append),
                web.get("/sets", self.list_sets),
                web.get("/sets/{id}/rows", self.list_rows),
                web.post("/_emulator/settings", self.patch),
                web.get("/_emulator/summary", self.summary),
                web.get("/_emulator/rows", self.rows),
                web.post("/_emulator/rows", self.write),
                web.get("/_emulator/idle", self.idle),
                web.post("/_emulator/reset", self.reset),
                web.post("/_emulator/close", self.close),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await self.open()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        assert self._runner is not None
        await self._runner.cleanup()


async def _silence(request: web.Request) -> web.StreamResponse:
    """No answer for as long as the other end waits."""
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(0.02)
    return web.Response()


def _reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """The service in this process."""
    server = Server()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@contextmanager
def spawned_thirdparty() -> Iterator[Spawned]:
    """The service in a process of its own, which ends with this block."""
    command = [sys.executable, "-m", "tests.thirdparty.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Spawned(process, process.stdout.readline().decode().strip())
        finally:
            process.stdin.close()
            process.wait(10)


async def _main() -> None:
    async with serving() as server:
        print(server.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main())
