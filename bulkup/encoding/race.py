"""Which of two ways to make blocks ready is the faster one on this machine."""

from __future__ import annotations

from math import inf

__all__ = ["Race"]

_TURNS = 12
"""So many large blocks each way gets at most. Its best time counts: what else runs on the machine only makes a block slower."""

_CLEARLY = 2.5
"""A decoder that takes so many times as long needs no more turns."""


class Race:
    """A shortcut and the decoder take turns with the first large blocks. Both make the same of a block, so none is made twice."""

    def __init__(self) -> None:
        self.is_over = False
        self.shortcut_lost = False
        self._turns = 0
        self._best = [inf, inf]

    @property
    def is_decoders_turn(self) -> bool:
        """Else it is the shortcut's."""
        return self._turns % 2 == 1

    def took(self, seconds: float, size: int) -> None:
        """So many *seconds* of processor time took whose turn it is, for *size* bytes."""
        who = self._turns % 2
        self._best[who] = min(self._best[who], seconds / size)
        self._turns += 1
        shortcuts, decoders = self._best
        is_clear = decoders >= _CLEARLY * shortcuts
        if (is_clear and self._turns > 1) or self._turns == 2 * _TURNS:
            self.is_over, self.shortcut_lost = True, decoders < shortcuts
