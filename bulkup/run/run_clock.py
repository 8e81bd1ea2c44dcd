"""A run's clock: the machine's clocks, and the anchor that the journal keeps."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from pathlib import Path

import anyio

from bulkup.flow.clock import Clock
from bulkup.journal import Journal
from bulkup.journal.facts import CLOCK, Anchor

__all__ = ["run_clock"]


async def run_clock(journal: Journal) -> Clock:
    """The clock of the run that *journal* is of. To be asked for by the one process that holds the run."""
    anchor = await journal.fact(CLOCK)
    here = Anchor(_boot(), _elapsed_s(), time.time())
    if anchor is None or not anchor.goes_on(here):
        anchor = here.not_before(await journal.latest_time())
        await journal.set_fact(CLOCK, anchor)
    return Clock(time.monotonic, lambda: anchor.at(_elapsed_s()), anyio.sleep, random.uniform, anchor.unix)


def _elapsed_s() -> float:
    """Seconds of this boot, those in which the machine slept among them where the system counts them."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def _boot() -> str | None:
    """What tells this boot, and this namespace's idea of it, from all others (Linux); None where nothing does."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        namespace = Path("/proc/self/ns/time")
        return f"{boot} {namespace.readlink() if namespace.is_symlink() else ''}".strip()
    return None
