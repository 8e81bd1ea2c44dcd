"""What a worker keeps for its run, and hands on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bulkup.flow.orders import KeptAnswer, SendChunk, Sent
from bulkup.outcome import Accepted, InDoubt, Outcome, RemoteStatus, TryAgain
from bulkup.run import keeping
from bulkup.run.keeping import Kept, hand_over_to, handed_over
from tests.journal.chunks import LANE, chunk


def order(tile: int, attempt: int = 1) -> SendChunk:
    return SendChunk(LANE, chunk(tile), attempt, None, "Bearer x", ())


def stored(id_: str, ids: bytes = b"") -> Sent:
    return Sent(Accepted(id_, "name", RemoteStatus.READY), ids)


def answer(tile: int, attempt: int, id_: str, ids: bytes = b"", run: str = "run") -> KeptAnswer:
    return KeptAnswer(run, LANE, tile, 0, attempt, chunk(tile).rows_hash, id_, ids)


def test_what_is_stored_is_kept_until_the_journal_knows_of_it() -> None:
    kept = Kept("run")
    kept.keep(order(0), stored("a", b"ids"))
    kept.keep(order(1, attempt=3), stored("b"))
    kept.keep(order(2), Sent(Accepted("c", "name", RemoteStatus.PENDING)))
    assert kept.answers == [
        answer(0, 1, "a", b"ids"),
        answer(1, 3, "b"),
        replace(answer(2, 1, "c"), is_ready=False),
    ]
    kept.let_go((LANE, 2, 0, 1))
    kept.let_go((LANE, 0, 0, 1))
    kept.let_go((LANE, 1, 0, 2))
    assert kept.answers == [answer(1, 3, "b")]


@pytest.mark.parametrize(
    "outcome",
    [
        Accepted("a", "name", RemoteStatus.FAILED),
        InDoubt("x"),
        TryAgain("x"),
    ],
)
def test_what_may_not_be_stored_is_not(outcome: Outcome) -> None:
    kept = Kept("run")
    kept.keep(order(0), Sent(outcome))
    assert kept.answers == []


def test_the_oldest_goes_where_there_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_BYTES", 2999)
    kept = Kept("run")
    for tile in range(5):
        kept.keep(order(tile), stored("a", bytes(800)))
        kept.keep(order(tile), stored("a", bytes(800)))
    assert [one.tile for one in kept.answers] == [3, 4]


def test_the_next_process_has_it_and_another_run_gets_nothing_of_it() -> None:
    kept = Kept("run", [answer(0, 1, "a"), answer(1, 1, "b", run="other")])
    kept.keep(order(2), stored("c", b"\xff\x00"))
    file = hand_over_to()
    with file:
        kept.hand_over(file)
        left = handed_over(file)
    assert left == [answer(0, 1, "a"), answer(2, 1, "c", b"\xff\x00")]
    assert Kept("other", left).answers == []
    assert Kept("run", [replace(one, attempt=9) for one in left]).answers[0].key == (LANE, 0, 0, 9)


@pytest.mark.parametrize("data", [b"", b"\x91", b"\xc1"])
def test_a_process_that_was_killed_left_nothing(data: bytes) -> None:
    """What it was given is given to the next one then."""
    file = hand_over_to()
    with file:
        file.write(data)
        assert handed_over(file) is None
