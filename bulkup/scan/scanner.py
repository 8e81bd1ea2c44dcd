"""The pass over a source: every part of it to every judge, by whoever has a hand free, and what all of it comes to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup
from msgspec import Struct

from bulkup.encoding import RowOptions, RowPlan, Target
from bulkup.encoding.decision import exploder_of, tells_columns
from bulkup.encoding.exploding import block_of
from bulkup.encoding.lines import line_count
from bulkup.errors import SourceUnreadable
from bulkup.model import Block
from bulkup.scan.by_function import MadeRows
from bulkup.scan.counting import SMALL_ROW, Check, FileRows, largest_line
from bulkup.scan.found import Found
from bulkup.scan.judging import Judge, Stage, Way, frozen_way, way_of
from bulkup.scan.learned import FileRead, Learned, joined
from bulkup.scan.sample import Sample
from bulkup.scan.seen import Place
from bulkup.scan.sought import SoughtKeys, dropped_keys, renamed_keys
from bulkup.scan.spread import END, Part
from bulkup.sources import Cursor, Item, KeptRows, Source, is_worth_keeping
from bulkup.sources.positions import by_file, file_at, is_of_several, last_row, spans_by_file
from bulkup.sources.renaming import Renames

__all__ = ["Hand", "Here", "Kept", "first_rows", "look_at_part", "made_way", "planned_way", "scan"]

T = TypeVar("T")

_UNREADABLE_BLOCKS = 1024
"""Before the first row that can be read; behind so many nobody looks for one."""


class Hand(Protocol):
    """Looks at one part at a time."""

    async def look(self, lanes: Mapping[str, Way], part: Part) -> Mapping[str, Learned] | None:
        """What *part* has taught, for each of *lanes*; None where this hand can look at no more. Raises `SourceChanged`,
        `UsageProblem`."""


class Here(Protocol):
    """Where that is done which takes long, and is done once."""

    async def do(self, work: Callable[[], T]) -> T:
        """What *work* gives, or raises."""


class Kept(Protocol):
    """What an earlier process has looked at, kept where a kill does not take it."""

    def of(self, lane: str, stage: Stage, part: Part) -> Learned | None:
        """What *part* has taught; None where nobody has looked at it."""

    async def keep(self, lane: str, stage: Stage, part: Part, learned: Learned) -> None:
        """Keep that."""


async def scan(
    ways: Mapping[str, Way],
    parts: Sequence[Part],
    hands: Sequence[Hand],
    kept: Kept,
    here: Here,
    *,
    is_whole: bool,
    come: Sequence[Callable[[], AsyncIterator[Hand]]] = (),
) -> dict[str, Found]:
    """What becomes of the rows in *parts* in each lane, judged in its way. The last of the *hands* can always look, and does what
    the others leave; hands that *come* meanwhile help these others. *is_whole*: the parts are all of the source.

    What cannot be read further is no error: what came before counts. Raises as `Hand.look`.
    """
    found: dict[str, Found] = {}
    left = dict(ways)
    while left:
        learned = await _Pass(left, parts, kept).learned(hands, come)
        again: dict[str, Way] = {}
        for name, way in left.items():
            of_lane = learned[name]
            following = await here.do(partial(way.next, of_lane))
            if following is not None:
                again[name] = following
                continue
            made = await here.do(partial(way.found, of_lane))
            found[name] = made if is_whole else replace(made, bytes_looked_at=of_lane.disk_bytes)
        left = again
    return found


class _Pass:
    """One pass over *parts*. What is known of the parts from the first on is put together as it comes, so little is held."""

    def __init__(self, ways: Mapping[str, Way], parts: Sequence[Part], kept: Kept) -> None:
        self._ways = ways
        self._parts = parts
        self._kept = kept
        self._todo = list(reversed(range(len(parts))))
        self._ahead: dict[int, Mapping[str, Learned]] = {}
        self._known: dict[str, Learned] = {}
        self._joined = 0
        self._is_over = False

    async def learned(
        self, hands: Sequence[Hand], come: Sequence[Callable[[], AsyncIterator[Hand]]]
    ) -> dict[str, Learned]:
        """Of each lane."""
        async with anyio.create_task_group() as coming:
            async with anyio.create_task_group() as tasks:
                for hand in hands[:-1]:
                    tasks.start_soon(self._work, hand)
                for some in come:
                    coming.start_soon(self._take_on, some, tasks)
            self._is_over = True  # one that comes just now has nothing to do
            coming.cancel_scope.cancel()
        await self._work(hands[-1])  # what is left, if others could not look any more
        return self._known

    async def _take_on(self, come: Callable[[], AsyncIterator[Hand]], tasks: TaskGroup) -> None:
        """Have those who come work too, until *tasks* have ended."""
        async for hand in come():
            if self._is_over:
                return
            tasks.start_soon(self._work, hand)

    async def _work(self, hand: Hand) -> None:
        while self._todo and not self._is_broken_off:
            number = self._todo.pop()
            part = self._parts[number]
            known = {name: self._kept.of(name, way.stage, part) for name, way in self._ways.items()}
            wanted = {name: way for name, way in self._ways.items() if known[name] is None}
            found = await hand.look(wanted, part) if wanted else {}
            if found is None:
                self._todo.append(number)
                return
            for name, learned in found.items():
                await self._kept.keep(name, self._ways[name].stage, part, learned)
            self._take(number, {**{name: one for name, one in known.items() if one is not None}, **found})

    @property
    def _is_broken_off(self) -> bool:
        """Whether nothing counts that is still to be looked at: parts are taken in their order."""
        held = (*self._known.values(), *(learned for found in self._ahead.values() for learned in found.values()))
        return any(learned.broke_off is not None for learned in held)

    def _take(self, number: int, found: Mapping[str, Learned]) -> None:
        self._ahead[number] = found
        while self._joined in self._ahead:
            for name, learned in self._ahead.pop(self._joined).items():
                before = self._known.get(name)
                self._known[name] = learned if before is None else joined([before, learned])
            self._joined += 1


# --- a part -----------------------------------------------------------------------------------------------------------


def look_at_part(
    source: Source,
    part: Part,
    ways: Mapping[str, Way],
    check: Check,
    reached: Callable[[int], None],
    *,
    goes_on: bool = False,
    keeps: KeptRows | None = None,
) -> dict[str, Learned]:
    """What *part* has taught, of whose files alone *source* consists. *reached* hears how many bytes of the disk were read.
    *goes_on*: where it cannot be read further there is more. What is slow to read again is put into *keeps*. It blocks: its event
    loop is its own. Raises `SourceChanged`."""
    judges = {name: way.judge(check, part.counted_every) for name, way in ways.items()}
    reading = _Reading(source, part, judges, check, reached, keeps)
    broke_off = asyncio.run(reading.run())
    return {
        name: replace(
            judge.learned(),
            read=reading.read,
            sample=tuple(reading.sample.blocks),
            broke_off=None if goes_on else broke_off,
            disk_bytes=reading.disk_bytes,
        )
        for name, judge in judges.items()
    }


class _File(Struct, gc=False):
    """How many lines of a file have come, and how far it was read."""

    lines: int = 0
    end: int = 0
    last_line: int | None = None


class _Reading:
    """Reads one part."""

    def __init__(
        self,
        source: Source,
        part: Part,
        judges: Mapping[str, Judge],
        check: Check,
        reached: Callable[[int], None],
        keeps: KeptRows | None,
    ) -> None:
        self.sample = Sample(part.sampled)
        self.disk_bytes = 0
        self._source = source
        self._part = part
        self._judges = judges
        self._check = check
        self._reached = reached
        self._keeps = keeps
        self._files: dict[int, _File] = {}

    @property
    def read(self) -> tuple[FileRead, ...]:
        """Each file that it has come to."""
        first = self._part.file
        return tuple(FileRead(first + n, f.lines, f.end, f.last_line) for n, f in sorted(self._files.items()))

    async def run(self) -> str | None:
        """Why it could not be read further; None where it was."""
        part, broke_off = self._part, None
        is_over = False
        cursor = self._source.cursor()
        try:
            is_over = await self._read(cursor.together(part.start, part.stop), cursor)
            if is_over and part.stop == END:
                self._ends()
        except SourceUnreadable as error:
            # of a part behind which others are passed over the upload finds out
            broke_off = str(error) if part.most_bytes == END else None
        finally:
            self.disk_bytes = self._disk_bytes(cursor.progress)
            await cursor.aclose()
        self._tell_what_is_kept(is_over=is_over)
        return broke_off

    async def _read(self, rows: AsyncGenerator[Item, None], cursor: Cursor) -> bool:
        """Whether it has come to the end."""
        part = self._part
        async with aclosing(rows) as items:
            async for item in items:
                self._check()
                self._take(item)
                if isinstance(item, Block):
                    self.sample.add(item)
                self._reached(self._disk_bytes(cursor.progress))
                if cursor.progress >= part.most_bytes:
                    return False
        return True

    def _take(self, item: Item) -> None:
        """Have every judge look at *item*."""
        bases = self._source.bases
        number, _ = file_at(item.start, bases)
        if isinstance(item, Block) and item.offsets is None and is_of_several(item, number, bases):
            self._take_several(item)
        else:
            self._take_of_one(number, item)

    def _take_of_one(self, number: int, item: Item) -> None:
        place = self._placed(number, item)
        base = item.start - place.at
        if self._keeps is not None and is_worth_keeping(self._source.files[number]):
            self._keeps.keep(place.file, item, base)
        lines = 0
        for judge in self._judges.values():
            lines = judge.take(item, place)
        file = self._files[number]
        file.lines, file.end, file.last_line = file.lines + lines, item.end - base, last_row(item) - base

    def _take_several(self, block: Block) -> None:
        """Of several files, which are plain lines on a local disk."""
        bases, first = self._source.bases, self._part.file
        data, behind = block.data, block.start
        has_long = largest_line(data, SMALL_ROW) > SMALL_ROW
        rows: list[FileRows] = []
        ends: list[tuple[int, int, int]] = []
        for number, start, stop in spans_by_file(block, bases):
            part = data[start - behind : stop - behind]
            rows.append(
                FileRows(first + number, line_count(part), largest_line(part, SMALL_ROW) if has_long else SMALL_ROW)
            )
            ends.append((number, stop, start + part.rfind(b"\n", 0, len(part) - 1) + 1))
        place = self._placed(ends[0][0], block)
        declined = [judge for judge in self._judges.values() if not judge.take_together(block, rows, place)]
        if declined:
            for number, one in by_file(block, bases):
                place = self._placed(number, one)
                for judge in declined:
                    judge.take(one, place)
        files = self._files
        for of_file, (number, end, last_line) in zip(rows, ends, strict=True):
            base, file = bases[number], files.get(number)
            before = 0 if file is None else file.lines
            files[number] = _File(before + of_file.rows, end - base, last_line - base)

    def _tell_what_is_kept(self, *, is_over: bool) -> None:
        """All rows that have come were kept: of every file to its end, but for the last one where this has not come to the end."""
        if self._keeps is None:
            return
        part, bases, end = self._part, self._source.bases, self._source.end
        ends = dict(enumerate(bases[1:]))
        if is_over and part.stop == END and end is not None:
            ends[len(bases) - 1] = end
        for number in range(part.files) if is_over else sorted(self._files):
            if not is_worth_keeping(self._source.files[number]):
                continue
            start = part.start if number == 0 else 0
            if part.files == 1 and is_over and part.stop != END:
                self._keeps.covers(part.file, start, part.stop, is_end=False)
            elif number in ends and (is_over or number < max(self._files)):
                self._keeps.covers(part.file + number, start, ends[number] - bases[number], is_end=True)
            else:
                self._keeps.covers(part.file + number, start, self._files[number].end, is_end=False)

    def _placed(self, number: int, item: Item) -> Place:
        """Where *item* is, which begins in file *number*."""
        file = self._files.setdefault(number, _File())
        offset = item.start - self._source.bases[number]
        return Place(self._part.file + number, offset, file.lines + 1 if self._part.has_lines else None)

    def _ends(self) -> None:
        """Files end where the next ones begin, whatever stands behind their last rows."""
        bases, end = self._source.bases, self._source.end
        if end is not None and len(bases) == self._part.files:
            for number, (base, stop) in enumerate(zip(bases, (*bases[1:], end), strict=True)):
                self._files.setdefault(number, _File()).end = stop - base

    def _disk_bytes(self, progress: int) -> int:
        """Of the part: the cursor of a file of any range counts positions from its beginning on."""
        part, file = self._part, self._source.files[0]
        if not self._source.any_range or part.files > 1 or not file.length:
            return progress
        stop = min(part.stop, file.length)
        return max(0, min(progress, stop) - part.start) * (file.size or 0) // file.length


# --- before the first pass --------------------------------------------------------------------------------------------


def first_rows(source: Source, target: Target, options: RowOptions, check: Check) -> Block | None:
    """The first block of *source* in which there is a row that can be read, as its rows are made for *target*; where there is none
    the first. It has an event loop of its own, and blocks. Raises `UsageProblem`, `SourceChanged`."""
    if not options.makes_several:
        return asyncio.run(_first_block(source, options, lambda block: block))
    exploder = exploder_of(target, options)
    exploder.between = check
    return asyncio.run(_first_block(source, options.of_made_rows(), lambda b: block_of(exploder.lines(b), b)))


def made_way(
    target: Target, options: RowOptions, first: Block | None, stage: Stage = None, renames: Renames = ()
) -> Way:
    """The way for *target* of rows, or of those that are made of them, which begin with *first*. *renames* were made before. Raises
    `UsageProblem`, `SourceChanged`."""
    of_made = options.of_made_rows() if options.makes_several else options
    way = way_of(target, of_made, first, stage)
    if of_made.drop:
        way = SoughtKeys(way, dropped_keys(of_made))
    if options.makes_several:
        way = MadeRows(way, options.with_makers, exploder_of(target, options))
    sought = renamed_keys(renames)
    if options.both_sides and options.function is None:
        sought += dropped_keys(options)
    return SoughtKeys(way, sought) if sought else way


def planned_way(plan: RowPlan) -> Way:
    """The way for rows whose *plan* is frozen. Raises as `made_way`."""
    if plan.function is None and plan.sides is None:
        return frozen_way(plan)
    return MadeRows(frozen_way(plan.of_made_rows()), lambda _: plan, plan.exploder())


async def _first_block(source: Source, options: RowOptions, made: Callable[[Block], Block | None]) -> Block | None:
    first: Block | None = None
    count = 0
    cursor = source.cursor()
    try:
        async with aclosing(cursor.read(0, END)) as items:
            async for item in items:
                if isinstance(item, Block):
                    rows = made(item)
                    first = first or rows
                    if rows is not None and tells_columns(rows, options):
                        return rows
                    count += 1
                if count > _UNREADABLE_BLOCKS:
                    return first
    except SourceUnreadable:
        pass  # the pass comes to it, too
    finally:
        await cursor.aclose()
    return first
