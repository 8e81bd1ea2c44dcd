"""Machines that fail, each in a network namespace of its own: `python -m tests.matrix.machines` runs more of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.matrix.machines import EVENTS, cells
from tests.matrix.network import why_not


def test_the_cells_have_every_event_at_every_point() -> None:
    grid = {
        (lane, event, point)
        for lane in ("nebius", "collinear")
        for event, (_, points) in EVENTS.items()
        for point in points
    }
    assert {(cell.lane, cell.event, cell.point) for cell in cells(len(grid), 1)} == grid


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_sixty_cells() -> None:
    if (why := why_not()) is not None:
        pytest.skip(why)
    command = [sys.executable, "-m", "tests.matrix.machines", "--cells", "60", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout[-20_000:])
    assert done.returncode == 0
