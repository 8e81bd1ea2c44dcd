"""The durable record of a run: what was planned, what was sent, what became of it."""

from bulkup.journal.append_log import AppendLog
from bulkup.journal.base import Journal, LaneJournal, every_chunk, every_ids, landed_without_ids
from bulkup.journal.locks import Lock
from bulkup.journal.sqlite import SqliteJournal

__all__ = [
    "AppendLog",
    "Journal",
    "LaneJournal",
    "Lock",
    "SqliteJournal",
    "every_chunk",
    "every_ids",
    "landed_without_ids",
]
