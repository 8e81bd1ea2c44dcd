"""Where in a block a row begins."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from bulkup.model import Block, LongRow
from bulkup.sources.source import Item

__all__ = ["last_row", "split"]


def split(item: Item, position: int) -> tuple[Item | None, Item | None]:
    """The rows of *item* whose first byte lies before *position*, and the others."""
    if position <= item.start:
        return None, item
    if isinstance(item, LongRow) or position >= item.end:
        return item, None
    if item.offsets is not None:
        return _split_elements(item, item.offsets, position)
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


def _split_elements(block: Block, offsets: Sequence[int], position: int) -> tuple[Item | None, Item | None]:
    count = bisect_left(offsets, position)
    if count == len(offsets):
        return block, None
    lines = block.data.split(b"\n")
    before, after = offsets[:count], offsets[count:]
    middle = before[-1] + len(lines[count - 1])
    return (
        Block(b"\n".join(lines[:count]), block.start, middle, before),
        Block(b"\n".join(lines[count:]), after[0], block.end, after),
    )
