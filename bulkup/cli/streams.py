"""The three streams that a process is given, whatever they are: closed, full, for ASCII only, without a reader.

Nothing else of the command line writes to them. What is said on stderr is a help and never ends anything. What goes to stdout is
what the command is for, so its loss is an error, but not one that hides what became of the rows.
"""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, TextIO

from bulkup.errors import ExitCode, LocalDisk
from bulkup.path_text import readable_values

__all__ = ["delivered", "finish_streams", "forget", "open_streams", "put", "put_json", "say", "to_stdout"]

IN, OUT, ERR = range(3)

DEGRADED = "bulkup.degraded"
"""The error handler that writes what an encoding does not have in ASCII."""

PLAIN = {
    "×": "x",
    "→": "->",
    "…": "...",
    "━": "=",
    "─": "-",
    "–": "-",
    "—": "-",
    "·": "*",
    "’": "'",
    "“": '"',
    "”": '"',
}


def open_streams() -> None:
    """Put every stream into a state in which it can be used. To be called before anything else is opened.

    A closed descriptor would be given to the next file that is opened, such as the journal, and what is meant for the terminal
    would go there. It is put on the null device; standard input for writing only, so that reading it is an error and not an end.
    """
    for descriptor in (IN, OUT, ERR):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_WRONLY), True)  # the lowest that is free: this one
    if sys.stdin is None:  # the streams made here live as long as the process
        sys.stdin = open(os.open(os.devnull, os.O_RDONLY), encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = _opened(sys.stdout)
    sys.stderr = _opened(sys.stderr)


def _opened(stream: TextIO | None) -> TextIO:
    if stream is None:
        return open(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8", closefd=False)
    codecs.register_error(DEGRADED, _degraded)
    if not isinstance(stream, TextIOWrapper):  # somebody's own
        return stream
    try:
        stream.reconfigure(errors=DEGRADED)
    except OSError:  # its descriptor is no longer what it was when it was opened
        return open(stream.fileno(), "w", encoding=stream.encoding, errors=DEGRADED, closefd=False)
    return stream


def _degraded(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a path that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    number = ord(character)
    return PLAIN.get(character) or (f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}")


def say(*lines: str) -> None:
    """Lines for a person, on stderr. Never raises."""
    with suppress(OSError, ValueError):
        sys.stderr.write("".join(line + "\n" for line in lines))
        sys.stderr.flush()


def put(text: str) -> None:
    """*text* and a line's end, on stdout. Raises as `to_stdout` does."""
    with to_stdout() as out:
        out.write(text + "\n")


def put_json(value: Any) -> None:
    """*value* on stdout, as JSON in the stream's encoding. Raises as `to_stdout` does."""
    put(_json(readable_values(value), sys.stdout.encoding or "utf-8"))


def _json(value: Any, encoding: str) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(value, indent=2)
    return text


@contextmanager
def to_stdout() -> Iterator[TextIO]:
    """Standard output, which is flushed at the end. Raises `LocalDisk` where it takes nothing, and `BrokenPipeError` where its
    reader has left. What is still buffered is dropped then."""
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        forget(OUT)
        raise
    except OSError as error:
        forget(OUT)
        raise LocalDisk(f"standard output cannot be written: {error.strerror or error}") from error


def delivered(write: Callable[[], None], otherwise: str) -> ExitCode:
    """Write what came of a run. The result is 74 where stdout does not take it, else 0. A reader that has left is no fault: the
    run's own exit code is worth more. *otherwise* says where the same can be read."""
    try:
        write()
    except BrokenPipeError:
        pass
    except LocalDisk as lost:
        say(f"bulkup: {lost}; {otherwise}")
        return lost.exit_code
    return ExitCode.ALL_LANDED


def finish_streams() -> None:
    """Write what is buffered, or drop it: the interpreter would try again at its end and make 120 of the exit code."""
    for descriptor, stream in ((OUT, sys.stdout), (ERR, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            forget(descriptor)


def forget(descriptor: int) -> None:
    """Nobody reads *descriptor* any more: what is still buffered for it goes nowhere, and does not fail again."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
