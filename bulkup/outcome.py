"""What became of an attempt to send a chunk. A closed union: match it exhaustively.

Each member answers the caller's question, what to do now, and nothing else (the table "What an answer means" in
`docs/design.md`). *reason* is one line for a person, already free of secrets.
"""

from __future__ import annotations

from enum import StrEnum

from bulkup.errors import ExitCode
from bulkup.light_dataclass import dataclass

__all__ = [
    "Accepted",
    "CloseGate",
    "InDoubt",
    "Outcome",
    "RemoteStatus",
    "RowsRefused",
    "StopLane",
    "TokenRejected",
    "TooLarge",
    "TryAgain",
]


class RemoteStatus(StrEnum):
    """What a service says of a dataset it has taken. Statuses nobody has explained count as PENDING."""

    READY = "READY"
    PENDING = "PENDING"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The service answered that it has the whole chunk. *ids* holds an id for each row where the service gives them."""

    remote_id: str
    remote_name: str
    status: RemoteStatus = RemoteStatus.READY
    ids: tuple[str | int, ...] | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Nothing was stored, for sure: no byte of the body left. Another attempt is free."""

    reason: str


@dataclass(frozen=True, slots=True)
class CloseGate:
    """Nothing was stored and the service wants quiet: nobody in the lane sends for *wait_s* (None: it did not say).

    *over_quota*: the quota is used up (429), where it may as well be that the service has trouble (503).
    """

    reason: str
    wait_s: float | None
    over_quota: bool = False


@dataclass(frozen=True, slots=True)
class InDoubt:
    """The chunk may or may not have been stored. Only evidence settles that.

    *was_answered*: the service refused it, and what is open is whether it had stored some of it; nothing is on its way.
    *rows* are then the numbers (from 0) of the rows that it named.
    """

    reason: str
    was_answered: bool = False
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The body passes the service's limit, or what was learned of it: then it was not sent. Nothing was stored; smaller chunks may
    go."""

    reason: str


@dataclass(frozen=True, slots=True)
class RowsRefused:
    """Nothing was stored because of rows in the chunk; *rows* are their numbers (from 0) where the service named them."""

    reason: str
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenRejected:
    """401: the token is not taken."""

    reason: str


@dataclass(frozen=True, slots=True)
class StopLane:
    """No further request to this destination can succeed as things are. Nothing was stored.

    *may_pass*: a gateway answered in the service's place, which may be over in a moment: it is worth a few more attempts.
    """

    reason: str
    exit_code: ExitCode
    may_pass: bool = False


Outcome = Accepted | TryAgain | CloseGate | InDoubt | TooLarge | RowsRefused | TokenRejected | StopLane
