"""Flag over environment over file over default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bulkup import Collinear, Nebius
from bulkup.cli.choices import choose, override
from bulkup.cli.figures import printable, size_text, time_text
from bulkup.errors import UsageProblem
from bulkup.settings.quantities import parse_seconds, parse_size
from tests.cli.shell import SPACE, Shell

FILE = """
name = "from-file"
on_doubt = "resend"
retry_for_s = "2m"
[rejects]
content = false
max = "5%"
[nebius]
folder = "/from-file"
concurrency = 2
max_chunk_bytes = "4MiB"
token_file = "secrets/token"
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "c.toml"
    path.write_text(FILE)
    return str(path)


def nebius(given: dict[str, Any], environment: dict[str, str] | None = None) -> Nebius:
    found = choose(["rows.jsonl"], {"to": ["nebius"], **given}, environment or {}).destinations[0]
    assert isinstance(found, Nebius)
    return found


@pytest.mark.parametrize(
    ("flag", "variable", "with_file", "expected"),
    [
        ("/flag", "/env", True, "/flag"),
        (None, "/env", True, "/env"),
        (None, None, True, "/from-file"),
        (None, None, False, "/bulkup"),
    ],
)
def test_precedence(file: str, flag: str | None, variable: str | None, with_file: bool, expected: str) -> None:
    given: dict[str, Any] = {"folder": flag} | ({"config": file} if with_file else {})
    assert nebius(given, {"BULKUP_FOLDER": variable} if variable else {}).folder == expected


def test_precedence_in_a_process(shell: Shell, rows: list[Any]) -> None:
    """The dataset's name, from each of the four places."""
    (shell.folder / "c.toml").write_text(f'name = "file"\n[nebius]\nurl = "{shell.emulator.url}"\n')
    command = ["upload", "rows.jsonl", "-q"]
    for more, environment in (
        (["--name", "flag", "--config", "c.toml"], {"BULKUP_NAME": "env"}),
        (["--config", "c.toml"], {"BULKUP_NAME": "env"}),
        ([], {"BULKUP_CONFIG": "c.toml"}),
        (["--to", "nebius", *shell.urls], dict[str, str]()),
    ):
        assert shell.run(*command, *more, environment=environment).code == 0
    names = [dataset["name"] for dataset in shell.emulator.summary()["nebius"]["datasets"]]
    assert sorted(names) == ["env", "file", "flag", "rows"]


def test_a_flag_counts_for_every_destination(file: str) -> None:
    given = {"to": ["nebius,collinear"], "space_id": SPACE, "config": file, "max_chunk_bytes": "2MB"}
    both = choose(["rows.jsonl"], given, {}).destinations
    assert [type(d) for d in both] == [Nebius, Collinear]
    assert [d.max_chunk_bytes for d in both] == [2_000_000, 2_000_000]
    assert [d.concurrency for d in both] == [2, 16]


def test_the_run_s_settings(file: str) -> None:
    found = choose(["rows.jsonl"], {"config": file, "append": True}, {"BULKUP_SETTLE_AFTER": "500ms"}).settings
    assert (found.name, found.on_doubt, found.retry_for_s, found.append) == ("from-file", "resend", 120.0, True)
    assert (found.rejects_content, found.max_rejects and found.max_rejects.percent) == (False, 5.0)
    assert found.settle_after_s == 0.5
    assert found.validation == "full"
    assert choose(["rows.jsonl"], {"config": file, "validation": "trust"}, {}).settings.validation == "trust"
    with pytest.raises(UsageProblem, match=r"^--validation 'none': give full or trust$"):
        choose(["rows.jsonl"], {"config": file, "validation": "none"}, {})
    assert choose(["rows.jsonl"], {"config": file, "append": False}, {"BULKUP_APPEND": "1"}).settings.append is False


def test_how_long_the_service_may_keep_us_waiting(tmp_path: Path) -> None:
    """As the other times: flag over environment over file over an hour."""
    config = tmp_path / "w.toml"
    config.write_text('name = "n"\nto = "nebius"\nmax_wait_s = "2h"\n')
    environment = {"BULKUP_MAX_WAIT": "90"}
    given: dict[str, Any] = {"config": str(config)}
    assert choose(["rows.jsonl"], {"to": ["nebius"]}, {}).settings.max_wait_s == 3600
    assert choose(["rows.jsonl"], given, {}).settings.max_wait_s == 7200
    assert choose(["rows.jsonl"], given, environment).settings.max_wait_s == 90
    assert choose(["rows.jsonl"], {**given, "max_wait": "3m"}, environment).settings.max_wait_s == 180


def test_a_token_file_stands_beside_the_config(file: str) -> None:
    assert nebius({"config": file}).token_file == Path(file).parent / "secrets" / "token"


def test_lists_in_the_environment() -> None:
    environment = {"BULKUP_TO": "nebius, collinear", "BULKUP_SPACE_ID": SPACE, "BULKUP_DROP": "a,b"}
    found = choose(["rows.jsonl"], {}, environment)
    assert [d.drop for d in found.destinations] == [("a", "b"), ("a", "b")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("folder = '/x'", ["c.toml", "folder", "[nebius]"]),
        ("[nebius]\nfoldr = '/x'", ["c.toml", "nebius.foldr"]),
        ("[nebius]\n[collinear]\nspace = 1", ["c.toml", "collinear.space"]),
        ("[rejects]\nkeep = 1", ["c.toml", "rejects.keep"]),
        ("nebius = 5", ["c.toml", "nebius", "table"]),
        ("[nebius]\nmax_chunk_bytes = 'many'", ["c.toml", "nebius.max_chunk_bytes", "8MiB"]),
        ("[nebius]\nconcurrency = 0", ["c.toml", "line 2: nebius.concurrency 0: give a whole number from 1 to 4,096"]),
        ("retry_for_s = -1\n[nebius]", ["c.toml", "retry_for_s"]),
        ("[rejects]\nmax = '200%'", ["c.toml", "rejects.max"]),
        ("to = 7", ["c.toml", "to"]),
        ("name = \nto = 1", ["c.toml", "line 1"]),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(UsageProblem) as caught:
        choose(["rows.jsonl"], {"config": str(path)}, {})
    for word in words:
        assert word in str(caught.value)


def test_a_flag_at_fault_is_not_blamed_on_the_file(file: str) -> None:
    with pytest.raises(UsageProblem, match=r"^--concurrency 9000: "):
        nebius({"config": file, "concurrency": "9000"})


def test_a_variable_at_fault_is_named() -> None:
    with pytest.raises(UsageProblem, match="BULKUP_MAX_CHUNK_ROWS 'x': give a whole number"):
        nebius({}, {"BULKUP_MAX_CHUNK_ROWS": "x"})


def test_resuming_takes_the_flags_that_may_change(file: str) -> None:
    """What makes the run is as recorded; the pace and the way with doubts may be another."""
    begun = choose(["rows.jsonl"], {"config": file}, {})
    again = override(begun, {"on_doubt": "hold", "concurrency": "3", "folder": "/ignored", "state_dir": "there"})
    assert (again.settings.on_doubt, again.settings.state_dir) == ("hold", Path("there"))
    first = again.destinations[0]
    assert isinstance(first, Nebius)
    assert (first.concurrency, first.folder) == (3, "/from-file")


@pytest.mark.parametrize(
    ("text", "size"), [("8388608", 8388608), ("8MiB", 8388608), ("16MB", 16_000_000), ("1.5 kb", 1500), ("2gib", 2**31)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "8 M", "-1", "1e6", "nan", "8MiB/s"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="a size is"):
        parse_size(text)


def test_times() -> None:
    assert [parse_seconds(text) for text in ("30", "30s", "10m", "2h", "500ms")] == [30.0, 30.0, 600.0, 7200.0, 0.5]


def test_figures() -> None:
    assert [size_text(n) for n in (812, 4_166_206, 999_950, 2.5e12)] == ["812 B", "4.2 MB", "1.0 MB", "2.5 TB"]
    assert [time_text(s) for s in (0.31, 42.4, 185, 7800)] == ["0.3 s", "42 s", "3 min 05 s", "2 h 10 min"]
    assert printable("a\x1b[31m\nb\u202ec\x07") == "a [31m b c"
