"""Settling against a simulated service that stores now, late or never, and shows it later still: never a false verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from bulkup.chunk import ChunkId
from bulkup.doubt.settlement import (
    LAST_ONES_QUIET_PERIODS,
    Absent,
    Doubt,
    Held,
    Known,
    Look,
    Match,
    NotYet,
    PageBack,
    Present,
    Seen,
    Verdict,
    judge_by_count,
    judge_by_name,
    judge_by_rows,
    judge_rest,
)
from tests.examples import examples

QUIET = 10.0
FOR_EVER = float("inf")
MAX_LOOKS = 60


@dataclass(frozen=True, slots=True)
class Sent:
    """One chunk's last attempt. *stored_at* is infinite where it never is. *content* has a letter a row; of a chunk that was
    *answered* (refused) only *kept* rows are stored."""

    number: int
    began_at: float
    last_byte_at: float
    stored_at: float
    landed: bool
    content: str
    answered: bool = False
    kept: int = 0

    @property
    def id(self) -> ChunkId:
        return ChunkId("lane", self.number, 0)

    @property
    def doubt(self) -> Doubt:
        return Doubt(self.id, f"name-{self.number}", len(self.content), self.last_byte_at, self.answered)

    @property
    def stored(self) -> str:
        return self.content[: self.kept] if self.answered else self.content


@st.composite
def attempts(draw: st.DrawFn, *, may_be_refused: bool = False) -> list[Sent]:
    """Up to ten chunks sent side by side, each of which landed, or was stored at once, late or never without an answer."""
    made = []
    for number in range(draw(st.integers(1, 10))):
        began = draw(st.floats(0, 60))
        last = began + draw(st.floats(0, 15))
        fate = draw(st.sampled_from(["landed", "now", "late", "never", *(["refused"] if may_be_refused else [])]))
        content = "".join(draw(st.lists(st.sampled_from("ab"), min_size=1, max_size=4)))
        match fate:
            case "landed":
                stored, last = (
                    draw(st.floats(began, last)),
                    last + draw(st.floats(0, 20)),
                )  # the answer may come much later
            case "now" | "refused":
                stored = draw(st.floats(began, last))
            case "late":
                stored = last + draw(st.floats(0, QUIET * 0.99))
            case _:
                stored = FOR_EVER
        kept = draw(st.integers(0, len(content) - 1)) if fate == "refused" else 0
        made.append(Sent(number, began, last, stored, fate == "landed", content, fate == "refused", kept))
    return made


def landings(sent: list[Sent], *, into: str | None = None) -> dict[str, float]:
    found: dict[str, float] = {}
    for one in sent:
        key = into or f"id-{one.number}"
        found[key] = max(found.get(key, 0.0), one.began_at)
    return found


def check(one: Sent, verdict: Verdict) -> None:
    match verdict:
        case Present():
            assert one.stored_at < FOR_EVER, f"{one} is not there"
        case Absent():
            assert one.stored_at == FOR_EVER, f"{one} is there, or will be"
        case _:
            pass


def next_look(verdicts: list[Verdict], at: float, step: float) -> float:
    return max(at + step, min((v.at for v in verdicts if isinstance(v, NotYet)), default=at) + step)


@examples(150)
@given(
    sent=attempts(),
    lag=st.floats(0, (LAST_ONES_QUIET_PERIODS - 1) * QUIET),
    after=st.floats(0, 100),
    step=st.floats(0, 7),
)
def test_by_name(sent: list[Sent], lag: float, after: float, step: float) -> None:
    """However far the list lags behind, as long as storing late takes less than a quiet period (and both together less than
    four, for what nothing lands after)."""
    at = max(one.last_byte_at for one in sent) + after
    landed = [one for one in sent if one.landed and one.last_byte_at <= at]
    doubts = [one for one in sent if not one.landed]
    looks: list[Look] = []
    known = Known(frozenset(), 0, landings(landed), 0)
    for _ in range(MAX_LOOKS):
        if not doubts:
            break
        seen = [Seen(f"id-{s.number}", f"name-{s.number}", "READY", None) for s in sent if s.stored_at <= at - lag]
        looks.append(Look(at, tuple(seen)))
        verdicts = judge_by_name([one.doubt for one in doubts], looks, known, {d.id: Match.SAME for d in seen}, QUIET)
        for one, verdict in zip(doubts, verdicts, strict=True):
            check(one, verdict)
            if isinstance(verdict, Present):
                known = replace(known, landed={**known.landed, verdict.remote_id: 0.0})
        doubts = [one for one, v in zip(doubts, verdicts, strict=True) if isinstance(v, NotYet | Held)]
        at = next_look(verdicts, at, step)
    assert not doubts, "with nothing in the way every doubt is settled in the end"


def letters(rows: str) -> Counter[bytes]:
    return Counter(letter.encode() for letter in rows)


def judged(doubts: list[Sent], explained: str, looks: list[Look], known: Known, visible: str) -> list[Verdict]:
    """What is decided of *doubts*, by page-back where the count cannot tell. *explained*: rows of what has landed."""
    asked = [one.doubt for one in doubts]
    found = judge_by_count(asked, looks, known, QUIET)
    if not isinstance(found, PageBack):
        return found
    unexplained = letters(visible)
    unexplained.subtract(letters(explained))
    present = judge_by_rows(asked, {one.id: letters(one.content) for one in doubts}, +unexplained, known)
    if present is None:
        return [Held(one.id, "the rows do not tell") for one in doubts]
    return judge_rest(asked, present, looks, known, QUIET)


@examples(200)
@given(
    sent=attempts(may_be_refused=True),
    share=st.floats(0, 0.99),
    base=st.text("abz", max_size=6),
    after=st.floats(0, 50),
    step=st.floats(0, 7),
)
def test_by_count(sent: list[Sent], share: float, base: str, after: float, step: float) -> None:
    """Storing late and showing it late take less than a quiet period together; nothing is in flight; nobody else writes.

    What is called absent is sent again and lands. In the end no row is there twice, and none is missing but of chunks in doubt.
    """
    late = max((one.stored_at - one.last_byte_at for one in sent if one.stored_at < FOR_EVER), default=0.0)
    lag = (QUIET - max(late, 0.0)) * share
    at = max(one.last_byte_at for one in sent) + after
    landed, doubts, again = [one for one in sent if one.landed], [one for one in sent if not one.landed], ""
    began = max((one.began_at for one in landed), default=float("-inf"))
    looks: list[Look] = []
    for _ in range(MAX_LOOKS):
        if not doubts:
            break
        visible = base + again + "".join(one.stored for one in sent if one.stored_at <= at - lag)
        explained = again + "".join(one.content for one in landed)
        known = Known(frozenset(), len(base), {"id": began}, len(explained))
        looks.append(Look(at, (Seen("id", "rows", "READY", len(visible)),)))
        verdicts = judged(doubts, explained, looks, known, visible)
        by_number = dict(zip(doubts, verdicts, strict=True))
        landed += [one for one, verdict in by_number.items() if isinstance(verdict, Present)]
        again += "".join(one.content for one, verdict in by_number.items() if isinstance(verdict, Absent))
        doubts = [one for one, verdict in by_number.items() if isinstance(verdict, NotYet | Held)]
        at = next_look(verdicts, at, step)
    there = letters(again + "".join(one.stored for one in sent if one.stored_at < FOR_EVER))
    expected = letters("".join(one.content for one in sent))
    assert not there - expected, "rows are there twice"
    assert not (expected - there) - letters("".join(one.content for one in doubts)), "rows are lost"
