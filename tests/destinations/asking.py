"""Requests of a look that are made at once, and once: nobody paces them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["at_once"]

T = TypeVar("T")


async def at_once(request: Callable[[], Awaitable[T]], /) -> T:
    """An `Asking`."""
    return await request()
