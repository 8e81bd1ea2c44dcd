"""How fast a lane is, as a person sees it."""

from __future__ import annotations

from collections import deque

from bulkup.event import LaneSnapshot

__all__ = ["Pace"]

PACE_WINDOW_S = 10.0


class Pace:
    """How fast one lane has been over the last seconds."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()
        self.bytes_per_s = 0.0
        self.rows_per_s = 0.0

    def take(self, elapsed_s: float, lane: LaneSnapshot) -> None:
        """Take in where *lane* stands *elapsed_s* seconds after the start."""
        self._marks.append((elapsed_s, lane.bytes_sent, _settled(lane)))
        while len(self._marks) > 2 and elapsed_s - self._marks[0][0] > PACE_WINDOW_S:
            self._marks.popleft()
        since, size, rows = self._marks[0]
        span = elapsed_s - since
        if span <= 0:
            return
        now = self._marks[-1]
        self.bytes_per_s = (now[1] - size) / span
        self.rows_per_s = (now[2] - rows) / span


def _settled(lane: LaneSnapshot) -> int:
    return lane.rows_landed + lane.rows_rejected + lane.rows_in_doubt
