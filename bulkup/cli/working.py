"""`bulkup worker`: where the run is, and the key that it takes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TypeVar

from bulkup.cli.figures import printable
from bulkup.cli.streams import say
from bulkup.errors import UsageProblem
from bulkup.settings.quantities import host_and_port, parse_seconds, parse_workers

__all__ = ["work"]

MOST_PROCESSES = 256

T = TypeVar("T")


def work(connect: str, *, key: str | None, processes: str, retry_for: str, verbosity: int) -> int:
    """Work for the run at *connect*; the exit code. Raises `UsageProblem`."""
    from bulkup.run.cpus import usable_cpus
    from bulkup.run.far_workers import worker_key_at
    from bulkup.run.joining import Joining, join
    from bulkup.tokens.logs import log_to_stderr

    addresses = tuple(_parsed("--connect", one, host_and_port) for one in connect.split(","))
    count = _parsed("--processes", processes, parse_workers)
    count = usable_cpus() if count == "auto" else int(count)
    if not 1 <= count <= MOST_PROCESSES:
        raise UsageProblem(f"--processes {processes}: give a number from 1 to {MOST_PROCESSES}, or auto")
    seconds = _parsed("--retry-for", retry_for, parse_seconds)
    text = os.environ.pop("BULKUP_WORKER_KEY", None)
    if key is None:
        worker_key_at(None, text)  # what is in the environment stays as it is
    log_to_stderr(logging.INFO if verbosity else logging.WARNING, "%(message)s")

    def tell(text: str) -> None:
        say(f"bulkup worker {os.getpid()}: {printable(text)}")

    joining = Joining(
        addresses=addresses,
        key=lambda: worker_key_at(key, text),
        processes=count,
        retry_for_s=seconds,
        say=tell,
    )
    return int(join(joining))


def _parsed(flag: str, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageProblem(f"{flag} {text!r}: {error}") from None
