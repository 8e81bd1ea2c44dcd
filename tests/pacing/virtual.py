"""An event loop whose clock jumps to the next timer whenever everybody waits: hours pass in no time, and always the same."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["VirtualLoop", "give_way", "run_virtual"]

T = TypeVar("T")

STEP_S = 1e-9
"""What each turn of the loop takes: where none took any time, a timer that is early by a rounding error would never be due."""


class _Jumping(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits and no timer is set: this would never end"
        found = super().select(0)
        if not found:
            self.now += max(STEP_S, timeout)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time is what the timers say."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_virtual(main: Callable[[], Awaitable[T]]) -> T:
    """Run *main* on a `VirtualLoop`."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_awaited(main))


async def _awaited(main: Callable[[], Awaitable[T]]) -> T:
    return await main()


async def give_way() -> None:
    """Let every other task run until it waits."""
    for _ in range(30):
        await asyncio.sleep(0)
