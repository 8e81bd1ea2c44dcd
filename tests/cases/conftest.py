"""The shell and the emulator of these cases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkup.emulator import Spawned
from tests.cli.shell import Shell
from tests.emulators import emptied, with_a_file


@pytest.fixture(scope="session")
def one_with_a_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Spawned, Path]]:
    """An emulator, and the file that holds its rows."""
    with with_a_file(tmp_path_factory.mktemp("emulator")) as served:
        yield served


@pytest.fixture
def place(one_with_a_file: tuple[Spawned, Path], tmp_path: Path) -> tuple[Shell, Path]:
    """An empty directory, and the file that holds the emulator's rows."""
    emulator, path = one_with_a_file
    return Shell(tmp_path, emptied(emulator)), path
