"""Where the user's own function runs: one thread of the process, never the event loop, and its prints go to standard error."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TextIO, TypeVar

__all__ = ["PrintsToStderr", "in_user_thread"]

T = TypeVar("T")

_Work = Callable[[], None]


class _Thread:
    """One thread for all that runs the user's code: it need not know of threads. A daemon, so that a function without end does not
    keep a process that is told to end."""

    def __init__(self) -> None:
        self._work: SimpleQueue[_Work] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def put(self, work: _Work) -> None:
        if (
            self._thread is None or not self._thread.is_alive()
        ):  # a process that was forked has none of its parent's threads
            self._work = SimpleQueue()
            self._thread = threading.Thread(target=self._run, name="bulkup --map", daemon=True)
            self._thread.start()
        self._work.put(work)

    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        while True:
            self._work.get()()


_USER = _Thread()


async def in_user_thread(work: Callable[[], T]) -> T:
    """What *work* gives or raises, in the thread for user code, after what was put there before. If the waiting is cancelled, the
    work goes on to its end, and what comes later waits for it."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[T] = loop.create_future()

    def answer(give: Callable[[Any], None], value: Any) -> None:
        if not found.done():
            give(value)

    def run() -> None:
        give: Callable[[Any], None] = found.set_result
        value: Any
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
            give, value = found.set_exception, error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(answer, give, value)

    _USER.put(run)
    return await found


class PrintsToStderr:
    """Stands for standard output: what the user's code writes there goes to standard error, all else where it belongs."""

    def __init__(self, stdout: TextIO) -> None:
        self._stdout = stdout

    @classmethod
    def install(cls) -> None:
        """Put one in the place of `sys.stdout`, for as long as the process lives."""
        if not isinstance(sys.stdout, cls):
            sys.stdout = cls(sys.stdout)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr if _USER.is_current() else self._stdout, name)
