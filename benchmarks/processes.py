"""A program in a fresh process: how long it took, what it used, with all its descendants, and its last words."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.memory import can_measure, pss_bytes

__all__ = ["ROOT", "Ended", "watched"]

ROOT = Path(__file__).parents[1]
LAST_WORDS = 400
_LOOK_EVERY_S = 0.01
_SAMPLE_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended. *began* is `time.monotonic` at its start; *cpu_s* is its own and that of all descendants that were
    waited for; *peak_pss_bytes* is None where this system does not tell. *said* is its standard output, *last_words* the end of its
    standard error. *stopped*: it was ended from here, by `until` or for its time."""

    code: int
    began: float
    seconds: float
    cpu_s: float
    peak_pss_bytes: int | None
    said: str
    last_words: str
    stopped: str = ""


def watched(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout_s: float,
    until: Callable[[], bool] = lambda: False,
) -> Ended:
    """Run *command* in the repository's root, in a process group of its own that never outlives this call.

    It is killed after *timeout_s*, and once *until* (asked a few times a second) says so.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=dict(environment),
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            status, used, peak, stopped = _wait(process.pid, began, timeout_s, until)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            if process.returncode is None:
                process.wait()
        seconds = time.monotonic() - began
        return Ended(
            process.returncode,
            began,
            seconds,
            used.ru_utime + used.ru_stime,
            peak,
            _text(out),
            _text(err)[-LAST_WORDS:].strip(),
            stopped,
        )


def _wait(
    pid: int, began: float, timeout_s: float, until: Callable[[], bool]
) -> tuple[int, resource.struct_rusage, int | None, str]:
    measures = can_measure()
    peak, sample_at, stopped = 0, 0.0, ""
    while True:
        ended, status, used = os.wait4(pid, os.WNOHANG)
        if ended:
            return status, used, peak if measures else None, stopped
        now = time.monotonic()
        if measures and now >= sample_at:
            peak = max(peak, pss_bytes(pid))
            sample_at = now + _SAMPLE_EVERY_S
        if not stopped and (until() or now - began > timeout_s):
            stopped = "took too long" if now - began > timeout_s else "done"
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        time.sleep(_LOOK_EVERY_S)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
