"""A scan in one process, from a source to what was found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from bulkup.encoding import RowOptions, Target
from bulkup.scan.found import Found
from bulkup.scan.judging import Stage, Way
from bulkup.scan.learned import Learned
from bulkup.scan.scanner import first_rows, look_at_part, made_way, scan
from bulkup.scan.spread import Part, whole_in_parts
from bulkup.sources import Source, open_files

T = TypeVar("T")


class Here:
    """Looks at parts of *source*, itself in the way."""

    def __init__(self, source: Source, *, goes_on: bool, block_bytes: int, max_row_bytes: int) -> None:
        self._source = source
        self._goes_on = goes_on
        self._block_bytes = block_bytes
        self._max_row_bytes = max_row_bytes

    async def do(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)

    async def look(self, lanes: Mapping[str, Way], part: Part) -> Mapping[str, Learned]:
        return await asyncio.to_thread(self.learned, lanes, part)

    def learned(self, lanes: Mapping[str, Way], part: Part) -> Mapping[str, Learned]:
        files = self._source.files[part.file : part.file + part.files]
        source = self._source
        if len(files) < len(source.files) or source.rereadable:
            source = open_files(files, max_row_bytes=self._max_row_bytes, block_bytes=self._block_bytes)
        return look_at_part(source, part, lanes, lambda: None, lambda _: None, goes_on=self._goes_on)


class NothingKept:
    def of(self, lane: str, stage: Stage, part: Part) -> Learned | None:
        return None

    async def keep(self, lane: str, stage: Stage, part: Part, learned: Learned) -> None:
        pass


def found_in(
    source: Source,
    target: Target,
    options: RowOptions,
    parts: Sequence[Part] | None = None,
    *,
    goes_on: bool = False,
    is_whole: bool = True,
    block_bytes: int = 128 * 1024,
) -> Found:
    """What a scan of *parts* of *source* finds, of all of it unless they are given."""
    here = Here(
        source,
        goes_on=goes_on or not is_whole,
        block_bytes=block_bytes,
        max_row_bytes=options.max_row_bytes,
    )
    first = first_rows(source, target, options, lambda: None)
    ways = {"lane": made_way(target, options, first, renames=source.files[0].renames)}
    whole = whole_in_parts(source.files) if source.rereadable else [Part(0)]
    done = scan(ways, parts or whole, [here], NothingKept(), here, is_whole=is_whole and not goes_on)
    return asyncio.run(done)["lane"]
