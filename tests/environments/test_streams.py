"""Streams that are closed, full, without a reader, or for ASCII only: all rows land, and the exit code says so."""

from __future__ import annotations

import io
import json
import os
import sys

import orjson
import pytest

from bulkup.cli.display import LineDisplay, Screen
from bulkup.cli.streams import DEGRADED, delivered, open_streams, put, put_json, say
from bulkup.errors import LocalDisk
from tests.cli.test_progress import LANE, at
from tests.environments.fixtures import machine, served
from tests.environments.processes import ROWS, Machine

__all__ = ["machine", "served"]

ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN_1 = {**ASCII, "PYTHONIOENCODING": "latin-1"}


@pytest.mark.parametrize("shell", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_loses_no_row_and_no_journal(machine: Machine, shell: str) -> None:
    """What is said goes nowhere, least of all into the file that was opened next; the run is whole and can be looked at."""
    done = machine.run(*machine.upload(), shell=shell)
    assert (done.code, machine.landed, done.is_clean()) == (0, ROWS, True)
    assert ("2>" in shell) == (done.err == b"")
    assert (">&-" in shell.replace("2>&-", "")) == (done.out == b"")
    (receipt,) = machine.receipts
    assert json.loads(receipt.read_bytes())["status"] == "landed"
    for file in receipt.parent.iterdir():
        if file.name != "events.jsonl":  # which keeps what was said
            assert b"kept in" not in file.read_bytes(), file


def test_a_closed_standard_input_is_not_an_empty_one(machine: Machine) -> None:
    done = machine.run(*machine.upload("-", "--name", "piped"), shell="<&-")
    assert done.code == 65
    assert done.said.splitlines()[-1].startswith("bulkup: standard input: cannot be read")
    assert done.is_clean()


def test_looking_with_a_stream_closed_or_full(machine: Machine) -> None:
    machine.run(*machine.upload())
    for command in (["status"], ["--version"]):
        closed = machine.run(*command, shell=">&-")
        assert (closed.code, closed.err) == (0, b"")
    for command in (["status", "--json"], ["upload", "--help"]):
        full = machine.run(*command, shell=">/dev/full")
        assert full.code == 74
        assert len(full.said.splitlines()) == 1
        assert "No space left on device" in full.said


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_full_disk_behind_stdout(machine: Machine, form: list[str]) -> None:
    """The receipt that could not be printed stands in a file, and a line says where. All has landed."""
    done = machine.run(*machine.upload("rows.jsonl", *form), shell=">/dev/full")
    assert (done.code, machine.landed, done.is_clean()) == (74, ROWS, True)
    (line,) = [line for line in done.said.splitlines() if line.startswith("bulkup: ")]
    assert "No space left on device; landed: the receipt is in" in line
    assert str(machine.receipts[0].relative_to(machine.folder)) in line


def test_a_full_disk_or_no_reader_behind_stderr(machine: Machine) -> None:
    """What is said there is a help. Nothing of it changes the exit code, also where it is tried again at the process's end."""
    full = machine.run(*machine.upload(), "-v", shell="2>/dev/full")
    assert (full.code, machine.landed, full.is_clean()) == (0, ROWS, True)
    gone = machine.run(*machine.upload("rows.jsonl", "--name", "other"), shell="2>&1 | :", env=machine.environment())
    assert gone.err == b""
    machine.emulator.idle()
    assert machine.landed == 2 * ROWS
    reader, writer = os.pipe()
    os.close(reader)
    try:
        refused = machine.run("status", "no-such-run", shell=f"2>/dev/fd/{writer}")
    finally:
        os.close(writer)
    assert refused.code in (2, 1)


@pytest.mark.parametrize(
    ("environment", "name"),
    [(ASCII, b"gr\\u00f6\\u00dfe->"), pytest.param(LATIN_1, b"gr\xf6\xdfe->", marks=pytest.mark.slow)],
)
def test_a_terminal_that_has_not_all_characters(machine: Machine, environment: dict[str, str], name: bytes) -> None:
    """The name goes to the service as it is; on the screen what is missing is written in ASCII. JSON stays JSON."""
    env = machine.environment(**environment)
    done = machine.run(*machine.upload("rows.jsonl", "--name", "größe→"), env=env)
    assert (done.code, machine.landed, done.is_clean()) == (0, ROWS, True)
    assert b"rows in " + name in done.out
    assert b"one dataset, " + name in done.err
    told = machine.run("status", "--json", env=env)
    assert json.loads(told.out.decode(environment["PYTHONIOENCODING"]))["name"] == "größe→"
    again = machine.run(*machine.upload("rows.jsonl", "--name", "größe→"))
    assert (again.code, machine.landed) == (0, ROWS)  # the same run, whatever the locale


class Stream(io.TextIOWrapper):
    """A stream of *encoding*, as a process gets it, and what arrived."""

    def __init__(self, encoding: str) -> None:
        self.raw_bytes = io.BytesIO()
        super().__init__(self.raw_bytes, encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        return True

    @property
    def arrived(self) -> str:
        return self.raw_bytes.getvalue().decode(self.encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize("kind", [LineDisplay, Screen])
def test_the_display_degrades(monkeypatch: pytest.MonkeyPatch, kind: type[LineDisplay | Screen], encoding: str) -> None:
    from bulkup.event import Note

    monkeypatch.setenv("TERM", "xterm")
    stream = Stream(encoding)
    monkeypatch.setattr(sys, "stdout", Stream(encoding))
    monkeypatch.setattr(sys, "stderr", stream)
    open_streams()
    assert stream.errors == DEGRADED
    display = kind(stream)
    display.note(Note("nebius", "größe→ 1 MiB × 4 … bad\udcffname 語"))
    display.show(at(3, LANE))
    display.close()
    assert r"bad\xffname" in stream.arrived
    assert ("×" in stream.arrived) == (encoding != "ascii")
    assert ("1 MiB x 4" in stream.arrived) == (encoding == "ascii")
    assert "400 rows landed" in stream.arrived


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_json_in_every_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    stream = Stream(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    put_json({"a": "é語", "paths": ("x\udcff", "é"), "n": 1})
    assert json.loads(stream.arrived) == {"a": "é語", "paths": ["x\\xff", "é"], "n": 1}
    orjson.loads(stream.arrived.encode())


def test_what_is_said_never_raises_and_what_is_put_does(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("bulkup.cli.streams.forget", lambda _: None)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Full())
    say("x")
    with pytest.raises(LocalDisk, match="standard output cannot be written: No space left on device"):
        put("x")
    assert delivered(lambda: put("x"), "it is kept") == 74
