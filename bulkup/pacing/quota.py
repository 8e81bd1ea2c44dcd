"""How many requests a minute: told by the user, by the service's headers, or learned from its refusals. Pure.

What is known of the quotas stands in `docs/endpoints.md`: requests a minute, moved every 15 minutes by the use made of them
(80 % or more raises them by a fifth, up to 20 times the base). What the headers say is read in `told.py`, and what they leave open
is learned in `window.py`.
"""

from __future__ import annotations

from bulkup.light_dataclass import dataclass
from bulkup.pacing.learned import LearnedRate
from bulkup.pacing.told import QuotaTold
from bulkup.pacing.window import ToldWindow

__all__ = ["Growth", "Quota", "time_for_s"]

SHARE = 0.99
"""A quota is used up to here: under it, so that there is no refusal; far above the 0.8 from which a growing quota grows."""

NEARLY = 0.9
"""A pace from here up to the whole is that of the quota: who was told 300 a minute need not read 297."""

SLOWEST = 0.1
"""What `remaining` and `reset` say never slows the pace below this share: how a service counts is not published."""

GROWS_EVERY_S = 15 * 60.0
GROWS_TO = 20.0
"""Times the base. [vendor docs]"""

MOST_WINDOWS, FORGOTTEN_AFTER = 16, 64
"""So many quotas are followed; one that so many answers have not told is over."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A quota that was seen to grow: *factor* times as much every 15 minutes, next in *next_s* seconds, up to *most* a minute."""

    factor: float
    next_s: float
    most: float


class Quota:
    """One lane's requests a minute. Times are seconds of any one clock."""

    def __init__(self, *, told_per_minute: float | None = None) -> None:
        """*told_per_minute*: what the user says that the quota is."""
        self._told = told_per_minute
        self._learned = LearnedRate()
        self._windows: dict[str, ToldWindow] = {}
        self._told_in: dict[str, int] = {}
        self._answers = 0
        self._said_first: float | None = None
        self._limits: dict[str, float] = {}
        self._grown: tuple[float, float] | None = None

    def tell(self, per_minute: float) -> None:
        """The user says what the quota is."""
        self._told = per_minute

    def headers(self, now: float, *told: QuotaTold, late_s: float = 0.0) -> None:
        """An answer told where the quotas stood about *late_s* seconds ago. All of them hold at once."""
        self._answers += 1
        for one in told:
            window = self._windows.setdefault(one.name, ToldWindow())
            if self._told_in and one.limit is not None and len(told) == 1:
                self._note_growth(now, one.name, one.limit)
            window.tell(now, one, late_s=late_s)
            self._told_in[one.name] = self._answers
            if one.limit is not None:
                self._limits[one.name] = one.limit
        self._forget()
        if self._said_first is None:
            self._said_first = self._said_per_minute

    def _note_growth(self, now: float, name: str, limit: float) -> None:
        before = self._limits.get(name)
        if before is not None and limit > before:
            self._grown = (limit / before, now)
        elif before is not None and limit < before:
            self._grown = None

    def _forget(self) -> None:
        over = [name for name, at in self._told_in.items() if self._answers - at > FORGOTTEN_AFTER]
        while len(self._told_in) - len(over) > MOST_WINDOWS:
            over.append(min((name for name in self._told_in if name not in over), key=self._told_in.__getitem__))
        for name in over:
            del self._windows[name], self._told_in[name]
            self._limits.pop(name, None)

    def accepted(self, now: float, *, began_s: float, stores: bool = True) -> None:
        """A request that had begun at *began_s*, one that *stores* rows or a look, was not refused for the quota's sake."""
        self._learned.accepted(now, began_s=began_s, stores=stores)

    def refused(self, now: float, *, began_s: float, wait_s: float | None) -> None:
        """A request that had begun at *began_s* was answered 429, with so long a wait if the service named one."""
        self._learned.refused(now, began_s=began_s, wait_s=wait_s)

    @property
    def refusals_in_a_row(self) -> int:
        """How often requests were refused since the last one that was not; those on their way at the same time count as one."""
        return self._learned.refusals_in_a_row

    @property
    def is_known(self) -> bool:
        """There is a pace to keep."""
        return self._told is not None or bool(self._windows) or self._learned_counts

    @property
    def _learned_counts(self) -> bool:
        """A trial is for who knows nothing: where somebody has said what the quota is, only what was measured goes below it."""
        is_said = self._told is not None or bool(self._windows)
        return self._learned.is_measured if is_said else self._learned.per_minute is not None

    @property
    def _said_per_minute(self) -> float | None:
        if self._told is not None:
            return self._told
        return min((60 * window.said_per_s for window in self._windows.values()), default=None)

    def per_minute(self, now: float) -> float | None:
        """At what pace requests may go now; None where no quota is known."""
        paces = [SHARE * self._told] if self._told is not None else []
        for window in self._windows.values():
            if self._told is None:
                paces.append(60 * SHARE * window.cap_per_s(now))
            if (left := window.left_per_s(now)) is not None:
                said = self._told if self._told is not None else 60 * window.said_per_s
                paces.append(max(60 * left, SLOWEST * said))
        if self._learned_counts:
            assert self._learned.per_minute is not None
            paces.append(self._learned.per_minute)
        return min(paces, default=None)

    def told_per_minute(self, now: float) -> float | None:
        """What was said that the quota is, where the pace is that one's and no other's."""
        pace = self.per_minute(now)
        caps = [(60 * window.cap_per_s(now), 60 * window.said_per_s) for window in self._windows.values()]
        if self._told is not None:
            caps = [(self._told, self._told)]
        cap, said = min(caps, default=(0.0, 0.0))
        return said if pace is not None and caps and pace >= SHARE * cap * (1 - 1e-9) else None

    def shown_per_minute(self, now: float) -> float | None:
        """As a person is told it: what was said, where the pace is nearly that; else the pace; None where no quota is known."""
        pace, said = self.per_minute(now), self._said_per_minute
        return said if pace is not None and said is not None and NEARLY * said <= pace <= said else pace

    def changes_s(self, now: float) -> float | None:
        """When the pace changes by itself; None where it does not."""
        changes = [at for window in self._windows.values() if (at := window.changes_s(now)) is not None]
        return min(changes, default=None)

    def growth(self, now: float) -> Growth | None:
        """How it will grow, if it was seen to grow and nothing holds the pace below it."""
        if self._grown is None or self._said_first is None or self._told is not None:
            return None
        if self._learned_counts:
            return None
        factor, at = self._grown
        next_s = GROWS_EVERY_S - (now - at) % GROWS_EVERY_S
        return Growth(factor, next_s, SHARE * GROWS_TO * self._said_first)


def time_for_s(requests: float, per_minute: float, growth: Growth | None) -> float:
    """Seconds that so many requests take at *per_minute*, which grows as *growth* says."""
    if growth is None or growth.factor <= 1:
        return 60 * requests / per_minute
    took, span = 0.0, growth.next_s
    while requests > per_minute * span / 60 and per_minute < growth.most:
        requests -= per_minute * span / 60
        took, span = took + span, GROWS_EVERY_S
        per_minute = min(growth.most, per_minute * growth.factor)
    return took + 60 * requests / per_minute
