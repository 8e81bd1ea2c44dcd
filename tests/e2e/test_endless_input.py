"""Standard input that does not end soon stays within the memory bound.

    STDIN_GB=20 python -m pytest -m slow tests/e2e/test_endless_input.py

makes 20 GB; without the variable it is one.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cli.shell import TOKENS, eventually

ROOT = Path(__file__).parents[2]
MOST_BYTES = 250 * 1024 * 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_standard_input(tmp_path: Path) -> None:
    """Of the process alone, its libraries included. What it sends goes to the benchmarks' sink, which keeps nothing."""
    total = int(float(os.environ.get("STDIN_GB", "1")) * 1e9)
    dice = random.Random(1)
    words = [f"w{number}" for number in range(3000)]
    rows = [
        {key: " ".join(dice.choices(words, k=180)) for key in ("prompt", "completion")} | {"n": number}
        for number in range(2000)
    ]
    block = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    environment = {**os.environ, **TOKENS, "PYTHONPATH": str(ROOT)}
    sink_command = [sys.executable, "-m", "benchmarks.sink", "--port", "0", "--port-file", str(tmp_path / "port")]
    with subprocess.Popen(sink_command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as sink:
        try:
            port = eventually(lambda: (tmp_path / "port").exists() and (tmp_path / "port").read_text(), 60)
            command = [sys.executable, "-m", "tests.peak", str(tmp_path / "peak"), "upload", "-", "--name", "endless"]
            command += ["--to", "nebius", "--nebius-url", f"http://127.0.0.1:{port}", "-q"]
            with subprocess.Popen(command, cwd=tmp_path, env=environment, stdin=subprocess.PIPE) as upload:
                pipe = upload.stdin
                assert pipe is not None

                def fill() -> None:
                    with pipe:
                        for _ in range(-(-total // len(block))):
                            pipe.write(block)

                filling = threading.Thread(target=fill, daemon=True)
                filling.start()
                assert upload.wait() == 0
                filling.join()
        finally:
            sink.kill()
    peak = int((tmp_path / "peak").read_text())
    assert peak <= MOST_BYTES, f"{peak / 2**20:.0f} MiB"
