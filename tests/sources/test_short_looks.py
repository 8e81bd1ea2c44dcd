"""Many small files are looked at together, and what is found of each is what a look at it alone finds."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.encoding.utf8 import Utf8
from bulkup.errors import UsageProblem
from bulkup.sources import Reading, inspect, inspection, open_source
from bulkup.sources.selection import natural_key
from bulkup.sources.shape import are_plainly_lines, is_plainly_lines
from bulkup.sources.short_looks import plain_files
from tests.examples import examples
from tests.sources.reading import written

ROW = b'{"a": 1}\n'
READING = Reading(max_row_bytes=1_000_000)
LINES = st.sampled_from(
    [
        *([ROW] * 8),
        b'{"a": "\xc3\xa9\xf0\x9f\x99\x82"}\n',
        b'{"b": {"c": []}}\r\n',
        b'{"a": "' + b"x" * 900 + b'"}\n',
        b'{"a": "' + b"x" * 9000 + b'"}\n',
        b'{"a": [{"b": 1}\n',
        b'{"a": 1} {"b": 2}\n',
        b'{"a": "caf\xe9"}\n',
        b'{"index": {"_id": "1"}}\n',
        b'{"a": nan}\n',
        b'{"\\ud800": 1}\n',
        b'{"a": 1},\n',
        b'{"a": 1}\r',
        b'{"a": 1}',
        b"[1]\n",
        b"\n",
        b" \n",
        b"{\n",
        b"x\n",
    ]
)
CONTENTS = st.one_of(
    st.integers(0, 2000).map(lambda rows: ROW * rows),
    st.lists(LINES, max_size=12).map(b"".join),
    st.lists(LINES, max_size=6).map(lambda lines: ROW * 20 + b"".join(lines)),
)


@examples(300)
@given(st.lists(CONTENTS, max_size=30))
def test_files_that_are_looked_at_together_are_found_as_each_alone(contents: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        uris = written(Path(folder), contents)
        found = plain_files(uris, READING)
        sure = [
            uri
            for uri, data in zip(uris, contents, strict=True)
            if data.startswith(b'{"') and is_plainly_lines(data[:4096], is_all=len(data) <= 4096)
        ]
        assert list(found) == sure
        for uri in sure:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(inspection, "is_plain_lines", lambda *_: False)
                assert found[uri] == inspect(uri, READING)


@examples(300)
@given(CONTENTS, st.integers(0, 3))
def test_what_is_sure_of_all_together_is_sure_of_each(content: bytes, others: int) -> None:
    beginnings = [(ROW * 9, True), (ROW * 2, True), (ROW * 5 + b'{"a"', False)][:others]
    assert not beginnings or are_plainly_lines(beginnings, Utf8())
    text = content[:4096]
    is_sure = are_plainly_lines([(text, len(content) == len(text)), *beginnings], Utf8())
    assert not is_sure or is_plainly_lines(text, is_all=len(content) == len(text))


@pytest.mark.parametrize(
    ("text", "is_all"),
    [
        (ROW + b'{"a": 1}', True),
        (ROW, True),
        (ROW, False),
        (ROW + b'{"a": 2', False),
        (ROW * 9 + b"x", False),
        (ROW * 9 + b"[1]\n" + ROW, False),
        (ROW * 9 + b'{"a": "caf\xe9"}\n', False),
        (b'{"a": nan}\n' + ROW * 9, False),
        (b'{"a": 1}{"a": 2}\n' + ROW * 9, False),
        (b'{"index": {"_id": "1"}}\n{"a": 1}\n' * 9, False),
        (ROW * 9 + b'{"a": 1}\r{"a": 1}\n' * 2 + b"\r\n", False),
    ],
)
def test_one_that_needs_a_longer_look_is_noticed_among_others(text: bytes, *, is_all: bool) -> None:
    assert not is_plainly_lines(text, is_all=is_all)
    assert not are_plainly_lines([(ROW * 9, True), (text, is_all), (ROW * 9, True)], Utf8())


def test_what_says_that_it_is_something_else_is_looked_into(tmp_path: Path) -> None:
    uris = [str(tmp_path / name) for name in ("a.jsonl", "gone", "folder", "b.xlsx", "c.jsonl")]
    for uri in (uris[0], uris[3], uris[4]):
        Path(uri).write_bytes(ROW * 9)
    Path(uris[2]).mkdir()
    assert list(plain_files([*uris, "a\0b"], READING)) == [uris[0], uris[4]]
    assert plain_files(uris, Reading(max_row_bytes=1000, rows_at=("rows",))) == {}
    assert plain_files(uris, Reading(max_row_bytes=1000, encoding="utf-8")) == {}


def test_of_many_files_the_one_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    written(tmp_path, [ROW * 9] * 30)
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208 - names of numbers
    (tmp_path / "17.jsonl").unlink()
    os.mkfifo(tmp_path / "17.jsonl")
    with pytest.raises(UsageProblem, match=r"17\.jsonl: is not a regular file"):
        open_source([str(tmp_path)], max_row_bytes=1000)
    (tmp_path / "17.jsonl").unlink()
    (tmp_path / "17.jsonl").symlink_to("nowhere")
    with pytest.raises(UsageProblem, match=r"17\.jsonl: cannot be read: No such file or directory"):
        open_source([str(tmp_path)], max_row_bytes=1000)
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208


def test_of_many_files_one_that_is_linked_twice_is_told(tmp_path: Path) -> None:
    written(tmp_path, [ROW * 9] * 30)
    (tmp_path / "99.jsonl").symlink_to("3.jsonl")
    with pytest.raises(UsageProblem, match=r"99\.jsonl: is named twice \(as .*3\.jsonl\)"):
        open_source([str(tmp_path)], max_row_bytes=1000)


NAMES = st.text(st.sampled_from("ab.-_019٣é/²"), max_size=8)


def natural_order(path: str) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """As it was first written down: digits before any other text, and these by their value."""
    return tuple(
        tuple((0, int(word), word) if word.isdecimal() else (1, 0, word) for word in re.split(r"(\d+)", part) if word)
        for part in path.split("/")
    )


@examples(500)
@given(st.lists(NAMES, max_size=20))
def test_names_are_in_their_natural_order(names: list[str]) -> None:
    assert sorted(names, key=natural_key) == sorted(names, key=natural_order)
