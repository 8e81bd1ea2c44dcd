"""What a person sees while a run works: a live display on a terminal, lines at intervals elsewhere. All of it on stderr."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol, TextIO

from bulkup.account.finished import Finished
from bulkup.cli.block import Block
from bulkup.cli.figures import printable
from bulkup.cli.picture import Line, Style, lane_lines, parts_of, plain, stage_line, stage_parts
from bulkup.event import Logged, Note, Progress, Snapshot
from bulkup.run.event_text import said_of
from bulkup.run.pace import Pace, StageSpeeds
from bulkup.run.record import logged_of
from bulkup.settings.run import LogFormat
from bulkup.tokens.secret import redact

__all__ = ["Display", "JsonDisplay", "LineDisplay", "Screen", "Silence", "display_for"]

FIRST_LINE_S, LINE_EVERY_S = 2.0, 10.0
REFRESH_EVERY_S = 0.24


class Display(Protocol):
    """Shows what a run says. Nothing here raises: a terminal that has gone does not end an upload."""

    def note(self, note: Note) -> None:
        """Show a line that stays."""

    def show(self, snapshot: Snapshot) -> None:
        """Show where the lanes stand. May be called as often as one likes."""

    def progress(self, progress: Progress) -> None:
        """Show how far something is that sends nothing. May be called as often as one likes."""

    def log(self, event: Logged) -> None:
        """Show a line of the log that the user wants to see."""

    def end(self, event: Finished) -> None:
        """The run is over."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Silence:
    """`-q`."""

    def note(self, note: Note) -> None:
        """Nothing."""

    def show(self, snapshot: Snapshot) -> None:
        """Nothing."""

    def progress(self, progress: Progress) -> None:
        """Nothing."""

    def log(self, event: Logged) -> None:
        """Nothing."""

    def end(self, event: Finished) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class LineDisplay:
    """For logs and pipes: notes as they come, each lane after 2 s and then every 10 s."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._due_s = FIRST_LINE_S
        self._speeds = StageSpeeds()
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
            parts = parts_of(lane, self._paces[lane.lane], elapsed_s=snapshot.elapsed_s)
            self._write(f"{lane.lane}: {plain(parts)}")

    def progress(self, progress: Progress) -> None:
        """A line for each stage, when it is time."""
        for stage in progress.stages:
            self._speeds.take(progress.elapsed_s, stage)
        if progress.elapsed_s < self._due_s:
            return
        self._due_s = progress.elapsed_s + LINE_EVERY_S
        for stage in progress.stages:
            name = f"{stage.lane}: " if stage.lane else ""
            self._write(name + plain(stage_parts(stage, self._speeds.left_s(stage))))

    def log(self, event: Logged) -> None:
        """One line."""
        self.note(_note_of(event))

    def end(self, event: Finished) -> None:
        """The receipt is printed elsewhere."""

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, line: str) -> None:
        with suppress(OSError, ValueError):  # whoever read this has gone; the upload goes on
            self._stream.write(line + "\n")
            self._stream.flush()


class JsonDisplay:
    """`--log-format json`: each event as an object on a line, and how far the lanes are after 2 s and then every 10 s."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._due_s = FIRST_LINE_S

    def note(self, note: Note) -> None:
        """One line."""
        self._write(logged_of(note))

    def show(self, snapshot: Snapshot) -> None:
        """One line for all lanes, when it is time."""
        if snapshot.elapsed_s >= self._due_s:
            self._due_s = snapshot.elapsed_s + LINE_EVERY_S
            self._write(logged_of(snapshot))

    def progress(self, progress: Progress) -> None:
        """One line, when it is time."""
        if progress.elapsed_s >= self._due_s:
            self._due_s = progress.elapsed_s + LINE_EVERY_S
            self._write(logged_of(progress))

    def log(self, event: Logged) -> None:
        """One line."""
        self._write(event)

    def end(self, event: Finished) -> None:
        """One line with what the run came to."""
        self._write(logged_of(event))

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, event: Logged) -> None:
        record = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event.kind}
        record |= {"lane": event.lane} if event.lane else {}
        with suppress(OSError, ValueError):
            self._stream.write(redact(json.dumps({**record, **event.fields}, default=str)) + "\n")
            self._stream.flush()


class Screen:
    """For terminals: a few lines a lane that change in place, notes above them."""

    def __init__(self, stream: TextIO) -> None:
        self._block = Block(stream)
        self._paces: dict[str, Pace] = {}
        self._shown_s = -1.0
        self._speeds = StageSpeeds()
        self._last: Snapshot | Progress | None = None

    def note(self, note: Note) -> None:
        """One line, above the display."""
        with suppress(OSError, ValueError):
            self._block.say(_spoken(note), "" if note.lane else Style.DIM)
            if self._last is not None:
                self._draw(self._last)

    def show(self, snapshot: Snapshot) -> None:
        """Draw the lanes anew, at most four times a second."""
        if self._shown_s >= 0 and snapshot.elapsed_s - self._shown_s < REFRESH_EVERY_S:
            return
        self._shown_s = snapshot.elapsed_s
        for lane in snapshot.lanes:
            self._paces.setdefault(lane.lane, Pace()).take(snapshot.elapsed_s, lane)
        self._last = snapshot
        with suppress(OSError, ValueError):
            self._draw(snapshot)

    def progress(self, progress: Progress) -> None:
        """Draw the stages anew, at most four times a second."""
        for stage in progress.stages:
            self._speeds.take(progress.elapsed_s, stage)
        self._last = progress
        with suppress(OSError, ValueError):
            self._draw(progress)

    def log(self, event: Logged) -> None:
        """One line, above the display."""
        self.note(_note_of(event))

    def end(self, event: Finished) -> None:
        """The receipt is printed elsewhere."""

    def close(self) -> None:
        """Take the display away; notes stay."""
        self._last = None
        with suppress(OSError, ValueError):
            self._block.close()

    def _draw(self, shown: Snapshot | Progress) -> None:
        width = self._block.width
        if isinstance(shown, Snapshot):
            self._block.draw(self._lanes(shown, width))
        else:
            indent = max((len(stage.lane) for stage in shown.stages), default=0) + 2
            self._block.draw([stage_line(s, self._speeds.left_s(s), width=width, indent=indent) for s in shown.stages])

    def _lanes(self, snapshot: Snapshot, width: int) -> list[Line]:
        indent = max((len(lane.lane) for lane in snapshot.lanes), default=0) + 2
        return [
            line
            for lane in snapshot.lanes
            for line in lane_lines(
                lane, self._paces[lane.lane], elapsed_s=snapshot.elapsed_s, width=width, indent=indent
            )
        ]


def _spoken(note: Note) -> str:
    text = printable(note.text)
    return f"{printable(note.lane)}: {text}" if note.lane else text


def _note_of(event: Logged) -> Note:
    return Note(event.lane, said_of({"event": event.kind, **event.fields}))


def display_for(*, quiet: bool, log_format: LogFormat = LogFormat.TEXT, stream: TextIO | None = None) -> Display:
    """The display that suits *stream* (stderr)."""
    stream = sys.stderr if stream is None else stream
    if quiet:
        return Silence()
    if log_format is LogFormat.JSON:
        return JsonDisplay(stream)
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return Screen(stream)
    return LineDisplay(stream)
