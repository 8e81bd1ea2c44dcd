"""The pass over a source: every block, in order, to every judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing

from bulkup.encoding import RowOptions, Target
from bulkup.encoding.decision import exploder_of, readable_rows
from bulkup.encoding.exploding import block_of
from bulkup.errors import SourceUnreadable
from bulkup.model import Block
from bulkup.scan.by_function import MadeRows
from bulkup.scan.counting import Check
from bulkup.scan.found import Found
from bulkup.scan.judging import Judge, judge_of
from bulkup.scan.sample import Sample
from bulkup.scan.seen import Place
from bulkup.sources import Source
from bulkup.sources.positions import file_at

__all__ = ["scan"]

_UNREADABLE_BLOCKS = 1024
"""Before the first row that can be read; behind so many nobody looks for one."""


async def scan(
    source: Source, lanes: Mapping[str, tuple[Target, RowOptions]], check: Check, reached: Callable[[int], None]
) -> dict[str, Found]:
    """What becomes of the rows of *source* in each of *lanes*. *reached* hears how many bytes of the files were read.

    It blocks its event loop while it works, so it has one of its own. What cannot be read further is no error: what came before
    counts. Raises `UsageProblem` where a destination cannot take these rows at all, and `SourceChanged`.
    """
    found: dict[str, Found] = {}
    judges = {name: await _judge(source, target, options, check) for name, (target, options) in lanes.items()}
    while judges:
        sample, broke_off = await _pass(source, judges, check, reached)
        again: dict[str, Judge] = {}
        for name, judge in judges.items():
            following = judge.next()
            if following is None:
                found[name] = judge.found(sample, broke_off)
            else:
                again[name] = following
        judges = again
    return found


async def _judge(source: Source, target: Target, options: RowOptions, check: Check) -> Judge:
    """Of the rows of *source*, or of those that are made of them."""
    if not options.makes_several:
        return judge_of(target, options, await _first_block(source, options, lambda block: block), check)
    exploder = exploder_of(target, options)
    exploder.between = check
    of_made = options.of_made_rows()
    first = await _first_block(source, of_made, lambda block: block_of(exploder.lines(block), block))
    return MadeRows(judge_of(target, of_made, first, check), options, exploder)


async def _first_block(source: Source, options: RowOptions, made: Callable[[Block], Block | None]) -> Block | None:
    """What is *made* of the first block in which that has a row that can be read; where there is none of the first one."""
    first: Block | None = None
    count = 0
    cursor = source.cursor()
    try:
        async with aclosing(cursor.read(0, _END)) as items:
            async for item in items:
                if isinstance(item, Block):
                    rows = made(item)
                    first = first or rows
                    if rows is not None and any(readable_rows(rows, options)):  # a row without keys says nothing
                        return rows
                    count += 1
                if count > _UNREADABLE_BLOCKS:
                    return first
    except SourceUnreadable:
        pass  # the pass comes to it, too
    finally:
        await cursor.aclose()
    return first


_END = 2**62
"""A position behind every source."""


async def _pass(
    source: Source, judges: Mapping[str, Judge], check: Check, reached: Callable[[int], None]
) -> tuple[Sample, str | None]:
    sample = Sample()
    lines: dict[int, int] = {}
    cursor = source.cursor()
    try:
        async with aclosing(cursor.read(0, _END)) as items:
            async for item in items:
                check()
                file, _ = file_at(item.start, source.bases)
                before = lines.get(file, 0)
                place = Place(file, before + 1)
                for judge in judges.values():
                    lines[file] = before + judge.take(item, place)
                if isinstance(item, Block):
                    sample.add(item)
                reached(cursor.progress)
    except SourceUnreadable as error:
        return sample, str(error)
    finally:
        await cursor.aclose()
    return sample, None
