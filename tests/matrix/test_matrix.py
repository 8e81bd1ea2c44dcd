"""The crash matrix: every fault × `kill -9` at every boundary × read-back on and off, resumed until done."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.matrix.cells import FAULTS, Cell, cells, of_another, smoke
from tests.matrix.failpoints import POINTS
from tests.matrix.numbers import numbers
from tests.matrix.runner import run_cells, summary
from tests.thirdparty.installed import environment_with, install
from tests.thirdparty.server import FAULTS as THIRDPARTY_FAULTS
from tests.thirdparty.server import spawned_thirdparty


def _check(chosen: Sequence[Cell], jobs: int, **more: Any) -> None:
    came = run_cells(chosen, jobs=jobs, **more)
    print(summary(came))
    failed = [f"{one.cell}: {'; '.join(one.faults)}\n{one.log}" for one in came if one.faults]
    assert not failed, "\n".join(failed)


def test_the_smoke_has_every_fault_and_every_point_of_death() -> None:
    chosen = smoke()
    assert len(chosen) == 40
    assert {cell.fault for cell in chosen} == set(FAULTS)
    assert {point for cell in chosen for point, _ in cell.kills} | {"none"} == set(POINTS)


def test_cells_are_named_by_numbers_and_ranges() -> None:
    assert numbers("7") == {7}
    assert numbers("202, 205,222-225,9-9") == {202, 205, 222, 223, 224, 225, 9}


@pytest.mark.parametrize("text", ["", "7,", "a", "9-7", "-3", "3-", "1-2-3", "1.5"])
def test_what_names_no_cells_is_refused_by_name(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is neither a number nor a range"):
        numbers(text)


@pytest.mark.timeout(300)
def test_forty_cells() -> None:
    _check(smoke(), jobs=4)


@pytest.mark.timeout(300)
def test_twenty_cells_of_a_destination_that_others_bring(tmp_path: Path) -> None:
    chosen = of_another("thirdparty", THIRDPARTY_FAULTS, 20)
    assert {cell.fault for cell in chosen} == set(THIRDPARTY_FAULTS)
    environment = environment_with(install(tmp_path / "site"))
    _check(chosen, jobs=4, serve=spawned_thirdparty, environment=environment)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_five_hundred_cells() -> None:
    seed = int(os.environ.get("BULKUP_TEST_SEED", "1"))
    _check(cells(int(os.environ.get("BULKUP_TEST_CELLS", "500")), seed), jobs=6)
