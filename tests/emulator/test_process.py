"""The emulator as a program of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from bulkup.emulator import Settings, running, spawned

from .calls import Client, turn_row


async def test_another_process_is_steered_over_http(tmp_path: Path) -> None:
    settings = Settings(script={"collinear": ("stored_then_500",)})
    with spawned(settings, db_path=tmp_path / "rows.db") as emulator:
        async with aiohttp.ClientSession() as session:
            client = Client(session, emulator.url)
            assert (await client.upload([turn_row("a")]))[0] == 500
            emulator.patch(script={"collinear": ["503_plain"]})
            assert (await client.upload([turn_row("b")]))[0] == 503
        emulator.idle()
        assert emulator.rows("collinear") == [turn_row("a")]
        assert emulator.summary()["collinear"]["by_status"] == {"500": 1, "503": 1}
        dataset_id = emulator.write(
            "nebius", name="n", schema=[{"name": "a", "type": {"name": "string"}}], rows=[{"a": "x"}]
        )
        assert emulator.rows("nebius", dataset_id) == [{"a": "x"}]
        with pytest.raises(RuntimeError, match="unknown"):
            emulator.patch(unknown=1)
        emulator.reset()
        assert emulator.rows("collinear") == []
        emulator.shut(3600)
        with pytest.raises(ConnectionRefusedError):
            emulator.summary()
    assert emulator.process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """One line on stdout, the port in its file, nothing on stderr, exit code 0."""
    command = [sys.executable, "-m", "bulkup.emulator", "--port", "0", "--port-file", str(tmp_path / "port")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        port = (tmp_path / "port").read_text().strip()
        assert line.startswith(f"bulkup emulator: http://127.0.0.1:{port} ")
        process.send_signal(number)
        assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 0


def test_wrong_settings_are_a_usage_error() -> None:
    command = [sys.executable, "-m", "bulkup.emulator", "--settings", '{"unknown": 1}']
    ended = subprocess.run(command, capture_output=True, check=False)
    assert ended.returncode == 2
    assert b"unknown" in ended.stderr


async def test_a_taken_port_is_said() -> None:
    async with running() as emulator:
        with pytest.raises(OSError, match="in use"):
            async with running(port=emulator.port):
                pass
