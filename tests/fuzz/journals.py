"""A run's folder with bits turned over, pieces cut off, swapped or lost: what each command makes of it.

Every end is a documented exit code with one line. Under exit code 0 or 3 nothing is doubled or lost, unless the damage cannot be
seen in a journal, which has no checksum of its own (`docs/guarantees.md` says what that is).
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import io
import os
import shutil
import sqlite3
import tempfile
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson

from bulkup import Collinear, Nebius
from bulkup.account.finished import Event, Finished
from bulkup.cli.app import main
from bulkup.emulator import Settings, running
from bulkup.journal.facts import LANE_END, RUN_END
from bulkup.run.story import execute
from bulkup.run.wish import Upload
from bulkup.settings.config import RunSettings
from tests.e2e.harness import SPACE, TOKENS, as_collinear, canonical, gsm8k_rows

__all__ = ["one"]

BAD = b"this is no row\n"
JOURNAL = ("journal.db", "journal.db-wal")
DAMAGED = (*JOURNAL, "rejects.jsonl", "ids.jsonl", *JOURNAL, "journal.db")
"""What is damaged, the more often the more times it stands here."""

CODES = {0, 2, 3, 4, 5, 6, 7, 8, 65, 74, 75, 77}
BEFORE_ANYTHING = {2, 6, 7, 8}
"""What ends a command before it does anything; but 6 may come of a damaged hash, which looks as if the source had changed."""

STOPPING = Settings(
    script={"nebius": ("ok",) * 6 + ("forbidden_403",) * 40, "collinear": ("ok",) * 5 + ("forbidden_403",) * 40}
)

Facts = dict[tuple[str, str], str]

MOVING = {
    "files",
    "upload",
    "finished_at",
    "planned whole",
    "largest body",
    "limited by",
    "survey",
    "started_at",
    "audited",
    "late",
    LANE_END,
    RUN_END,
}
"""Facts that a resume writes anew."""


@dataclass(frozen=True)
class Template:
    """A run that services have stopped in the middle. *folders*: its state directory as it was when the process had it open, with a
    write-ahead log, and afterwards. *store*: what the services held. *rejected*: lines of `rejects.jsonl`."""

    folders: tuple[Path, Path]
    store: Path
    run: str
    port: int
    rejected: int
    expected: dict[str, Counter[str]]


def one(case: Random, scratch: Path) -> None:
    """Damage a copy of the run and try a few commands on it. Raises `AssertionError`."""
    template = _template()
    state = scratch / "state"
    shutil.copytree(case.choice(template.folders), state)
    folder = state / template.run
    sound = _facts(folder)
    what = [_damage(case, folder) for _ in range(case.choice((1, 1, 1, 2)))]
    damaged = _facts(folder)
    commands = case.sample(("status", "rejects", "resume", "verify", "resume"), 3)
    with _serving(template, scratch / "store.db"):
        for command in commands:
            code, said = _run(command, template.run, state, scratch / "out.jsonl")
            told = f"{command} after {what} gave {code}: {said.strip()[-600:]}"
            assert code in CODES, told
            for word in ("Traceback", "internal error", "--append"):
                assert word not in said, told
            if code in BEFORE_ANYTHING and "stopped: the source changed" not in said:
                assert sum(line.startswith("bulkup: ") for line in said.splitlines()) == 1, told
            if command == "rejects" and code == 0 and not _cannot_be_seen(what, sound, damaged):
                assert _lines(scratch / "out.jsonl") >= template.rejected, told
            if command == "resume" and code in (0, 3) and not _cannot_be_seen(what, sound, damaged):
                for lane, expected in template.expected.items():
                    stored = _stored(template.port, lane)
                    more, less = (stored - expected).total(), (expected - stored).total()
                    assert (more, less) == (0, 0), f"{told}: {lane} has {more} rows too many, {less} are missing"


def _cannot_be_seen(what: list[str], sound: Facts, damaged: Facts) -> bool:
    """Damage to the end of the log of writes, which looks as if they had never been made, and facts that still have their form."""
    lasting = {key: value for key, value in sound.items() if key[1] not in MOVING}
    return any("-wal" in did for did in what) or any(damaged.get(key) != value for key, value in lasting.items())


def _facts(folder: Path) -> Facts:
    """The facts in a copy of the journal, none where they cannot be read."""
    with tempfile.TemporaryDirectory() as copy:
        for name in JOURNAL:
            if (folder / name).exists():
                shutil.copy(folder / name, copy)
        try:
            with contextlib.closing(sqlite3.connect(Path(copy) / JOURNAL[0])) as db:
                return {(lane, key): value for lane, key, value in db.execute("SELECT lane, key, value FROM facts")}
        except (sqlite3.Error, UnicodeDecodeError):  # the module cannot say what is wrong with a schema that is no text
            return {}


def _damage(case: Random, folder: Path) -> str:
    """Damage a file in *folder*; what was done."""
    names = [name for name in DAMAGED if (folder / name).exists() and (folder / name).stat().st_size]
    name = case.choice(names)
    path = folder / name
    data = bytearray(path.read_bytes())
    did = _damaged(case, data)
    if did is None:
        path.unlink()
        return f"{name}: gone"
    path.write_bytes(data)
    return f"{name}: {did}"


def _damaged(case: Random, data: bytearray) -> str | None:
    """Damage *data*; what was done, None where it is to be gone."""
    size = len(data)
    match case.choice(("bits", "bits", "bits", "many bits", "byte", "cut", "hole", "swap", "grow", "gone")):
        case "bits" | "many bits" as how:
            places = [case.randrange(size * 8) for _ in range(1 if how == "bits" else case.randint(2, 40))]
            for at in places:
                data[at // 8] ^= 1 << at % 8
            return f"bits {places} turned over"
        case "byte":
            at = case.randrange(size)
            data[at] = case.randrange(256)
            return f"byte {at} is {data[at]}"
        case "cut":
            del data[(at := case.randrange(size)) :]
            return f"cut at {at}"
        case "hole":
            at, length = case.randrange(size), case.choice((16, 512, 4096))
            data[at : at + length] = bytes(len(data[at : at + length]))
            return f"{length} zeros at {at}"
        case "swap":
            length = case.choice((8, 512, 4096))
            first, second = sorted(case.randrange(max(1, size // length)) * length for _ in range(2))
            one, two = data[first : first + length], data[second : second + length]
            if first + length <= second and len(two) == length:
                data[first : first + length], data[second : second + length] = two, one
            return f"{length} bytes swapped at {first} and {second}"
        case "grow":
            data += case.randbytes(case.choice((1, 100, 5000)))
            return f"{len(data) - size} bytes more"
    return None


def _run(command: str, run: str, state: Path, exported: Path) -> tuple[int, str]:
    """The exit code of one command in this process, and what it said on stderr."""
    arguments = {
        "status": ["status", run],
        "rejects": ["rejects", run, "--output", str(exported)],
        "resume": ["resume", run, "--quiet", "--retry-for", "2", "--settle-after", "0.05"],
        "verify": ["verify", run, "--sample", "1.0", "--seed", "1", "--retry-for", "2", "--quiet"],
    }[command]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*arguments, "--state-dir", str(state)])
    return code, err.getvalue()


def _lines(path: Path) -> int:
    return len(path.read_bytes().splitlines()) if path.exists() else 0


# --- the run that is damaged, and the services ------------------------------------------------------------------------


@functools.cache
def _template() -> Template:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-journals-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rows = gsm8k_rows(60)
    lines = [orjson.dumps(row) + b"\n" for row in rows]
    source = folder / "rows.jsonl"
    source.write_bytes(b"".join([*lines[:7], BAD, *lines[7:20], BAD, *lines[20:]]))
    os.environ.update(TOKENS)
    run, port = asyncio.run(_begin(source, folder))
    return Template(
        folders=(folder / "live", folder / "state"),
        store=folder / "store.db",
        run=run,
        port=port,
        rejected=_lines(folder / "state" / run / "rejects.jsonl"),
        expected={"nebius": canonical(rows), "collinear": canonical(map(as_collinear, rows))},
    )


async def _begin(source: Path, folder: Path) -> tuple[str, int]:
    def tell(event: Event) -> None:
        if isinstance(event, Finished):  # the journal is open still, and most of it in its log
            shutil.copytree(folder / "state", folder / "live")

    async with running(STOPPING, db_path=folder / "store.db") as emulator:
        chosen: dict[str, Any] = {"url": emulator.url, "max_chunk_rows": 4}
        upload = Upload(
            (str(source),),
            (
                Nebius.model_validate({**chosen, "folder": "/tests"}),
                Collinear.model_validate({**chosen, "space_id": SPACE}),
            ),
            RunSettings.model_validate({"name": "rows", "state_dir": folder / "state", "settle_after_s": 0.05}),
        )
        receipt = await execute(upload, tell=tell)
        assert receipt.exit_code == 77, receipt
        return receipt.run_id, int(emulator.url.rpartition(":")[2])


@contextlib.contextmanager
def _serving(template: Template, copy: Path) -> Iterator[None]:
    """The services as they were, in a thread, on the port that the run knows."""
    shutil.copy(template.store, copy)
    ready, ends = threading.Event(), threading.Event()

    async def serve() -> None:
        async with running(Settings(), db_path=copy, port=template.port):
            ready.set()
            await asyncio.to_thread(ends.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    if not ready.wait(10):
        raise RuntimeError("the emulator did not start")
    try:
        yield
    finally:
        ends.set()
        thread.join(10)


def _stored(port: int, service: str) -> Counter[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_emulator/rows?service={service}") as answer:
        return canonical(map(orjson.loads, answer.read().splitlines()))
