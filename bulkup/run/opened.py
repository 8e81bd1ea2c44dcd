"""What an open run is, and what it was opened for: the values that its parts share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import field
from enum import StrEnum
from typing import Any

import anyio

from bulkup.account.finished import Event
from bulkup.errors import BulkupError
from bulkup.event import Logged, Note
from bulkup.flow.clock import Clock
from bulkup.flow.lane import Lane
from bulkup.journal import Journal
from bulkup.journal.place import kept_in
from bulkup.light_dataclass import dataclass
from bulkup.run.folder import RunFolder, StateDir
from bulkup.run.interrupt import Interrupt
from bulkup.run.record import RunRecord
from bulkup.run.run_workers import RunWorkers
from bulkup.run.wish import Upload
from bulkup.sources import KeptRows, Source

__all__ = ["OpenRun", "Purpose", "Wish"]


class Purpose(StrEnum):
    """What a run is opened for."""

    SEND = "send"
    SETTLE = "settle"
    VERIFY = "verify"
    CHECK = "check"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done with a run, who hears of it and who may stop it. *resume* names the run, where it is not the one that
    *upload* makes."""

    upload: Upload
    purpose: Purpose
    resume: str | None
    tell: Callable[[Event], None]
    interrupt: Interrupt

    @property
    def is_to_send(self) -> bool:
        """Else nothing is sent, and the run keeps the options that it was last sent with."""
        return self.purpose is Purpose.SEND

    @property
    def is_to_check(self) -> bool:
        """Nothing is asked of a service, so no token is needed."""
        return self.purpose is Purpose.CHECK


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """A run, open: what is constant for it. *is_new*: nothing was ever planned or asked. *began_s* is of the monotonic clock.
    *kept_rows* has those of the *source* that were read and are slow to read again; None where none are kept."""

    wish: Wish
    folder: RunFolder
    state: StateDir
    journal: Journal
    clock: Clock
    source: Source
    kept_rows: KeptRows | None
    workers: RunWorkers
    record: RunRecord
    is_new: bool
    began_s: float
    lanes: list[Lane] = field(default_factory=list)
    other_name: str | None = None

    def say(self, text: str, lane: str = "") -> None:
        """Tell the user a line, about *lane* or about the run."""
        self.wish.tell(Note(lane, text))

    async def keep(self) -> None:
        """Something will be sent, so the run is to be found again, however the paths of its sources are written then."""
        if self.other_name is not None and self.other_name != self.folder.run_id:
            await anyio.to_thread.run_sync(self.state.call, self.folder.run_id, self.other_name)

    def log(self, kind: str, fields: dict[str, Any], lane: str = "") -> None:
        """Write into the log what happened."""
        self.wish.tell(Logged(kind, lane, fields))

    def discard(self) -> bool:
        """Leave nothing behind of a run that was refused before it had planned anything; False where another process has taken it
        over, or may have."""
        address = kept_in(self.folder.path)
        if address is not None:
            from bulkup.journal.postgres.runs import discard_run

            try:
                if not discard_run(address, self.folder.run_id, self.journal.authority.epoch):
                    return False
            except BulkupError:  # nobody knows whose it is: it stays, with nothing in it
                return False
        shutil.rmtree(self.folder.path, ignore_errors=True)
        return True
