"""What goes wrong with one lane's requests, for a person: said at the first failure and at each new reason, and kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isfinite

from bulkup.event import Trouble
from bulkup.flow.clock import Clock

__all__ = ["Troubles", "duration_text"]

SAID_AGAIN_AFTER_S = 60.0
"""A reason that comes again is said again after so long: until then the display has it."""
MOST_REASONS = 32
LONGEST_CHARS = 300

_VARYING = re.compile(r"\b(?=\w*\d)[0-9a-fA-F-]{6,}\b|(?<!HTTP )\b\d[\d.,:]*")
"""What makes two texts of one reason: ids, counts, times."""


class Troubles:
    """Keeps one lane's last trouble, and says what is new."""

    def __init__(self, clock: Clock, say: Callable[[str], None]) -> None:
        self._clock = clock
        self._say = say
        self._said: dict[str, float] = {}
        self.last: Trouble | None = None

    def failed(self, reason: str, doing: str, *, for_s: float | None = None, quietly: bool = False) -> None:
        """A request has come to nothing; *doing* says what follows, and ends in what *for_s* seconds from now are: `giving up in`.

        *quietly*: it has been told already.
        """
        now, reason = self._clock.unix(), reason[:LONGEST_CHARS]
        if for_s is not None and not isfinite(for_s):
            for_s = None
        self.last = Trouble(reason, now, doing, None if for_s is None else now + for_s)
        if self._is_new(f"{_VARYING.sub('#', reason)} {doing}") and not quietly:
            self._say(f"{reason}; {doing}" + ("" if for_s is None else f" {duration_text(for_s)}"))

    def passed(self) -> None:
        """A request has succeeded."""
        if self.last is not None and not self.last.is_over:
            self.last = Trouble(self.last.reason, self.last.at, "", None, is_over=True)

    def _is_new(self, kind: str) -> bool:
        now = self._clock.monotonic()
        before = self._said.pop(kind, None)
        if before is not None and now - before < SAID_AGAIN_AFTER_S:
            self._said[kind] = before
            return False
        self._said[kind] = now
        while len(self._said) > MOST_REASONS:
            del self._said[next(iter(self._said))]
        return True


def duration_text(seconds: float) -> str:
    """`8 s`, `9 min 50 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"
