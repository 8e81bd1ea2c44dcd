"""What the tests of environments share. Named here and not in a `conftest.py`, so that a file says what it uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkup.emulator import Spawned
from tests.emulators import emptied, shared
from tests.environments.processes import Machine

__all__ = ["machine", "served"]


@pytest.fixture(scope="module")
def served() -> Spawned:
    return emptied(shared())


@pytest.fixture
def machine(served: Spawned, tmp_path: Path) -> Machine:
    """An empty emulator, and a directory with forty rows in it."""
    served.patch(latency_ms=0, script={})
    served.idle()
    served.reset()
    return Machine(tmp_path, served)
