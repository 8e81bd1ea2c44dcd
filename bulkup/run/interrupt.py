"""How a run is stopped: the first request drains it, the second aborts it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from bulkup.errors import ExitCode, Interrupted

__all__ = ["Interrupt"]

T = TypeVar("T")


class Interrupt:
    """How a run is stopped: the first time it drains, the second time it aborts."""

    def __init__(self) -> None:
        self.code: ExitCode | None = None
        self.why = "interrupted"
        self._drain = anyio.Event()
        self._abort = anyio.Event()
        self._is_heard = False

    def request(self, code: ExitCode = ExitCode.INTERRUPTED) -> None:
        """Drain; asked once more after that was heard, abort. Two signals at once are one: `timeout` sends one to the process and
        one to its group."""
        if self.code is None:
            self.code = code
            self._drain.set()
        elif self._is_heard:
            self._abort.set()

    def hang_up(self) -> None:
        """Drain, however often this is said: the kernel and a shell each say that the terminal has gone, and systemd may too."""
        self.stop(ExitCode.TERMINATED, self.why)

    def stop(self, code: ExitCode, why: str) -> None:
        """Drain, however often this is said, and end with *code*; *why* is for the receipt."""
        if self.code is None:
            self.why = why
            self.request(code)

    def abort(self) -> None:
        """Abort at once."""
        self.request()
        self._abort.set()

    async def drain_requested(self) -> None:
        """Wait for the first request."""
        await self._drain.wait()
        self._is_heard = True

    async def abort_requested(self) -> None:
        """Wait for the second request."""
        await self._abort.wait()

    async def unless_requested(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of *work*, which sends nothing and is cancelled by the first request. Raises `Interrupted`."""
        async with anyio.create_task_group() as tasks:

            async def cancel() -> None:
                await self.drain_requested()
                tasks.cancel_scope.cancel()

            tasks.start_soon(cancel)
            result = await work()
            tasks.cancel_scope.cancel()
            return result
        raise Interrupted(self.code or ExitCode.INTERRUPTED)
