"""Positions: in which file one lies, and how a block is cut at one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from bulkup.encoding.lines import line_count
from bulkup.errors import SourceUnreadable
from bulkup.model import Block, LongRow
from bulkup.sources.source import Item

__all__ = [
    "before_the_rest",
    "by_file",
    "cut_at",
    "file_at",
    "is_of_several",
    "last_row",
    "line_counts",
    "spans_by_file",
    "with_the_rest",
]


def file_at(position: int, bases: Sequence[int]) -> tuple[int, int]:
    """The number of the file that holds *position*, and how far behind its beginning. *bases*: where the files begin."""
    index = max(bisect_right(bases, position) - 1, 0)
    return index, position - bases[index]


def is_of_several(item: Item, number: int, bases: Sequence[int]) -> bool:
    """Whether *item*, which begins in file *number*, goes on in another. *bases*: where the files begin."""
    return number + 1 < len(bases) and bases[number + 1] < item.end


def by_file(item: Item, bases: Sequence[int]) -> Iterator[tuple[int, Item]]:
    """The rows of *item* file by file, each with the file's number. *bases*: where the files begin."""
    first = max(bisect_right(bases, item.start) - 1, 0)
    if not is_of_several(item, first, bases):
        yield first, item
        return
    assert isinstance(item, Block), "a long row is of one file"
    data, behind = item.data, item.start
    for number, start, stop in spans_by_file(item, bases):
        yield number, Block(data[start - behind : stop - behind], start, stop)


def line_counts(block: Block, bases: Sequence[int]) -> list[tuple[int, int]]:
    """The numbers of the files of *block*, and how many lines it has of each. *bases*: where the files begin."""
    data, behind = block.data, block.start
    return [
        (file, line_count(data[start - behind : stop - behind])) for file, start, stop in spans_by_file(block, bases)
    ]


def spans_by_file(block: Block, bases: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """The number of each file of which *block* has something, and from where to where."""
    first = max(bisect_right(bases, block.start) - 1, 0)
    last = bisect_left(bases, block.end, first + 1) - 1
    start = block.start
    for file, stop in enumerate((*bases[first + 1 : last + 1], block.end), first):
        if start < stop:
            yield file, start, stop
        start = stop


def cut_at(item: Item, position: int) -> tuple[Item | None, Item | None]:
    """The rows of *item* whose first byte lies before *position*, and the others."""
    if position <= item.start:
        return None, item
    if isinstance(item, LongRow) or position >= item.end:
        return item, None
    if item.offsets is not None:
        return _cut_by_offsets(item, item.offsets, position)
    cut = item.data.find(b"\n", position - item.start - 1) + 1
    if not cut or cut == len(item.data):
        return item, None
    middle = item.start + cut
    return Block(item.data[:cut], item.start, middle), Block(item.data[cut:], middle, item.end)


def last_row(item: Item) -> int:
    """The position of the first byte of the item's last row."""
    if isinstance(item, LongRow):
        return item.start
    if item.offsets is not None:
        return item.offsets[-1]
    return item.start + item.data.rfind(b"\n", 0, len(item.data) - 1) + 1


def _cut_by_offsets(block: Block, offsets: Sequence[int], position: int) -> tuple[Item | None, Item | None]:
    count = bisect_left(offsets, position)
    if count == len(offsets):
        return block, None
    line = behind = 0
    for _ in range(count):
        line, behind = behind, block.data.index(b"\n", behind) + 1
    before, after = offsets[:count], offsets[count:]
    middle = min(before[-1] + behind - 1 - line, after[0])
    return (
        Block(block.data[:behind], block.start, middle, before),
        Block(block.data[behind:], after[0], block.end, after),
    )


def before_the_rest(error: SourceUnreadable, behind: int) -> SourceUnreadable:
    """*error*, which ended a file that has *behind* more files behind it."""
    error.behind = behind
    return error


def with_the_rest(error: SourceUnreadable) -> str:
    """*error* in words, and what to do with the files behind."""
    files = f"{error.behind:,} file{'s' * (error.behind != 1)}"
    rest = f", the {files} behind it not: upload what was not read as a run of its own, with --append"
    return f"{error}{rest * (error.behind > 0)}"
