"""Inputs that were made to break it, as a user meets them: each ends soon, with its exit code and one clear line."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import zstandard

from bulkup.errors import UsageProblem
from bulkup.settings.config import load_file
from tests.cli.shell import SPACE, Shell, eventually

SLOW = r"""
[collinear.mapping]
conv_prefix = [{ role = { const = "user" }, content = "q" }]
response = { role = { const = "assistant" }, content = "a" }
ground_truth = { path = "a", regex = '((?:\d+)+)$', cast = "integer" }
"""


def rows_with(evil: list[bytes]) -> bytes:
    good = [json.dumps({'q"k': f"日本{i}", "n": i, "gone": [i]}, ensure_ascii=False).encode() for i in range(400)]
    return b"\n".join([*good[:200], *evil, *good[200:]]) + b"\n"


def test_rows_that_made_codecs_fail(shell: Shell) -> None:
    """They are rejected, or sent as they stand, and all others land; the same command again has nothing to do."""
    deep = '{"q\\"k":"日","n":1,"gone":'.encode() + b"[" * 1100 + b"]" * 1100 + b"}"
    large = '{"q\\"k":"日","n":%d,"gone":1}'.encode() % 2**64
    (shell.folder / "rows.jsonl").write_bytes(rows_with([deep, large]))
    command = ["upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--drop", "gone", "--json"]
    done = shell.run(*command)
    assert done.code == 3, done.err
    lane = done.json["destinations"]["nebius"]
    assert (lane["rows_landed"], lane["rows_rejected"]) == (401, 1)
    assert {row['q"k'] for row in shell.emulator.rows("nebius")} == {"日", *(f"日本{i}" for i in range(400))}
    assert shell.run(*command).code == 3


def test_a_bomb_of_newlines(shell: Shell) -> None:
    packer = zstandard.ZstdCompressor().compressobj()
    data = [packer.compress(rows_with([])), *(packer.compress(b"\n" * 2**20) for _ in range(200)), packer.flush()]
    (shell.folder / "rows.jsonl.zst").write_bytes(b"".join(data))
    done = shell.run("upload", "rows.jsonl.zst", "--to", "nebius", *shell.urls)
    assert done.code == 65, done.err
    assert "rows.jsonl.zst: a decompression bomb: " in done.err
    assert len(shell.emulator.rows("nebius")) == 400


SEARCHING_S = 1.0
"""Such a command has begun, and sent what it can, in a third of this. Then it searches the rows at the end, minutes of them."""


def children_cpu_s(pid: int) -> float:
    """The CPU time that the processes have taken that the process has started."""
    children = [Path(f"/proc/{pid}/task/{task.name}/children") for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(cpu_s(int(child)) for found in children for child in found.read_text().split())


def cpu_s(pid: int) -> float:
    """The CPU time that the process has taken (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="that it searches is read from /proc")
@pytest.mark.parametrize("scan", ["all", "none"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_regex_without_end_can_be_stopped(shell: Shell, number: signal.Signals, code: int, scan: str) -> None:
    (shell.folder / "config.toml").write_text(SLOW)
    good = [json.dumps({"q": "x" * 700, "a": str(i)}) for i in range(300)]
    evil = [json.dumps({"q": "x", "a": "1" * 50 + f"{i}z"}) for i in range(2000)]
    (shell.folder / "rows.jsonl").write_text("\n".join([*good, *evil]) + "\n")
    to = [
        "--to",
        "collinear",
        "--space-id",
        SPACE,
        *shell.urls,
        "--config",
        "config.toml",
        "--max-chunk-bytes",
        "16KiB",
        "--scan",
        scan,
    ]
    running = shell.start("upload", "rows.jsonl", *to)
    searching = (
        children_cpu_s if scan == "all" else cpu_s
    )  # a scan has a process for it, since it is not in the main thread
    eventually(lambda: searching(running.process.pid) >= SEARCHING_S / 10, deadline_s=60)
    running.interrupt(number)
    assert running.wait(30).code == code


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("x = " + "[" * 3000 + "]" * 3000, "nested too deeply to be read"),
        (".".join("a" * 3000) + " = 1", "nested more than 64 deep"),
        ("\n" + ".".join("a" * 100_000) + " = 1", "line 2 has a key that is nested more than 64 deep"),
        ("[" + " . ".join(["'a b'"] * 50_000) + "]", "line 1 has a key that is nested more than 64 deep"),
        ("x = { " + '"a".' * 100_000 + "a = 1 }", "line 1 has a key that is nested more than 64 deep"),
        ("[nebius]\nmapping = " + "{ k = " * 400 + '"a"' + " }" * 400, "nested"),
        ("[nebius]\nmax_chunk_rows = " + "9" * 5000, "4300 digits"),
        ("[nebius]\nmax_chunk_rows = 0x" + "f" * 5000, "64 bits"),
        ("[nebius.schema]\na = { name = 1979-05-27 }", "has no form in JSON"),
        ("settle_after_s = inf", "JSON has no form for the number inf"),
        ("[nebius.mapping]\na = { path = 'a', regex = '(a{99999999999})' }", "the regex is not valid"),
        ("[nebius.mapping]\na = '$[\"\\x\"]'", "is not a path"),
        ('[nebius.mapping]\n"a\\nb" = 5', "field a\\nb"),
    ],
)
def test_a_config_that_made_it_fail(shell: Shell, config: str, said: str) -> None:
    (shell.folder / "config.toml").write_text(config)
    (shell.folder / "rows.jsonl").write_text('{"a":1}\n')
    done = shell.run("upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--config", "config.toml")
    assert done.code == 2, done.err
    assert said in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("quotes", ['"""', "'''"])
def test_words_with_dots_in_a_text_are_no_key(tmp_path: Path, quotes: str) -> None:
    words = ".".join(["word"] * 100)
    path = tmp_path / "c.toml"
    path.write_text(f"# {words}\n[nebius.mapping]\nsystem = {{ const = {quotes}it's \n{words}\n{quotes} }} # {words}\n")
    assert load_file(path)["nebius"]["mapping"]["system"]["const"] == f"it's \n{words}\n"


@pytest.mark.parametrize(
    "before",
    [
        '# """',
        "# it's",
        'a = "# "',
        'a = """"""',
        'a = """x"""""',
        'a = """\\""" """',
        "a = '''x'''''",
        "a = '\"'",
    ],
)
def test_nothing_hides_a_long_key(tmp_path: Path, before: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f"{before}\n{'.'.join(['k'] * 65)} = 1\n")
    with pytest.raises(UsageProblem, match="line 2 has a key that is nested more than 64 deep"):
        load_file(path)
    path.write_text(f"{before}\n")
    load_file(path)  # it is TOML, all the same
