"""What an engine that starts workers sees of a run's end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkup.emulator import Spawned
from bulkup.run.far_workers import Listening
from tests.e2e.harness import Bench, gsm8k_rows


async def test_workers_are_sent_away_before_their_engine_kills_what_is_left(
    emulator: Spawned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray kills its actors at the end. Nobody is lost then, and nothing is in doubt."""
    bench = Bench(emulator, tmp_path, gsm8k_rows(300))
    ended_with: list[int] = []

    class Engine:
        def __init__(self, say: Callable[[str], None], *, processes: int, key_file: Path | None) -> None:
            self.started: list[asyncio.subprocess.Process] = []

        async def start(self, listening: Listening) -> None:
            command = ("worker", "--connect", listening.address, "--key", str(listening.key))
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bulkup", *command, start_new_session=True, stderr=asyncio.subprocess.DEVNULL
            )
            self.started.append(worker)
            async with asyncio.timeout(60):
                while not any("has come" in note.text for note in bench.notes):
                    await asyncio.sleep(0.01)

        async def close(self) -> None:
            for worker in self.started:
                try:
                    async with asyncio.timeout(10):
                        ended_with.append(await worker.wait())
                except TimeoutError:
                    os.killpg(worker.pid, signal.SIGKILL)
                    ended_with.append(await worker.wait())

    monkeypatch.setattr("bulkup.run.launching.RayLauncher", Engine)
    receipt = await bench.run(bench.nebius(), engine="ray", listen="127.0.0.1:0", workers=1)
    assert receipt.exit_code == 0
    assert ended_with == [0], "the run was over for it before its engine came to an end"
    assert [note.text for note in bench.notes if "lost" in note.text] == []
