"""Everything one emulator is made of, handed to its handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from aiohttp import web

from .capacity import Capacity
from .faults import Dice
from .limits import Limits
from .settings import SERVICES, ServiceName, Settings
from .store import Store
from .tally import Tally

__all__ = ["STATE", "State"]

T = TypeVar("T")


class State:
    """The one mutable thing. All of it is touched from the event loop only."""

    def __init__(self, settings: Settings, store: Store, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.store = store
        self.clock = clock
        self.dice = Dice(settings)
        self.limits = Limits(clock)
        self.capacities = {service: Capacity(settings.capacity.get(service)) for service in SERVICES}
        self.tallies: dict[ServiceName, Tally] = {service: Tally() for service in SERVICES}
        self.life = 0
        """Grows with each reset: an upload that began in an earlier life stores nothing."""
        self._reader = ThreadPoolExecutor(1, "emulator-reader")
        self.stopping = asyncio.Event()
        self.shut: Callable[[float, asyncio.BaseTransport | None], Coroutine[Any, Any, None]] | None = None
        """Closes the port for some seconds and aborts all connections but one; set by whoever listens."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def patch(self, patch: dict[str, Any]) -> None:
        """Change settings while running. A seed begins its dice anew; a script replaces what was left of the old."""
        self.settings = self.settings.patched(patch, running=True)
        if "seed" in patch:
            self.dice.restart(self.settings)
        for service in SERVICES:
            if service in patch.get("script", ()) or patch.get("script") == {}:
                self.dice.rewrite(service, self.settings.script.get(service, ()))
            if service in patch.get("readback_script", ()) or patch.get("readback_script") == {}:
                self.dice.rewrite(service, self.settings.readback_script.get(service, ()), readback=True)
            self.capacities[service].resize(self.settings.capacity.get(service))
            if "rate" in patch:
                self.limits.forget_rate(service)

    async def reset(self) -> None:
        """Forget rows, counters, quotas and late uploads, and begin the dice and scripts anew. Settings stay."""
        self.life += 1
        for task in self._tasks:
            task.cancel()
        for service in SERVICES:
            under_way = self.tallies[service].concurrent_uploads
            self.tallies[service] = Tally(concurrent_uploads=under_way, peak_concurrent_uploads=under_way)
        self.dice.restart(self.settings)
        self.limits.forget()
        await self.store.clear()

    async def read(self, work: Callable[[], T]) -> T:
        """Turn a body into rows by *work*, one body at a time: it is the costliest moment, and one core's work anyway."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, work)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do *work* in the background, until the emulator stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def idle(self) -> None:
        """Wait until no upload is under way or still to be stored."""
        while self._tasks or any(tally.concurrent_uploads for tally in self.tallies.values()):
            self._changed.clear()
            await self._changed.wait()

    def upload_ended(self, service: ServiceName) -> None:
        """An upload request is over, whatever became of it."""
        # A reset in between has made another tally, which knows of this upload.
        self.tallies[service].concurrent_uploads -= 1
        self._changed.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()

    async def pause(self, seconds: float) -> None:
        """Sleep, but not past the emulator's end."""
        if seconds > 0:
            await asyncio.wait([waiter := asyncio.ensure_future(self.stopping.wait())], timeout=seconds)
            waiter.cancel()

    async def latency(self) -> None:
        """The latency that the settings give every answer."""
        await self.pause((self.settings.latency_ms + self.settings.jitter_ms * self.dice.chance.random()) / 1000)

    def seen_until(self, service: ServiceName) -> float | None:
        """Up to which moment a reader sees what was stored: None is now."""
        if self.settings.readback.get(service, "on") != "lagging":
            return None
        return self.clock() - self.settings.readback_lag_s

    async def stop(self) -> None:
        """End what is in the background; what was to be stored later is not."""
        self.stopping.set()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reader.shutdown()


STATE: Final = web.AppKey("state", State)
