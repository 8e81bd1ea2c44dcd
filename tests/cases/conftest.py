"""The shell and the emulator of these cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.shell import Shell
from tests.emulators import emptied, shared_with_a_file


@pytest.fixture
def place(tmp_path: Path) -> tuple[Shell, Path]:
    """An empty directory, and the file that holds the emulator's rows."""
    emulator, path = shared_with_a_file()
    return Shell(tmp_path, emptied(emulator)), path
