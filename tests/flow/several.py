"""A lane whose rows a function makes, several of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions, RowPlan, decide
from bulkup.model import Block
from bulkup.rows.function import function_given
from tests.flow import rig
from tests.flow.lane_alone import LaneAlone, lane_of

__all__ = ["MORE", "lane_of_several"]

MORE = "BULKUP_TESTS_MORE"
"""This variable of the environment says how many rows more the function makes of each: other rows than before."""

_FUNCTION = f"""
import os
def fix(row):
    count = row["n"] + int(os.environ.get("{MORE}", 0))
    return [{{"t": row["t"] + str(number + 1)}} for number in range(count)]
"""


@asynccontextmanager
async def lane_of_several(
    counts: Sequence[int], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LaneAlone]:
    """A lane of one chunk. Of the rows a, b, c, … of its source come as many rows as *counts* says: a1, a2, …"""
    plan = _plan(folder)
    monkeypatch.setattr(rig, "rows_plan", lambda: plan)
    lines = [b'{"t":"%c","n":%d}\n' % (97 + place, count) for place, count in enumerate(counts)]
    async with lane_of(1, each=sum(counts), content=b"".join(lines)) as lane:
        yield lane


def _plan(folder: Path) -> RowPlan:
    path = folder / "rows.py"
    path.write_text(_FUNCTION)
    options = RowOptions(preset="identity", function=function_given(f"{path}:fix"), max_row_bytes=rig.MAX_ROW)
    sample = b'{"t":"a","n":1}\n'
    return decide(Block(sample, 0, len(sample)), NEBIUS, options)
