"""A block of lines at the end of a terminal that is drawn again in place, with lines that stay above it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import TextIO

from bulkup.cli.picture import Line, wrapped

__all__ = ["Block"]

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
CLEAR_BELOW = "\r\x1b[J"
CLEAR_SCREEN = "\x1b[H\x1b[J"
MOST_KEPT = 200


class Block:
    """Writes to *stream*, whose size is *size*(): columns and lines. Raises what the stream raises."""

    def __init__(self, stream: TextIO, size: Callable[[], os.terminal_size] | None = None) -> None:
        self._stream = stream
        self._size = size or (lambda: _size_of(stream))
        self._has_colour = not os.environ.get("NO_COLOR")
        self._drawn = 0
        self._widest = 0
        self._is_open = False
        self._above: deque[str] = deque(maxlen=MOST_KEPT)

    @property
    def width(self) -> int:
        """Columns that may be written to: the last one is left free, where some terminals break the line."""
        return max(20, self._size().columns - 1)

    def say(self, text: str, style: str = "") -> None:
        """A line that stays, above the block; broken between words."""
        text = "\n".join(self._styled(line, style) for line in wrapped(text, self.width, most=MOST_KEPT))
        self._above.append(text)
        self._stream.write((self._to_top() if self._is_open else "") + text + "\n")
        self._drawn = 0
        self._stream.flush()

    def draw(self, lines: Sequence[Line]) -> None:
        """Show *lines* in place of what was shown."""
        start = self._to_top() if self._is_open else HIDE
        self._is_open = True
        lines = lines[: max(1, self._size().lines - 1)]
        self._stream.write(
            start + "\n".join("".join(self._styled(part.text, part.style) for part in line) for line in lines)
        )
        self._stream.flush()
        self._drawn = len(lines)
        self._widest = max((sum(len(part.text) for part in line) for line in lines), default=0)

    def close(self) -> None:
        """Take the block away; what stays, stays."""
        if self._is_open:
            self._is_open = False
            self._stream.write(self._to_top() + SHOW)
            self._stream.flush()
            self._drawn = 0

    def _to_top(self) -> str:
        """What takes the block away and leaves the cursor where it began.

        In a window that has become narrower, its lines may have been broken into more of them, or not: terminals differ. Then the
        screen is written anew.
        """
        if self._drawn and self._widest > self._size().columns:
            kept = self._tail(self._size().lines - self._drawn - 1)
            return CLEAR_SCREEN + "".join(f"{line}\n" for line in kept)
        return (f"\x1b[{self._drawn - 1}A" if self._drawn > 1 else "") + CLEAR_BELOW

    def _tail(self, lines: int) -> list[str]:
        kept: deque[str] = deque()
        for text in reversed(self._above):
            lines -= sum(1 + len(line) // self._size().columns for line in text.split("\n"))
            if lines < 0:
                break
            kept.appendleft(text)
        return list(kept)

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if style and text and self._has_colour else text


def _size_of(stream: TextIO) -> os.terminal_size:
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return os.terminal_size((80, 24))
    return os.terminal_size((size.columns or 80, size.lines or 24))
