"""A run as a notebook shows it: a display in the cell's output that changes in place. Elsewhere nothing is shown.

IPython is never imported by this: it is there already where a cell runs.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from html import escape
from importlib import import_module
from typing import Any

from bulkup.account.finished import Event
from bulkup.cli.figures import printable
from bulkup.cli.picture import Style, lane_lines, parts_of, plain, stage_parts, trouble_of
from bulkup.event import LaneSnapshot, Note, Progress, Snapshot, Stage
from bulkup.run.pace import Pace, StageSpeeds
from bulkup.tokens.secret import redact

__all__ = ["NotebookDisplay", "shown"]

REFRESH_EVERY_S = 0.5
NOTES_KEPT = 20
TEXT_WIDTH = 100

_COLOURS = {Style.DONE: "green", Style.DOUBT: "darkorange", Style.ERROR: "crimson"}


@contextmanager
def shown() -> Iterator[Callable[[Event], None]]:
    """What hears of a run: in a notebook's cell a display below it, else nobody. It stays as it was last."""
    handle = _handle()
    if handle is None:
        yield lambda _: None
        return
    display = NotebookDisplay(handle)
    try:
        yield display.tell
    except BaseException as error:
        _forget_groups(error)
        raise
    finally:
        display.close()


def _forget_groups(error: BaseException) -> None:
    """IPython does not format what was raised while a group of exceptions was handled, and ipykernel 7 then never answers: the cell
    hangs if that is its kernel's first error."""
    while (before := error.__context__) is not None:
        if isinstance(before, BaseExceptionGroup):
            error.__context__ = None
            return
        error = before


def _handle() -> Any:
    """What updates one output of the cell that runs; None where none runs in a kernel. In IPython on a terminal it would be printed
    again and again."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if hasattr(ipython, "get_ipython") else None
    return None if getattr(shell, "kernel", None) is None else import_module("IPython.display").DisplayHandle()


class NotebookDisplay:
    """Shows a run through *handle* (IPython's `DisplayHandle`). A notebook that has gone does not end an upload."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._is_open = False
        self._notes: deque[str] = deque(maxlen=NOTES_KEPT)
        self._paces: dict[str, Pace] = {}
        self._speeds = StageSpeeds()
        self._last: Snapshot | Progress | None = None
        self._drawn_s = float("-inf")

    def tell(self, event: Event) -> None:
        """Take *event* in, and show it where it is new or the time has come."""
        match event:
            case Note():
                self._notes.append(redact(f"{event.lane}: {event.text}" if event.lane else event.text))
                self.update()
            case Snapshot():
                for lane in event.lanes:
                    self._paces.setdefault(lane.lane, Pace()).take(event.elapsed_s, lane)
                self._see(event)
            case Progress():
                for stage in event.stages:
                    self._speeds.take(event.elapsed_s, stage)
                self._see(event)
            case _:
                pass

    def update(self) -> None:
        """Show what there is now."""
        if not self._notes and self._last is None:
            return
        with suppress(Exception):  # whatever the kernel's other end has come to
            (self._handle.update if self._is_open else self._handle.display)(self)
            self._is_open = True

    def close(self) -> None:
        """It is over: what is shown stays, but for stages, which have an end only."""
        if isinstance(self._last, Progress):
            self._last = None
        self.update()

    def _see(self, event: Snapshot | Progress) -> None:
        self._last = event
        if event.elapsed_s - self._drawn_s >= REFRESH_EVERY_S or event.elapsed_s < self._drawn_s:
            self._drawn_s = event.elapsed_s
            self.update()

    def _repr_html_(self) -> str:
        """For a browser."""
        rows = [f"<div>{escape(printable(note))}</div>" for note in self._notes]
        match self._last:
            case Snapshot():
                rows += [self._lane_html(lane, self._last.elapsed_s) for lane in self._last.lanes]
            case Progress():
                rows += [_stage_html(stage, self._speeds.left_s(stage)) for stage in self._last.stages]
            case None:
                pass
        return f'<div style="font-family: monospace">{"".join(rows)}</div>'

    def __repr__(self) -> str:
        """For what shows no HTML."""
        lines = [printable(note) for note in self._notes]
        match self._last:
            case Snapshot(elapsed_s, lanes):
                indent = max((len(lane.lane) for lane in lanes), default=0) + 2
                lines += [
                    "".join(part.text for part in line)
                    for lane in lanes
                    for line in lane_lines(
                        lane, self._paces[lane.lane], elapsed_s=elapsed_s, width=TEXT_WIDTH, indent=indent
                    )
                ]
            case Progress(_, stages):
                lines += [f"{stage.lane}: {plain(stage_parts(stage, self._speeds.left_s(stage)))}" for stage in stages]
            case None:
                pass
        return "\n".join(lines)

    def _lane_html(self, lane: LaneSnapshot, elapsed_s: float) -> str:
        trouble = trouble_of(lane)
        parts = parts_of(lane, self._paces[lane.lane], elapsed_s=elapsed_s)
        said = ", ".join(_coloured(part.text, part.style) for part in parts if part.text != trouble)
        style = Style.NONE if lane.trouble is None or lane.trouble.is_over else Style.ERROR
        return _row(lane.lane, lane.done_share, said) + (f"<div>{_coloured(trouble, style)}</div>" if trouble else "")


def _stage_html(stage: Stage, left_s: float | None) -> str:
    share = min(1.0, stage.done / stage.total) if stage.total else None
    return _row(stage.lane, share, escape(plain(stage_parts(stage, left_s))))


def _row(name: str, share: float | None, said: str) -> str:
    bar = "" if share is None else f'<progress max="1" value="{share:.3f}"></progress> '
    return f"<div><b>{escape(printable(name))}</b> {bar}{said}</div>"


def _coloured(text: str, style: str) -> str:
    colour = _COLOURS.get(style)
    return f'<span style="color: {colour}">{escape(text)}</span>' if colour else escape(text)
