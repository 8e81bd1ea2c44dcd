"""What follows from a request that came to nothing: wait, and how long; renew the token; stop, and what is said then."""

from __future__ import annotations

import time
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.errors import ExitCode
from bulkup.flow.reaction import (
    GATEWAY_PAGES,
    Failure,
    Reaction,
    RenewToken,
    RetryAfter,
    Standing,
    Stop,
    reaction,
    told_too_long,
    until_text,
)
from bulkup.outcome import CloseGate, InDoubt, StopLane, TokenRejected, TryAgain
from bulkup.pacing import Impatience
from tests.examples import examples
from tests.flow.alone import UNIX_S

WORDS = "HTTP 500: words"
PAGE = StopLane("HTTP 404: a page", ExitCode.USAGE, may_pass=True)
NO_PERMISSION = Stop(f"the service rejected NEBIUS_API_KEY ({WORDS})", ExitCode.NO_PERMISSION)


def after(
    failure: Failure,
    *,
    failures: int = 1,
    pages: int = 1,
    impatience: Impatience | None = None,
    gate_s: float = 0.0,
    chance: float = 1.0,
) -> Reaction:
    standing = Standing(
        failures=failures,
        pages=pages,
        impatience=impatience,
        gate_s=gate_s,
        unix_s=UNIX_S,
        max_wait_s=3600.0,
        token_place="NEBIUS_API_KEY",
    )
    return reaction(failure, standing, lambda low, high: low + chance * (high - low))


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
        "the service asks bulkup to send nothing until 2027-01-16 08:00:00 UTC, which is longer than --max-wait (3,600 s) allows. "
        "Run the command again after that time (HTTP 429: come tomorrow)"
    )


@pytest.mark.parametrize("failure", [TryAgain(WORDS), InDoubt(WORDS)])
@pytest.mark.parametrize(("failures", "wait_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (100, 30.0)])
def test_what_says_nothing_of_how_long_waits_by_failures_in_a_row(
    failure: Failure, failures: int, wait_s: float
) -> None:
    assert after(failure, failures=failures) == RetryAfter(wait_s)


@pytest.mark.parametrize("why", [Impatience.NO_SUCCESS, Impatience.TOLD_TO_WAIT])
@pytest.mark.parametrize("failure", [TryAgain(WORDS), InDoubt(WORDS)])
def test_it_stops_where_patience_is_over_and_names_the_last_answer(failure: Failure, why: Impatience) -> None:
    words = f"no request succeeded for too long; the last answer: {WORDS}"
    assert after(failure, impatience=why) == Stop(words, ExitCode.TRY_LATER)


def test_it_stops_where_so_many_in_a_row_are_too_many() -> None:
    words = f"3 requests in a row failed: {WORDS}"
    assert after(TryAgain(WORDS), failures=3, impatience=Impatience.TOO_MANY) == Stop(words, ExitCode.TRY_LATER)


def test_a_token_is_renewed_and_tried_at_once_and_the_next_time_after_a_wait() -> None:
    """Where it cannot be renewed that is the end."""
    assert after(TokenRejected(WORDS)) == RenewToken(RetryAfter(0.0), NO_PERMISSION)
    assert after(TokenRejected(WORDS), failures=3) == RenewToken(RetryAfter(2.0), NO_PERMISSION)
    over = Stop(f"no request succeeded for too long; the last answer: {WORDS}", ExitCode.TRY_LATER)
    assert after(TokenRejected(WORDS), failures=2, impatience=Impatience.NO_SUCCESS) == RenewToken(over, NO_PERMISSION)


def test_what_stops_a_lane_does_so_with_its_words_and_code() -> None:
    assert after(StopLane("HTTP 402: pay", ExitCode.NO_PERMISSION)) == Stop("HTTP 402: pay", ExitCode.NO_PERMISSION)


def test_a_gateways_page_may_pass_a_few_times() -> None:
    assert [after(PAGE, pages=pages) for pages in (1, 2, 3)] == [RetryAfter(0.5), RetryAfter(1.0), RetryAfter(2.0)]
    stop = Stop(PAGE.reason, ExitCode.USAGE)
    assert after(PAGE, pages=GATEWAY_PAGES + 1) == stop
    assert after(PAGE, impatience=Impatience.NO_SUCCESS) == stop


def test_a_refusal_waits_as_long_as_it_says_and_as_the_gate_is_closed() -> None:
    assert after(CloseGate(WORDS, 100.0), gate_s=99.9) == RetryAfter(100.0, at_gate=True)
    assert after(CloseGate(WORDS, 0.0), gate_s=4.0) == RetryAfter(4.0, at_gate=True)
    assert after(CloseGate(WORDS, None), gate_s=0.35) == RetryAfter(0.35, at_gate=True)


def test_a_refusal_stops_where_it_asks_for_more_than_the_user_allows_or_lasts_too_long() -> None:
    refusal = CloseGate(WORDS, 7200.0)
    words = told_too_long(7200.0, UNIX_S, 3600.0, WORDS)
    assert after(refusal, impatience=Impatience.TOLD_TO_WAIT, gate_s=7200.0) == Stop(words, ExitCode.TRY_LATER)
    words = f"the service refused every request for too long: {WORDS}"
    assert after(refusal, impatience=Impatience.NO_SUCCESS) == Stop(words, ExitCode.TRY_LATER)
    assert after(CloseGate(WORDS, 1.0), impatience=Impatience.TOO_MANY) == RetryAfter(1.0, at_gate=True), (
        "it is no failure in a row"
    )


outcomes = st.one_of(
    st.just(TryAgain(WORDS)),
    st.just(InDoubt(WORDS)),
    st.just(TokenRejected(WORDS)),
    st.builds(CloseGate, st.just(WORDS), st.none() | st.floats(0, 1e6), st.booleans()),
    st.builds(StopLane, st.just(WORDS), st.sampled_from([ExitCode.USAGE, ExitCode.NO_PERMISSION]), st.booleans()),
)
standings = st.fixed_dictionaries(
    {
        "failures": st.integers(1, 40),
        "pages": st.integers(1, 6),
        "impatience": st.none() | st.sampled_from(Impatience),
        "gate_s": st.floats(0, 1e6),
        "chance": st.floats(0, 1),
    }
)


def waits_s(found: Reaction) -> float:
    """How long at least until the next attempt; without end where there is none."""
    match found:
        case RetryAfter(wait_s):
            return wait_s
        case RenewToken(renewed, _):
            return waits_s(renewed)
        case Stop():
            return inf


@examples(300)
@given(outcomes, standings)
def test_whatever_comes_when(failure: Failure, at: dict[str, object]) -> None:
    """Never sooner than told, never longer than our own back-off where nothing was told; it stops only for what is listed here."""
    found = after(failure, **at)  # type: ignore[arg-type]
    is_patient = at["impatience"] is None
    match failure:
        case CloseGate(_, told_s):
            assert waits_s(found) >= max(told_s or 0.0, at["gate_s"])  # type: ignore[call-overload]
            may_stop = at["impatience"] in (Impatience.TOLD_TO_WAIT, Impatience.NO_SUCCESS)
            codes = {ExitCode.TRY_LATER}
        case StopLane(_, code, may_pass):
            may_stop, codes = not (may_pass and is_patient and at["pages"] <= GATEWAY_PAGES), {code}  # type: ignore[operator]
        case TokenRejected():
            assert isinstance(found, RenewToken), "it is always read anew first"
            assert found.refused == NO_PERMISSION
            found = found.renewed
            may_stop, codes = not is_patient and at["failures"] != 1, {ExitCode.TRY_LATER}
        case _:
            may_stop, codes = not is_patient, {ExitCode.TRY_LATER}
    assert isinstance(found, Stop) is may_stop
    if isinstance(found, Stop):
        assert found.exit_code in codes
        assert WORDS in found.reason
    elif not isinstance(failure, CloseGate):
        assert 0 <= waits_s(found) <= 30


@examples(100)
@given(outcomes, standings)
def test_the_back_off_only_grows(failure: Failure, at: dict[str, object]) -> None:
    """With the same chance, one failure, page or second more of a closed gate never shortens it."""
    more = {**at, "failures": at["failures"] + 1, "pages": at["pages"] + 1, "gate_s": at["gate_s"] + 1.0}  # type: ignore[operator]
    assert waits_s(after(failure, **more)) >= waits_s(after(failure, **at))  # type: ignore[arg-type]
