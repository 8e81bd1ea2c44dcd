"""`python -m tests.cli.pictures`: makes `docs/display.md`, pictures of the display as a terminal shows it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bulkup.cli.display import Screen
from bulkup.event import LaneSnapshot, Note, Progress, Snapshot, Stage, Trouble
from tests.cli.screens import Terminal

__all__ = ["PAGE", "REFUSED", "REFUSING", "RUNNING", "page", "screen_on", "show"]

PAGE = Path(__file__).parents[2] / "docs" / "display.md"

RUNNING = LaneSnapshot(
    lane="nebius",
    rows_read=100_000,
    rows_landed=28_590,
    rows_rejected=0,
    rows_in_doubt=0,
    chunks_landed=14,
    chunks_in_doubt=0,
    bytes_sent=200_000_000,
    in_flight=3,
    concurrency_limit=5,
    retries=0,
    waiting_for="",
    source_done=0.5,
    ended=False,
    limited_by="quota",
    quota_per_minute=300,
    left_s=7800,
    chunks_expected=63,
)
REFUSED = Trouble("cannot reach https://api.collinear.ai (connection refused)", 0.0, "retrying, giving up in")
REFUSING = replace(
    RUNNING,
    lane="collinear",
    rows_in_doubt=512,
    chunks_in_doubt=1,
    retries=3,
    left_s=None,
    limited_by="",
    trouble=REFUSED,
    trouble_left_s=590.0,
    bytes_sent=18_000_000,
    rows_landed=3_100,
)


@contextmanager
def screen_on(terminal: Terminal) -> Iterator[Screen]:
    """The display on *terminal*."""
    with os.fdopen(os.dup(terminal.fd), "w", encoding="utf-8") as stream:
        yield Screen(stream)


def show(terminal: Terminal, screen: Screen, *lanes: LaneSnapshot, at_s: float = 60.0) -> None:
    """Three seconds of *lanes*: those without trouble go on."""
    for second in range(3):
        moved = (
            replace(
                lane,
                bytes_sent=lane.bytes_sent + second * 12_000_000 * (lane.trouble is None),
                rows_landed=lane.rows_landed + second * 1200 * (lane.trouble is None),
            )
            for lane in lanes
        )
        screen.show(Snapshot(at_s + second, tuple(moved)))
        terminal.take_in()  # or the terminal takes no more


def _upload(terminal: Terminal, screen: Screen) -> None:
    screen.note(Note("", "run train-1a2b3c4d, kept in .bulkup/train-1a2b3c4d"))
    screen.note(Note("nebius", "about 63 datasets, named train-<tile>-<hash>: each request makes one"))
    show(terminal, screen, RUNNING)


def _trouble(terminal: Terminal, screen: Screen) -> None:
    screen.note(Note("collinear", f"{REFUSED.reason}; retrying, giving up in 10 min 00 s"))
    show(terminal, screen, RUNNING, REFUSING)


def _verify(_: Terminal, screen: Screen) -> None:
    screen.progress(Progress(2.0, (Stage("nebius", "chunks compared", 0, 63),)))
    screen.progress(Progress(20.0, (Stage("nebius", "chunks compared", 27, 63),)))


PICTURES: tuple[tuple[str, int, Callable[[Terminal, Screen], None]], ...] = (
    ("An upload, in a window of 80 columns", 80, _upload),
    ("The same in 120 columns", 120, _upload),
    ("In 50 columns: details fall away, and no word is cut", 50, _upload),
    ("A service that cannot be reached, beside one that takes rows", 100, _trouble),
    ("`bulkup verify`", 80, _verify),
)


def page() -> str:
    """The page."""
    parts = [
        "# The display",
        "What a terminal shows while bulkup works, as text. `python -m tests.cli.pictures` makes this page from the\n"
        "display's own code, and a test holds it to that. Doubts and retries are yellow, what goes wrong is red, what is\n"
        "done green; not with `NO_COLOR`. Without a terminal there is a line for each destination after 2 s, and then\n"
        "every 10 s. What the words mean stands in [design.md](design.md#the-words).",
    ]
    for title, columns, draw in PICTURES:
        with Terminal(columns, 24) as terminal, screen_on(terminal) as screen:
            draw(terminal, screen)
            parts.append(f"**{title}**\n\n```text\n{terminal.text}\n```")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
