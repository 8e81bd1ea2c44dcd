"""When the command looks for garbage: not while it imports, and as ever once it works."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bulkup.account.finished import Event
from bulkup.cli import COLLECT_AFTER
from bulkup.cli.runner import OutputMode, with_signals
from bulkup.run.interrupt import Interrupt


def test_garbage_is_collected_as_ever_where_the_work_begins() -> None:
    async def work(_tell: Callable[[Event], None], _interrupt: Interrupt) -> int:
        return gc.get_threshold()[0]

    gc.set_threshold(100 * COLLECT_AFTER)
    try:
        assert with_signals(OutputMode(quiet=True), work) == COLLECT_AFTER
    finally:
        gc.set_threshold(COLLECT_AFTER)
        gc.unfreeze()


def test_it_is_put_off_while_the_command_imports(tmp_path: Path) -> None:
    """A module of the last kind to be imported says what holds then."""
    (tmp_path / "typer.py").write_text("import gc\nraise SystemExit(gc.get_threshold()[0] // 100)\n")
    code = (
        "import sys, gc; sys.path.insert(0, '.'); gc.set_threshold(200); from bulkup.cli import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert done.returncode == 200
