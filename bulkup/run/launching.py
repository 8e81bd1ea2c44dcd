"""Who starts workers on other machines for a run: somebody by hand, or an engine that is there for it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from bulkup.errors import UsageProblem
from bulkup.run.far_workers import Listening

__all__ = ["Launcher", "RayLauncher"]

READY_S = 120.0
"""How long Ray may take until it is connected."""

AGAIN_S = 10.0
END_S = 10.0


class Launcher(Protocol):
    """Starts workers, places them, and replaces those that are gone. It never knows what they do."""

    async def start(self, listening: Listening) -> None:
        """Have workers come to where the run is *listening*. Raises `UsageProblem` where that cannot be done."""

    async def close(self) -> None:
        """Start no more. The run has sent away those that are there."""


class RayLauncher:
    """By Ray, in a process of its own: should Ray end that, the run goes on with the workers that it has, and starts it anew."""

    def __init__(self, say: Callable[[str], None], *, processes: int, key_file: Path | None) -> None:
        """*processes* work on each node. *key_file*: where the nodes find the key; None: Ray brings it to them."""
        self._say = say
        self._processes = processes
        self._key_file = key_file
        self._child: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self, listening: Listening) -> None:
        """As a launcher's."""
        order = {
            "connect": listening.address,
            "processes": self._processes,
            "folder": str(Path.cwd()),
            "key_file": None if self._key_file is None else str(self._key_file.absolute()),
            "key": None if self._key_file is not None else listening.key.read_text(),
        }
        try:
            async with asyncio.timeout(READY_S):
                first = await self._begin(order)
        except TimeoutError:
            await self._end()
            raise UsageProblem(
                f"--engine ray: no cluster was reached within {READY_S:.0f} s; RAY_ADDRESS says where it is (ray status shows it)"
            ) from None
        if not first.get("ready"):
            await self._end()
            raise UsageProblem(str(first.get("say", "--engine ray: the launcher has ended")))
        self._say(str(first["say"]))
        self._watching = asyncio.create_task(self._watch(order))

    async def close(self) -> None:
        """As a launcher's."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._end()

    async def _end(self) -> None:
        """Have the process end, and see that it has. Cancelled meanwhile, it can be called again."""
        child = self._child
        if child is None:
            return
        assert child.stdin is not None
        child.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await child.communicate()
        except TimeoutError:
            with suppress(ProcessLookupError):
                child.kill()
            await child.communicate()
        self._child = None

    async def _begin(self, order: dict[str, Any]) -> dict[str, Any]:
        """Start the process; what it says first."""
        package = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        self._child = child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "bulkup.run.ray_launcher"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # a terminal's Ctrl-C is the run's to hear
        )
        assert child.stdin is not None
        child.stdin.write(json.dumps(order).encode() + b"\n")
        return await self._next()

    async def _next(self) -> dict[str, Any]:
        """What the process says next; nothing once it has ended."""
        assert self._child is not None
        assert self._child.stdout is not None
        while line := await self._child.stdout.readline():
            with suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict):
                    return found
        return {}

    async def _watch(self, order: dict[str, Any]) -> None:
        while True:
            while said := await self._next():
                self._say(str(said.get("say", "")))
            self._say(
                "Ray's launcher has ended; the run goes on with the workers that it has, and tries to reach Ray again"
            )
            while True:
                await self._end()
                await asyncio.sleep(AGAIN_S)
                first = await self._begin(order)
                if first.get("ready"):
                    self._say(str(first["say"]))
                    break
