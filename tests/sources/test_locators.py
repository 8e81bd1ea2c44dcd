"""Locators: what each one means, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkup.errors import UsageProblem
from bulkup.sources import resolve


@pytest.fixture(autouse=True)
def _tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.jsonl", "a.jsonl", "sub/c.jsonl", "sub/deep/d.jsonl", "x[1].jsonl", "x1.jsonl", "e.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")


def test_a_glob_is_sorted_and_locators_keep_their_order() -> None:
    assert resolve(["e.txt", "?.jsonl"]) == ("e.txt", "a.jsonl", "b.jsonl")


def test_two_stars_go_into_directories_and_directories_are_no_files() -> None:
    assert resolve(["sub/**"]) == ("sub/c.jsonl", "sub/deep/d.jsonl")
    assert resolve(["**/[cd].jsonl"]) == ("sub/c.jsonl", "sub/deep/d.jsonl")


def test_a_path_that_exists_wins_over_its_meaning_as_a_glob() -> None:
    assert resolve(["x[1].jsonl"]) == ("x[1].jsonl",)


def test_standard_input_stands_alone() -> None:
    assert resolve(["-"]) == ("-",)
    with pytest.raises(UsageProblem, match="alone"):
        resolve(["-", "a.jsonl"])


@pytest.mark.parametrize(
    ("locators", "message"),
    [
        ([], "no source"),
        (["missing.jsonl"], r"missing\.jsonl: there is no such file"),
        (["*.csv"], r"\*\.csv: no file matches"),
        (["sub"], r"sub: is a directory; name its files, for example 'sub/\*\*/\*\.jsonl'"),
        (["a.jsonl", "a.jsonl"], r"a\.jsonl: is named twice;"),
        (["?.jsonl", "./a.jsonl"], r"\./a\.jsonl: is named twice \(as a\.jsonl\)"),
        (["s3://bucket/a.jsonl"], "only local files"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(locators: list[str], message: str) -> None:
    with pytest.raises(UsageProblem, match=message):
        resolve(locators)
