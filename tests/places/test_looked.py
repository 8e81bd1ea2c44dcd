"""What is known of files is not looked for again."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from bulkup.run.kept_looks import KeptLooks
from bulkup.sources import Reading, hide, inspection, open_source, opening
from bulkup.sources.inspection import Found
from bulkup.sources.places.place import Entry
from bulkup.sources.positions import file_at
from tests.cli.shell import SPACE, Shell, eventually
from tests.e2e.harness import as_collinear, canonical
from tests.places.servers import Web, WebFile


async def test_what_has_changed_is_looked_into_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{number}.jsonl.gz" for number in range(16)]
    for path in paths:
        path.write_bytes(gzip.compress(b'{"a": 1}\n' * 6))
    looks = KeptLooks(tmp_path / "state", ["x"], Reading())
    looks.keep(open_source([str(path) for path in paths], max_row_bytes=1000).files)
    before = paths[3].stat()
    paths[3].write_bytes(gzip.compress(b'[{"a": 1}]'))
    paths[4].write_bytes(gzip.compress(b'{"a": 2}\n' * 6))
    os.utime(paths[4], ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    looked: list[str] = []
    real = inspection.look_into

    def look_into(uri: str, reading: Reading, entry: Entry | None = None) -> Found:
        looked.append(uri)
        return real(uri, reading, entry)

    monkeypatch.setattr(opening, "look_into", look_into)
    known = KeptLooks(tmp_path / "state", ["x"], Reading()).find()
    source = open_source([str(path) for path in paths], max_row_bytes=1000, known=known)
    assert looked == [str(paths[3]), str(paths[4])]
    assert [file.format.name for file in source.files].count("array") == 1
    assert not KeptLooks(tmp_path / "state", ["x"], Reading(as_lines=True)).find()
    (kept,) = (tmp_path / "state" / "looks").iterdir()
    kept.write_bytes(b"[[1]]")
    assert not KeptLooks(tmp_path / "state", ["x"], Reading()).find()


async def test_objects_are_not_asked_for_their_kind_again(web: Web, tmp_path: Path) -> None:
    """The list says that they are as they were. (A web server has no list: each file is asked for its version.)"""
    urls = [f"{web.url}/{number}.jsonl" for number in range(16)]
    for url in urls:
        web.files[url.removeprefix(web.url)] = WebFile(b'{"a": 1}\n' * 6)
    looks = KeptLooks(tmp_path, urls, Reading())
    looks.keep(open_source([hide(url) for url in urls], max_row_bytes=1000).files)
    web.files["/3.jsonl"].etag = '"v2"'
    web.asked.clear()
    again = open_source(
        [hide(url) for url in urls], max_row_bytes=1000, known=KeptLooks(tmp_path, urls, Reading()).find()
    )
    assert all(file.any_range for file in again.files)
    assert len(web.asked) == 17


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_four_hundred_shards_killed_at_a_random_moment(shell: Shell, gsm8k: list[dict[str, str]], seed: int) -> None:
    """The second invocation reads no byte of a shard that is known to have landed whole (but of one behind an open chunk: that is
    read ahead), and no more than the others hold, twice where a doubt has to be settled by their rows."""
    dice = random.Random(seed)
    folder = shell.folder / "shards"
    folder.mkdir()
    stored: list[Counter[str]] = []
    for number in range(400):
        rows = dice.choices(gsm8k, k=int(dice.lognormvariate(4, 1)) + 1)
        data = b"".join(json.dumps({**row, "answer": f"{number} {row['answer']}"}).encode() + b"\n" for row in rows)
        (folder / f"{number}.jsonl.gz").write_bytes(gzip.compress(data))
        stored.append(canonical(as_collinear(json.loads(line)) for line in data.splitlines()))
    command = ["upload", "shards", "--name", "all", "--to", "collinear", "--space-id", SPACE, *shell.urls]
    command += ["--preset", "question-answer", "--max-chunk-bytes", "200KB", "--settle-after", "0.1", "-q"]
    shell.emulator.patch(latency_ms=20)
    wanted = dice.randint(3, 40)
    running = shell.start(*command)
    eventually(lambda: shell.emulator.summary()["collinear"]["uploads_received"] >= wanted, 120)
    running.interrupt(signal.SIGKILL)
    running.wait()
    open_, planned_to = _open_files(shell.folder)
    again = [sys.executable, "-m", "tests.reads", "reads", *command]
    environment = {**shell.environment, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(again, cwd=shell.folder, env=environment, check=True)
    assert canonical(shell.emulator.rows("collinear")) == sum(stored, Counter())
    read = {
        int(Path(name).name.partition(".")[0]): count
        for name, count in json.loads((shell.folder / "reads").read_bytes()).items()
    }
    size = [(folder / f"{number}.jsonl.gz").stat().st_size for number in range(400)]
    unfinished = {number for number in range(400) if number >= planned_to or {number, number - 1} & open_}
    assert set(read) <= unfinished
    assert sum(read.values()) <= sum(size[number] for number in unfinished) + sum(size[number] for number in open_)


def _open_files(folder: Path) -> tuple[set[int], int]:
    """The numbers of the files of which a planned chunk has not landed, as far as the journal knows, and of that in which what is
    not planned begins. The first may be read twice: once to see whether its rows are stored."""
    (journal,) = folder.glob(".bulkup/*/journal.db")
    with closing(sqlite3.connect(journal)) as db:
        (bases,) = db.execute("select value from facts where key = 'bases'").fetchone()
        chunks = db.execute("select state, lines, stop from chunks").fetchall()
    open_ = {file for state, lines, _ in chunks if state != "landed" for file, _ in json.loads(lines)}
    planned_to = max(stop for *_, stop in chunks)
    return open_, file_at(planned_to, json.loads(bases))[0]
