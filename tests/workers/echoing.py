"""A worker process for the tests of the pool: it answers, raises, hangs and dies as it is told."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from bulkup.errors import SourceUnreadable
from bulkup.workers import Handler, Tell, serve


class Unreadable:
    """What cannot be made again at the other end."""

    def __reduce__(self) -> tuple[type[int], tuple[str]]:
        return int, ("no number",)


def make(news: Tell) -> Handler:
    news("here")

    async def handle(order: object, tell: Tell) -> object:
        match order:
            case "pid":
                return os.getpid()
            case "raise":
                raise SourceUnreadable("rows.jsonl: no more of it")
            case "break":
                raise ZeroDivisionError("no")
            case "unreadable":
                return Unreadable()
            case "die":
                os._exit(7)
            case "hang":
                tell("begun")
                try:
                    await asyncio.Event().wait()
                finally:
                    tell("over")
            case ("write", str(path)):
                Path(path).write_text("begun")
                try:
                    await asyncio.Event().wait()
                finally:
                    Path(path).write_text("stopped")
            case bytes():
                return order
        return None

    return handle


if __name__ == "__main__":
    serve(list(map(int, sys.argv[1:])), make)
