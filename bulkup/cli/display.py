"""What a person sees while a run works: a live display on a terminal, lines at intervals elsewhere. All of it on stderr."""

from __future__ import annotations

import os
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TextIO

from bulkup.cli.figures import plural, printable, size_text, time_text
from bulkup.cli.terminal import console_on
from bulkup.event import LaneSnapshot, Note, Snapshot

if TYPE_CHECKING:
    from rich.console import OverflowMethod
    from rich.live import Live
    from rich.text import Text

__all__ = ["Display", "LineDisplay", "Pace", "Screen", "Silence", "display_for"]

FIRST_LINE_S, LINE_EVERY_S = 2.0, 10.0
REFRESH_EVERY_S = 0.24
PACE_WINDOW_S = 10.0
BAR = 24


class Display(Protocol):
    """Shows what a run says. Nothing here raises: a terminal that has gone does not end an upload."""

    def note(self, note: Note) -> None:
        """Show a line that stays."""

    def show(self, snapshot: Snapshot) -> None:
        """Show where the lanes stand. May be called as often as one likes."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Pace:
    """How fast one lane has been over the last seconds."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()
        self.bytes_per_s = 0.0
        self.rows_per_s = 0.0

    def take(self, elapsed_s: float, lane: LaneSnapshot) -> None:
        """Take in where *lane* stands *elapsed_s* seconds after the start."""
        self._marks.append((elapsed_s, lane.bytes_sent, _settled(lane)))
        while len(self._marks) > 2 and elapsed_s - self._marks[0][0] > PACE_WINDOW_S:
            self._marks.popleft()
        since, size, rows = self._marks[0]
        span = elapsed_s - since
        if span <= 0:
            return
        now = self._marks[-1]
        self.bytes_per_s = (now[1] - size) / span
        self.rows_per_s = (now[2] - rows) / span


def _settled(lane: LaneSnapshot) -> int:
    return lane.rows_landed + lane.rows_rejected + lane.rows_in_doubt


def _amounts(lane: LaneSnapshot) -> str:
    return (
        f"{plural(lane.rows_landed, 'row')} landed, {plural(lane.chunks_landed, 'chunk')}, "
        f"{size_text(lane.bytes_sent)} sent"
    )


def _condition(lane: LaneSnapshot, pace: Pace) -> str:
    if lane.ended:
        share = lane.done_share
        parts = ["finished" if share is None or share >= 1 else "stopped"]
    else:
        parts = [
            f"{size_text(pace.bytes_per_s)}/s",
            f"{pace.rows_per_s:,.0f} rows/s",
            f"{lane.in_flight} of {lane.concurrency_limit} in flight",
        ]
    if lane.waiting_for and not lane.ended:
        parts.append(f"waiting for {printable(lane.waiting_for)}")
    if lane.retries:
        parts.append(f"{lane.retries:,} " + ("retry" if lane.retries == 1 else "retries"))
    if lane.rows_rejected:
        parts.append(f"{plural(lane.rows_rejected, 'row')} rejected")
    if lane.rows_in_doubt:
        parts.append(f"{plural(lane.rows_in_doubt, 'row')} in doubt")
    if lane.limited_by and not lane.ended:
        parts.append(f"limited by {_limit(lane)}")
    if lane.left_s is not None and lane.left_s >= 1 and not lane.ended:
        parts.append(f"about {time_text(lane.left_s)} left")
    return ", ".join(parts)


def _limit(lane: LaneSnapshot) -> str:
    if lane.limited_by == "quota" and lane.quota_per_minute is not None:
        return f"the quota ({lane.quota_per_minute:,.0f} requests/min)"
    return f"the {lane.limited_by}"


class Silence:
    """`-q`."""

    def note(self, note: Note) -> None:
        """Nothing."""

    def show(self, snapshot: Snapshot) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class LineDisplay:
    """For logs and pipes: notes as they come, each lane after 2 s and then every 10 s."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._due_s = FIRST_LINE_S
        self._paces: dict[str, Pace] = {}

    def note(self, note: Note) -> None:
        """One line."""
        self._write(_spoken(note))

    def show(self, snapshot: Snapshot) -> None:
        """A line for each lane, when it is time."""
        for lane in snapshot.lanes:
            self._paces.setdefault(lane.lane, Pace()).take(snapshot.elapsed_s, lane)
        if snapshot.elapsed_s < self._due_s:
            return
        self._due_s = snapshot.elapsed_s + LINE_EVERY_S
        for lane in snapshot.lanes:
            share, pace = lane.done_share, self._paces[lane.lane]
            done = "" if share is None else f"{share:.0%}, "
            self._write(f"{lane.lane}: {done}{_amounts(lane)}, {_condition(lane, pace)}")

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, line: str) -> None:
        with suppress(OSError, ValueError):  # whoever read this has gone; the upload goes on
            self._stream.write(line + "\n")
            self._stream.flush()


class Screen:
    """For terminals: two lines a lane that change in place, notes above them."""

    def __init__(self, stream: TextIO) -> None:
        self._console = console_on(stream)
        self._overflow: OverflowMethod = "ellipsis" if _takes(stream, "…") else "crop"
        self._live: Live | None = None
        self._paces: dict[str, Pace] = {}
        self._shown_s = -1.0

    def note(self, note: Note) -> None:
        """One line, above the display."""
        from rich.text import Text

        line = Text(_spoken(note), style="dim" if not note.lane else "")
        if note.lane:
            line.stylize("bold", 0, len(printable(note.lane)) + 1)
        with suppress(OSError, ValueError):
            self._console.print(line, soft_wrap=True)

    def show(self, snapshot: Snapshot) -> None:
        """Draw the lanes anew, at most four times a second."""
        if self._shown_s >= 0 and snapshot.elapsed_s - self._shown_s < REFRESH_EVERY_S:
            return
        self._shown_s = snapshot.elapsed_s
        for lane in snapshot.lanes:
            self._paces.setdefault(lane.lane, Pace()).take(snapshot.elapsed_s, lane)
        with suppress(OSError, ValueError):
            self._draw(snapshot)

    def close(self) -> None:
        """Take the display away; notes stay."""
        if self._live is not None:
            with suppress(OSError, ValueError):
                self._live.stop()
            self._live = None

    def _draw(self, snapshot: Snapshot) -> None:
        from rich.live import Live

        if self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(self._picture(snapshot), refresh=True)

    def _picture(self, snapshot: Snapshot) -> Text:
        from rich.text import Text

        picture = Text(no_wrap=True, overflow=self._overflow)
        indent = max((len(lane.lane) for lane in snapshot.lanes), default=0) + 2
        for place, lane in enumerate(snapshot.lanes):
            pace, share = self._paces[lane.lane], lane.done_share
            picture.append("\n" if place else "").append(lane.lane.ljust(indent), style="bold")
            if share is not None:
                full = int(share * BAR)
                picture.append("━" * full, style="green" if lane.ended else "cyan").append(
                    "─" * (BAR - full), style="dim"
                )
                picture.append(f" {share:4.0%}  ")
            picture.append(_amounts(lane))
            picture.append(
                "\n" + " " * indent + _condition(lane, pace), style="yellow" if lane.rows_in_doubt else "dim"
            )
        return picture


def _takes(stream: TextIO, text: str) -> bool:
    """Whether *text* takes as many places on *stream* as it has characters: else it is written in other ones."""
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _spoken(note: Note) -> str:
    text = printable(note.text)
    return f"{printable(note.lane)}: {text}" if note.lane else text


def display_for(*, quiet: bool, stream: TextIO | None = None) -> Display:
    """The display that suits *stream* (stderr)."""
    stream = sys.stderr if stream is None else stream
    if quiet:
        return Silence()
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return Screen(stream)
    return LineDisplay(stream)
