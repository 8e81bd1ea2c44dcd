"""What a text is taken for, and what is refused by its name with the way out, whatever it is packed in."""

from __future__ import annotations

import gzip
import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup import Nebius
from bulkup.errors import BulkupError, SourceUnreadable, UsageProblem
from bulkup.run.build import reading_of
from bulkup.settings.config import RunSettings
from bulkup.sources import Reading, inspect, inspection, open_source, shape
from tests.sources.reading import packed, read_all, scratch, written

ROW_KEYS = (frozenset({"messages"}), frozenset({"prompt", "completion"}))
READING = Reading(row_keys=ROW_KEYS)

ROW = b'{"a": 1, "b": {"c": [1, 2]}}'
PRETTY = b'{\n  "a": 1,\n  "b": {\n    "c": [\n      1\n    ]\n  }\n}'
HOLDER = b'{"version": 1, "data": [{"x": 1}, {"x": 2}], "deep": {"er": [{"y": 1}]}}'
CHAT = b'{"messages": [{"role": "user", "content": "hi"}]}'


def _inspected(tmp_path: Path, content: bytes, how: str = "plain", reading: Reading = READING) -> str:
    path = tmp_path / "rows.data"
    path.write_bytes(packed(content, how))
    return inspect(str(path), reading).format.name


@pytest.mark.parametrize("how", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize(
    ("content", "name"),
    [
        (ROW, "jsonl"),
        (ROW + b"\n", "jsonl"),
        (CHAT, "jsonl"),
        (b"\n\n" + CHAT + b"\n", "jsonl"),
        (json.dumps(json.loads(CHAT), indent=1).encode(), "values"),
        (PRETTY, "values"),
        (PRETTY + b"\n" + PRETTY, "values"),
        (PRETTY + PRETTY, "values"),
        (ROW + ROW, "values"),
        (ROW + b" " + ROW + b"\n" + ROW + ROW + b"\n", "values"),
        (ROW + b",\n" + ROW + b",\n" + ROW + b"\n", "values"),
        (ROW + b"," + ROW, "values"),
        (b"{}\n" + PRETTY + b"\n" + PRETTY, "values"),
        (ROW + b"\n" + ROW + ROW + b"\n" + ROW + b"\n", "jsonl"),
        (ROW + ROW + b"\n" + ROW + b"\n", "jsonl"),
        (HOLDER + b"\n" + HOLDER + b"\n", "jsonl"),
        (b'{"a": [1, 2]}\n{"a": [1]}', "jsonl"),
        (b'{"a": NaN}\n{"a": NaN}\n', "jsonl"),
        (b'{"a": [{"b": 1}\n{"a": 2}\n{"a": 3}\n', "jsonl"),
        (b'{"a": {\n{"a": {\n', "values"),
        (ROW + b"\r" + ROW + b"\r" + ROW, "jsonl-cr"),
        (ROW + b"\r\n" + ROW + b"\r\n", "jsonl"),
        (b"// a comment\n" + ROW + b"\n", "jsonl"),
        (b'[{"a": 1},\n{"a": 2}]\n[{"a": 3}]', "array"),
        (b'[{"a": 1}][{"a": 2}]', "array"),
        (b'{"text": "' + b"x" * 300_000 + b'"}\n' + ROW, "jsonl"),
        (b'{"data": [{"text": "' + b"x" * 300_000 + b'"}]}\n' + ROW, "jsonl"),
        (b'{"data": [{"text": "' + b"x" * 300_000 + b'"}]\n}\n' + ROW, "values"),
        (b'{"text": "' + b"x" * 300_000 + b'"\n}', "values"),
        (b'{"data": "' + b"x" * 130_000 + b'"}\n' + b" " * 300_000 + ROW, "jsonl"),
    ],
)
def test_what_is_read(tmp_path: Path, content: bytes, name: str, how: str) -> None:
    assert _inspected(tmp_path, content, how) == name
    assert _inspected(tmp_path, content, how, Reading(as_lines=True)) == "jsonl"


_PAGE = b"<!DOCTYPE html>\n<html><body>Sign in</body></html>\n"
_LONG = b'{"title": "t", "data": [' + b",".join([b'{"x": "' + b"x" * 990 + b'"}'] * 3000) + b"]}"
_COUNTED = [
    (HOLDER, "data (2 objects), deep.er (1 object)"),
    (json.dumps(json.loads(HOLDER), indent=2).encode(), "data (2 objects), deep.er (1 object)"),
    (b'{"a.b": [{}], "c\\\\": [{}, 1]}', r"a\.b (1 object), c\\ (1 object)"),
    (_LONG, "data (3,000 objects)"),
    (_LONG[:-2], "data (at least 3,000 objects)"),
]


@pytest.mark.parametrize("how", ["plain", "gzip"])
@pytest.mark.parametrize(("content", "listed"), _COUNTED)
def test_an_object_that_holds_rows_is_refused_with_what_it_holds(
    tmp_path: Path, content: bytes, listed: str, how: str
) -> None:
    with pytest.raises(UsageProblem) as caught:
        _inspected(tmp_path, content, how)
    assert f"is one object that holds rows under a key: {listed}" in str(caught.value)
    assert "--rows-at . if the object itself is a row" in str(caught.value)
    assert _inspected(tmp_path, content, how, Reading(rows_at=())) in ("jsonl", "values")
    assert _inspected(tmp_path, content, how, Reading(rows_at=("data",))) == "rows-at"


def test_of_a_very_large_object_the_beginning_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "_COUNTED_BYTES", 2 << 20)
    path = tmp_path / "large.json"
    with path.open("wb") as stream:
        stream.write(b'{"data": [{"x": 0}')
        stream.write(b',{"x": 12345}' * 250_000)
        stream.write(b"]}")
    with pytest.raises(UsageProblem, match=r"data \(at least 1[0-9]{2},[0-9]+ objects\)"):
        inspect(str(path), READING)


@pytest.mark.parametrize("how", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", SourceUnreadable, "git lfs pull"),
        (_PAGE, SourceUnreadable, "is an HTML page"),
        (b"\n <html>\n" + ROW + b"\n", SourceUnreadable, "is an HTML page"),
        (b'<?xml version="1.0"?><Error/>', SourceUnreadable, "is XML or HTML"),
        (b'{"error":"Repository not found"}', SourceUnreadable, 'is an error document ("Repository not found")'),
        (b'{"message": "Not Found", "status": "404"}\n', SourceUnreadable, "is an error document"),
        (b"{'a': 1, 'b': None}\n{'a': 2, 'b': True}\n", SourceUnreadable, "json.dumps"),
        (b"[{'a': 1}]", None, ""),
        (b"null\n", SourceUnreadable, "holds null and no rows"),
        (b'["x", 1]\n["y", 2]\n', SourceUnreadable, "has an array in each line"),
        (b'"x"\n"y"\n', SourceUnreadable, "has a string in each line"),
        (b"1\n2\n", SourceUnreadable, "has a number in each line"),
        (b"true\n", SourceUnreadable, "has true or false in each line"),
        (b'{"a": [1, 2], "b": ["x", "y"]}', UsageProblem, "is columnar: each key holds a list of 2 values"),
        (b'{"prompt": ["x", "y"], "completion": ["p", "q"]}', UsageProblem, "is columnar"),
        (b'{"messages": [[{"role": "user"}], [{"role": "user"}]], "id": [1, 2]}', UsageProblem, "is columnar"),
        (b'{"a": ["x", "y"], "b": ["z"]}', UsageProblem, "lists that are not equally long (a 2, b 1)"),
        (b'{"a": [1, 2, 3], "b": []}', UsageProblem, "lists that are not equally long (a 3, b 0)"),
        (b'{"version": 1, "a": [1, 2], "b": ["x", "y"]}', UsageProblem, "the keys a, b hold lists of 2 values each"),
        (b'{"a": {"0": 1, "1": 2}, "b": {"0": 1, "1": 2}}', UsageProblem, "values by their number"),
        (b'{"0": {"a": 1, "b": 2}, "1": {"a": 1, "b": 2}}', UsageProblem, "holds 2 rows, each under a key of its own"),
        (b'{"columns": ["a"], "index": [0], "data": [[1]]}', UsageProblem, "orient='split'"),
        (b"Obj\x01\x04", UsageProblem, "read_avro"),
        ((ROW + b"\n").decode().encode("utf-16"), UsageProblem, "--encoding utf-16,"),
        ((ROW + b"\n").decode().encode("utf-16-le"), UsageProblem, "--encoding utf-16-le"),
        ((ROW + b"\n").decode().encode("utf-16-be"), UsageProblem, "--encoding utf-16-be"),
        ((ROW + b"\n").decode().encode("utf-32"), UsageProblem, "--encoding utf-32,"),
        ('{"a": "für"}\n{"a": "süß"}\n'.encode("latin-1"), UsageProblem, "--encoding windows-1252"),
        ('{"a": "日本語の"}\n{"a": "文字"}\n'.encode("shift_jis"), UsageProblem, "--encoding shift_jis"),
    ],
)
def test_what_is_not_rows_is_refused_by_its_name(
    tmp_path: Path, content: bytes, error: type[Exception] | None, said: str, how: str
) -> None:
    if error is None:  # a broken element is one rejected row
        assert _inspected(tmp_path, content, how) == "array"
        return
    with pytest.raises(error) as caught:
        _inspected(tmp_path, content, how)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "rows.data"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b'{"tags": ["a", "b"], "text": "x"}',
        b'{"a": [1], "b": [1, 2], "text": "x"}',
        b'{"a": [], "b": []}',
        b'{"a": [1], "b": []}',
    ],
)
def test_a_lone_row_with_lists_is_one(tmp_path: Path, content: bytes) -> None:
    assert _inspected(tmp_path, content) == "jsonl"


def test_a_few_rows_in_another_encoding_are_rows_that_are_rejected(tmp_path: Path) -> None:
    content = b'{"a": "x"}\n' * 9 + '{"a": "ü"}\n'.encode("latin-1")
    assert _inspected(tmp_path, content) == "jsonl"


_values = st.recursive(
    st.one_of(st.integers(), st.none(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)
_rows = st.dictionaries(st.sampled_from(["id", "text", "{"]), _values, min_size=1, max_size=3)


@given(
    st.lists(_rows, min_size=2, max_size=6),
    st.sampled_from([0, 1, 2, 4, "\t"]),
    st.sampled_from(["", "\n", "\n\n", " \r\n", ",\n"]),
    st.sampled_from(["plain", "gzip"]),
)
def test_pretty_printed_rows_are_read(rows: list[Any], indent: int | str, between: str, how: str) -> None:
    with scratch() as directory:
        content = between.join(json.dumps(row, indent=indent) for row in rows).encode()
        (path,) = written(directory, [packed(content, how)])
        found = read_all(open_source([path], max_row_bytes=100_000, reading=READING))
        assert [json.loads(row.data) for row in found] == rows


@given(st.lists(_rows, min_size=2, max_size=6), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_rows_on_lines_stay_lines(rows: list[Any], end: str, last: bool) -> None:
    with scratch() as directory:
        text = end.join(map(json.dumps, rows)) + (end if last else "")
        (path,) = written(directory, [text.encode()])
        assert inspect(path, READING).format.name == ("jsonl-cr" if end == "\r" else "jsonl")
        found = read_all(open_source([path], max_row_bytes=100_000, reading=READING))
        assert [json.loads(row.data) for row in found] == rows


def test_of_a_pipe_the_first_row_is_enough() -> None:
    out, into = os.pipe()
    try:
        os.write(into, ROW + b"\n")
        source = open_source(["-"], max_row_bytes=1000, reading=READING, stdin_fd=out)
        assert source.files[0].format.name == "jsonl"
    finally:
        os.close(out)
        os.close(into)


@pytest.mark.parametrize("followed", [True, False])
def test_of_a_pipe_an_object_that_holds_rows_is_looked_behind(followed: bool) -> None:
    out, into = os.pipe()
    content = HOLDER + b"\n" + b"\n" * 200_000 + (HOLDER if followed else b"")
    writer = threading.Thread(target=lambda: (os.write(into, content), os.close(into)))  # type: ignore[func-returns-value]
    writer.start()
    try:
        if followed:
            source = open_source(["-"], max_row_bytes=1000, reading=READING, stdin_fd=out)
            assert [row.data.strip() for row in read_all(source) if row.data.strip()] == [HOLDER, HOLDER]
        else:
            with pytest.raises(UsageProblem, match="standard input: is one object that holds rows"):
                open_source(["-"], max_row_bytes=1000, reading=READING, stdin_fd=out)
    finally:
        writer.join()
        os.close(out)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'\x1e{"a": 1}\n\x1e{"a": 2}\n', "is a JSON text sequence"),
        (b'var rows = [{"a": 1}];', "is JavaScript"),
        (b'export default [\n{"a": 1}]', "is JavaScript"),
        (b'window.rows = {"a": [1]};', "is JavaScript"),
        (b'jQuery.call_1([{"a": 1}])', "is JavaScript"),
        (b'{"a": 1,}\n{"a": [2,],}\n', "has a comma behind the last value"),
        (b"{'a': 1,}\n{'a': 2,}\n", "is what Python prints"),
    ],
)
def test_what_is_nearly_json_is_called_by_its_name(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(SourceUnreadable, match=said):
        _inspected(tmp_path, content)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "is a PNG image, and holds no rows"),
        ("a.jsonl", b"GIF89a\1\0\1\0" + bytes(40), "is a GIF image"),
        ("a.mp4", b"\0\0\0\x18ftypmp42" + bytes(40), "is an image, sound or film"),
        ("a.npy", b"\x93NUMPY\1\0v\0{'descr': '<f8'}", "a NumPy array is not read yet"),
        ("m.safetensors", b'\x40\0\0\0\0\0\0\0{"a":{"dtype":"F32"}}', "is a model"),
        ("m.gguf", b"GGUF\3\0\0\0" + bytes(40), "is a model"),
        ("a.bundle", b"# v2 git bundle\n-abc x\n", "a git bundle is not read yet"),
        ("a.duckdb", bytes(8) + b"DUCK" + bytes(40), "is a DuckDB database"),
        ("a.rds", gzip.compress(b"X\n\0\0\0\3\0\4\1", mtime=0), "R data is not read yet"),
        ("a.tfrecord", b"\n\0\0\0\0\0\0\0abcd0123456789efgh", "it is binary, of a kind that is not known here"),
        ("a.jsonl", bytes(70_000), "holds nothing but zero bytes"),
        ("a.yaml", b"- a: 1\n  b: x\n- a: 2\n", "is YAML: yq"),
        ("a.sql", b"--\nCOPY t (a, b) FROM stdin;\n1\tx\n", "is SQL, not rows"),
        ("a.txt", b"Once upon a time.\nThe end, of it.\n", "if each line is a text: jq -cR"),
        ("a.xml", b"<rows>\n<row><a>1</a></row>\n</rows>\n", "if it holds the rows: pandas.read_xml"),
        ("a.json", b')]}\'\n[{"a": 1}]', "is JavaScript, not JSON"),
        ("a.jsonl", b'"{\\"a\\":1}"\n"{\\"a\\":2}"\n', "has rows in strings, one in each line"),
        ("a.jsonl", b"null\nnull\n", "holds null and no rows"),
    ],
)
def test_what_holds_no_rows_is_called_by_its_name(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BulkupError, match=said):
        inspect(str(tmp_path / name), READING)


def test_names_of_columns_are_no_marks(tmp_path: Path) -> None:
    for header in ("ID3,RIFF", "GIF8,x", "ORCID,x", "%PDF_pages,x"[1:], "MM,II"):
        (tmp_path / "a.csv").write_text(f"{header}\n1,2\n" * 3)
        inspect(str(tmp_path / "a.csv"), READING)


def bulk(*rows: dict[str, int], action: str = '{"index":{"_index":"i","_id":"1"}}') -> bytes:
    return b"".join(action.encode() + b"\n" + json.dumps(row).encode() + b"\n" for row in rows)


def test_lines_that_say_what_to_do_with_the_next_one_are_no_rows(tmp_path: Path) -> None:
    for data in (bulk({"a": 1}), bulk(*[{"a": 1}] * 9), bulk({"a": 1}, {"a": 2}, action='{"create": {"routing":"x"}}')):
        with pytest.raises(UsageProblem, match="Elasticsearch's bulk interface"):
            _inspected(tmp_path, data)
        assert _inspected(tmp_path, data, reading=replace(READING, as_lines=True)) == "jsonl"
    for rows in (
        '{"index":{"_id":"1"}}\n' + '{"a":1}\n' * 9,
        '{"index":{"name":"x"}}\n{"a":1}\n' * 9,
        '{"index":1}\n' * 9,
    ):
        assert _inspected(tmp_path, rows.encode()) == "jsonl"


def test_of_keys_within_each_other_the_outermost_is_offered(tmp_path: Path) -> None:
    """What stands beside the inner ones, such as the question of an answer, would be lost."""
    answers = [{"text": "t", "answer_start": 1}] * 3
    squad = {
        "data": [{"title": "t", "paragraphs": [{"context": "c", "qas": [{"question": "q", "answers": answers}] * 2}]}]
    }
    with pytest.raises(UsageProblem, match="such as --rows-at data;"):
        _inspected(tmp_path, json.dumps(squad).encode())


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ("_delta_log/0.json", r"t: is a table of Delta Lake, .* polars\.read_delta"),
        (".hoodie/hoodie.properties", r"t: is a table of Hudi, "),
        (
            "metadata/00000-a.metadata.json",
            r"t: is a table of Iceberg, .* polars\.scan_iceberg\(METADATA_JSON\).* '.*/t/data/",
        ),
        ("metadata/v3.gz.metadata.json", r"t: is a table of Iceberg, "),
    ],
)
def test_a_folder_that_is_a_table_is_refused(tmp_path: Path, there: str, said: str) -> None:
    """Its files are more than its rows: what was deleted is still there."""
    for name, data in {there: b"{}", "data/a.jsonl": b'{"a": 1}\n'}.items():
        (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / name).write_bytes(data)
    for folder in (tmp_path / "t", tmp_path):
        with pytest.raises(UsageProblem, match=said):
            open_source([str(folder)], max_row_bytes=1000)
    open_source([str(tmp_path / "t" / "data" / "*.jsonl")], max_row_bytes=1000).close()


@pytest.mark.parametrize("key", ["data", "turns"])
def test_of_several_keys_the_one_whose_objects_are_rows_is_offered(tmp_path: Path, key: str) -> None:
    """Not the one with most objects, which may be the parts of the rows."""
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    with pytest.raises(UsageProblem, match=f"such as --rows-at {key};"):
        _inspected(tmp_path, json.dumps({key: [{"messages": turns}] * 3}).encode())


def test_the_only_row_of_a_file_may_have_keys_that_are_called_otherwise(tmp_path: Path) -> None:
    content = json.dumps({"dlg": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}).encode()
    with pytest.raises(UsageProblem, match="--rows-at dlg"):
        _inspected(tmp_path, content, reading=reading_of(RunSettings(name="x")))
    for reading in (
        reading_of(RunSettings(name="x", rename=("dlg=messages",))),
        reading_of(RunSettings(name="x"), [Nebius(turns="dlg")]),
    ):
        assert _inspected(tmp_path, content, reading=reading) == "jsonl"


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":1}\n{"a":2}\n',
        b'{"a":1}\r\n{"a":2}\r\n',
        b'{"a":1}\n{"a":2}',
        b'{"a":1}\n',
        b'{"a":[\n{"b":1},\n{"b":2}]}\n',
        b'{"a":"caf\xe9"}\n{"a":"\xe0 la"}\n',
        b"{\"a\": 'x'}\n{\"a\": 'y'}\n",
        b'{"a":1}\n{"a":2}\n{"a":nan}\n{"a":4}\n',
        b'{"a":1}\n\n{"a":2}\n',
        b'{"a":1}{"a":2}\n{"a":3}\n',
        b'{"a":1}\r{"a":2}\n{"a":3}\n',
        b'{"a":1}\n' * 40,
        b'{"a":1}\n' * 40 + b"caf\xe9\n",
    ],
)
def test_the_short_look_finds_what_the_long_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    path = tmp_path / "rows"
    path.write_bytes(content)

    def found() -> str:
        try:
            return inspect(str(path)).format.name
        except (UsageProblem, SourceUnreadable) as error:
            return str(error)

    short = found()
    monkeypatch.setattr(inspection, "is_plain_lines", lambda *_: False)
    assert short == found()
