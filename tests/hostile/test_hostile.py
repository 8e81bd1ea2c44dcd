"""A service that is hostile in whatever way: no internal error, no memory without bound, no token kept, no row lost or doubled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.e2e.harness import TOKENS
from tests.hostile.modes import LARGE, MODES

ROOT = Path(__file__).parents[2]


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    assert len({str(mode) for mode in (*MODES, *LARGE)}) == len(MODES) + len(LARGE) >= 100


@pytest.mark.timeout(240)
@pytest.mark.parametrize("which", ["together", "alone"])
def test_no_hostile_service_breaks_a_promise(which: str) -> None:
    """In a process of its own, so that what it writes and takes is its alone. To run one of them: `python -m tests.hostile`."""
    done = subprocess.run([sys.executable, "-m", "tests.hostile", which], cwd=ROOT, capture_output=True, check=False)
    said = done.stdout + done.stderr
    assert not any(token.encode() in said for token in TOKENS.values())
    assert b"Traceback" not in said, said.decode()
    found = orjson.loads(done.stdout)
    assert found["faults"] == []
    assert found["modes"] == len(MODES if which == "together" else LARGE)
