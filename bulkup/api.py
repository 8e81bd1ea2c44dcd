"""The Python API: the engine that the command line uses."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Unpack, cast

import anyio

from bulkup.account.finished import Event, Finished
from bulkup.account.receipt import Receipt
from bulkup.destinations.settings import DestinationSettings
from bulkup.errors import UsageProblem
from bulkup.event import Logged
from bulkup.run.interrupt import Interrupt
from bulkup.run.spooling import Rows, are_rows, spooled_rows
from bulkup.run.story import execute
from bulkup.run.wish import Upload, default_name
from bulkup.settings.config import RunSettings, settings_from
from bulkup.settings.keywords import RunKeywords
from bulkup.sources import STDIN, hide, listed_in

if TYPE_CHECKING:
    from bulkup.run.checking import Checked

__all__ = ["check", "events", "make_upload", "upload", "upload_sync"]

Sources = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def make_upload(
    sources: Sources,
    destinations: Sequence[DestinationSettings],
    name: str | None,
    settings: dict[str, Any],
    called: Callable[[str], str] = str,
) -> Upload:
    """What the arguments of `upload` ask for, checked. Raises `UsageProblem`, which names a setting as it is *called*."""
    given = (sources,) if isinstance(sources, str | os.PathLike) else tuple(sources)
    locators = tuple(map(hide, (*(os.fspath(source) for source in given), *_listed(settings.get("files_from")))))
    if not locators:
        raise UsageProblem("nothing to upload: name at least one file or folder, or give --files-from LIST")
    lanes = [destination.service for destination in destinations]
    if len(set(lanes)) != len(lanes):
        raise UsageProblem("each destination can be given once; use one run for each dataset")
    chosen = settings_from(
        RunSettings, {"name": default_name(locators) if name is None else name, **settings}, "", called
    )
    return Upload(locators, tuple(destinations), chosen)


def _listed(path: str | None) -> list[str]:
    return [] if path is None else listed_in(path, _all_of)


def _all_of(path: str) -> bytes:
    if path == STDIN:
        return sys.stdin.buffer.read()
    with open(path, "rb") as stream:  # noqa: PTH123 - a name need not be Unicode
        return stream.read()


def _shown() -> AbstractContextManager[Callable[[Event], None]]:
    """As `bulkup.notebook.shown`. What draws is loaded only where a notebook may be."""
    if "IPython" not in sys.modules:
        return nullcontext(lambda _: None)
    from bulkup.notebook import shown

    return shown()


async def upload(
    sources: Sources | Rows,
    *,
    destinations: Sequence[DestinationSettings],
    name: str | None = None,
    **settings: Unpack[RunKeywords],
) -> Receipt:
    """Move *sources* into every one of *destinations*, go on where an earlier call stopped, and return the receipt.

    *sources*: paths, folders or globs of JSON lines or JSON arrays, plain or packed; `"-"` is standard input. Or rows: an iterable
    or async iterable of dicts, which are put into a file of the state directory first, so that the same call goes on; they need a
    *name*. *name*: the dataset's, by default the only file's stem. *settings* are the fields of
    `bulkup.settings.config.RunSettings` (`state_dir`, `append`, `on_doubt`, …). Tokens come from each destination's variable in the
    environment, or from its `token_file`.

    In a notebook the cell shows meanwhile what a terminal would.

    A lane that stops (quota, permission, doubt) does not raise: the receipt says so, with its exit code. Raises `BulkupError`
    where nothing could be sent at all: `UsageProblem` (also where no asyncio event loop runs), `TokenRefused`, `SourceChanged`,
    `JournalUnusable`, `RunLocked`, `LocalDisk`.
    When the calling task is cancelled, what was in flight is journaled as in doubt.
    """
    loop = _loop()
    wanted = await _wanted(sources, destinations, name, settings)
    await _left_behind(loop)
    with _shown() as tell:
        return await execute(wanted, tell=tell)


def upload_sync(
    sources: Sources | Rows,
    *,
    destinations: Sequence[DestinationSettings],
    name: str | None = None,
    **settings: Unpack[RunKeywords],
) -> Receipt:
    """As `upload`, for scripts: it returns when all is done.

    Raises `UsageProblem` where an event loop runs already, as in a notebook: there `await bulkup.upload(...)` does it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(upload(sources, destinations=destinations, name=name, **settings))
    raise UsageProblem("an event loop runs here already: use `await bulkup.upload(...)`")


async def check(
    sources: Sources | Rows,
    *,
    destinations: Sequence[DestinationSettings],
    name: str | None = None,
    **settings: Unpack[RunKeywords],
) -> Checked:
    """What `upload` would do with the same arguments: which rows, how many requests, what would be rejected. Nothing is asked of a
    service, and no token is needed. Raises as `upload` does before anything is sent."""
    from bulkup.run.checking import check as checked

    wanted = await _wanted(sources, destinations, name, settings)
    with _shown() as tell:
        return await checked(wanted, tell=tell)


async def _wanted(
    sources: Sources | Rows,
    destinations: Sequence[DestinationSettings],
    name: str | None,
    settings: RunKeywords,
) -> Upload:
    """What is asked for, checked; rows are in a file by then. Raises `UsageProblem`, `LocalDisk`."""
    if not are_rows(sources):
        return make_upload(cast("Sources", sources), destinations, name, dict(settings))
    if name is None:
        raise UsageProblem("rows need name=NAME: the dataset's name")
    state_dir = make_upload("rows", destinations, name, dict(settings)).settings.state_dir
    path = await spooled_rows(cast("Rows", sources), state_dir, name)
    return make_upload(path, destinations, name, dict(settings))


async def events(
    sources: Sources | Rows,
    *,
    destinations: Sequence[DestinationSettings],
    name: str | None = None,
    **settings: Unpack[RunKeywords],
) -> AsyncGenerator[Event, None]:
    """As `upload`, saying what happens meanwhile: notes, about four snapshots a second, and at last `Finished` with the receipt.

    Leaving the loop early stops the run as a first Ctrl-C does: what is in flight ends, within `drain_timeout_s`. A bare `break`
    cannot wait for that; a later call from the same event loop does. To have it done with behind the block, so that no lock is
    held any more::

        async with contextlib.aclosing(bulkup.events("rows.jsonl", destinations=[…])) as happenings:
            async for event in happenings:
                ...
    """
    loop = _loop()
    wanted = await _wanted(sources, destinations, name, settings)
    await _left_behind(loop)
    interrupt = Interrupt()
    send, receive = anyio.create_memory_object_stream[Event](1024)

    def tell(event: Event) -> None:
        if isinstance(event, Logged):  # that is for files
            return
        with suppress(anyio.BrokenResourceError):  # nobody listens any more
            if isinstance(event, Finished) or send.statistics().current_buffer_used < 1000:
                send.send_nowait(event)

    async def work() -> Receipt:
        with send:
            return await execute(wanted, tell=tell, interrupt=interrupt)

    # A plain task, not a task group: the caller may leave the loop anywhere, and an async generator must not own a cancel scope.
    run = asyncio.create_task(work(), name="bulkup run")
    try:
        with receive:
            async for event in receive:
                yield event
    except BaseException:  # left, or cancelled
        await _stop(run, interrupt)
        raise
    await run  # raises what it has raised


_LEFT: set[asyncio.Task[Receipt]] = set()
"""Runs whose events nobody asks for any more, on their way to their end."""


async def _stop(run: asyncio.Task[Receipt], interrupt: Interrupt) -> None:
    """Stop *run* as a first Ctrl-C does and wait for its end, whatever it comes to. Cancelled meanwhile, abort it as a second one
    does: what is in flight then is journaled as in doubt."""
    _LEFT.add(run)
    run.add_done_callback(_seen)
    interrupt.request()
    try:
        await asyncio.wait({run})
    except asyncio.CancelledError:
        interrupt.abort()
        await asyncio.wait({run})
        raise


def _seen(run: asyncio.Task[Receipt]) -> None:
    """Nobody is left to whom it would matter what *run* has come to."""
    _LEFT.discard(run)
    if not run.cancelled():
        run.exception()


async def _left_behind(loop: asyncio.AbstractEventLoop) -> None:
    """Wait for the runs that were left in *loop*: they may hold what the next one needs."""
    for _ in range(2):  # what a `break` has left is closed by the loop's hook: one turn makes the task, one begins it
        await asyncio.sleep(0)
    if left := {run for run in _LEFT if run.get_loop() is loop}:
        await asyncio.wait(left)


def _loop() -> asyncio.AbstractEventLoop:
    """The running event loop. Raises `UsageProblem` where there is none of asyncio's."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise UsageProblem(
            "bulkup needs asyncio's event loop: call it from a coroutine under asyncio.run(...), not under trio and not from a "
            "plain function"
        ) from None
