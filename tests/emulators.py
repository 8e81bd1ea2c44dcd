"""Emulators that tests share: each test finds one that is empty and has its default settings."""

from __future__ import annotations

import atexit
import functools
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from bulkup.emulator import Settings, Spawned, spawned

__all__ = ["DEFAULTS", "emptied", "shared", "shared_with_a_file", "with_a_file"]

FIXED = ("keepalive_s", "closed_at_start_s")
"""What a running emulator cannot change."""

DEFAULTS = {key: value for key, value in msgspec.to_builtins(Settings()).items() if key not in FIXED}

OPEN_AGAIN_S = 10


def emptied(emulator: Spawned) -> Spawned:
    """*emulator*, empty and with its default settings; it is waited for if an earlier test has shut it for a while."""
    deadline = time.monotonic() + OPEN_AGAIN_S
    while True:
        try:
            emulator.patch(**DEFAULTS)
            break
        except ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    emulator.idle()
    emulator.reset()
    return emulator


@contextmanager
def with_a_file(folder: Path) -> Generator[tuple[Spawned, Path], None, None]:
    """An emulator in another process, and the file in *folder* that holds its rows."""
    path = folder / "emulator.db"
    with spawned(db_path=path) as emulator:
        yield emulator, path


@functools.cache
def shared() -> Spawned:
    """One emulator in another process for all tests of this process, as the last test has left it."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(spawned())


@functools.cache
def shared_with_a_file() -> tuple[Spawned, Path]:
    """Another one, and the file that holds its rows."""
    stack = ExitStack()
    atexit.register(stack.close)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bulkup-emulator-"))
    return stack.enter_context(with_a_file(Path(folder)))
