"""What follows from a request that came to nothing: decided here for uploads, polls, looks, pages and `bench`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import assert_never

from bulkup.errors import ExitCode
from bulkup.light_dataclass import dataclass
from bulkup.outcome import CloseGate, InDoubt, StopLane, TokenRejected, TryAgain
from bulkup.pacing import Impatience, full_jitter_s

__all__ = [
    "GATEWAY_PAGES",
    "Failure",
    "Reaction",
    "RenewToken",
    "RetryAfter",
    "Standing",
    "Stop",
    "reaction",
    "told_too_long",
    "until_text",
]

Failure = TryAgain | CloseGate | TokenRejected | StopLane | InDoubt
"""What is decided here: every other outcome is an answer. A chunk in doubt comes here only where it may be sent again."""

GATEWAY_PAGES = 3
"""So many pages of a gateway may come in a row in answer to one thing before that is the answer."""


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Another attempt may be made in *wait_s* seconds.

    *at_gate*: the gate is closed for as long. That is waited for in the slot, where it counts as the service's doing.
    """

    wait_s: float
    at_gate: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """No further attempt is made: why, in one line, and the exit code."""

    reason: str
    exit_code: ExitCode


@dataclass(frozen=True, slots=True)
class RenewToken:
    """The token is read anew. *renewed* follows where there is another one, *refused* where there is none."""

    renewed: RetryAfter | Stop
    refused: Stop


Reaction = RetryAfter | RenewToken | Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How matters stand when a request has come to nothing.

    *failures*: how many have in a row, this one included; refusals (429, 503) and pages of a gateway are not among them. *pages*:
    how many of the latter have come, this one included. *impatience*: why nothing is tried any more, None while it is. *gate_s*:
    for so long nobody may send, by what the service and our own back-off say. *max_wait_s*: the longest wait that the user allows.
    *token_place*: where the token comes from, in words.
    """

    failures: int
    pages: int
    impatience: Impatience | None
    gate_s: float
    unix_s: float
    max_wait_s: float
    token_place: str


def reaction(failure: Failure, at: Standing, uniform: Callable[[float, float], float]) -> Reaction:
    """What to do after *failure*: try again and when, renew the token, or stop. *uniform* is chance."""
    match failure:
        case CloseGate():
            return _refused(failure, at)
        case TokenRejected(reason):
            again = RetryAfter(0.0) if at.failures == 1 else _back_off(reason, at, uniform)
            refused = Stop(f"the service rejected {at.token_place} ({reason})", ExitCode.NO_PERMISSION)
            return RenewToken(again, refused)
        case StopLane(may_pass=True) if at.pages <= GATEWAY_PAGES and at.impatience is None:
            return RetryAfter(full_jitter_s(at.pages, uniform))
        case StopLane(reason, exit_code):
            return Stop(reason, exit_code)
        case TryAgain(reason) | InDoubt(reason):
            return _back_off(reason, at, uniform)
        case _:
            assert_never(failure)


def _refused(refusal: CloseGate, at: Standing) -> RetryAfter | Stop:
    match at.impatience:
        case None | Impatience.TOO_MANY:  # it may be any number of refusals: the time that they take is limited
            return RetryAfter(max(refusal.wait_s or 0.0, at.gate_s), at_gate=True)
        case Impatience.TOLD_TO_WAIT:
            text = told_too_long(at.gate_s, at.unix_s, at.max_wait_s, refusal.reason)
            return Stop(text, ExitCode.TRY_LATER)
        case Impatience.NO_SUCCESS:
            return Stop(f"the service refused every request for too long: {refusal.reason}", ExitCode.TRY_LATER)
        case _:
            assert_never(at.impatience)


def _back_off(reason: str, at: Standing, uniform: Callable[[float, float], float]) -> RetryAfter | Stop:
    match at.impatience:
        case None:
            return RetryAfter(full_jitter_s(at.failures, uniform))
        case Impatience.TOO_MANY:
            return Stop(f"{at.failures} requests in a row failed: {reason}", ExitCode.TRY_LATER)
        case Impatience.TOLD_TO_WAIT | Impatience.NO_SUCCESS:
            return Stop(f"no request succeeded for too long; the last answer: {reason}", ExitCode.TRY_LATER)
        case _:
            assert_never(at.impatience)


def until_text(wait_s: float, unix_now: float) -> str:
    """The moment *wait_s* seconds after *unix_now*, for a person: `2026-11-29 18:54:06 UTC`."""
    return datetime.fromtimestamp(round(unix_now + wait_s), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def told_too_long(wait_s: float, unix_now: float, max_wait_s: float, reason: str) -> str:
    """Why a lane ends that is told to wait longer than the user allows, in one line, and when to come back."""
    return (
        f"the service asks bulkup to send nothing until {until_text(wait_s, unix_now)}, which is longer than --max-wait "
        f"({max_wait_s:,.0f} s) allows. Run the command again after that time ({reason})"
    )
