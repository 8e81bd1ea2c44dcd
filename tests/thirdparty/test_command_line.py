"""`bulkup upload --to thirdparty`: a destination that another distribution registers has all that the built-in ones have."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from bulkup.cli.app import main
from bulkup.cli.choices import choose
from bulkup.destinations import registry
from bulkup.emulator import Spawned
from bulkup.errors import JournalUnusable
from bulkup.journal.facts import UPLOAD
from bulkup.run.wish import Upload, run_id
from tests.thirdparty.installed import TOKEN, environment_with, install
from tests.thirdparty.server import spawned_thirdparty

ROWS = [{"question": f"question {n}", "answer": "x" * (n % 50)} for n in range(500)]


class Place:
    """A folder with rows in it, the service, and an environment in which its destination is installed."""

    def __init__(self, folder: Path, service: Spawned) -> None:
        self.folder = folder
        self.service = service
        self.environment = environment_with(install(folder / "site"))
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def run(self, *arguments: str, code: int = 0, more: Mapping[str, str] = MappingProxyType({})) -> str:
        """What the command says on standard output, or on standard error where it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "bulkup", *arguments],
            cwd=self.folder, env={**self.environment, **more}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert TOKEN["THIRDPARTY_KEY"] not in done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    def upload(self, *flags: str, more: Mapping[str, str] = MappingProxyType({})) -> Any:
        return json.loads(self.run("upload", "rows.jsonl", "--settle-after", "0", "--json", *flags, more=more))

    def stored(self) -> list[Any]:
        return sorted(self.service.rows("thirdparty"), key=str)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def service() -> Iterator[Spawned]:
    with spawned_thirdparty() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, service: Spawned) -> Place:
    service.reset()
    return Place(tmp_path, service)


def test_rows_go_there_once_and_are_verified(place: Place) -> None:
    to = ("--to", "thirdparty", "--box", "b", "--thirdparty-url", place.service.url, "--max-chunk-rows", "60")
    receipt = place.upload(*to, "--workers", "2")
    lane = receipt["destinations"]["thirdparty"]
    assert (lane["rows_landed"], lane["rows_left"]) == (500, 0)
    assert lane["assumptions"][0] == "Rows that are counted are stored."
    assert place.stored() == sorted(ROWS, key=str)
    again = place.upload(*to)
    assert again["destinations"]["thirdparty"]["this_invocation"]["requests"] == 0
    found = json.loads(place.run("verify", receipt["run_id"], "--sample", "1.0", "--json"))
    assert found["destinations"]["thirdparty"]["rows_compared"] == 500
    assert "thirdparty" in place.run("status")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the destination is installed for this process, in which it has not been looked for yet."""
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.syspath_prepend(tmp_path / "site")
    return install(tmp_path / "site")


def test_what_is_wrong_is_said_in_one_line(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Called here, as it takes no process to refuse a command."""
    config, source = tmp_path / "some.toml", tmp_path / "rows.jsonl"
    source.write_text("{}\n")

    def error(*flags: str) -> str:
        registry._loaded.clear()
        assert main(["upload", str(source), *flags]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
        return said

    assert "thirdparty needs --box, the box's name" in error("--to", "thirdparty")
    assert "--to takes nebius, collinear or thirdparty" in error("--to", "fourthparty")
    assert "bulkup upload has no option --boxx (did you mean --box?)" in error("--to", "thirdparty", "--boxx", "b")
    config.write_text("[thirdparty]\nbocks = 1\n")
    assert "thirdparty.bocks: there is no such setting" in error("--config", str(config))
    config.write_text("box = 1\n")
    assert "box: there is no such setting" in error("--config", str(config))
    install(site, value="no_such_module:X")
    said = error("--to", "thirdparty")
    assert "destination 'thirdparty' (no_such_module:X) cannot be loaded: ModuleNotFoundError" in said
    install(site, value="bulkup_thirdparty:Boxes")
    assert "is no bulkup.destinations.service.Service" in error("--to", "thirdparty")
    install(site, name="other")
    assert "calls itself 'thirdparty'" in error("--to", "other")


def test_help_has_it_and_a_broken_one_does_not_break_the_help(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def help_of(command: str) -> str:
        registry._loaded.clear()
        assert main([command, "--help"]) == 0
        return " ".join(capsys.readouterr().out.split())

    said = help_of("upload")
    for words in (
        "--to DEST nebius, collinear or thirdparty; repeatable.",
        "--box BOX Third Party: the box. Needed for thirdparty.",
        "--thirdparty-url URL Base URL. Default: http://127.0.0.1:9.",
        "8MiB for collinear, 4MiB for thirdparty.",
        "NEBIUS_API_KEY, COLLINEAR_API_KEY and THIRDPARTY_KEY",
    ):
        assert words in said
    assert "--box BOX" in help_of("bench")
    install(site, value="no_such_module:X")
    assert "nebius or collinear; repeatable." in help_of("upload")


def test_bench_and_retry(place: Place) -> None:
    """`bench` writes a config that `upload` takes; rejected rows go into the same set, as they do wherever rows are appended."""
    to = ("--to", "thirdparty", "--box", "b")
    bench = ("--sizes", "4096", "--concurrencies", "1", "--max-requests", "30", "--write-config", "some.toml", "--json")
    found = json.loads(place.run("bench", *to, "--url", place.service.url, *bench))
    assert found["destination"] == "thirdparty"
    assert place.stored()
    assert 'box = "b"' in (place.folder / "some.toml").read_text()
    place.service.reset()
    with (place.folder / "rows.jsonl").open("a") as rows:
        rows.write("no row\n")
    place.run("upload", "rows.jsonl", "--config", "some.toml", "--settle-after", "0", "--json", code=3)
    run = next(place.folder.glob(".bulkup/rows-*")).name
    (place.folder / "mended.jsonl").write_text('{"question": "mended", "answer": "7"}\n')
    place.run("rejects", run, "mended.jsonl", "--retry")
    assert place.stored() == sorted([*ROWS, {"question": "mended", "answer": "7"}], key=str)


def test_flag_environment_and_file(site: Path, tmp_path: Path) -> None:
    """In that order, as every other option. Another box is another run."""
    config = tmp_path / "some.toml"
    config.write_text('[thirdparty]\nurl = "http://127.0.0.1:1"\nbox = "of the file"\nmax_chunk_bytes = "8KiB"\n')
    given: dict[str, Any] = {"config": str(config)}
    found = [
        choose(["rows.jsonl"], given, {}),
        choose(["rows.jsonl"], given, {"BULKUP_BOX": "of the environment"}),
        choose(["rows.jsonl"], {**given, "box": "of the flag"}, {"BULKUP_BOX": "of the environment"}),
    ]
    boxes = [upload.destinations[0].dataset("rows").place["box"] for upload in found]
    assert boxes == ["of the file", "of the environment", "of the flag"]
    assert {upload.destinations[0].max_chunk_bytes for upload in found} == {8192}
    assert len(set(map(run_id, found))) == 3
    record = UPLOAD.of_text(UPLOAD.to_text(found[0].to_record()))
    assert record is not None
    assert Upload.of_record(record) == found[0]


def test_without_its_distribution_its_runs_are_kept(site: Path) -> None:
    record = choose(["rows.jsonl"], {"to": ["thirdparty"], "box": "b"}, {}).to_record()
    for file in site.glob("*.dist-info/entry_points.txt"):
        file.unlink()
    registry._loaded.clear()
    with pytest.raises(JournalUnusable, match="no such destination is installed here"):
        Upload.of_record(record)


def test_nothing_of_others_is_loaded_unless_it_is_wanted(place: Place) -> None:
    (place.folder / "site" / "bulkup_thirdparty.py").write_text("raise SystemExit('loaded')\n")
    assert "nebius" not in place.run("--help").split("Commands:")[1].split("Exit codes:")[0]
    tests = {"BULKUP_TEST_SEED": "1"}  # a variable that no setting has
    said = place.run(
        "upload", "rows.jsonl", "--to", "nebius", "--nebius-url", "http://127.0.0.1:9", code=77, more=tests
    )
    assert "NEBIUS_API_KEY" in said
