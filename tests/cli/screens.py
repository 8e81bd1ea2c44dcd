"""A terminal for tests: a real pty, whose other end a terminal emulator (pyte) reads. It can be resized in between."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
from types import TracebackType

import pyte

__all__ = ["Terminal"]


class Terminal:
    """A terminal of so many columns and lines. Processes and displays write to `fd`."""

    def __init__(self, columns: int, lines: int) -> None:
        self._main, self.fd = pty.openpty()
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self.resize(columns, lines)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in (self._main, self.fd):
            os.close(descriptor)

    def resize(self, columns: int, lines: int) -> None:
        """Make the window as large as this."""
        self.take_in()
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._screen.resize(lines, columns)

    def type(self, keys: str) -> None:
        """Press *keys*."""
        os.write(self._main, keys.encode())

    def take_in(self, wait_s: float = 0.0) -> bool:
        """Take in what was written; whether there was anything."""
        took = False
        while select.select([self._main], [], [], 0.0 if took else wait_s)[0]:
            try:
                data = os.read(self._main, 65536)
            except OSError:  # nobody has it open any more
                break
            if not data:
                break
            took = True
            self.raw += data
            self._stream.feed(data)
        return took

    def __contains__(self, words: object) -> bool:
        """Whether these words stand on a line of the screen."""
        return str(words) in self.text

    @property
    def lines(self) -> list[str]:
        """What stands on the screen, without the empty lines at the end."""
        self.take_in()
        lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def text(self) -> str:
        """The same as one text."""
        return "\n".join(self.lines)

    @property
    def has_cursor(self) -> bool:
        """Whether the cursor is seen."""
        self.take_in()
        return not self._screen.cursor.hidden

    def colour_of(self, words: str) -> str:
        """The colour in which *words* stand on the screen."""
        self.take_in()
        for number, line in enumerate(self._screen.display):
            if (at := line.find(words)) >= 0:
                return str(self._screen.buffer[number][at].fg)
        raise AssertionError(f"{words!r} is not on the screen")
