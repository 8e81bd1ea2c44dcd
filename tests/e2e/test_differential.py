"""A slice of `python -m tests.fuzz runs`: whole runs against a slow reference, digit for digit."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.runs import run_of


@pytest.mark.parametrize("seed", range(6))
def test_what_is_stored_is_what_the_rows_mean(tmp_path: Path, seed: int) -> None:
    run_of(Random(f"slice {seed}"), tmp_path, 150, workers=1 + (seed == 5))
