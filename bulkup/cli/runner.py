"""Seeing an upload through for a person: progress, signals, and the receipt at the end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bulkup.cli.outcome import forget_stdout
from bulkup.cli.receipt_table import next_steps, print_receipt
from bulkup.errors import ExitCode
from bulkup.event import Event, Finished, Note, Snapshot
from bulkup.progress import Display, display_for
from bulkup.receipt import Receipt
from bulkup.wiring.run import Interrupt, execute
from bulkup.wiring.upload import Upload

__all__ = ["Face", "carry_out", "report", "see_through", "with_signals"]

T = TypeVar("T")

SIGNALS = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


@dataclass(frozen=True, slots=True)
class Face:
    """How much is said, and in what form."""

    json: bool = False
    quiet: bool = False


def carry_out(upload: Upload, face: Face, *, resume: str | None = None) -> int:
    """Run *upload* and print its receipt; the exit code. Raises `BulkupError` as `execute` does."""
    return report(upload, see_through(upload, face, resume=resume), face)


def report(upload: Upload, receipt: Receipt, face: Face) -> int:
    """Print *receipt* and what can be done next; the run's exit code."""
    folder = upload.settings.state_dir / receipt.run_id
    try:
        if face.json:
            sys.stdout.write(json.dumps(receipt.to_json(), indent=2, ensure_ascii=False) + "\n")
            sys.stdout.flush()
        elif not face.quiet:
            print_receipt(receipt, folder)
    except BrokenPipeError:  # the run's code is worth more than what became of its reader
        forget_stdout()
    _say_what_next(upload, receipt, folder, face)
    return receipt.exit_code


def see_through(upload: Upload, face: Face, *, resume: str | None = None) -> Receipt:
    """Run *upload* with progress on stderr and with signals answered; its receipt."""
    return with_signals(face, lambda tell, interrupt: execute(upload, tell=tell, interrupt=interrupt, resume=resume))


def with_signals(face: Face, work: Callable[[Callable[[Event], None], Interrupt], Coroutine[Any, Any, T]]) -> T:
    """What *work* comes to, with progress on stderr and with signals answered."""
    return asyncio.run(_watched(display_for(quiet=face.quiet), work))


async def _watched(display: Display, work: Callable[[Callable[[Event], None], Interrupt], Coroutine[Any, Any, T]]) -> T:
    interrupt = Interrupt()
    loop = asyncio.get_running_loop()
    for number, code in SIGNALS.items():
        loop.add_signal_handler(number, interrupt.request, code)
    try:
        return await work(partial(_tell, display), interrupt)
    finally:
        display.close()
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def _tell(display: Display, event: Event) -> None:
    match event:
        case Note():
            display.note(event)
        case Snapshot():
            display.show(event)
        case Finished():
            pass


def _say_what_next(upload: Upload, receipt: Receipt, folder: Path, face: Face) -> None:
    """On stderr, so that it is not part of what `--json` prints. Where the user wants quiet, only what stopped a lane."""
    steps = next_steps(receipt, upload, folder)
    if face.quiet:
        steps = [step for step in steps if step.is_trouble]
    for step in steps:
        sys.stderr.write(step.text + "\n")
    sys.stderr.flush()
