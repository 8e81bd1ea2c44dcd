"""`python -m tests.journal.make_old BULKUP FOLDER`: a run that another version of bulkup has begun and that was killed half way.

BULKUP is that version's command. FOLDER gets the run's state directory as the kill has left it, the source, and what the services
held. `tests/journal/format_3` was made so by bulkup 0.1.0.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import orjson

from bulkup.emulator import Settings, spawned
from bulkup.emulator.settings import FaultName
from tests.e2e.harness import SPACE, TOKENS, Row, gsm8k_rows

__all__ = ["WANTED", "rows"]

SCRIPT: tuple[FaultName, ...] = ("ok",) * 5 + ("stored_then_reset", "reset_in_body") + ("ok",) * 2 + ("hang",) * 8

WANTED = {"landed": 4, "in doubt": 2, "sending": 1, "planned": 1}
"""So many chunks at least are in each state in both lanes when the process is killed."""


def rows() -> list[Row]:
    """What the source holds, beside two lines that are no rows."""
    return [{"question": row["question"], "answer": row["answer"][:40]} for row in gsm8k_rows(60)]


def _main(command: str, folder: Path) -> None:
    folder.mkdir()
    lines = [orjson.dumps(row) for row in rows()]
    source = [*lines[:7], b"this is no row", *lines[7:31], b"{]", *lines[31:]]
    (folder / "rows.jsonl").write_bytes(b"\n".join(source) + b"\n")
    settings = Settings(script={"nebius": SCRIPT, "collinear": SCRIPT}, hang_body="stored", hang_s=10)
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "store.db"
        with spawned(settings, db_path=store) as emulator:
            arguments = [
                *("upload", "rows.jsonl", "--to", "nebius", "--to", "collinear", "--name", "rows"),
                *("--state-dir", "state", "--nebius-url", emulator.url, "--collinear-url", emulator.url),
                *("--folder", "/tests", "--space-id", SPACE, "--settle-after", "60", "--max-chunk-rows", "4"),
                *("--concurrency", "3", "--workers", "1"),
            ]
            run = subprocess.Popen([command, *arguments], cwd=folder, env={**os.environ, **TOKENS})
            try:
                while not _is_half_way(folder):
                    time.sleep(0.05)
            finally:
                run.kill()
                run.wait()
            emulator.idle(30)
        shutil.copy(store, folder / "store.db")
    shutil.rmtree(folder / "state" / "locks")
    for name in ("journal.db-shm", "lock"):  # which name this machine
        next(folder.glob(f"state/*/{name}")).unlink()


def _is_half_way(folder: Path) -> bool:
    journals = list(folder.glob("state/*/journal.db"))
    if not journals:
        return False
    with closing(sqlite3.connect(journals[0])) as db:
        try:
            found = db.execute("SELECT lane, state, count(*) FROM chunks GROUP BY lane, state").fetchall()
        except sqlite3.Error:
            return False
    counts = {(lane, state): count for lane, state, count in found}
    return all(counts.get((lane, state), 0) >= n for lane in ("nebius", "collinear") for state, n in WANTED.items())


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
