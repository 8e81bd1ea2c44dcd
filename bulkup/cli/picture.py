"""What the live display shows of one lane, as lines that fit a width. Pure.

What is worth more comes first, and what is worth least falls away where there is no room for all. Nothing is cut within a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bulkup.cli.figures import plural, printable, size_text, time_text
from bulkup.event import LaneSnapshot, Stage
from bulkup.light_dataclass import dataclass
from bulkup.run.pace import Pace

__all__ = [
    "Line",
    "Part",
    "Style",
    "lane_lines",
    "parts_of",
    "plain",
    "stage_line",
    "stage_parts",
    "trouble_of",
    "wrapped",
]

LEAST_BAR, BAR_FROM_WIDTH = 8, 60
DETAIL_LINES = 2
TROUBLE_LINES = 3


class Style:
    """SGR parameters."""

    NONE = ""
    NAME = "1"
    DIM = "2"
    BAR = "36"
    DONE = "32"
    DOUBT = "33"
    ERROR = "31"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of text that stands whole or not at all."""

    text: str
    style: str = Style.NONE


Line = list[Part]


def lane_lines(lane: LaneSnapshot, pace: Pace, *, elapsed_s: float, width: int, indent: int) -> list[Line]:
    """The lane's lines, none wider than *width*: what is done, then what it is at, then what goes wrong."""
    name = Part(printable(lane.lane)[: max(0, indent - 2)].ljust(indent), Style.NAME)
    headline = _headline(lane, pace)
    first, told = _first_line(name, lane.done_share, headline, width, ended=lane.ended)
    lines = [first]
    trouble = trouble_of(lane)
    room = max(1, width - indent)
    waiting = _waiting(lane)
    is_long = _cells(waiting) > room  # it would fall away whole
    rest = [*headline[told:], *_rest(lane, elapsed_s, "" if is_long else waiting)]
    lines += [[_space(indent), *line] for line in _flowed(rest, room, most=DETAIL_LINES)]
    if is_long:
        lines += [[_space(indent), Part(text, Style.DIM)] for text in wrapped(waiting, room, most=TROUBLE_LINES)]
    style = Style.DIM if lane.trouble is None or lane.trouble.is_over else Style.ERROR
    lines += [[_space(indent), Part(text, style)] for text in wrapped(trouble, room, most=TROUBLE_LINES)]
    return lines


def parts_of(lane: LaneSnapshot, pace: Pace, *, elapsed_s: float) -> list[Part]:
    """All that there is to say in one line, what is worth more first."""
    share = lane.done_share
    head = [*([Part(f"{share:.0%}")] if share is not None else []), *_headline(lane, pace)]
    trouble = trouble_of(lane)
    return [*head, *([Part(trouble)] if trouble else []), *_rest(lane, elapsed_s, _waiting(lane))]


def stage_line(stage: Stage, left_s: float | None, *, width: int, indent: int) -> Line:
    """One line of something that sends nothing: bar, share, time left, count."""
    name = Part(printable(stage.lane).ljust(indent), Style.NAME)
    share = min(1.0, stage.done / stage.total) if stage.total else None
    line, _ = _first_line(name, share, stage_parts(stage, left_s)[share is not None :], width)
    return line


def stage_parts(stage: Stage, left_s: float | None) -> list[Part]:
    """The same as pieces, what is worth more first."""
    parts = [Part(f"{min(1.0, stage.done / stage.total):.0%}")] if stage.total else []
    if left_s is not None:
        parts.append(Part(f"{time_text(left_s, whole=True)} left"))
    done, total = (size_text(n) if stage.are_bytes else f"{n:,}" for n in (stage.done, stage.total))
    return [*parts, Part(f"{done} of {total} {stage.what}")]


def plain(parts: Iterable[Part]) -> str:
    """In one line, with commas."""
    return ", ".join(part.text for part in parts)


def trouble_of(lane: LaneSnapshot) -> str:
    """The last trouble, and what is done about it; empty where there was none."""
    trouble = lane.trouble
    if trouble is None:
        return ""
    if trouble.is_over or lane.ended:
        return f"last trouble: {printable(trouble.reason)}"
    left = "" if lane.trouble_left_s is None else f" {time_text(max(0.0, lane.trouble_left_s), whole=True)}"
    return f"{printable(trouble.reason)}; {trouble.doing}{left}"


def wrapped(text: str, width: int, *, most: int) -> list[str]:
    """*text* in at most so many lines, broken between words; what does not fit ends in `...`. A word that is wider than a line is
    broken where the line ends: it is a path or a URL, and worth more in pieces than not at all."""
    lines: list[str] = []
    for word in _pieces(text.split(), width):
        if lines and _cells(lines[-1]) + 1 + _cells(word) <= width:
            lines[-1] += " " + word
        elif len(lines) < most:
            lines.append(word)
        else:
            lines[-1] = _with_dots(lines[-1], width)
            break
    return lines


def _pieces(words: Iterable[str], width: int) -> Iterable[str]:
    for word in words:
        while _cells(word) > width:
            cut = width
            while _cells(word[:cut]) > width:
                cut -= 1
            yield word[: max(1, cut)]
            word = word[max(1, cut) :]
        yield word


def _with_dots(line: str, width: int) -> str:
    while line and _cells(line) + 4 > width:
        line = line.rpartition(" ")[0]
    return f"{line} ..." if line else "..."[:width]


def _headline(lane: LaneSnapshot, pace: Pace) -> list[Part]:
    """Time left, rate, rows."""
    if lane.ended:
        share = lane.done_share
        is_done = share is None or share >= 1
        state = Part("finished", Style.DONE) if is_done else Part("stopped", Style.DOUBT)
        return [state, _rows(lane)]
    parts = []
    if lane.left_s is not None and lane.left_s >= 1:
        parts.append(Part(f"{time_text(lane.left_s, whole=True)} left"))
    parts.append(Part(f"{size_text(pace.bytes_per_s)}/s"))
    parts.append(Part(f"{plural(round(pace.rows_per_s), 'row')}/s"))
    return [*parts, _rows(lane)]


def _rows(lane: LaneSnapshot) -> Part:
    return Part(f"{plural(lane.rows_landed, 'row')} landed")


def _waiting(lane: LaneSnapshot) -> str:
    """What it waits for, where no trouble tells that."""
    is_in_trouble = lane.trouble is not None and not lane.trouble.is_over
    is_told = is_in_trouble and "paused" not in lane.waiting_for
    return f"waiting for {printable(lane.waiting_for)}" if lane.waiting_for and not lane.ended and not is_told else ""


def _rest(lane: LaneSnapshot, elapsed_s: float, waiting: str) -> list[Part]:
    """What it waits for, what went wrong, what limits it, and the details."""
    parts = [Part(waiting, Style.DIM)] if waiting else []
    if lane.rows_in_doubt:
        parts.append(Part(f"{plural(lane.rows_in_doubt, 'row')} in doubt", Style.DOUBT))
    if lane.rows_rejected:
        parts.append(Part(f"{plural(lane.rows_rejected, 'row')} rejected", Style.DOUBT))
    if lane.rows_skipped:
        parts.append(Part(f"{plural(lane.rows_skipped, 'row')} skipped", Style.DIM))
    if lane.retries:
        parts.append(Part(f"{lane.retries:,} " + ("retry" if lane.retries == 1 else "retries"), Style.DOUBT))
    if lane.limited_by and not lane.ended:
        parts.append(Part(f"limited by {_limit(lane)}", Style.DIM))
    parts.append(Part(_chunks(lane), Style.DIM))
    parts.append(Part(f"{time_text(elapsed_s, whole=True)} elapsed", Style.DIM))
    if not lane.ended:
        parts.append(Part(f"{lane.in_flight} of {lane.concurrency_limit} in flight", Style.DIM))
    parts.append(Part(f"{size_text(lane.bytes_sent)} sent", Style.DIM))
    return parts


def _chunks(lane: LaneSnapshot) -> str:
    if lane.chunks_expected is None:
        return plural(lane.chunks_landed, "chunk")
    about = "" if lane.source_done == 1.0 else "about "
    return f"{lane.chunks_landed:,} of {about}{plural(max(lane.chunks_expected, lane.chunks_landed), 'chunk')}"


def _limit(lane: LaneSnapshot) -> str:
    if lane.limited_by == "quota" and lane.quota_per_minute is not None:
        return f"the quota ({lane.quota_per_minute:,.0f} requests/min)"
    return f"the {lane.limited_by}"


def _first_line(name: Part, share: float | None, parts: Line, width: int, *, ended: bool = False) -> tuple[Line, int]:
    """Name, bar, share, and as many of *parts* as fit, and how many those are; the bar takes what they leave."""
    percent = [] if share is None else [Part(f"{share:4.0%}"), _space(2)]
    taken = len(name.text) + sum(len(part.text) for part in percent)
    has_bar = share is not None and width >= BAR_FROM_WIDTH
    rest = _fitting(parts, width - taken - (LEAST_BAR + 1 if has_bar else 0))
    if share is None or not has_bar:
        return [name, *percent, *_joined(rest, "  ")], len(rest)
    room = width - taken - 1 - max(-2, sum(_cells(part.text) + 2 for part in rest) - 2)
    full = int(share * room)
    bar = [Part("━" * full, Style.DONE if ended else Style.BAR), Part("─" * (room - full), Style.DIM)]
    return [name, *bar, _space(1), *percent, *_joined(rest, "  ")], len(rest)


def _fitting(parts: Sequence[Part], width: int, gap: int = 2) -> Line:
    """As many of the first of *parts* as fit."""
    kept: Line = []
    taken = 0
    for part in parts:
        taken += _cells(part.text) + gap
        if taken - gap > width:
            break
        kept.append(part)
    return kept


def _flowed(parts: Sequence[Part], width: int, *, most: int) -> list[Line]:
    """*parts* in lines of *width*; those that do not fit into *most* lines fall away, the last first."""
    lines: list[Line] = []
    rest = list(parts)
    for _ in range(most):
        kept: Line = []
        taken = 0
        left: list[Part] = []
        for part in rest:
            size = _cells(part.text) + (2 if kept else 0)
            if taken + size <= width:
                kept.append(part)
                taken += size
            else:
                left.append(part)
        if not kept:
            break
        lines.append(_joined(kept, ", "))
        rest = left
    return lines


def _joined(parts: Sequence[Part], gap: str) -> Line:
    line: Line = []
    for part in parts:
        if line:
            line.append(Part(gap, Style.DIM))
        line.append(part)
    return line


def _space(count: int) -> Part:
    return Part(" " * count)


def _cells(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
