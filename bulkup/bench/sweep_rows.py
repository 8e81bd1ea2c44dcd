"""The bodies that a sweep sends: rows of the user's, or made up, filled into chunks of a given size."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import aclosing
from itertools import cycle

import msgspec

from bulkup.destinations.service import Service
from bulkup.encoding import RowOptions, RowPlan, Target, decide
from bulkup.encoding.rows import BlockEncoder
from bulkup.errors import UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.model import BLOCK_BYTES, Block
from bulkup.sources import Source

__all__ = ["Filling", "SweepRows", "made_up_rows", "rows_of"]

MADE_UP = 2000
"""So many different rows are made up; larger chunks hold them again."""

LEXICON = """time year people way day man thing woman life child world school state family student group country problem hand part
place case week company system program question work government number night point home water room mother area money story fact
month lot right study book eye job word business issue side kind head house service friend father"""


@dataclass(frozen=True, slots=True)
class Filling:
    """What one request holds: *blocks* of rows, to be joined by commas into *body_bytes* bytes."""

    rows: int
    body_bytes: int
    blocks: list[bytes]


@dataclass(frozen=True, slots=True)
class SweepRows:
    """Encoded rows, and how they were made. *rejected*: rows of the source that this destination does not take."""

    plan: RowPlan
    bodies: Sequence[bytes]
    rejected: int

    def fill(self, room: int, max_rows: int | None) -> Filling | None:
        """As many rows as *room* bytes hold, from the first on and over again; None where not even the first fits."""
        blocks: list[bytes] = []
        block: list[bytes] = []
        rows = size = in_block = 0
        for body in cycle(self.bodies):
            grown = size + len(body) + (1 if rows else 0)
            if grown > room or rows == max_rows:
                break
            block.append(body)
            size, rows, in_block = grown, rows + 1, in_block + len(body) + 1
            if in_block >= BLOCK_BYTES:
                blocks.append(b",".join(block))
                block, in_block = [], 0
        if block:
            blocks.append(b",".join(block))
        return Filling(rows, size, blocks) if rows else None


async def rows_of(source: Source, target: Target, options: RowOptions, *, up_to_bytes: int) -> SweepRows:
    """The first *up_to_bytes* bytes of *source*'s rows, encoded.

    Raises `SourceUnreadable`, and `UsageProblem` where none can be sent.
    """
    cursor = source.cursor()
    bodies: list[bytes] = []
    size = rejected = 0
    plan: RowPlan | None = None
    encoder: BlockEncoder | None = None
    async with aclosing(cursor), aclosing(cursor.read(0, 1 << 62)) as items:
        async for item in items:
            if not isinstance(item, Block):
                rejected += 1
                continue
            if encoder is None:
                plan = decide(item, target, options)
                encoder = plan.encoder()
            for row in encoder.encode_rows(item):
                rejected += row.reject is not None
                if row.body is not None:
                    bodies.append(row.body)
                    size += len(row.body)
            if size >= up_to_bytes:
                break
    if plan is None or not bodies:
        raise UsageProblem(
            f"{target.name}: no row of the source can be sent ({rejected:,} were rejected); bulkup check says why"
        )
    return SweepRows(plan, bodies, rejected)


def made_up_rows(service: Service, target: Target) -> SweepRows:
    """Rows of about 1 kB in the destination's own shape. They say what they are: whoever finds the dataset knows."""
    chance = random.Random(0)  # noqa: S311 - the same rows each time

    lexicon = LEXICON.split()

    def words(count: int) -> str:
        return " ".join(chance.choices(lexicon, k=count))

    rows = [
        service.made_up_row(f"bulkup bench, row {number}, made up: {words(60)}", words(100))
        for number in range(MADE_UP)
    ]
    data = msgspec.json.Encoder().encode_lines(rows)
    block = Block(data, 0, len(data))
    plan = decide(block, target, RowOptions(preset="identity"))
    bodies = [row.body for row in plan.encoder().encode_rows(block) if row.body is not None]
    assert len(bodies) == MADE_UP, "a row that was made up is not in the destination's shape"
    return SweepRows(plan, bodies, 0)
