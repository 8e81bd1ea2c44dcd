"""A rich console that takes text as it is and leaves the process alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, TextIO

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console_on"]


def console_on(stream: TextIO) -> Console:
    """A console on *stream*: no markup, no emoji, no highlighting. A reader that has left is a `BrokenPipeError`, where rich
    would end the process and close standard output."""
    from rich.console import Console

    class PlainConsole(Console):
        def on_broken_pipe(self) -> NoReturn:
            raise BrokenPipeError

    return PlainConsole(file=stream, highlight=False, markup=False, emoji=False)
