"""Runs uploads in processes of their own, which may be killed: a parent that imports everything once and forks for each.

`python -m tests.matrix.launcher` reads one JSON object a line (what `run` takes) and answers with the exit status of each.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import bulkup.encoding
import bulkup.flow.lane
from bulkup.account.finished import Event
from bulkup.destinations.registry import service_named
from bulkup.errors import BulkupError
from bulkup.event import Note
from bulkup.run.story import execute
from bulkup.run.wish import Upload
from bulkup.settings.config import RunSettings
from tests.e2e.harness import WORKERS
from tests.matrix.failpoints import arm
from tests.workers.waiting import wait_for_workers

__all__ = ["Launcher", "run"]

INTERNAL = 99
LONGEST_S = 90
"""After so long an invocation is ended, and its cell fails: it must not hang."""


def run(given: dict[str, Any]) -> int:
    """One invocation of an upload in this process, with its failpoint armed. The exit code."""
    arm(given.get("point", "none"), given.get("number", 1), signal.Signals[given.get("by", "SIGKILL")])
    destinations = tuple(
        service_named(lane).settings.model_validate(chosen) for lane, chosen in given["destinations"].items()
    )
    upload = Upload((given["source"],), destinations, RunSettings.model_validate({**WORKERS, **given["settings"]}))
    with Path(given["log"]).open("a", encoding="utf-8") as log:

        def tell(event: Event) -> None:
            if isinstance(event, Note):
                log.write(f"{os.getpid()} {event.text}\n")
                log.flush()

        try:
            receipt = asyncio.run(execute(upload, tell=tell))
        except BulkupError as error:
            log.write(f"{os.getpid()} {error!r}\n")
            return int(error.exit_code)
        except Exception:  # noqa: BLE001 - the cell fails with it
            log.write(traceback.format_exc())
            return INTERNAL
        log.write(f"{os.getpid()} exit {receipt.exit_code}\n")
        return receipt.exit_code


def _serve() -> None:
    wait_for_workers()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.alarm(json.loads(line).get("longest_s", LONGEST_S))
            code = INTERNAL
            try:
                code = run(json.loads(line))
            finally:
                sys.stderr.flush()
                os._exit(code)
        print(_ended(child, json.loads(line).get("kill_after_s")), flush=True)


def _ended(child: int, kill_after_s: float | None) -> int:
    """The exit status of *child*, which is killed after so many seconds."""
    deadline = None if kill_after_s is None else time.monotonic() + kill_after_s
    while True:
        pid, status = os.waitpid(child, 0 if deadline is None else os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        assert deadline is not None
        if time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            deadline = None
        else:
            time.sleep(0.001)


class Launcher:
    """The forking parent, from the tests' side."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.matrix.launcher"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
            text=True,
        )
        self._lock = threading.Lock()

    def run(self, given: dict[str, Any]) -> int:
        """The exit status of one upload: its exit code, or -9 where it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(given) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the parent."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)


if __name__ == "__main__":
    assert bulkup.encoding
    assert bulkup.flow.lane
    _serve()
