"""Who may send: whoever holds the run's epoch, as long as its lease lasts."""

from __future__ import annotations

from math import inf
from typing import Final, Protocol

__all__ = ["LAST_WORD_BYTES", "UNENDING", "USER_TIMEOUT_S", "Authority", "Unending"]

USER_TIMEOUT_S = 10.0
"""Where authority may end: the kernel gives up a connection whose peer has taken nothing for so long, whether or not this process
runs. A coordinator's lease is longer than this and a worker's lease together: a body is gone for good before another sends."""

LAST_WORD_BYTES = 1024
"""Where authority may end: so much of every body is kept back until all before it has left, and goes only under authority."""


class Authority(Protocol):
    """The right to send for a run. Whoever loses it does not get it back: the next one has a higher *epoch*."""

    @property
    def epoch(self) -> int:
        """Orders and commits carry it: those of an older one count for nothing. 0 where there is only ever one holder."""

    def holds(self) -> bool:
        """Whether the right is held now, by this machine's monotonic clock alone. It may be back later, as long as nobody else has
        taken it. Cheap: it is asked for every body."""

    @property
    def left_s(self) -> float:
        """For how long it is held at least, s: nobody may be given it for longer. 0 or less: it is not held."""


class Unending:
    """The right of a process that has the run's lock (`flock`): the kernel keeps it until the process ends."""

    epoch: Final = 0
    left_s: Final = inf

    def holds(self) -> bool:
        return True


UNENDING = Unending()
