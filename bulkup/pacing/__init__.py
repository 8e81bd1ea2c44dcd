"""When a request may go: a rate, a number at once, a gate, and the bytes held in memory."""

from bulkup.pacing.backoff import Patience, full_jitter_s
from bulkup.pacing.budget import ByteBudget
from bulkup.pacing.concurrency import Concurrency
from bulkup.pacing.gate import Gate
from bulkup.pacing.rate import Rate
from bulkup.pacing.slot import Pacing, Waiting

__all__ = ["ByteBudget", "Concurrency", "Gate", "Pacing", "Patience", "Rate", "Waiting", "full_jitter_s"]
