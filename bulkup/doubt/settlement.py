"""Settling doubt: pure decisions from evidence.

The danger is *false absence*: a killed client's body may be stored late; a list may lag, be scoped or be cached; another writer
may stand in between. So presence needs a sighting that nothing else explains, and absence needs time, and a control that shows
that the look sees what is newer. What cannot be decided waits, and what waits for ever is held and says why, with numbers.

A *look* is one read-back of the whole. All times here are Unix seconds of this machine; none is compared with a server's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from bulkup.chunk import ChunkId
from bulkup.light_dataclass import dataclass

__all__ = [
    "PATIENCE_QUIET_PERIODS",
    "Absent",
    "Doubt",
    "FailedThere",
    "Held",
    "Known",
    "Look",
    "Match",
    "NotYet",
    "Others",
    "PageBack",
    "Present",
    "Seen",
    "Verdict",
    "judge_by_count",
    "judge_by_name",
    "judge_by_rows",
    "judge_rest",
    "wait_or_hold",
]

LAST_ONES_QUIET_PERIODS = 4
"""How many quiet periods must pass before a chunk after which nothing landed counts as absent."""

PATIENCE_QUIET_PERIODS = 12
"""After so many quiet periods of looking what could not be decided is held."""

MAX_CANDIDATES = 400
"""Of how many chunks in doubt a set is looked for by content, where they cannot all be there."""

MAX_SUBSETS = 1 << 16
"""How many distinct sums of chunk sizes are looked through before a count is taken for ambiguous, and how many sets of chunks
before their rows are."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A chunk of which nobody knows whether it was stored. *was_answered*: the service refused it, so nothing is on its way."""

    chunk: ChunkId
    name: str
    rows: int
    last_byte_at: float
    was_answered: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A dataset that a look shows. *rows* is None where the list does not say."""

    id: str
    name: str
    status: str
    rows: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """One read-back of the whole, begun at *at* and over *took_s* seconds later: its requests may have waited for their turns.
    *unavailable* says why there is none to be had: then *seen* is there, and whatever it does not show may be there too. *listed*
    counts all datasets that were listed, of whatever name."""

    at: float
    seen: Sequence[Seen] = ()
    unavailable: str | None = None
    listed: int = 0
    took_s: float = 0.0

    @property
    def ended_at(self) -> float:
        """When its last request was answered: any of it may be as old as its begin, or as new as this."""
        return self.at + self.took_s

    @property
    def ids(self) -> frozenset[str]:
        """The datasets' ids."""
        return frozenset(dataset.id for dataset in self.seen)

    @property
    def rows(self) -> int:
        """Rows of all datasets seen, where the list says."""
        return sum(dataset.rows or 0 for dataset in self.seen)


class Match(StrEnum):
    """Whether a dataset of a doubtful chunk's name holds that chunk."""

    SAME = "same"
    OTHER = "other"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Known:
    """What the run knows: ids that are none of its chunks (there before its first create, or FAILED since), rows that were there
    before (and of other runs since), and what has landed: each dataset with the time at which the last chunk in it *began to be
    sent*, so that it was stored later than that for sure. *landed_rows* counts rows of landed chunks. *unclear* names other runs
    of which it is not known how many rows they have there."""

    before: frozenset[str]
    base_rows: int
    landed: Mapping[str, float]
    landed_rows: int
    unclear: tuple[str, ...] = ()

    @property
    def latest_landing(self) -> float:
        """When the last of what has landed began to be sent; minus infinity if nothing has."""
        return max(self.landed.values(), default=float("-inf"))


@dataclass(frozen=True, slots=True)
class Others:
    """What other runs that are known here have put into the same dataset since this run looked at it first: *rows*, beside what
    the runs in *unclear* may have put there."""

    rows: int = 0
    unclear: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Present:
    """The chunk is stored, in this dataset."""

    chunk: ChunkId
    remote_id: str


@dataclass(frozen=True, slots=True)
class Absent:
    """The chunk is not stored and will not be: it may be sent again."""

    chunk: ChunkId


@dataclass(frozen=True, slots=True)
class FailedThere:
    """The service took the chunk and failed on it."""

    chunk: ChunkId
    remote_id: str


@dataclass(frozen=True, slots=True)
class NotYet:
    """Undecided; another look no earlier than *at* may decide."""

    chunk: ChunkId
    at: float
    why: str


@dataclass(frozen=True, slots=True)
class Held:
    """It cannot be decided. *why* gives the numbers that were seen."""

    chunk: ChunkId
    why: str


@dataclass(frozen=True, slots=True)
class PageBack:
    """The count fits several sets of chunks: only the rows themselves can tell."""

    doubts: tuple[Doubt, ...]
    why: str


Verdict = Present | Absent | FailedThere | NotYet | Held


def judge_by_name(
    doubts: Sequence[Doubt], looks: Sequence[Look], known: Known, matches: Mapping[str, Match], quiet_s: float
) -> list[Verdict]:
    """Verdicts where each chunk makes a dataset of its own name. *looks* are this settlement's, oldest first.

    *matches* says of datasets seen under a doubtful chunk's name whether they hold it (schema, row count; for a bare NAME the
    content too).
    """
    return [_judge_name(doubt, looks, known, matches, quiet_s) for doubt in doubts]


def _judge_name(
    doubt: Doubt, looks: Sequence[Look], known: Known, matches: Mapping[str, Match], quiet_s: float
) -> Verdict:
    look = looks[-1]
    if look.unavailable is not None:
        return Held(doubt.chunk, f"the service cannot be read back: {look.unavailable}")
    sighted = [d for d in look.seen if d.name == doubt.name and d.id not in known.before and d.id not in known.landed]
    ours = [d for d in sighted if d.status != "FAILED"]
    if sighted and not ours:
        return FailedThere(doubt.chunk, sighted[0].id)
    if len(ours) > 1:
        return Held(doubt.chunk, f"{len(ours)} datasets are named {doubt.name}: {', '.join(d.id for d in ours)}")
    if not ours:
        return _judge_absence(doubt, looks, known, quiet_s)
    dataset = ours[0]
    match matches.get(dataset.id):  # None: nobody has compared it
        case Match.SAME if dataset.status == "READY":
            return Present(doubt.chunk, dataset.id)
        case Match.OTHER if dataset.status == "READY":  # or it does not show all of its rows yet
            why = f"dataset {dataset.id} is named {doubt.name} and holds something else"
            return wait_or_hold(doubt, looks, quiet_s, why)
        case _:
            return wait_or_hold(doubt, looks, quiet_s, f"dataset {dataset.id} ({doubt.name}) is {dataset.status}")


def _judge_absence(doubt: Doubt, looks: Sequence[Look], known: Known, quiet_s: float) -> Verdict:
    """Absence by a look at named datasets: a quiet period since the last byte, and something that was stored after that period and
    that the look does show. However far the list lags, it shows all that is older."""
    look = looks[-1]
    if look.at < doubt.last_byte_at + quiet_s:
        return NotYet(doubt.chunk, doubt.last_byte_at + quiet_s, "its body may still be on its way")
    newer = [id_ for id_, at in known.landed.items() if at > doubt.last_byte_at + quiet_s]
    # in a look that took longer, the control may have come into view after the place was looked at where the chunk would stand
    if look.took_s <= quiet_s and any(id_ in look.ids for id_ in newer):
        return Absent(doubt.chunk)
    missing = len(known.landed.keys() - look.ids)
    if missing:
        why = f"the list does not show {missing:,} of {len(known.landed):,} datasets that have landed"
        return wait_or_hold(doubt, looks, quiet_s, why)
    return _judge_last_one(doubt, looks, quiet_s, equal=lambda a, b: a.ids == b.ids)


def _judge_last_one(
    doubt: Doubt, looks: Sequence[Look], quiet_s: float, *, equal: Callable[[Look, Look], bool]
) -> Verdict:
    """Nothing landed after it: absent after four quiet periods and two equal looks."""
    look = looks[-1]
    due = doubt.last_byte_at + LAST_ONES_QUIET_PERIODS * quiet_s
    if look.at < due:
        return NotYet(doubt.chunk, due, "nothing has landed after it that a look could show")
    before = [other for other in looks[:-1] if look.at - other.ended_at >= quiet_s]
    if before and all(equal(other, look) for other in looks if other.at >= before[-1].at):
        return Absent(doubt.chunk)
    return wait_or_hold(doubt, looks, quiet_s, "two looks a quiet period apart have not been equal yet")


def wait_or_hold(
    doubt: Doubt, looks: Sequence[Look], quiet_s: float, why: str, patience: int = PATIENCE_QUIET_PERIODS
) -> Verdict:
    """Look again in a quiet period, as long as *patience* lasts, in quiet periods."""
    look = looks[-1]
    if look.at - looks[0].ended_at > patience * quiet_s:
        return Held(doubt.chunk, why)
    return NotYet(doubt.chunk, look.ended_at + quiet_s, why)


def judge_by_count(
    doubts: Sequence[Doubt], looks: Sequence[Look], known: Known, quiet_s: float
) -> list[Verdict] | PageBack:
    """Verdicts where chunks are appended to one dataset and only its row count shows them. Nothing may be in flight."""
    look = looks[-1]
    if look.unavailable is not None:
        return [Held(d.chunk, f"the service cannot be read back: {look.unavailable}") for d in doubts]
    if len(look.seen) > 1:
        why = f"{len(look.seen)} datasets have that name: {', '.join(d.id for d in look.seen)}"
        return [Held(d.chunk, why) for d in doubts]
    if known.unclear:
        why = (
            f"it is not known how many rows run {known.unclear[0]} has put into the same dataset: settle that run first, or say "
            "what you know about this chunk"
        )
        return [Held(d.chunk, why) for d in doubts]
    expected = known.base_rows + known.landed_rows
    numbers = (
        f"the dataset shows {look.rows:,} rows; {known.base_rows:,} were there and {known.landed_rows:,} have landed"
    )
    if look.rows < expected:
        return [wait_or_hold(d, looks, quiet_s, f"{numbers}: rows are missing from the count") for d in doubts]
    if not _stands_still(looks, quiet_s):
        return [wait_or_hold(d, looks, quiet_s, "the count has not stood still for a quiet period") for d in doubts]
    if look.rows != expected and any(doubt.was_answered for doubt in doubts):
        # No sum of whole chunks proves anything, nor do the rows where there are others that nobody knows.
        why = f"{numbers}: a part of a refused chunk may be stored"
        return [Held(d.chunk, why) for d in doubts] if known.base_rows else PageBack(tuple(doubts), why)
    fitting = _fitting(doubts, look.rows - expected)
    if fitting is None:
        return PageBack(tuple(doubts), f"{numbers}: several sets of chunks in doubt add up to the difference")
    if not fitting and look.rows != expected:
        why = f"{numbers}: no set of chunks in doubt adds up to the difference, so somebody else writes to it"
        return [wait_or_hold(d, looks, quiet_s, why, LAST_ONES_QUIET_PERIODS) for d in doubts]  # or the count lags
    return judge_rest(doubts, fitting, looks, known, quiet_s)


def _judge_absence_by_count(doubt: Doubt, looks: Sequence[Look], known: Known, quiet_s: float) -> Verdict:
    """The still count leaves no place for it. It shows all that has landed, so anything newer is the control."""
    if doubt.was_answered:
        return Absent(doubt.chunk)
    if looks[-1].at < doubt.last_byte_at + quiet_s:
        return NotYet(doubt.chunk, doubt.last_byte_at + quiet_s, "its body may still be on its way")
    if known.latest_landing > doubt.last_byte_at:
        return Absent(doubt.chunk)
    return _judge_last_one(doubt, looks, quiet_s, equal=lambda a, b: a.rows == b.rows)


def _stands_still(looks: Sequence[Look], quiet_s: float) -> bool:
    """Two equal counts at least a quiet period apart, and none other between them."""
    last = looks[-1]
    for look in reversed(looks[:-1]):
        if look.rows != last.rows or look.ids != last.ids:
            return False
        if last.at - look.ended_at >= quiet_s:
            return True
    return False


def _fitting(doubts: Sequence[Doubt], rows: int) -> frozenset[ChunkId] | None:
    """The one set of doubts whose rows add up to *rows*; empty where there is none (or none is needed), None where there
    are several."""
    ways: dict[int, tuple[int, frozenset[ChunkId]]] = {0: (1, frozenset())}
    for doubt in doubts:
        grown = dict(ways)
        for total, (count, members) in ways.items():
            if total + doubt.rows > rows:
                continue
            others = grown.get(total + doubt.rows, (0, frozenset()))[0]
            grown[total + doubt.rows] = (others + count, members | {doubt.chunk})
        if len(grown) > MAX_SUBSETS:
            return None
        ways = grown
    if rows not in ways:
        return frozenset()
    count, members = ways[rows]
    return members if count == 1 else None


def judge_by_rows(
    doubts: Sequence[Doubt],
    contents: Mapping[ChunkId, Mapping[bytes, int]],
    unexplained: Mapping[bytes, int],
    known: Known,
) -> frozenset[ChunkId] | None:
    """The doubts whose rows are among the *unexplained* ones (rows read back that no landed chunk accounts for, each as a hash
    with its number). Chunks of equal content are interchangeable, lowest first. None where no set of doubts leaves just as many
    rows as were there before the run, or several that differ do."""
    wanted = sum(unexplained.values()) - known.base_rows
    candidates = [d for d in sorted(doubts, key=lambda d: d.chunk) if _is_within(contents[d.chunk], unexplained)]
    union: Counter[bytes] = Counter()
    for doubt in candidates:
        union.update(contents[doubt.chunk])
    if sum(d.rows for d in candidates) == wanted and _is_within(union, unexplained):
        return frozenset(d.chunk for d in candidates)  # every other set has fewer rows
    return _only_set(candidates, contents, unexplained, wanted) if len(candidates) <= MAX_CANDIDATES else None


def _is_within(rows: Mapping[bytes, int], others: Mapping[bytes, int]) -> bool:
    return all(others.get(key, 0) >= count for key, count in rows.items())


class _Partial(NamedTuple):
    """A set that is being looked for: of the candidates before *place* the *chosen* ones, of *rows* rows, are in it, and *left* is
    what they leave of the unexplained rows."""

    place: int
    left: Mapping[bytes, int]
    rows: int
    chosen: tuple[Doubt, ...]
    skipped: tuple[Doubt, ...]


def _only_set(
    candidates: Sequence[Doubt],
    contents: Mapping[ChunkId, Mapping[bytes, int]],
    unexplained: Mapping[bytes, int],
    wanted: int,
) -> frozenset[ChunkId] | None:
    """The one set of *candidates* with *wanted* rows that are all among the *unexplained*; None where there is no such set, more
    than one, or too many to look through. Of chunks of equal content the lowest stand for all."""
    found: frozenset[ChunkId] | None = None
    open_: list[_Partial] = [_Partial(0, unexplained, 0, (), ())]
    for _ in range(MAX_SUBSETS):
        if not open_:
            break
        place, left, rows, chosen, skipped = open_.pop()
        if rows == wanted:
            if found is not None:
                return None
            found = frozenset(d.chunk for d in chosen)
            continue
        if place == len(candidates):
            continue
        doubt = candidates[place]
        content = contents[doubt.chunk]
        open_.append(_Partial(place + 1, left, rows, chosen, (*skipped, doubt)))
        stands_for = any(contents[d.chunk] == content for d in skipped)
        if not stands_for and rows + doubt.rows <= wanted and _is_within(content, left):
            rest = {**left, **{key: left[key] - count for key, count in content.items()}}
            open_.append(_Partial(place + 1, rest, rows + doubt.rows, (*chosen, doubt), skipped))
    return None if open_ else found


def judge_rest(
    doubts: Sequence[Doubt],
    present: frozenset[ChunkId],
    looks: Sequence[Look],
    known: Known,
    quiet_s: float,
) -> list[Verdict]:
    """Verdicts once it is known which of the doubts a still count of the one dataset holds."""
    seen = looks[-1].seen
    return [
        Present(d.chunk, seen[0].id) if d.chunk in present else _judge_absence_by_count(d, looks, known, quiet_s)
        for d in doubts
    ]
