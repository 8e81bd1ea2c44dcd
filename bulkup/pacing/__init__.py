"""When a request may go: a rate, a number at once, a gate, and the bytes held in memory."""

from bulkup.pacing.adaptive import AdaptiveLimit
from bulkup.pacing.backoff import Impatience, Patience, Refusals, full_jitter_s, wait_after_refusal_s
from bulkup.pacing.budget import ByteBudget
from bulkup.pacing.concurrency import Concurrency
from bulkup.pacing.eta import Eta
from bulkup.pacing.gate import Gate
from bulkup.pacing.learned import LearnedRate
from bulkup.pacing.limiting import LimitedBy, Limiting, Spent
from bulkup.pacing.measured import Ending, RoundTrip
from bulkup.pacing.quota import Growth, Quota, time_for_s
from bulkup.pacing.rate import Rate
from bulkup.pacing.slot import Pacing, Waiting
from bulkup.pacing.slow_start import SlowStart
from bulkup.pacing.spacing import Spacing
from bulkup.pacing.told import QuotaTold, quotas_told

__all__ = [
    "AdaptiveLimit",
    "ByteBudget",
    "Concurrency",
    "Ending",
    "Eta",
    "Gate",
    "Growth",
    "Impatience",
    "LearnedRate",
    "LimitedBy",
    "Limiting",
    "Pacing",
    "Patience",
    "Quota",
    "QuotaTold",
    "Rate",
    "Refusals",
    "RoundTrip",
    "SlowStart",
    "Spacing",
    "Spent",
    "Waiting",
    "full_jitter_s",
    "quotas_told",
    "time_for_s",
    "wait_after_refusal_s",
]
