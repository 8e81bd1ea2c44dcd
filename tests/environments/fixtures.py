"""What the tests of environments share. Named here and not in a `conftest.py`, so that a file says what it uses."""

from __future__ import annotations

import atexit
import functools
from contextlib import ExitStack
from pathlib import Path

import pytest

from bulkup.emulator import Spawned, spawned
from tests.emulators import emptied
from tests.environments.processes import Machine

__all__ = ["machine", "served"]


@functools.cache
def _one() -> Spawned:
    """One for all modules of this process."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(spawned())


@pytest.fixture(scope="module")
def served() -> Spawned:
    return emptied(_one())


@pytest.fixture
def machine(served: Spawned, tmp_path: Path) -> Machine:
    """An empty emulator, and a directory with forty rows in it."""
    served.patch(latency_ms=0, script={})
    served.idle()
    served.reset()
    return Machine(tmp_path, served)
