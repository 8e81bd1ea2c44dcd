"""When a lane will be done: by how fast it has been, and by what the quota allows, its growth included. Pure."""

from __future__ import annotations

from collections import deque

from bulkup.pacing.limiting import LimitedBy
from bulkup.pacing.quota import Growth, time_for_s

__all__ = ["Eta"]

WINDOW_S = 10.0
LEAST_SPAN_S = 1.0


class Eta:
    """Follows the share (0 to 1) of one lane's source that is done."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque()

    def left_s(
        self,
        elapsed_s: float,
        share: float | None,
        *,
        chunks: int,
        per_minute: float | None,
        growth: Growth | None,
        limited_by: LimitedBy | None,
    ) -> float | None:
        """Seconds left at *elapsed_s*, when *share* is done, in *chunks* requests; None where nobody can say.

        Under a quota the requests that are left take at least what they take at *per_minute*, which grows as *growth* says; and
        just that where the quota is what limits.
        """
        if share is None:
            return None
        self._marks.append((elapsed_s, share))
        while len(self._marks) > 2 and elapsed_s - self._marks[0][0] > WINDOW_S:
            self._marks.popleft()
        since, before = self._marks[0]
        by_pace = None
        if share > before and elapsed_s - since >= LEAST_SPAN_S:
            by_pace = (1 - share) * (elapsed_s - since) / (share - before)
        if per_minute is None or share <= 0 or not chunks:
            return by_pace
        by_quota = time_for_s(chunks * (1 - share) / share, per_minute, growth)
        if limited_by is LimitedBy.QUOTA or by_pace is None:
            return by_quota
        return max(by_pace, by_quota)
