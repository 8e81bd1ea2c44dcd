"""bulkup: move datasets of any size into Nebius Token Factory and Collinear AI, fast, resumable, every row accounted for."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bulkup.account.finished import Event, Finished
    from bulkup.account.receipt import DestinationReceipt, Receipt
    from bulkup.api import check, events, upload, upload_sync
    from bulkup.destinations.collinear.settings import Collinear
    from bulkup.destinations.nebius.settings import Nebius
    from bulkup.doubt.verification import Verification
    from bulkup.errors import (
        BulkupError,
        DestinationNotEmpty,
        ExitCode,
        JournalUnusable,
        LocalDisk,
        RunLocked,
        SourceChanged,
        SourceUnreadable,
        TokenRefused,
        UsageProblem,
    )
    from bulkup.event import LaneSnapshot, Note, Snapshot
    from bulkup.run.again import rejects, resume, settle, status, verify
    from bulkup.settings.config import OnDoubt, RejectLimit

    __version__: str

__all__ = [
    "BulkupError",
    "Collinear",
    "DestinationNotEmpty",
    "DestinationReceipt",
    "Event",
    "ExitCode",
    "Finished",
    "JournalUnusable",
    "LaneSnapshot",
    "LocalDisk",
    "Nebius",
    "Note",
    "OnDoubt",
    "Receipt",
    "RejectLimit",
    "RunLocked",
    "Snapshot",
    "SourceChanged",
    "SourceUnreadable",
    "TokenRefused",
    "UsageProblem",
    "Verification",
    "__version__",
    "check",
    "events",
    "rejects",
    "resume",
    "settle",
    "status",
    "upload",
    "upload_sync",
    "verify",
]

_HOMES = {
    "api": ("check", "events", "upload", "upload_sync"),
    "run.again": ("rejects", "resume", "settle", "status", "verify"),
    "doubt.verification": ("Verification",),
    "settings.config": ("OnDoubt", "RejectLimit"),
    "destinations.collinear.settings": ("Collinear",),
    "destinations.nebius.settings": ("Nebius",),
    "errors": (
        "BulkupError", "DestinationNotEmpty", "ExitCode", "JournalUnusable", "LocalDisk", "RunLocked", "SourceChanged",
        "SourceUnreadable", "TokenRefused", "UsageProblem",
    ),
    "account.finished": ("Event", "Finished"),
    "event": ("LaneSnapshot", "Note", "Snapshot"),
    "account.receipt": ("DestinationReceipt", "Receipt"),
}  # fmt: skip


@contextmanager
def _no_search_for_garbage() -> Iterator[None]:
    """Importing leaves next to no garbage, and to look for it takes a tenth of the time. What is new then counts as old."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count() == 0:
            gc.freeze()
            gc.unfreeze()
        gc.enable()


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first used: `import bulkup` alone loads nothing."""
    from importlib import import_module

    if name == "__version__":
        return import_module("bulkup.version").VERSION
    for home, names in _HOMES.items():
        if name in names:
            with _no_search_for_garbage():
                return getattr(import_module(f"bulkup.{home}"), name)
    raise AttributeError(f"module 'bulkup' has no attribute {name!r}")
