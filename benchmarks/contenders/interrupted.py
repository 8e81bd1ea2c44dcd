"""An upload that a person stops after a few chunks, as Ctrl-C does: what a resume goes on with."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from benchmarks.contenders.told import Stopwatch, tell
from benchmarks.contenders.upload import destination_at
from bulkup import Snapshot
from bulkup.api import events

__all__ = ["main"]


async def _stopped(wanted: argparse.Namespace) -> dict[str, object]:
    clock, landed = Stopwatch(), 0
    happenings = events(
        wanted.source, destinations=[destination_at(wanted.url, wanted)], name="bench", state_dir=wanted.state_dir
    )
    assert isinstance(happenings, AsyncGenerator)
    async with aclosing(happenings):
        async for event in happenings:
            if isinstance(event, Snapshot) and (landed := event.lanes[0].chunks_landed) > 0:
                break
    return {**clock.read(), "chunks": landed}


def main() -> None:
    """The command. It goes at 300 requests a minute, so that the file does not end first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contenders.interrupted")
    parser.add_argument("--source", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--to", default="collinear")
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--max-chunk-bytes", type=int)
    parser.set_defaults(mapping=False, requests_per_minute=300.0, concurrency=4)
    wanted = parser.parse_args()
    tell(lambda: asyncio.run(_stopped(wanted)))


if __name__ == "__main__":
    main()
