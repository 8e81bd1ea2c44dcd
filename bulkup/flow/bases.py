"""Where the files of a source begin that is only read forwards: kept, so that who goes on passes over those that are done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bulkup.journal import LaneJournal
from bulkup.journal.facts import BASES
from bulkup.sources import Source

__all__ = ["BasesKept"]

S_A_FILE = 20e-6
"""The list of all files is written anew each time. Of very many it is written more seldom, so that this costs next to nothing."""

_FEW = 2000


class BasesKept:
    """Keeps in *journal* where the files of *source* begin, as far as that is known by now."""

    def __init__(self, source: Source, journal: LaneJournal, now: Callable[[], float]) -> None:
        self._source = source
        self._journal = journal
        self._now = now
        self._kept, self._next_at = len(source.bases), 0.0
        self._keeping: asyncio.Task[None] | None = None

    async def keep(self) -> None:
        """Have it written with what is planned next, or before that. Raises what writing the last ones raised."""
        known, now = self._source.bases, self._now()
        if self._source.any_range or len(known) <= self._kept or (len(known) > _FEW and now < self._next_at):
            return
        if self._keeping is not None:
            await self._keeping
        self._kept, self._next_at = len(known), now + S_A_FILE * len(known)
        self._keeping = asyncio.create_task(self._journal.set_fact(BASES, known))
        self._keeping.add_done_callback(_seen)
        await asyncio.sleep(0)  # it is handed to the journal now, and waited for the next time


def _seen(keeping: asyncio.Task[None]) -> None:
    """Nobody may come to wait for it: what the plan raises says the same."""
    if not keeping.cancelled():
        keeping.exception()
