"""What a lane does after a request that came to nothing: wait, and how long; renew the token; stop, and what it says then."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from bulkup.errors import ExitCode
from bulkup.flow.halt import Halted, Reason
from bulkup.flow.reaction import Failure, told_too_long, until_text
from bulkup.outcome import CloseGate, StopLane, TokenRejected, TryAgain
from bulkup.token_source import TokenSource
from tests.flow.alone import UNIX_S, WITHIN_S, Alone, counted, now_s
from tests.pacing.virtual import give_way, run_virtual


def after(
    failure: Failure, *, failures: int = 1, retry_for_s: float = 600.0, at_s: float = 0.0
) -> tuple[float, Reason | None]:
    """How long is waited after *failure*, which comes *at_s* seconds after the last success, and why the lane stops."""

    async def main() -> tuple[float, Reason | None]:
        alone = Alone(retry_for_s=retry_for_s)
        await asyncio.sleep(at_s)
        began_s = now_s()
        try:
            await alone.reaction.after(failure, failures=failures, token=alone.token.current)
        except Halted:
            assert alone.halt.reason is not None
        return round(now_s() - began_s, 6), alone.halt.reason

    return run_virtual(main)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_the_moment_that_is_waited_for_is_told_to_the_second(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In UTC, wherever the machine stands."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    monkeypatch.undo()
    try:
        _is_told_to_the_second()
    finally:
        time.tzset()


def _is_told_to_the_second() -> None:
    assert until_text(0.0, UNIX_S) == "2027-01-15 08:00:00 UTC"
    assert until_text(59.4, UNIX_S + 0.2) == "2027-01-15 08:01:00 UTC"


def test_a_wait_that_is_too_long_is_told_with_its_end_and_the_option() -> None:
    assert told_too_long(86_400, UNIX_S, 3600, "HTTP 429: come tomorrow") == (
        "the service asks for no requests until 2027-01-16 08:00:00 UTC: that is more than --max-wait (3,600 s) allows. Run the "
        "command again after that time (HTTP 429: come tomorrow)"
    )


@pytest.mark.parametrize(("failures", "wait_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0)])
def test_what_was_not_sent_waits_by_failures_in_a_row(failures: int, wait_s: float) -> None:
    assert after(TryAgain("refused"), failures=failures) == (wait_s, None)


def test_patience_lasts_as_long_as_the_user_says_and_the_last_answer_is_named() -> None:
    assert after(TryAgain("connection refused"), at_s=599.9)[1] is None
    assert after(TryAgain("connection refused"), at_s=600.1) == (
        0.0,
        Reason("nothing got through for too long; the last answer: connection refused", ExitCode.TRY_LATER),
    )


def test_a_lane_that_stops_meanwhile_ends_the_wait() -> None:
    async def main() -> float:
        alone = Alone()
        waiting = asyncio.ensure_future(alone.reaction.back_off(7, "refused"))
        await asyncio.sleep(10)
        alone.halt.set(Reason("stopped", ExitCode.INTERRUPTED))
        with pytest.raises(Halted):
            await waiting
        return now_s()

    assert run_virtual(main) == pytest.approx(10, abs=WITHIN_S)


@pytest.mark.parametrize("failures", [1, 2])
def test_a_token_that_cannot_be_renewed_ends_the_lane_at_once(failures: int) -> None:
    assert after(TokenRejected("HTTP 401"), failures=failures) == (
        0.0,
        Reason("the service does not take the token (HTTP 401)", ExitCode.NO_PERMISSION),
    )


async def test_a_renewed_token_is_tried_at_once_and_then_after_a_wait(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("the-first-token-of-all")

    alone, waited = Alone(TokenSource(variable="T", file=file), clock=counted()), []
    for failures in (1, 2, 3):
        rejected = alone.token.current
        file.write_text(f"a-token-that-is-renewed-{failures}")
        began_s = alone.clock.monotonic()
        await alone.reaction.after(TokenRejected("HTTP 401"), failures=failures, token=rejected)
        assert alone.token.current != rejected
        waited.append(alone.clock.monotonic() - began_s)
    assert waited == [0, 1, 2]
    await alone.clock.sleep(601)
    with pytest.raises(Halted):
        await alone.reaction.after(TokenRejected("HTTP 401"), failures=4, token=rejected)
    words = "nothing got through for too long; the last answer: HTTP 401"
    assert alone.halt.reason == Reason(words, ExitCode.TRY_LATER)


def test_what_stops_a_lane_does_so_with_its_words_and_code() -> None:
    assert after(StopLane("HTTP 402: pay", ExitCode.NO_PERMISSION)) == (
        0.0,
        Reason("HTTP 402: pay", ExitCode.NO_PERMISSION),
    )


async def refuse(alone: Alone, told_s: float | None, reason: str = "HTTP 429: too many") -> None:
    """One refusal, as `Pacing` and then the reaction hear of it."""
    refusal = CloseGate(reason, told_s)
    alone.pacing.refused(refusal, began_s=now_s())
    await alone.reaction.after(refusal, failures=1, token=alone.token.current)


def test_a_refusal_is_not_waited_out_here() -> None:
    """Who wants to send waits at the gate; who does not is not held up."""
    assert after(CloseGate("HTTP 429", 100.0)) == (0.0, None)


@pytest.mark.parametrize(
    ("told_s", "is_told"), [(None, False), (0.0, False), (9.99, False), (10.0, True), (60.0, True)]
)
def test_a_wait_of_ten_seconds_is_told(told_s: float | None, is_told: bool) -> None:
    async def main() -> list[str]:
        alone = Alone()
        await refuse(alone, told_s)
        return alone.said

    until = until_text(told_s or 0.0, UNIX_S)
    assert run_virtual(main) == [f"waiting until {until}, as the service asks (HTTP 429: too many)"] * is_told


@pytest.mark.parametrize(("later_s", "times"), [(0.0, 1), (0.5, 1), (1.0, 1), (1.01, 2), (2.0, 2)])
def test_who_is_told_the_same_does_not_say_it_again(later_s: float, times: int) -> None:
    """Within a second it is the same moment."""

    async def main() -> list[str]:
        alone = Alone()
        await refuse(alone, 60.0)
        await refuse(alone, 60.0 + later_s)
        await refuse(alone, 60.0 + later_s)
        return alone.said

    assert len(run_virtual(main)) == times


def test_a_wait_that_is_told_later_is_told_anew() -> None:
    async def main() -> list[str]:
        alone = Alone()
        await refuse(alone, 60.0)
        await asyncio.sleep(60)
        await refuse(alone, 60.0)
        return alone.said

    assert len(run_virtual(main)) == 2


@pytest.mark.parametrize(("told_s", "ends"), [(3600.0, False), (3600.1, True)])
def test_more_than_the_user_allows_ends_the_lane_with_the_time_to_come_back(told_s: float, ends: bool) -> None:
    async def main() -> Reason | None:
        alone = Alone(max_wait_s=3600.0)
        try:
            await refuse(alone, told_s)
        except Halted:
            assert ends
        return alone.halt.reason

    text = told_too_long(told_s, UNIX_S, 3600.0, "HTTP 429: too many")
    assert run_virtual(main) == (Reason(text, ExitCode.TRY_LATER) if ends else None)


@pytest.mark.parametrize("told_s", [None, 0.0])
def test_refusals_without_a_wait_use_up_patience(told_s: float | None) -> None:
    async def main() -> Reason | None:
        alone = Alone(retry_for_s=5.0)
        for _ in range(5):
            await refuse(alone, told_s)
            await asyncio.sleep(1)
        await asyncio.sleep(0.1)
        with pytest.raises(Halted):
            await refuse(alone, told_s)
        await give_way()
        return alone.halt.reason

    assert run_virtual(main) == Reason("the service refused for too long: HTTP 429: too many", ExitCode.TRY_LATER)


def test_a_wait_that_was_told_does_not_use_up_patience() -> None:
    async def main() -> Reason | None:
        alone = Alone(retry_for_s=5.0)
        for _ in range(10):
            await refuse(alone, 60.0)
            await asyncio.sleep(60)
        return alone.halt.reason

    assert run_virtual(main) is None
