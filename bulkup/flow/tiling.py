"""Where the source is cut: the size of a tile, and the even parts of one that is too large for one request."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from bulkup.light_dataclass import dataclass, replace
from bulkup.model import Block, EncodedLine

__all__ = ["Limits", "Portion", "cut", "even_part", "lines_that_fit", "tile_bytes"]


SPARE = 64
"""A tile leaves this part of the limit free, or its largest row where that is more: a tile that ends in a row larger than any that
was seen would pass the limit, and go as two half-filled requests."""

SPARE_OF_ROWS = 16
"""The same where positions count rows: long rows and short ones come in stretches, and a tile's bytes vary with them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold: *body_bytes* of rows (the envelope is already taken off) and *rows* rows (None: any)."""

    body_bytes: int
    rows: int | None = None

    def allow(self, *, body_bytes: int, rows: int) -> bool:
        """Whether so much fits into one request. One row always does: it travels alone."""
        return rows <= 1 or (body_bytes <= self.body_bytes and (self.rows is None or rows <= self.rows))


@dataclass(frozen=True, slots=True)
class Portion:
    """What one of several even chunks should come to, within the limits."""

    body_bytes: int
    rows: int


def tile_bytes(
    limits: Limits,
    *,
    raw_bytes: int,
    body_bytes: int,
    rows: int,
    largest_row: int,
    is_held: bool,
    counts_rows: bool = False,
) -> int:
    """T, measured on the first block: *raw_bytes* of it became *body_bytes*, in *rows* rows, the largest *largest_row* encoded.

    (limit − what is left free) ÷ growth, and not more than `max_chunk_rows` × mean row. At least half the limit is used even where
    one row comes near it. A tile that *is_held* in memory as it was read is never larger than the limit itself.

    Where positions count rows (*counts_rows*), tiles are of as many rows and not of as many bytes. More is left free then: also as
    much as a tile's rows may stray from what was measured, if they stray as far as rows can that are no larger than the largest
    (one standard deviation of such rows, which is several of those that people have).
    """
    if rows == 0 or raw_bytes == 0:
        return max(1, limits.body_bytes)
    growth = max(body_bytes / raw_bytes, 1e-9)
    spare = max(largest_row, limits.body_bytes // SPARE)
    if counts_rows:
        mean = body_bytes / rows
        of_measure, of_tile = 1 / rows, mean / limits.body_bytes
        spread = max(largest_row / mean - 1, 0) * (of_measure + of_tile)
        spare = max(spare, limits.body_bytes // SPARE_OF_ROWS, int(limits.body_bytes * sqrt(spread)))
    room = max(limits.body_bytes - spare, limits.body_bytes // 2)
    size = room / growth
    if limits.rows is not None:
        size = min(size, limits.rows * raw_bytes / rows)
    return max(1, int(min(size, limits.body_bytes) if is_held else size))


def even_part(limits: Limits, *, body_bytes: int, rows: int) -> Portion:
    """The size of each of the fewest even parts into which so much is cut."""
    by_bytes = max(1, -(-body_bytes // max(1, limits.body_bytes)))
    by_rows = 1 if limits.rows is None else -(-rows // limits.rows)
    parts = max(by_bytes, by_rows)
    share = (
        limits.rows or rows if by_bytes > by_rows else -(-rows // parts)
    )  # where bytes decide, rows need not be even
    return Portion(max(1, -(-body_bytes // parts)), max(1, share))


def lines_that_fit(lines: Sequence[EncodedLine], part: Portion, limits: Limits, *, body_bytes: int, rows: int) -> int:
    """How many of *lines* still go into a chunk that holds *body_bytes* in *rows* rows already.

    Rows are taken until the part is reached, without passing the limits; into an empty chunk at least the rows of one line go.
    Blank and rejected lines weigh nothing.
    """
    for count, line in enumerate(lines):
        good = line.bodies
        if not good:
            continue
        if rows > 0 and (body_bytes >= part.body_bytes or rows >= part.rows):
            return count
        grown = body_bytes + sum(map(len, good)) + len(good) - (0 if rows else 1)
        if rows > 0 and not limits.allow(body_bytes=grown, rows=rows + len(good)):
            return count
        body_bytes, rows = grown, rows + len(good)
    return len(lines)


def cut(block: Block, lines: Sequence[EncodedLine], count: int) -> tuple[Block, Block]:
    """*block* cut behind its first *count* lines (0 < count < all). *lines* gives the position of each."""
    at = lines[count].position
    if block.offsets is None:
        middle = at - block.start
        return (
            replace(block, data=block.data[:middle], end=at),
            replace(block, data=block.data[middle:], start=at),
        )
    breaks = 0
    for _ in range(count):
        breaks = block.data.index(b"\n", breaks) + 1
    return (
        Block(block.data[:breaks], block.start, at, block.offsets[:count]),
        Block(block.data[breaks:], at, block.end, block.offsets[count:]),
    )
