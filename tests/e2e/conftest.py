from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bulkup.emulator import Settings, Spawned, spawned
from tests.e2e.harness import TOKENS, Bench, gsm8k_rows
from tests.workers.waiting import wait_for_workers

DEFAULTS = {
    key: value
    for key, value in msgspec.to_builtins(Settings()).items()
    if key not in ("keepalive_s", "closed_at_start_s")
}


@pytest.fixture(autouse=True)
def _tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)


wait_for_workers()


@pytest.fixture(scope="session")
def one_emulator() -> Iterator[Spawned]:
    with spawned() as emulator:
        yield emulator


def emptied(emulator: Spawned) -> Spawned:
    """*emulator*, empty and with its default settings."""
    deadline = time.monotonic() + 10
    while True:
        try:
            emulator.patch(**DEFAULTS)
            break
        except ConnectionError:  # a test before this one had shut it
            assert time.monotonic() < deadline
    emulator.idle()
    emulator.reset()
    return emulator


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
