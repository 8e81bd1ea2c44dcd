"""Ranges of an object, fetched in threads, again where that fails, and ahead of whoever reads them."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from bulkup.light_dataclass import dataclass
from bulkup.sources.places.address import Remote
from bulkup.sources.places.place import Buffer, OutOfReach, Unreachable, opened
from bulkup.tokens.secret import redact

__all__ = ["GIVE_UP_S", "LOOK_S", "Windows", "in_thread", "persist", "side_by_side"]

T = TypeVar("T")
U = TypeVar("U")

GIVE_UP_S = 120.0
"""A place that cannot be reached for so long ends the work (exit code 75)."""

LOOK_S = 20.0
"""The same, before anything has been sent."""

WINDOW_BYTES = 2 * 1024 * 1024
AHEAD = 4
"""So many windows are under way or waiting at once: 8 MiB for each file that is being read."""

AT_ONCE = 16
"""So many files are looked into at once."""

LAST_ROW_BYTES = 64 * 1024
"""How much more than a range is fetched with it: mostly its last row ends there."""

_LONGEST_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class _Span:
    """The bytes [start, stop), or what has become of fetching them."""

    start: int
    stop: int
    data: Future[Buffer]


def persist(
    uri: str,
    attempt: Callable[[], T],
    give_up_s: float,
    stop: threading.Event | None = None,
    progress: Callable[[], object] = lambda: None,
) -> T:
    """What *attempt* gives, tried again with growing pauses until it has failed for *give_up_s* without *progress*.

    Raises `OutOfReach`.
    """
    stop = stop or threading.Event()
    failing_since, tries, before = 0.0, 0, None
    while True:
        try:
            return attempt()
        except Unreachable as error:
            now = time.monotonic()
            if not tries or progress() != before:
                failing_since, tries, before = now, 0, progress()
            tries += 1
            wait_s = max(error.wait_s, random.uniform(0, min(_LONGEST_WAIT_S, 0.1 * 2**tries)))  # noqa: S311
            if now - failing_since + wait_s > give_up_s or stop.is_set():
                raise OutOfReach(
                    f"{uri}: cannot be read now: {redact(str(error))}. The same command goes on"
                ) from error
            stop.wait(wait_s)


def in_thread(work: Callable[[], T]) -> Future[T]:
    """*work*, in a thread that nobody waits for when the process ends: a server that hangs must not hold it up."""
    future: Future[T] = Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            future.set_exception(error)

    threading.Thread(target=run, name="bulkup fetch", daemon=True).start()
    return future


def side_by_side(work: Callable[[U], T], items: Iterable[U]) -> Iterator[T]:
    """What *work* makes of each of *items*, in their order, some of them at the same time."""
    under_way: deque[Future[T]] = deque()
    for item in items:
        under_way.append(in_thread(partial(work, item)))
        if len(under_way) == AT_ONCE:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


class Windows:
    """The bytes of an object from *start* on, window by window. The next ones are under way while one is worked on.

    Up to *stop* they are fetched ahead; behind it as they are asked for: the last row of a range goes on there. For one reader.
    """

    def __init__(self, uri: str, remote: Remote, start: int, stop: int, size: int) -> None:
        self.start = start
        self._uri = uri
        self._remote = remote
        self._stop = min(stop, size)
        self._size = size
        self._spans: deque[_Span] = deque()
        self._closed = threading.Event()

    def at(self, offset: int) -> _Span:
        """The window that holds *offset*, which lies before the object's end. What comes before it is let go of."""
        while self._spans and self._spans[0].stop <= offset:
            self._spans.popleft()
        if self._spans and offset < self._spans[0].start:
            self._spans.clear()
        self.ahead(offset)
        return self._spans[0]

    def ahead(self, offset: int, most: int = AHEAD) -> None:
        """Have the windows from that which holds *offset* on fetched."""
        at = self._spans[-1].stop if self._spans else offset
        while at < self._size and (at <= offset or (at < self._stop and len(self._spans) < most)):
            stop = min(at + WINDOW_BYTES, self._size)
            if at < self._stop < stop:
                stop = min(stop, self._stop + LAST_ROW_BYTES)
            self._spans.append(_Span(at, stop, in_thread(partial(self._fetch, at, stop))))
            at = stop

    def begin(self) -> None:
        """Have the first window fetched."""
        self.ahead(self.start, most=1)

    def stop_at(self, stop: int) -> None:
        """The range that is read ends at *stop*."""
        self._stop = min(stop, self._size)

    @property
    def is_all_asked_for(self) -> bool:
        """Whether every window of the range is here, or on its way."""
        return bool(self._spans) and self._spans[-1].stop >= self._stop

    def close(self) -> None:
        """Nothing more is wanted."""
        self._closed.set()
        for span in self._spans:
            span.data.cancel()
        self._spans.clear()

    def _fetch(self, start: int, stop: int) -> Buffer:
        place = opened(self._remote.at)
        return persist(self._uri, lambda: place.read(self._uri, self._remote, start, stop), GIVE_UP_S, self._closed)
