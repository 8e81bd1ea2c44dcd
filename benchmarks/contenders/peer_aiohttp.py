"""aiohttp with `gather`: one session, `json=` for Nebius, `FormData` for Collinear, a semaphore around each request."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

import aiohttp

from benchmarks.contenders.peer_rows import arguments, batches, collinear_fields, nebius_body
from benchmarks.contenders.told import Stopwatch, tell


async def _send(
    session: aiohttp.ClientSession, room: asyncio.Semaphore, to: str, rows: list[dict[str, Any]], number: int
) -> int:
    async with room:
        if to == "nebius":
            request = session.post("/v1/datasets", json=nebius_body(rows, number))
        else:
            form = aiohttp.FormData(collinear_fields())
            form.add_field("file", json.dumps(rows), filename="chunk.json", content_type="application/json")
            request = session.post("/api/v1/dataset/upload", data=form)
        async with request as answer:
            answer.raise_for_status()
            await answer.json()
    return len(rows)


async def _all(wanted: argparse.Namespace) -> int:
    headers = {"Authorization": "Bearer benchmark"}
    room = asyncio.Semaphore(wanted.workers)
    async with aiohttp.ClientSession(wanted.url, headers=headers) as session:
        sends = [_send(session, room, wanted.to, rows, number) for number, rows in enumerate(batches(wanted))]
        return sum(await asyncio.gather(*sends))


def main() -> None:
    """The command."""
    wanted = arguments("peer_aiohttp")

    def work() -> dict[str, object]:
        clock = Stopwatch()
        return {"rows": asyncio.run(_all(wanted)), **clock.read()}

    tell(work)


if __name__ == "__main__":
    main()
