"""What a file is, from its content alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.sources import Compression, Format, inspect
from bulkup.sources.json_array import JSON_ARRAY
from bulkup.sources.json_lines import JSON_LINES
from tests.sources.reading import packed

_OBJECT = b'{"a": 1}'
_LINES = _OBJECT + b"\n" + _OBJECT + b"\n"
_ARRAY = b" \n [\n" + _OBJECT + b",\n" + _OBJECT + b"]"


@pytest.mark.parametrize("how", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize(
    ("content", "format_", "bom"),
    [
        (_LINES, JSON_LINES, False),
        (b"\xef\xbb\xbf" + _LINES, JSON_LINES, True),
        (b"\xef\xbb\xbf" + _ARRAY, JSON_ARRAY, True),
        (_ARRAY, JSON_ARRAY, False),
        (b"[]", JSON_ARRAY, False),
        (b"[", JSON_ARRAY, False),
        (b"[1, 2]\n", JSON_ARRAY, False),
        (b"[" + _OBJECT + b"]\ngarbage\n", JSON_ARRAY, False),
        (b"[1, 2]\n" + _OBJECT + b"\n", JSON_LINES, False),
        (b"", JSON_LINES, False),
        (b"\xef\xbb\xbf", JSON_LINES, True),
        (b" \n\n", JSON_LINES, False),
        (b"\n" * 300_000 + _ARRAY, JSON_LINES, False),
        (b"# a comment\n" + _LINES, JSON_LINES, False),
        (b"null\n" + _OBJECT, JSON_LINES, False),
        (b'{"a": "' + b"x" * 1_000_000, JSON_LINES, False),
        (b"[" + b" " * 1_000_000 + _OBJECT + b"]", JSON_ARRAY, False),
    ],
)
def test_the_content_decides_whatever_the_name(
    tmp_path: Path, content: bytes, format_: Format, how: str, *, bom: bool
) -> None:
    for name in ("rows.json", "rows.jsonl", "rows.gz", "rows.zst"):
        path = tmp_path / name
        path.write_bytes(packed(content, how))
        found = inspect(str(path))
        compression = Compression.NONE if how == "plain" else Compression(how)
        assert (found.compression, found.format, found.bom) == (compression, format_, bom)
        assert found.size == path.stat().st_size
        assert found.inode == path.stat().st_ino


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"Obj\x01\x04", "Avro"),
        (b"\x04\x22\x4d\x18\x64", "lz4"),
    ],
)
def test_what_is_not_read_yet_is_named(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageProblem, match=rf"data\.jsonl: {name} is not read yet; convert it to JSON lines"):
        inspect(str(path))


@pytest.mark.parametrize("how", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize(
    "content", [b"\x00\x01\x02", b"plain words", b"12 13\n14 15\n", b"\xff" * 300_000, b"caf\xe9 \xe0 la\n"]
)
def test_neither_lines_nor_array_is_one_clear_line(tmp_path: Path, content: bytes, how: str) -> None:
    path = tmp_path / "data.txt"
    path.write_bytes(packed(content, how))
    with pytest.raises(SourceUnreadable, match=r"^.*data\.txt: is neither JSON lines nor a JSON array") as caught:
        inspect(str(path))
    assert "\n" not in str(caught.value)


def test_a_damaged_beginning_is_left_for_reading_to_tell(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(packed(_LINES, "gzip")[:12])
    assert inspect(str(path)).compression is Compression.GZIP


def test_what_may_not_be_read_is_a_usage_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "secret.jsonl"
    path.write_bytes(_LINES)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UsageProblem, match=r"secret\.jsonl: cannot be read: Permission denied"):
        inspect(str(path))


def test_a_pipe_by_name_is_refused_without_waiting(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(UsageProblem, match="is not a regular file; pipe it in"):
        inspect(str(path))


def test_a_packed_file_is_known_by_its_first_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four hundred shards, a longer look would soon be all that they hold."""
    rows = b"".join(b'{"text": "%s"}\n' % os.urandom(100).hex().encode() for _ in range(3000))
    (tmp_path / "rows.jsonl.gz").write_bytes(packed(rows, "gzip"))
    read: list[int] = []
    real = os.read

    def counted(fd: int, count: int) -> bytes:
        read.append(count)
        return real(fd, count)

    monkeypatch.setattr(os, "read", counted)
    assert inspect(str(tmp_path / "rows.jsonl.gz")).format is JSON_LINES
    assert sum(read) < 32 * 1024
