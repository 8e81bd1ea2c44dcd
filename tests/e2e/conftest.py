"""What the tests of whole uploads share: tokens, an emulator, rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkup.emulator import Spawned
from tests.e2e.harness import TOKENS, Bench, gsm8k_rows
from tests.emulators import emptied, shared
from tests.workers.waiting import wait_for_workers


@pytest.fixture(autouse=True)
def _tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)


wait_for_workers()


@pytest.fixture(scope="session")
def one_emulator() -> Spawned:
    return shared()


@pytest.fixture
def emulator(one_emulator: Spawned) -> Spawned:
    """The emulator in another process, empty and with its default settings."""
    return emptied(one_emulator)


@pytest.fixture
def bench(emulator: Spawned, tmp_path: Path) -> Bench:
    """The whole of GSM8K."""
    return Bench(emulator, tmp_path, gsm8k_rows())


@pytest.fixture
def small(emulator: Spawned, tmp_path: Path) -> Bench:
    """A thousand rows of GSM8K."""
    return Bench(emulator, tmp_path, gsm8k_rows(1000))
