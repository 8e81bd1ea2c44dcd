"""A journal of an older version is brought up to date, all of it or nothing, and its run is finished. One of a newer is refused."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulkup.chunk import Chunk, ChunkState
from bulkup.cli.app import main
from bulkup.emulator import Spawned, spawned
from bulkup.errors import ExitCode, JournalUnusable, LocalDisk, RunLocked
from bulkup.journal import Lock, SqliteJournal, every_chunk, every_ids, landed_without_ids, opening, schema
from bulkup.journal.facts import PLAN, SURVEY, UPLOAD
from bulkup.journal.reading import read_chunks, view
from bulkup.journal.schema import FORMAT, OLDEST
from bulkup.journal.soundness import objects_in
from tests.e2e.harness import TOKENS, as_collinear, canonical
from tests.journal.make_old import WANTED, rows

KEPT = Path(__file__).with_name("format_3")
"""A run of bulkup 0.1.0 that was killed half way; see `make_old`."""

LANES = ("nebius", "collinear")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the run was begun: its source and its state directory."""
    home = tmp_path / "home"
    shutil.copytree(KEPT, home)
    monkeypatch.chdir(home)
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)
    return home


@pytest.fixture
def run(home: Path) -> Path:
    """The run's folder."""
    (journal,) = home.glob("state/*/journal.db")
    return journal.parent


@pytest.fixture
def emulator(home: Path, run: Path) -> Iterator[Spawned]:
    """The services with what they held, at another address than then: the journal's is changed, by hand."""
    with spawned(db_path=home / "store.db") as emulator:
        with closing(sqlite3.connect(run / "journal.db")) as db:
            (upload,) = db.execute("SELECT value FROM facts WHERE key = 'upload'").fetchone()
            here = re.sub(r"http://127\.0\.0\.1:\d+", emulator.url, upload)
            db.execute("UPDATE facts SET value = ? WHERE key = 'upload'", (here,))
            db.commit()
        yield emulator


def format_of(run: Path) -> int:
    with closing(sqlite3.connect(run / "journal.db")) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def held(run: Path) -> dict[str, Any]:
    """All that stands in the tables, but for columns that no older format has."""
    with closing(sqlite3.connect(run / "journal.db")) as db:
        db.row_factory = sqlite3.Row
        tables = ("facts", "logs", "tiles", "chunks", "sums", "datasets")
        every = {table: [dict(row) for row in db.execute(f"SELECT * FROM {table}")] for table in tables}
    for row in (*every["chunks"], *every["sums"]):
        new = {key: row.pop(key, None) for key in ("ids_at", "skipped", "made", "changes")}
        assert not any(new[key] for key in ("skipped", "made", "changes")), "a run of an older format has none"
    return every


def landed(tables: dict[str, Any], lane: str) -> int:
    """How many chunks have landed."""
    return sum((chunk["lane"], chunk["state"]) == (lane, "landed") for chunk in tables["chunks"])


def test_the_run_is_finished(run: Path, emulator: Spawned, capsys: pytest.CaptureFixture[str]) -> None:
    """What had landed, what was planned, what was in doubt and what was not read yet: every row is there once."""
    assert format_of(run) == OLDEST < FORMAT
    assert main(["resume", run.name, "--state-dir", "state", "--settle-after", "0.05"]) == ExitCode.SOME_REJECTED, (
        capsys.readouterr().err
    )
    assert format_of(run) == FORMAT
    assert canonical(emulator.rows("nebius")) == canonical(rows())
    assert canonical(emulator.rows("collinear")) == canonical(map(as_collinear, rows()))
    assert main(["verify", run.name, "--state-dir", "state", "--sample", "1"]) == 0, capsys.readouterr().err


def test_who_only_looks_leaves_it_as_it_is(home: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And is told the same of it as before."""
    shutil.copytree(run, home / "copy")  # to be looked into without looking
    before = held(home / "copy")
    files = {path: path.read_bytes() for path in run.iterdir()}
    assert main(["status", run.name, "--state-dir", "state"]) == 0
    assert main(["rejects", run.name, "--state-dir", "state", "--output", str(home / "out")]) == 0
    said = capsys.readouterr().out
    for lane in LANES:
        with view(run) as looked:
            counts = {count.state: count.chunks for count in looked.states(lane)}
            assert counts["landed"] == looked.evidence(lane)["answer"] == landed(before, lane)
            upload, survey, plan = looked.fact(UPLOAD), looked.fact(SURVEY, lane), looked.fact(PLAN, lane)
        assert all(counts[state] >= least for state, least in WANTED.items())
        assert f"{counts['planned']} planned" in said
        assert upload is not None
        assert upload.sources == ["rows.jsonl"]
        assert survey is not None
        assert (survey.found, survey.unavailable) == ((), None)
        assert plan is not None
        assert plan.max_rows == 4
        chunks = list(read_chunks(run, lane))
        assert len(chunks) == sum(counts.values())
        assert {chunk.ids_at for chunk in chunks} == {None}
    assert len((home / "out").read_bytes().splitlines()) == 4
    assert {path: path.read_bytes() for path in files} == files


async def test_all_stays_and_row_ids_are_found(run: Path) -> None:
    before = held(run)
    with closing(SqliteJournal.open(run, create=False)) as journal:
        assert [one async for one in every_ids(journal.lane("nebius"))] == []
        assert len([one async for one in landed_without_ids(journal.lane("nebius"))]) == landed(before, "nebius")
        lane = journal.lane("collinear")
        assert [one async for one in landed_without_ids(lane)] == []
        assert [one async for one in every_chunk(lane)] == [
            replace(one, ids_at=_ids_at(run, one)) for one in read_chunks(run, "collinear")
        ]
    assert (format_of(run), held(run)) == (FORMAT, before)


def _ids_at(run: Path, chunk: Chunk) -> int | None:
    """Where the line of *chunk* stands in `ids.jsonl`."""
    if chunk.state is not ChunkState.LANDED:
        return None
    data = (run / "ids.jsonl").read_bytes()
    return data.rindex(b"{", 0, data.index(b'"chunk":"%b"' % str(chunk.id).encode()))


async def test_an_ids_line_that_cannot_be_read_is_passed_over(run: Path) -> None:
    """The run can be finished all the same: its rows are told by their content."""
    log = run / "ids.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([b"\xa5" * (len(lines[0]) - 1) + b"\n", *lines[1:]]))
    with closing(SqliteJournal.open(run, create=False)) as journal:
        without = [one async for one in landed_without_ids(journal.lane("collinear"))]
    assert len(without) == 1


async def test_a_new_journal_has_the_tables_of_a_migrated_one(run: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    for folder in (run, new):
        SqliteJournal.open(folder, create=True).close()
    columns = []
    for folder in (run, new):
        with closing(sqlite3.connect(folder / "journal.db")) as db:
            columns.append([objects_in(db), db.execute("PRAGMA table_xinfo(chunks)").fetchall()])
    assert columns[0] == columns[1]


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from bulkup.journal import SqliteJournal, opening, schema

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

moment, step = sys.argv[2], schema.STEPS[-1]
if moment == "tables made":
    schema.STEPS = (*schema.STEPS[:-1], replace(step, fill=kill))
if moment == "filled":
    schema.STEPS = (*schema.STEPS[:-1], replace(step, fill=lambda *given: (step.fill(*given), kill())))
if moment == "not committed":
    migrate = opening.migrate
    opening.migrate = lambda *given: (migrate(*given), kill())
if moment == "just committed":
    check, calls = opening._check, []
    opening._check = lambda *given, **how: kill() if calls else (calls.append(1), check(*given, **how))[1]
SqliteJournal.open(Path(sys.argv[1]), create=False)
"""


@pytest.mark.parametrize("moment", ["tables made", "filled", "not committed", "just committed"])
def test_killed_in_the_middle_it_is_the_old_one_or_the_new_one(run: Path, moment: str) -> None:
    before = held(run)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(run), moment], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (format_of(run), held(run)) == (FORMAT if moment == "just committed" else OLDEST, before)
    SqliteJournal.open(run, create=False).close()
    assert (format_of(run), held(run)) == (FORMAT, before)


@pytest.mark.parametrize(
    ("code", "kind"), [(sqlite3.SQLITE_FULL, LocalDisk), (sqlite3.SQLITE_CORRUPT, JournalUnusable)]
)
def test_a_migration_that_fails_changes_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    before = held(run)

    def fail(_db: sqlite3.Connection, _folder: Path) -> None:
        error = sqlite3.OperationalError("no")
        error.sqlite_errorcode = code
        raise error

    with monkeypatch.context() as failing:
        failing.setattr(schema, "STEPS", (replace(schema.STEPS[0], fill=fail), *schema.STEPS[1:]))
        with pytest.raises(kind):
            SqliteJournal.open(run, create=False)
    assert (format_of(run), held(run)) == (OLDEST, before)


def test_one_that_another_process_works_on_is_left_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = Lock(run / "lock", "the run")
    for command in (["resume", run.name], ["settle", run.name], ["verify", run.name]):
        assert main([*command, "--state-dir", "state"]) == ExitCode.LOCKED
    assert f"is held by process {os.getpid()}" in capsys.readouterr().err
    lock.release()
    assert format_of(run) == OLDEST


def test_nor_is_one_migrated_that_another_program_writes_to(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "WAIT_S", 0.05)
    with closing(sqlite3.connect(run / "journal.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RunLocked):
            SqliteJournal.open(run, create=False)
    assert format_of(run) == OLDEST


@pytest.mark.parametrize(
    ("known", "said"),
    [(FORMAT + 1, "written by a newer bulkup"), (OLDEST - 1, "written by a bulkup before 0.1.0")],
)
def test_of_another_format_it_is_refused_in_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], known: int, said: str
) -> None:
    with closing(sqlite3.connect(run / "journal.db")) as db:
        db.execute(f"PRAGMA user_version = {known}")
    before = held(run)
    for command in ("status", "resume", "verify"):
        assert main([command, run.name, "--state-dir", "state"]) == ExitCode.JOURNAL_UNUSABLE
        told = capsys.readouterr().err.splitlines()
        assert len(told) == 1
        assert f"{said} (format {known}, " in told[0]
    assert (format_of(run), held(run)) == (known, before)
