"""Seeing an upload through for a person: progress, signals, and the receipt at the end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bulkup.account.finished import Event, Finished
from bulkup.account.receipt import Receipt
from bulkup.cli import COLLECT_AFTER
from bulkup.cli.display import Display, display_for
from bulkup.cli.figures import printable
from bulkup.cli.receipt_table import next_steps, print_receipt
from bulkup.cli.streams import delivered, put_json, say
from bulkup.errors import ExitCode, worst
from bulkup.event import Logged, Note, Progress, Snapshot
from bulkup.light_dataclass import dataclass
from bulkup.run.event_text import level_of
from bulkup.run.interrupt import Interrupt
from bulkup.run.story import execute
from bulkup.run.wish import Upload
from bulkup.settings.run import LogFormat

__all__ = ["OutputMode", "carry_out", "report", "see_through", "with_signals"]

T = TypeVar("T")

SIGNALS = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGQUIT: ExitCode.TERMINATED,
}
"""What stops a run, and what it ends with then. SIGHUP is apart: see `_answered`."""


@dataclass(frozen=True, slots=True)
class OutputMode:
    """How much is said, and in what form."""

    json: bool = False
    quiet: bool = False
    verbosity: int = 0
    """1: what becomes of each chunk; 2: each request too."""
    log_format: LogFormat = LogFormat.TEXT

    def for_run(self, upload: Upload) -> OutputMode:
        """With what the run's own settings say."""
        return replace(self, log_format=upload.settings.log_format)


def carry_out(upload: Upload, output: OutputMode, *, resume: str | None = None) -> int:
    """Run *upload* and print its receipt; the exit code. Raises `BulkupError` as `execute` does."""
    return report(upload, see_through(upload, output, resume=resume), output)


def report(upload: Upload, receipt: Receipt, output: OutputMode) -> int:
    """Print *receipt* and what can be done next; the run's exit code."""
    folder = upload.settings.state_dir / receipt.run_id

    def write() -> None:
        if output.json:
            put_json(receipt.to_json())
        elif not output.quiet:
            print_receipt(receipt, folder)

    shown = delivered(write, f"{receipt.status}: the receipt is in {printable(str(folder / 'receipt.json'))}")
    _say_what_next(upload, receipt, folder, output)
    return int(worst([ExitCode(receipt.exit_code), shown]))


def see_through(upload: Upload, output: OutputMode, *, resume: str | None = None) -> Receipt:
    """Run *upload* with progress on stderr and with signals answered; its receipt."""
    output = output.for_run(upload)
    return with_signals(output, lambda tell, interrupt: execute(upload, tell=tell, interrupt=interrupt, resume=resume))


def with_signals(output: OutputMode, work: Callable[[Callable[[Event], None], Interrupt], Coroutine[Any, Any, T]]) -> T:
    """What *work* comes to, with progress on stderr and with signals answered."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    return asyncio.run(_watched(display_for(quiet=output.quiet, log_format=output.log_format), output.verbosity, work))


async def _watched(
    display: Display, verbosity: int, work: Callable[[Callable[[Event], None], Interrupt], Coroutine[Any, Any, T]]
) -> T:
    interrupt = Interrupt()
    loop = asyncio.get_running_loop()
    answered = _answered(interrupt)
    if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
        answered[signal.SIGTSTP] = partial(_step_aside, loop, display)
    for number, answer in answered.items():
        loop.add_signal_handler(number, answer)
    try:
        return await work(partial(_tell, display, verbosity), interrupt)
    finally:
        display.close()
        for number in answered:
            loop.remove_signal_handler(number)


def _answered(interrupt: Interrupt) -> dict[signal.Signals, Callable[[], None]]:
    """What each signal does. A terminal that goes away (SIGHUP) stops the run unless the process was told to outlive it, as `nohup`
    does; it comes more than once, so it never aborts."""
    answers: dict[signal.Signals, Callable[[], None]] = {
        number: partial(interrupt.request, code) for number, code in SIGNALS.items()
    }
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        answers[signal.SIGHUP] = interrupt.hang_up
    return answers


def _step_aside(loop: asyncio.AbstractEventLoop, display: Display) -> None:
    """Ctrl-Z: the shell finds its terminal as it was, with a cursor; the next snapshot after `fg` draws the display again."""
    display.close()
    loop.remove_signal_handler(signal.SIGTSTP)
    os.kill(os.getpid(), signal.SIGTSTP)  # the process stops here
    loop.add_signal_handler(signal.SIGTSTP, partial(_step_aside, loop, display))


def _tell(display: Display, verbosity: int, event: Event) -> None:
    match event:
        case Note():
            display.note(event)
        case Snapshot():
            display.show(event)
        case Progress():
            display.progress(event)
        case Logged():
            if verbosity >= level_of(event.kind):
                display.log(event)
        case Finished():
            display.end(event)


def _say_what_next(upload: Upload, receipt: Receipt, folder: Path, output: OutputMode) -> None:
    """On stderr, so that it is not part of what `--json` prints. Where the user wants quiet, only what stopped a lane."""
    steps = next_steps(receipt, upload, folder)
    if output.quiet:
        steps = [step for step in steps if step.is_trouble]
    say(*(step.text for step in steps))
