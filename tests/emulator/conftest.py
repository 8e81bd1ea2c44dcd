"""An emulator on a fake clock, and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from bulkup.emulator import Emulator, running

from .calls import Client


class Clock:
    """Unix time that moves when told."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def emulator(tmp_path: Path, clock: Clock) -> AsyncIterator[Emulator]:
    async with running(db_path=tmp_path / "rows.db", clock=clock) as emulator:
        yield emulator


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session, emulator.url)
