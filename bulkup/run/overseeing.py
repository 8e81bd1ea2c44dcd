"""What may change a run while it works: commands of other processes, and the limit that the user has set for a session."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio

from bulkup.errors import BulkupError, ExitCode
from bulkup.run.control import Command, Inbox
from bulkup.run.opened import OpenRun
from bulkup.settings.quantities import limit_of, parse_number, parse_size, parse_whole

__all__ = ["MOST_AT_ONCE_HERE", "overseen"]

POLL_EVERY_S = 0.4

_SETTABLE: dict[str, tuple[Callable[[str], float], float]] = {
    "concurrency": (parse_whole, 1),
    "requests_per_minute": (parse_number, 1e-6),
    "bytes_per_second": (parse_size, 1),
}
"""How each is read, and the least that it may be."""

MOST_AT_ONCE_HERE, MOST_AT_ONCE_FAR = 256, 4096
"""So many requests at once are enough for one machine, and with workers on others."""


@asynccontextmanager
async def overseen(run: OpenRun) -> AsyncIterator[None]:
    """Meanwhile the run does what it is told, and stops at its limit."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_obey, run)
        if run.wish.upload.settings.stop_after:
            tasks.start_soon(_stop_after, run, run.wish.upload.settings.stop_after)
        yield
        tasks.cancel_scope.cancel()


async def _obey(run: OpenRun) -> None:
    inbox = Inbox(run.folder.path)
    while True:
        await anyio.sleep(POLL_EVERY_S)
        try:
            for command in await anyio.to_thread.run_sync(inbox.new):
                is_done, text = _carry_out(run, command)
                await anyio.to_thread.run_sync(partial(inbox.answer, command, text, is_done=is_done))
        except (OSError, BulkupError):  # the file cannot be read just now: who commands sees that nobody answers
            continue


def _carry_out(run: OpenRun, command: Command) -> tuple[bool, str]:
    pacings = [lane.context.requests for lane in run.lanes]
    match command.verb:
        case "pause":
            for requests in pacings:
                requests.pacing.pause()
            run.log("paused", {})
            run.say("paused: requests that are under way end, and no other begins; `bulkup continue` goes on")
            return True, "paused"
        case "continue":
            for requests in pacings:
                requests.go_on()
            run.log("continued", {})
            run.say("going on")
            return True, "going on"
        case "stop":
            run.wish.interrupt.stop(ExitCode.STOPPED_BY_LIMIT, "stopped by `bulkup stop`")
            return True, "stopping: requests that are under way end; `bulkup resume` goes on"
        case "set":
            return _set(run, dict(command.values))
        case other:
            return False, f"this bulkup knows no command {other!r}"


def _set(run: OpenRun, values: dict[str, Any]) -> tuple[bool, str]:
    read: dict[str, float] = {}
    for name, text in values.items():
        if name not in _SETTABLE:
            return False, f"{name} cannot be changed while it runs"
        parse, low = _SETTABLE[name]
        try:
            value = parse(str(text))
        except ValueError as error:
            return False, f"{name} {text!r}: {error}"
        most = MOST_AT_ONCE_HERE if run.wish.upload.settings.listen is None else MOST_AT_ONCE_FAR
        if value < low or (name == "concurrency" and value > most):
            hint = " to 256, or to 4,096 with workers on other machines (--listen)" if name == "concurrency" else ""
            return False, f"--{name.replace('_', '-')} {value:,.12g}: give a number from {low:g}{hint}"
        read[name] = value
    for lane in run.lanes:
        lane.context.requests.pacing.change(
            concurrency=None if (count := read.get("concurrency")) is None else int(count),
            requests_per_minute=read.get("requests_per_minute"),
            bytes_per_second=read.get("bytes_per_second"),
        )
    said = ", ".join(f"--{name.replace('_', '-')} {value:,.12g}" for name, value in read.items())
    run.log("set", {"values": read})
    run.say(f"set by another process, for this session: {said}")
    return True, f"set: {said}"


async def _stop_after(run: OpenRun, text: str) -> None:
    what, most = limit_of(text)
    while _spent(run, what) < most:  # noqa: ASYNC110 - what is spent is counted elsewhere, by the hundred thousand
        await anyio.sleep(0.1)
    run.say(f"--stop-after {text} is reached")
    run.wish.interrupt.stop(ExitCode.STOPPED_BY_LIMIT, f"--stop-after {text} was reached")
    await anyio.sleep_forever()


def _spent(run: OpenRun, what: str) -> float:
    tallies = [lane.context.tally for lane in run.lanes]
    match what:
        case "seconds":
            return time.monotonic() - run.began_s
        case "bytes":
            return sum(tally.bytes_sent for tally in tallies)
        case _:
            return max((tally.rows_landed for tally in tallies), default=0)
