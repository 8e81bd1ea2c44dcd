"""How fast a lane is, as a person sees it."""

from __future__ import annotations

from collections import deque

from bulkup.event import LaneSnapshot, Stage

__all__ = ["Pace", "StageSpeeds"]

PACE_WINDOW_S = 10.0


class Pace:
    """How fast one lane has been over the last seconds."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()
        self.bytes_per_s = 0.0
        self.rows_per_s = 0.0

    def take(self, elapsed_s: float, lane: LaneSnapshot) -> None:
        """Take in where *lane* stands *elapsed_s* seconds after the start."""
        self._marks.append((elapsed_s, lane.bytes_sent, lane.rows_settled))
        while len(self._marks) > 2 and elapsed_s - self._marks[0][0] > PACE_WINDOW_S:
            self._marks.popleft()
        since, size, rows = self._marks[0]
        span = elapsed_s - since
        if span <= 0:
            return
        now = self._marks[-1]
        self.bytes_per_s = (now[1] - size) / span
        self.rows_per_s = max(0.0, (now[2] - rows) / span)  # what was in doubt may be planned again


class StageSpeeds:
    """How fast stages are that send nothing, each since it began."""

    def __init__(self) -> None:
        self._began: dict[tuple[str, str], tuple[float, int]] = {}
        self._now_s = 0.0

    def take(self, elapsed_s: float, stage: Stage) -> None:
        """Take in where *stage* stands *elapsed_s* seconds after the start."""
        self._now_s = elapsed_s
        self._began.setdefault((stage.lane, stage.what), (elapsed_s, stage.done))

    def left_s(self, stage: Stage) -> float | None:
        """Seconds that are left of it; None where nobody can say."""
        began_s, before = self._began[stage.lane, stage.what]
        done, span = stage.done - before, self._now_s - began_s
        if done <= 0 or span < 1:
            return None
        return max(0, stage.total - stage.done) * span / done
