"""The end of a run, and with it all that a run says while it works."""

from __future__ import annotations

from bulkup.account.receipt import Receipt
from bulkup.event import Logged, Note, Progress, Snapshot
from bulkup.light_dataclass import dataclass

__all__ = ["Event", "Finished"]


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a run: its receipt."""

    receipt: Receipt


Event = Note | Snapshot | Progress | Logged | Finished
