"""Paths that are not UTF-8, no HOME, no name for the user, no current directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup import Nebius
from bulkup.errors import UsageProblem
from bulkup.journal.facts import UPLOAD
from bulkup.path_text import json_bytes, local, portable, readable
from bulkup.run.wish import Upload, default_name, run_id
from bulkup.settings.config import RunSettings
from tests.environments.fixtures import machine, served
from tests.environments.processes import ROWS, Machine
from tests.environments.test_streams import ASCII

__all__ = ["machine", "served"]

BAD = b"bad\xff\xc3name.jsonl"
SHOWN = r"bad\xff\xc3name.jsonl"


def can_name(folder: Path) -> bool:
    try:
        (folder / os.fsdecode(BAD)).touch()
    except OSError:
        return False
    return True


def test_a_path_that_is_not_utf8(machine: Machine) -> None:
    """All lands, the receipt is written, and every command can go on from it and names the file readably."""
    if not can_name(machine.folder):
        pytest.skip("this filesystem takes UTF-8 names only")
    source = machine.folder / os.fsdecode(BAD)
    good = machine.rows.read_text(encoding="utf-8")
    source.write_text(good + "[1]\n", encoding="utf-8")
    state = os.fsdecode(b"st\xfe")
    command = machine.upload(BAD, "--name", "n", "--state-dir", state, "--max-rejects", "100%")
    done = machine.run(*command, "--json")
    assert (done.code, machine.landed, done.is_clean()) == (3, ROWS, True)
    assert orjson.loads(done.out)["source"]["uris"] == [SHOWN]
    (run,) = (path for path in (machine.folder / state).iterdir() if (path / "journal.db").exists())
    receipt, manifest = (orjson.loads((run / f"{kind}.json").read_bytes()) for kind in ("receipt", "manifest"))
    assert receipt["source"]["uris"] == manifest["files"] == [SHOWN]
    assert manifest["lanes"]["nebius"][0]["file"] == SHOWN
    for again in (command, ["resume", "n", "--state-dir", state]):
        told = machine.run(*again)
        assert (told.code, machine.landed, told.is_clean()) == (3, ROWS, True), told.said
    status = machine.run("status", "--state-dir", state)
    assert SHOWN in status.out.decode()
    assert r"st\xfe" in status.out.decode()
    (letter,) = map(orjson.loads, machine.run("rejects", "n", "--state-dir", state).out.splitlines())
    assert (letter["file"], letter["row_number"]) == (SHOWN, ROWS + 1)
    verified = machine.run("verify", "n", "--state-dir", state, "--sample", "1.0", "--json")
    assert (verified.code, verified.is_clean()) == (0, True), verified.out
    source.write_text(good[: len(good) // 2], encoding="utf-8")
    changed = machine.run(*command)
    assert changed.code == 6
    assert f"{SHOWN} had" in changed.said


def test_a_name_or_a_folder_that_is_not_utf8(machine: Machine) -> None:
    """What goes to a service must be text: refused in one line, before anything is sent."""
    with pytest.raises(UsageProblem, match="--name NAME"):
        default_name((os.fsdecode(BAD),))
    for stem in ("new\nline", "x" * 201, "tab\t"):
        with pytest.raises(UsageProblem, match=r"^'.*': a dataset's name has 1 to 200 printable .*: give --name NAME$"):
            default_name((f"{stem}.jsonl",))
    for option, value in (("--name", b"n\xff"), ("--folder", b"/f\xff"), ("--drop", b"c\xff")):
        done = machine.run(*machine.upload(), option, value)
        assert (done.code, done.is_clean(), len(done.said.splitlines())) == (2, True, 1), done.said
    assert machine.landed == 0


@given(st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw))
def test_a_path_goes_through_the_journal_and_stays_what_it_is(raw: bytes) -> None:
    """And what is shown of it is Unicode, whatever it is."""
    path = os.fsdecode(raw)
    assert os.fsencode(local(json.loads(json.dumps(portable(path))))) == raw
    assert orjson.loads(json_bytes({"path": path})) == {"path": readable(path)}
    upload = Upload((path,), (Nebius(token_file=Path(path)),), RunSettings(name="n", state_dir=Path(path)))
    record = UPLOAD.of_text(UPLOAD.to_text(upload.to_record()))
    assert record is not None
    assert Upload.of_record(record) == upload
    assert run_id(upload) == run_id(upload)


@given(st.text())
def test_texts_of_any_kind_become_json(text: str) -> None:
    assert orjson.loads(json_bytes([text])) == [readable(text)]


ANOTHER_LOCALE = """
import json, os, sys
from bulkup.path_text import local, portable, readable
path = os.fsdecode(raw := b"gr\\xc3\\xb6\\xff")
print(json.dumps([sys.getfilesystemencoding(), portable(path), readable(path), os.fsencode(local(portable(path))) == raw]))
"""


def test_what_is_kept_does_not_depend_on_the_locale() -> None:
    said = {
        name: subprocess.run(
            [sys.executable, "-c", ANOTHER_LOCALE],
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name, env in (("utf-8", {"PYTHONUTF8": "1"}), ("ascii", ASCII))
    }
    first, second = map(json.loads, said.values())
    assert first[0] != second[0]
    assert first[1:] == second[1:] == ["gr\u00f6\udcff", "gr\u00f6\\xff", True]


def test_no_current_directory(machine: Machine, tmp_path: Path) -> None:
    """Absolute paths work; what is looked for in a directory that is gone is not there, and the line says why."""
    rows, state = str(machine.rows), str(tmp_path / "state")
    inside = f"mkdir gone && cd gone && rmdir ../gone && exec {sys.executable} -m bulkup"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", inside + ' "$@"', "sh", *arguments],
            cwd=tmp_path, env=machine.environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    done = run(*map(os.fsdecode, machine.upload(rows, "--state-dir", state)))
    assert (done.returncode, machine.landed) == (0, ROWS), done.stderr
    assert run("status", "--state-dir", state).returncode == 0
    for lost in (run("status"), run(*map(os.fsdecode, machine.upload()))):
        assert lost.returncode == 2
        assert len(lost.stderr.splitlines()) == 1
        assert "the current directory has been removed" in lost.stderr


NOBODY = 54_321


def test_no_home_and_no_name_for_the_user(machine: Machine, tmp_path: Path) -> None:
    """As in a container under a number of its own. A `token_file` in the home directory that there is not is named."""
    (tmp_path / "config.toml").write_text('to = "nebius"\n[nebius]\ntoken_file = "~/token"\n', encoding="utf-8")
    (tmp_path / "config.toml").chmod(0o644)
    homeless = "import os, sys; os.environ.pop('HOME', None); "
    if os.geteuid() == 0 and _reachable(tmp_path):
        os.chown(tmp_path, NOBODY, NOBODY)
        homeless += f"os.setgid({NOBODY}); os.setuid({NOBODY}); "
    start = homeless + "from bulkup.cli import main; sys.exit(main())"

    def run(*arguments: str | bytes) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", start, *arguments],
            cwd=tmp_path, env=machine.environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    done = run(*machine.upload())
    assert (done.returncode, machine.landed) == (0, ROWS), done.stderr
    if "setuid" in homeless:
        refused = run(*machine.upload(), "--config", "config.toml")
        assert refused.returncode == 2
        assert "nebius.token_file: cannot be found from here: give an absolute path" in refused.stderr


def _reachable(folder: Path) -> bool:
    """Whether another user may come to *folder*, to this package and to this interpreter."""
    here = (folder, Path(sys.executable).resolve(), Path(sys.prefix).resolve(), Path(__file__))
    return all(parent.stat().st_mode & 0o001 for path in here for parent in path.parents)
