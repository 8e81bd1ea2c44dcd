"""The generated files: the same everywhere, about 1 KB a row, every row another."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from benchmarks.rows import Shape, parse_size, write_rows

_SIZE = 2_000_000


@pytest.mark.parametrize("shape", list(Shape))
def test_rows_are_about_a_kilobyte_with_unicode_and_none_comes_twice(tmp_path: Path, shape: Shape) -> None:
    path = tmp_path / "rows"
    count = write_rows(path, shape, _SIZE)
    lines = path.read_bytes().splitlines()
    assert len(lines) == len(set(lines)) == count
    assert 0 <= path.stat().st_size - _SIZE < 4096
    assert 800 < path.stat().st_size / count < 1200
    assert not path.read_bytes().isascii()
    keys = {key for line in lines for key in orjson.loads(line)}
    assert keys == ({"messages"} if shape is Shape.CHAT else {"conv_prefix", "response", "ground_truth"})


def test_the_same_size_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_rows(tmp_path / name, Shape.CHAT, 100_000)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_blocks_repeat_with_other_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.rows.BLOCK_BYTES", 50_000)
    count = write_rows(tmp_path / "rows", Shape.COLLINEAR, 400_000)
    assert len(set((tmp_path / "rows").read_bytes().splitlines())) == count


@pytest.mark.parametrize(
    ("text", "size"), [("8", 8), ("250KB", 250_000), ("8 MB", 8_000_000), ("1.5GB", 1_500_000_000), ("1GiB", 2**30)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "0", "8XB", "1..5GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)
