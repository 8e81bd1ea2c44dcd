"""A request without a whole answer: how far it had come, and why."""

from __future__ import annotations

from enum import StrEnum

from bulkup.errors import ExitCode

__all__ = [
    "AnswerTooLong",
    "AnswerUnreadable",
    "LastingFailure",
    "Phase",
    "TransportFailure",
    "Unreachable",
    "Withheld",
]


class Phase(StrEnum):
    """How far a request had come when it failed."""

    CONNECT = "before the first byte of the body"
    BODY = "while the body was being sent"
    ANSWER = "after the whole body was sent"


class TransportFailure(Exception):
    """A request without a whole answer. *phase* says what may have reached the server."""

    def __init__(self, phase: Phase, reason: str) -> None:
        super().__init__(f"{reason} ({phase})")
        self.phase = phase
        self.reason = reason


class Unreachable(TransportFailure):
    """No connection came about, so nothing was sent; another time it may. *reason* says so by itself."""

    def __init__(self, reason: str) -> None:
        super().__init__(Phase.CONNECT, reason)

    def __str__(self) -> str:
        return self.reason


class AnswerTooLong(TransportFailure):
    """The answer is longer than the caller takes in."""


class AnswerUnreadable(TransportFailure):
    """The whole answer may be there, in a coding that cannot be undone: asking again brings the same."""


class Withheld(TransportFailure):
    """The end of the body was kept back, so the request never became whole: nothing of it is stored."""

    def __init__(self, reason: str) -> None:
        super().__init__(Phase.BODY, reason)

    def __str__(self) -> str:
        return self.reason


class LastingFailure(TransportFailure):
    """No byte of the body left, and none will as things are: *reason* says what to do, *exit_code* what the run ends with."""

    def __init__(self, phase: Phase, reason: str, exit_code: ExitCode) -> None:
        super().__init__(phase, reason)
        self.exit_code = exit_code
