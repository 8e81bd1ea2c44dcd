"""What can go wrong, named by what the caller should do about it.

Every error a person can meet carries one line: what, where, and what to do. `exit_code` is the process's
answer; the numbers stand in `ExitCode`, which counts where
several apply in `PRECEDENCE`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from bulkup.path_text import readable

__all__ = [
    "PRECEDENCE",
    "BulkupError",
    "DestinationNotEmpty",
    "ExitCode",
    "Interrupted",
    "JournalUnusable",
    "LocalDisk",
    "RunLocked",
    "SourceChanged",
    "SourceUnreadable",
    "TokenRefused",
    "TooManyRejects",
    "UsageProblem",
    "as_one_error",
    "sole_error",
    "worst",
]


class ExitCode(IntEnum):
    """What a run ends with. 2, 6, 7 and 8 come before anything is sent, unless an answer (2) or a changed file (6) stops a lane."""

    ALL_LANDED = 0
    INTERNAL = 1
    USAGE = 2
    SOME_REJECTED = 3
    IN_DOUBT = 4
    DIFFERS = 5
    SOURCE_CHANGED = 6
    JOURNAL_UNUSABLE = 7
    LOCKED = 8
    STOPPED_BY_LIMIT = 10
    SOURCE_UNREADABLE = 65
    EMPTY = 66
    LOCAL_DISK = 74
    TRY_LATER = 75
    NO_PERMISSION = 77
    INTERRUPTED = 130
    TERMINATED = 143


PRECEDENCE = (
    ExitCode.INTERNAL,
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.LOCAL_DISK,
    ExitCode.NO_PERMISSION,
    ExitCode.USAGE,
    ExitCode.SOURCE_CHANGED,
    ExitCode.JOURNAL_UNUSABLE,
    ExitCode.LOCKED,
    ExitCode.TRY_LATER,
    ExitCode.STOPPED_BY_LIMIT,
    ExitCode.DIFFERS,
    ExitCode.IN_DOUBT,
    ExitCode.SOURCE_UNREADABLE,
    ExitCode.SOME_REJECTED,
    ExitCode.EMPTY,
    ExitCode.ALL_LANDED,
)
"""Where several codes apply, the first of these stands for all."""


def worst(codes: list[ExitCode]) -> ExitCode:
    """The code that stands for all of *codes* (0 where there are none), by `PRECEDENCE`."""
    return min(codes, key=PRECEDENCE.index, default=ExitCode.ALL_LANDED)


_LONGEST_CHARS = 4000


class BulkupError(Exception):
    """A problem with a meaning. `str()` is one line for a person: what, where, what to do.

    Keys, paths and values in it may be anything: what would break the line, or hide a part of it, is escaped, and it is cut.
    """

    exit_code = ExitCode.INTERNAL

    def __str__(self) -> str:
        text = readable(super().__str__())
        if len(text) > _LONGEST_CHARS:
            text = text[: _LONGEST_CHARS - 1] + "…"
        return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: what is wrong lies in what was given, or at the service, not in the code."""
        return [f"{type(self).__name__}: {self}"]


class Interrupted(BulkupError):
    """A person stopped the run, by default before this invocation had sent anything."""

    def __init__(
        self, exit_code: ExitCode, text: str = "interrupted before anything was sent; the same command goes on"
    ) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class UsageProblem(BulkupError):
    """An option, a config value or a file that cannot be used as given. Nothing was sent."""

    exit_code = ExitCode.USAGE


class DestinationNotEmpty(UsageProblem):
    """The destination holds what this run did not put there, and `--append` was not given."""


class SourceUnreadable(BulkupError):
    """The source ends before it should, or is not what bulkup reads. What came before it has been yielded. *behind*: so many more
    files stand behind the one at fault, where that is known."""

    behind = 0
    exit_code = ExitCode.SOURCE_UNREADABLE


class SourceChanged(BulkupError):
    """The source is not the one that the journal describes."""

    exit_code = ExitCode.SOURCE_CHANGED


class JournalUnusable(BulkupError):
    """The journal is torn, foreign, or of a newer format."""

    exit_code = ExitCode.JOURNAL_UNUSABLE


class RunLocked(BulkupError):
    """Another process holds the run, or another run holds the destination's dataset."""

    exit_code = ExitCode.LOCKED


class TooManyRejects(BulkupError):
    """More rows would be rejected than the user allows. Nothing was sent."""

    exit_code = ExitCode.STOPPED_BY_LIMIT


class LocalDisk(BulkupError):
    """The disk that holds the state directory refused a write (full, or broken)."""

    exit_code = ExitCode.LOCAL_DISK


class TokenRefused(BulkupError):
    """The service does not take the token, or there is none."""

    exit_code = ExitCode.NO_PERMISSION


def sole_error(error: Exception) -> Exception:
    """The first error that *error* wraps, as a task group does; itself where it wraps none."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def as_one_error() -> Iterator[None]:
    """What a task group wraps is raised as it was raised in the task."""
    try:
        yield
    except ExceptionGroup as group:
        raise sole_error(group) from None
