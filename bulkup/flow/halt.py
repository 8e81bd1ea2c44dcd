"""Stopping a lane without breaking what is in flight."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio

from bulkup.errors import BulkupError, ExitCode
from bulkup.light_dataclass import dataclass

__all__ = ["Halt", "Halted", "Reason"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a lane stops before its source ends."""

    text: str
    exit_code: ExitCode


class Halted(Exception):
    """The lane stops: whoever was waiting gives up, whoever is sending finishes."""


class Halt:
    """One lane's stop signal. Waits that go through `unless_halted` end at once; the first reason given stays."""

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self._waits: set[anyio.CancelScope] = set()

    def set(self, reason: Reason) -> None:
        """Stop the lane."""
        if self.reason is None:
            self.reason = reason
        for scope in list(self._waits):
            scope.cancel()

    def check(self) -> None:
        """Raise `Halted` if the lane stops."""
        if self.reason is not None:
            raise Halted

    async def unless_halted(self, wait: Callable[[], Awaitable[T]]) -> T:
        """The result of *wait*, which is cancelled when the lane stops. Raises `Halted`."""
        self.check()
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                return await wait()
            finally:
                self._waits.discard(scope)
        raise Halted

    @contextmanager
    def on_trouble(self) -> Iterator[None]:
        """A full disk or a changed source stops the lane; what is in flight elsewhere in it finishes."""
        try:
            yield
        except Halted:
            pass
        except BulkupError as error:
            self.set(Reason(str(error), error.exit_code))
