"""Which run a command means: the same file is the same run, and who already holds a dataset is named."""

from __future__ import annotations

import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bulkup import Nebius
from bulkup.errors import UsageProblem
from bulkup.journal.sqlite import DATABASE
from bulkup.run.folder import StateDir
from bulkup.run.wish import Upload, known_run_id, run_id
from bulkup.settings.config import RunSettings
from tests.cli.shell import SPACE, Shell


def upload_of(source: str, state_dir: str | Path = ".bulkup") -> Upload:
    return Upload((source,), (Nebius(),), RunSettings(name="rows", state_dir=Path(state_dir)))


def test_however_a_path_is_written_it_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And from wherever, if the state directory is the same. A name at another place is another file."""
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    ids = {run_id(upload_of(s)) for s in ("a.jsonl", "./a.jsonl", "data/../a.jsonl", str(tmp_path / "a.jsonl"))}
    ids |= {run_id(upload_of(str(tmp_path / "link" / "a.jsonl")))}
    monkeypatch.chdir(tmp_path / "data")
    ids |= {run_id(upload_of("../a.jsonl", "../.bulkup")), run_id(upload_of("../a.jsonl", tmp_path / ".bulkup"))}
    assert len(ids) == 1
    assert run_id(upload_of("a.jsonl", "../.bulkup")) not in ids


@pytest.mark.parametrize("began_as", ["a.jsonl", "./a.jsonl", "{here}/a.jsonl"])
@pytest.mark.parametrize("now", ["a.jsonl", "./a.jsonl", "{here}/a.jsonl"])
def test_a_run_that_an_earlier_version_began_is_found(
    began_as: str, now: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.1.0 named a run by the path as it was given."""
    from bulkup.run import wish

    monkeypatch.chdir(tmp_path)
    old = wish._run_id(upload_of(began_as.format(here=tmp_path)), (began_as.format(here=tmp_path),))
    assert known_run_id(upload_of(now.format(here=tmp_path)), lambda name: name if name == old else None) == old


def test_going_on_under_another_spelling_sends_nothing_again(shell: Shell, rows: list[dict[str, Any]]) -> None:
    command = ["--to", "nebius", *shell.urls]
    first = shell.run("upload", "./rows.jsonl", *command)
    assert first.code == 0, first.err
    again = shell.run("upload", str(shell.folder / "rows.jsonl"), *command)
    assert again.code == 0, again.err
    assert "this run is done" in again.err
    assert len(shell.emulator.rows("nebius")) == len(rows)


def test_the_owner_of_a_dataset_is_named(shell: Shell, rows: list[dict[str, Any]]) -> None:
    """And nothing is kept of the run that is refused, which is said."""
    command = ["--to", "nebius", *shell.urls, "--name", "mine"]
    assert shell.run("upload", "rows.jsonl", *command).code == 0
    owner = shell.receipt()["run_id"]
    shutil.copy(shell.folder / "rows.jsonl", shell.folder / "other.jsonl")
    refused = shell.run("upload", "other.jsonl", *command)
    assert refused.code == 2
    *_, kept, why = refused.err.splitlines()
    assert kept.startswith("nothing was sent, and nothing is kept of run mine-")
    assert f"Run {owner} did: to go on with it, bulkup resume {owner}. " in why
    assert "--append, which makes another dataset named mine (or of that family) beside what is there" in why
    assert StateDir(shell.folder / ".bulkup").runs() == [owner]
    appended = shell.run("upload", "other.jsonl", *command, "--append")
    assert appended.code == 0
    assert "nebius: --append makes another dataset named mine" in appended.err


def test_a_whole_name_wins_over_longer_ones(tmp_path: Path) -> None:
    """A beginning that several share does not do."""
    for name in ("a-1", "a-12", "a-123"):
        (tmp_path / name).mkdir()
        (tmp_path / name / DATABASE).touch()
    state = StateDir(tmp_path)
    assert [state.find(name).run_id for name in ("a-1", "a-12", "a-123")] == ["a-1", "a-12", "a-123"]
    (tmp_path / "b-7").mkdir()
    (tmp_path / "b-7" / DATABASE).touch()
    (tmp_path / "b-8").mkdir()
    (tmp_path / "b-8" / DATABASE).touch()
    with pytest.raises(UsageProblem, match="'b-' is the beginning of several runs; there are: b-"):
        state.find("b-")


def test_a_dataset_s_name_finds_its_run(tmp_path: Path) -> None:
    """Spaces and brackets of it do not stand in the run's name. One of which nothing stands there finds no run of another."""
    for name in ("with-space-v1-5a24576b", "run-8b1a1396"):
        (tmp_path / name).mkdir()
        (tmp_path / name / DATABASE).touch()
    state = StateDir(tmp_path)
    assert state.find("with space [v1]").run_id == "with-space-v1-5a24576b"
    with pytest.raises(UsageProblem, match="'データ' is no run here"):
        state.find("データ")


class _Nowhere(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b'{"detail": "Not Found"}'
        self.send_response(404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - as the library calls it

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("to", "lookup"), [("nebius", "GET /v1/datasets"), ("collinear", "POST /graphql")])
def test_nothing_is_sent_to_a_url_that_knows_no_path(to: str, lookup: str, shell: Shell, rows: list[Any]) -> None:
    _Nowhere.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Nowhere)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        more = ["--space-id", SPACE] if to == "collinear" else []
        done = shell.run("upload", "rows.jsonl", "--to", to, f"--{to}-url", url, *more)
    finally:
        server.shutdown()
        server.server_close()
    assert done.code == 2, done.err
    assert f"{to}: the service at {url} answered 404 to every path that bulkup asked it for" in done.err
    assert f"(--{to}-url, or url in [{to}])" in done.err
    assert {line.partition("?")[0] for line in _Nowhere.asked if not line.startswith("OPTIONS")} == {lookup}


def test_a_service_that_only_does_not_let_itself_be_read_is_uploaded_to(shell: Shell, rows: list[Any]) -> None:
    shell.emulator.patch(readback={"nebius": "off", "collinear": "off"})
    done = shell.run("upload", "rows.jsonl", *shell.both)
    assert done.code == 0, done.err


def test_a_state_directory_that_was_copied_elsewhere_knows_the_run_by_its_full_path(
    shell: Shell, rows: list[dict[str, Any]]
) -> None:
    """The same absolute path, and another `--state-dir`: what was begun there is gone on with, and nothing is sent again."""
    source = str((shell.folder / "rows.jsonl").resolve())
    arguments = ["upload", source, *shell.both, "--preset", "question-answer", "--json"]
    first = shell.run(*arguments, "--state-dir", ".bulkup")
    assert first.code == 0, first.err
    (shell.folder / "far").mkdir()
    (shell.folder / ".bulkup").rename(shell.folder / "far" / ".bulkup")
    sent = [shell.emulator.summary()[lane]["uploads_received"] for lane in ("nebius", "collinear")]
    again = shell.run(*arguments, "--state-dir", "far/.bulkup")
    assert again.code == 0, again.err
    assert [shell.emulator.summary()[lane]["uploads_received"] for lane in ("nebius", "collinear")] == sent
