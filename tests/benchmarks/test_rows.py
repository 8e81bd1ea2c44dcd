"""The generated files: the same everywhere, about 1 KB a row, every row another."""

from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pytest

from benchmarks.rows import Shape, pack, parse_size, write_rows

_SIZE = 2_000_000


_KEYS = {
    Shape.CHAT: {"messages"},
    Shape.COLLINEAR: {"conv_prefix", "response", "ground_truth"},
    Shape.FLAT: {"prompt", "completion", "tokens"},
    Shape.SMALL: {"question", "answer"},
}
_MEAN_BYTES = {Shape.SMALL: (120, 200), Shape.WIDE: (1500, 2500)}


@pytest.mark.parametrize("shape", list(Shape))
def test_rows_have_their_size_and_unicode_and_none_comes_twice(tmp_path: Path, shape: Shape) -> None:
    path = tmp_path / "rows"
    count = write_rows(path, shape, _SIZE)
    lines = path.read_bytes().splitlines()
    assert len(lines) == len(set(lines)) == count
    assert 0 <= path.stat().st_size - _SIZE < 4096
    least, most = _MEAN_BYTES.get(shape, (800, 1200))
    assert least < path.stat().st_size / count < most
    assert not path.read_bytes().isascii()
    rows = [orjson.loads(line) for line in lines]
    assert all(next(iter(row)) == shape.first_key for row in rows)
    keys = {key for row in rows for key in row}
    assert keys == _KEYS[shape] if shape in _KEYS else len(keys) == 40


def test_a_smaller_file_is_the_beginning_of_a_larger_one(tmp_path: Path) -> None:
    for name, size in (("a", 100_000), ("b", 400_000)):
        write_rows(tmp_path / name, Shape.SMALL, size)
    assert (tmp_path / "b").read_bytes().startswith((tmp_path / "a").read_bytes())


def test_a_packed_file_holds_the_same(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows", Shape.WIDE, 100_000)
    pack(tmp_path / "rows", tmp_path / "rows.gz")
    assert gzip.decompress((tmp_path / "rows.gz").read_bytes()) == (tmp_path / "rows").read_bytes()


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
