"""The durable record of a run: what was planned, what was sent, what became of it."""

from bulkup.journal.append_log import AppendLog
from bulkup.journal.journal import Journal, LaneJournal
from bulkup.journal.lock import Lock

__all__ = ["AppendLog", "Journal", "LaneJournal", "Lock"]
