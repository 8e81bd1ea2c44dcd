"""Several things begun at once, and taken up one after the other, in their order."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import field
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from bulkup.flow.halt import Halt, Halted
from bulkup.light_dataclass import dataclass
from bulkup.pacing import ByteBudget

__all__ = ["begun_ahead"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Begun(Generic[T, R]):
    item: T
    size: int
    found: list[R] = field(default_factory=list)
    is_over: anyio.Event = field(default_factory=anyio.Event)


async def begun_ahead(
    items: AsyncIterable[tuple[T, int]],
    begin: Callable[[T], Awaitable[R]],
    take: Callable[[T, R], Awaitable[None]],
    *,
    halt: Halt,
    at_once: int,
    memory_bytes: int,
) -> None:
    """*take* each item with what came of *begin*, in order; up to *at_once* of them (at least 3) are begun before they are taken.

    What is begun and not taken holds the bytes that each item comes with: no more than *memory_bytes*, or it is one item's. Raises
    `Halted` where the lane stops.
    """
    memory = ByteBudget(memory_bytes)
    # one is taken or waited for, and one waits for room in the stream
    sending, begun = anyio.create_memory_object_stream[_Begun[T, R]](at_once - 2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_begin_all, items, begin, memory, tasks, sending)
        async with begun:
            async for one in begun:
                await one.is_over.wait()
                if halt.reason is not None:
                    tasks.cancel_scope.cancel()
                    break
                await take(one.item, one.found.pop())
                memory.give(one.size)
    halt.check()


async def _begin_all(
    items: AsyncIterable[tuple[T, int]],
    begin: Callable[[T], Awaitable[R]],
    memory: ByteBudget,
    tasks: TaskGroup,
    sending: MemoryObjectSendStream[_Begun[T, R]],
) -> None:
    async with sending:
        async for item, size in items:
            await memory.take(size)
            one: _Begun[T, R] = _Begun(item, size)
            tasks.start_soon(_begin, one, begin)
            await sending.send(one)


async def _begin(one: _Begun[T, R], begin: Callable[[T], Awaitable[R]]) -> None:
    try:
        one.found.append(await begin(one.item))
    except Halted:
        pass  # whoever waits for it sees that
    finally:
        one.is_over.set()
