"""What the tests of the commands share: an emulator, a shell in an empty directory, rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bulkup.emulator import Spawned
from tests.cli.shell import Shell
from tests.emulators import emptied, shared, shared_with_a_file

DATA = Path(__file__).parents[2] / "bulkup" / "demo_data" / "gsm8k-train.jsonl.gz"


@pytest.fixture(scope="session")
def gsm8k() -> list[dict[str, Any]]:
    with gzip.open(DATA, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


@pytest.fixture(scope="session")
def one_emulator() -> Spawned:
    return shared()


@pytest.fixture
def emulator(one_emulator: Spawned) -> Spawned:
    """An emulator in another process, empty and with its default settings."""
    return emptied(one_emulator)


@pytest.fixture(scope="session")
def one_with_a_file() -> tuple[Spawned, Path]:
    """Another emulator, and the file that holds its rows; it is as the last test has left it."""
    return shared_with_a_file()


@pytest.fixture
def shell(emulator: Spawned, tmp_path: Path) -> Shell:
    """An empty directory."""
    return Shell(tmp_path, emulator)


@pytest.fixture
def rows(shell: Shell, gsm8k: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Six hundred rows of GSM8K, in `rows.jsonl`."""
    some = gsm8k[:600]
    (shell.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    return some
