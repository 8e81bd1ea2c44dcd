"""What stands on a real terminal: at 80x24 and 200x50, resized in between."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bulkup.event import Note, Progress, Stage
from tests.cli.pictures import PAGE, REFUSED, REFUSING, RUNNING, page, screen_on, show
from tests.cli.screens import Terminal


def test_80_columns() -> None:
    """Share, time left, rate and rows stand there, and the limit; the bar takes what is left."""
    with Terminal(80, 24) as terminal, screen_on(terminal) as screen:
        show(terminal, screen, RUNNING)
        assert terminal.lines == [
            "nebius  ━━━─────────────────────  15%  2 h 10 min left  12.0 MB/s  1,200 rows/s",
            "        30,990 rows landed, limited by the quota (300 requests/min)",
            "        14 of about 63 chunks, 1 min 02 s elapsed, 3 of 5 in flight",
        ]
        screen.close()
        assert terminal.lines == []


def test_200_columns() -> None:
    with Terminal(200, 50) as terminal, screen_on(terminal) as screen:
        show(terminal, screen, RUNNING, REFUSING)
        first, second, _, _, trouble = terminal.lines
        assert first.endswith("15%  2 h 10 min left  12.0 MB/s  1,200 rows/s  30,990 rows landed")
        assert len(first) == 199
        assert second.strip() == (
            "limited by the quota (300 requests/min), 14 of about 63 chunks, 1 min 02 s elapsed, 3 of 5 in flight, 224 MB sent"
        )
        assert trouble.strip() == (
            "cannot reach https://api.collinear.ai (connection refused); retrying, giving up in 9 min 50 s"
        )


@pytest.mark.parametrize("columns", [30, 40, 59, 60, 79, 80, 81, 120, 200, 300])
def test_no_line_is_too_wide_and_no_word_is_cut(columns: int) -> None:
    """Whatever the width: what does not fit falls away whole."""
    with Terminal(columns, 40) as terminal, screen_on(terminal) as screen:
        show(terminal, screen, RUNNING, REFUSING)
        lines = terminal.lines
        assert all(len(line) < columns for line in lines)
        assert "15%" in next(line for line in lines if line.startswith("nebius"))
        assert "2 h 10 min left" in terminal.text
        if columns >= 60:  # else a URL is broken where there is no room for it
            with Terminal(400, 40) as wide, screen_on(wide) as whole:
                show(wide, whole, RUNNING, REFUSING)
                known = {word.rstrip(",") for word in wide.text.split()}
            words = {word.rstrip(",") for word in terminal.text.split() if word.strip("━─")}
            assert words - known == set()


def test_colours_tell_doubt_and_trouble() -> None:
    with Terminal(80, 24) as terminal, screen_on(terminal) as screen:
        show(terminal, screen, replace(REFUSING, retries=3))
        assert terminal.colour_of("512 rows in doubt") == "brown"  # as terminals call SGR 33
        assert terminal.colour_of("3 retries") == "brown"
        assert terminal.colour_of("cannot reach") == "red"


def test_a_window_that_shrinks_and_grows_leaves_no_fragments() -> None:
    """Every line on the screen is a note, or belongs to the newest picture."""
    with Terminal(200, 50) as terminal, screen_on(terminal) as screen:
        screen.note(Note("nebius", "about 63 datasets"))
        show(terminal, screen, RUNNING, REFUSING)
        at_s = 63.0
        for columns, lines in ((80, 24), (60, 20), (120, 30), (200, 50), (70, 12)):
            terminal.resize(columns, lines)
            show(terminal, screen, RUNNING, REFUSING, at_s=at_s)
            at_s += 3.0
            text = terminal.text
            for words in ("about 63 datasets", "nebius  ", "collinear  ", "cannot reach"):
                assert text.count(words) == 1, f"{columns}x{lines}: {text}"
        screen.close()
        assert terminal.text == "nebius: about 63 datasets"


def test_a_note_stands_above_and_is_broken_between_words() -> None:
    with Terminal(80, 24) as terminal, screen_on(terminal) as screen:
        show(terminal, screen, RUNNING)
        screen.note(
            Note("nebius", "waiting until 2026-11-29 18:54:06 UTC, as the service asked for it (HTTP 429: slow down)")
        )
        assert terminal.lines[:3] == [
            "nebius: waiting until 2026-11-29 18:54:06 UTC, as the service asked for it",
            "(HTTP 429: slow down)",
            "nebius  ━━━─────────────────────  15%  2 h 10 min left  12.0 MB/s  1,200 rows/s",
        ]


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_what_is_waited_for_never_falls_away(columns: int) -> None:
    """However long it is to say."""
    waiting = "evidence: nothing has landed after it that a look could show (1 min 26 s more)"
    with Terminal(columns, 24) as terminal, screen_on(terminal) as screen:
        show(terminal, screen, replace(RUNNING, waiting_for=waiting))
        assert f"waiting for {waiting}" in " ".join(" ".join(terminal.lines).split())


def test_the_last_trouble_stays_after_it_is_over() -> None:
    with Terminal(120, 24) as terminal, screen_on(terminal) as screen:
        over = replace(REFUSED, is_over=True)
        show(terminal, screen, replace(REFUSING, trouble=over, rows_in_doubt=0))
        assert terminal.lines[-1].strip() == f"last trouble: {REFUSED.reason}"
        assert terminal.colour_of("last trouble") == "default"


def test_no_colour_where_the_user_wants_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with Terminal(80, 24) as terminal, screen_on(terminal) as screen:
        show(terminal, screen, REFUSING)
        assert terminal.colour_of("cannot reach") == "default"


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (80, "nebius  ━━━━━━━━━━━━─────────────────  43%  24 s left  27 of 63 chunks compared"),
        (50, "nebius   43%  24 s left  27 of 63 chunks compared"),
        (30, "nebius   43%  24 s left"),
    ],
)
def test_what_sends_nothing_shows_how_far_it_is(columns: int, line: str) -> None:
    """`verify` compares: the share, the time left, the count."""
    with Terminal(columns, 24) as terminal, screen_on(terminal) as screen:
        screen.progress(Progress(2.0, (Stage("nebius", "chunks compared", 0, 63),)))
        screen.progress(Progress(20.0, (Stage("nebius", "chunks compared", 27, 63),)))
        assert terminal.lines == [line]
        screen.close()
        assert terminal.lines == []


def test_the_page_of_pictures_is_what_the_display_shows() -> None:
    """`python -m tests.cli.pictures` makes it anew."""
    assert PAGE.read_text(encoding="utf-8") == page()
