"""Every file in `configs/` works as it stands."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bulkup.cli.choices import choose
from tests.cli.shell import Shell
from tests.cli.test_upload import as_turns, canonical

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))
LANES = {
    "both": ["Nebius", "Collinear"],
    "collinear": ["Collinear"],
    "gsm8k": ["Nebius", "Collinear"],
    "nebius": ["Nebius"],
}


def test_there_is_one_for_each_need() -> None:
    assert {path.stem for path in CONFIGS} >= set(LANES)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_loads(path: Path) -> None:
    found = choose(["rows.jsonl"], {"config": str(path)}, {})
    assert [type(destination).__name__ for destination in found.destinations] == LANES[path.stem]


@pytest.mark.parametrize("stem", ["nebius", "collinear"])
def test_what_is_commented_out_is_known(stem: str, tmp_path: Path) -> None:
    """A user who takes a comment sign away gets a setting, not an error."""
    text = (ROOT / "configs" / f"{stem}.toml").read_text()
    lines = [line[2:] if line.startswith("# ") and " = " in line else line for line in text.splitlines()]
    path = tmp_path / "all.toml"
    path.write_text("\n".join(line for line in lines if not line.startswith("#")))
    assert choose(["rows.jsonl"], {"config": str(path)}, {}).settings.max_rejects is not None


def test_gsm8k(shell: Shell, rows: list[dict[str, Any]]) -> None:
    """The number after #### lands as an integer."""
    done = shell.run("upload", "rows.jsonl", "--config", str(ROOT / "configs" / "gsm8k.toml"), *shell.urls, "--json")
    assert done.code == 0, done.err
    numbers = Counter(int(row["answer"].rpartition("####")[2].replace(",", "")) for row in rows)
    there = shell.emulator.rows("collinear")
    assert Counter(row["ground_truth"] for row in there) == numbers
    assert all(type(row["ground_truth"]) is int for row in there)
    assert canonical(shell.emulator.rows("nebius")) == canonical(rows)


def test_both(shell: Shell, rows: list[dict[str, Any]]) -> None:
    done = shell.run("upload", "rows.jsonl", "--config", str(ROOT / "configs" / "both.toml"), *shell.urls, "--json")
    assert done.code == 0, done.err
    assert canonical(shell.emulator.rows("collinear")) == canonical([as_turns(row) for row in rows])
    assert canonical(shell.emulator.rows("nebius")) == canonical(rows)


@pytest.mark.parametrize("stem", ["nebius", "collinear"])
def test_one(shell: Shell, stem: str) -> None:
    row = {"conv_prefix": [{"role": "user", "content": "q"}], "response": {"role": "assistant", "content": "a"}}
    (shell.folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    done = shell.run("upload", "rows.jsonl", "--config", str(ROOT / "configs" / f"{stem}.toml"), *shell.urls, "-q")
    assert done.code == 0, done.err


def test_the_demo_maps_as_the_example_does() -> None:
    example = tomllib.loads((ROOT / "configs" / "gsm8k.toml").read_text())
    demo = tomllib.loads((ROOT / "bulkup" / "demo_data" / "demo.toml").read_text())
    assert demo["collinear"]["mapping"] == example["collinear"]["mapping"]
