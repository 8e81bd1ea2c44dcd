"""The display: right figures, plain text, and next to no work."""

from __future__ import annotations

import io
import os
import pty
import time
from dataclasses import replace

import pytest

from bulkup.cli.display import LineDisplay, Screen, Silence, display_for
from bulkup.event import LaneSnapshot, Note, Snapshot, Stage
from bulkup.run.pace import Pace, StageSpeeds

LANE = LaneSnapshot(
    lane="nebius",
    rows_read=1000,
    rows_landed=400,
    rows_rejected=50,
    rows_in_doubt=50,
    chunks_landed=4,
    chunks_in_doubt=1,
    bytes_sent=2_000_000,
    in_flight=3,
    concurrency_limit=5,
    retries=2,
    waiting_for="the rate limit",
    source_done=0.5,
    ended=False,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    """A terminal that was closed."""

    def write(self, _: str) -> int:
        raise BrokenPipeError

    def isatty(self) -> bool:
        return True


def at(elapsed_s: float, *lanes: LaneSnapshot) -> Snapshot:
    return Snapshot(elapsed_s, lanes or (LANE,))


def test_the_share_that_is_done() -> None:
    """Half of the source is read, and of that half is settled."""
    assert LANE.done_share == 0.25
    assert replace(LANE, source_done=None).done_share is None


def test_pace() -> None:
    pace = Pace()
    for second in range(4):
        pace.take(second, replace(LANE, rows_landed=400 + 100 * second, bytes_sent=1_000_000 * second))
    assert pace.bytes_per_s == 1_000_000
    assert pace.rows_per_s == 100


def test_no_pace_is_below_nothing() -> None:
    """Rows that were in doubt turn out to be absent, and are planned again."""
    pace = Pace()
    for second in range(4):
        pace.take(second, replace(LANE, rows_in_doubt=100 * (3 - second)))
    assert pace.rows_per_s == 0


def test_the_pace_forgets() -> None:
    pace = Pace()
    for second in range(60):
        pace.take(second, replace(LANE, bytes_sent=10**9 if second else 0))
    assert pace.bytes_per_s == 0


def test_what_limits_and_the_time_left_are_told() -> None:
    out = io.StringIO()
    limited = replace(LANE, waiting_for="", retries=0, rows_rejected=0, rows_in_doubt=0, left_s=3720.0)
    LineDisplay(out).show(at(3, replace(limited, limited_by="quota", quota_per_minute=59.4)))
    LineDisplay(out).show(at(3, replace(limited, limited_by="source")))
    LineDisplay(out).show(at(3, replace(limited, limited_by="server", ended=True)))
    told = out.getvalue().splitlines()
    assert told[0].startswith(
        "nebius: 20%, 1 h 02 min left, 0 B/s, 0 rows/s, 400 rows landed, limited by the quota (59 requests/min)"
    )
    assert ", 1 h 02 min left, " in told[1]
    assert "limited by the source" in told[1]
    assert "limited" not in told[2]
    assert "left" not in told[2]


def test_lines_come_after_two_seconds_and_then_every_ten() -> None:
    out = io.StringIO()
    lines = LineDisplay(out)
    seen = []
    for quarter in range(4 * 25):
        before = len(out.getvalue())
        lines.show(at(quarter / 4))
        if len(out.getvalue()) > before:
            seen.append(quarter / 4)
    assert seen == [2.0, 12.0, 22.0]
    assert out.getvalue().splitlines()[0] == (
        "nebius: 25%, 0 B/s, 0 rows/s, 400 rows landed, waiting for the rate limit, 50 rows in doubt, 50 rows rejected, 2 retries, "
        "4 chunks, 2 s elapsed, 3 of 5 in flight, 2.0 MB sent"
    )


@pytest.mark.parametrize("kind", [LineDisplay, Screen])
def test_what_others_say_is_text(kind: type[LineDisplay | Screen]) -> None:
    """Neither a terminal's commands nor rich's markup are obeyed."""
    out = Terminal()
    display = kind(out)
    display.note(
        Note("nebius", "dataset [red]x[/red] [link=http://evil]\x1b[2Jsaid\r\nbulkup: all landed :smile: \x9b31m")
    )
    display.show(at(3, replace(LANE, waiting_for="[bold]\x1b]0;title\x07")))
    display.close()
    said = out.getvalue()
    assert "[red]x[/red] [link=http://evil]" in said
    assert "[bold]" in said
    assert ":smile:" in said
    for sequence in ("\x1b[2J", "\x1b]0;", "\x07", "\x9b", "\r\nbulkup"):
        assert sequence not in said


@pytest.mark.parametrize("kind", [LineDisplay, Screen])
def test_a_terminal_that_has_gone_ends_nothing(kind: type[LineDisplay | Screen]) -> None:
    display = kind(Gone())
    display.note(Note("", "x"))
    display.show(at(3))
    display.close()


def test_the_screen_is_left_as_it_was() -> None:
    """The display goes, notes stay, the cursor is back."""
    out = Terminal()
    screen = Screen(out)
    screen.show(at(0))
    screen.note(Note("nebius", "about 12 datasets"))
    screen.show(at(1))
    screen.close()
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h") == 1
    assert "about 12 datasets" in out.getvalue()


def test_the_screen_is_drawn_at_most_four_times_a_second() -> None:
    out = Terminal()
    screen = Screen(out)
    for hundredth in range(300):
        screen.show(at(hundredth / 100))
    screen.close()
    assert out.getvalue().count("nebius") <= 13 + 1


def test_drawing_costs_little() -> None:
    """At four times a second, at most 1 % of a core. The best of several rounds: the machine may be busy."""
    screen = Screen(Terminal())
    screen.show(at(0, LANE, replace(LANE, lane="collinear")))

    def once(round_: int) -> float:
        begin = time.process_time()
        for place in range(1, 21):
            screen.show(at(round_ * 20 + place, LANE, replace(LANE, lane="collinear")))
        return (time.process_time() - begin) / 20

    cost = min(once(round_) for round_ in range(5))
    screen.close()
    assert cost * 4 < 0.01


def test_which_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(display_for(quiet=True, stream=Terminal()), Silence)
    assert isinstance(display_for(quiet=False, stream=io.StringIO()), LineDisplay)
    main, other = pty.openpty()
    with os.fdopen(main, "rb", buffering=0), os.fdopen(other, "w") as terminal:
        assert isinstance(display_for(quiet=False, stream=terminal), Screen)
        monkeypatch.setenv("TERM", "dumb")
        assert isinstance(display_for(quiet=False, stream=terminal), LineDisplay)


def test_what_is_left_of_a_stage_is_said_after_a_second_of_it() -> None:
    """Before that a first piece would make it look as if it were nearly over."""
    speeds, stage = StageSpeeds(), Stage("nebius", "rows read", 100, 1000)
    speeds.take(50.0, stage)
    for at, done, left_s in ((50.5, 500, None), (51.0, 100, None), (52.0, 300, 7.0), (60.0, 1200, 0.0)):
        stage = replace(stage, done=done)
        speeds.take(at, stage)
        assert speeds.left_s(stage) == left_s
