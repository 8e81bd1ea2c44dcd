"""A run's clock: the machine's clocks, and the anchor that the journal keeps."""

from __future__ import annotations

import random
import time

import anyio

from bulkup.flow.clock import Clock
from bulkup.flow.lane import others_send_s
from bulkup.journal import Journal
from bulkup.journal.facts import CLOCK, UPLOAD, Anchor
from bulkup.light_dataclass import replace
from bulkup.machine import machine_boot, machine_clock

__all__ = ["run_clock"]


async def run_clock(journal: Journal) -> Clock:
    """The clock of the run that *journal* is of. To be asked for by the one process that holds the run."""
    anchor = await journal.fact(CLOCK)
    here = Anchor(machine_boot(), machine_clock(), time.time())
    if anchor is None or not anchor.goes_on(here):
        if latest := await journal.latest_time():
            here = replace(here.not_before(latest), rest_s=await _others_send_s(journal))
        anchor = here
        await journal.set_fact(CLOCK, anchor)
    return Clock(time.monotonic, lambda: anchor.at(machine_clock()), anyio.sleep, random.uniform, anchor.since)


async def _others_send_s(journal: Journal) -> float:
    upload = await journal.fact(UPLOAD)
    lanes = upload.destinations if upload is not None else ()
    return max([0.0, *[await others_send_s(journal.lane(name)) for name in lanes]])
