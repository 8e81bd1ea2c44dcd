"""Keys that `--rename` and `--drop` name: whether any row has them, in whatever bytes, blocks and parts these come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.nebius.rows import TARGET
from bulkup.encoding import RowOptions
from bulkup.model import Block
from bulkup.scan.found import Found
from bulkup.scan.sought import dropped_keys, renamed_keys, unmet_in
from bulkup.scan.spread import spread_over
from bulkup.sources import Reading, open_source
from tests.examples import examples
from tests.scan.whole import found_in
from tests.sources import reading

KEYS = ["id", "spilt", "größe", 'a"b', "a/b", "m.c"]


def scanned(*paths: Path, block_bytes: int = 4096, renames: tuple[tuple[str, str], ...] = (), **options: Any) -> Found:
    how = Reading(as_lines=True, renames=renames)
    source = open_source([str(path) for path in paths], max_row_bytes=2**20, block_bytes=block_bytes, reading=how)
    return found_in(source, TARGET, RowOptions(**options), spread_over(source.files, 2**60), block_bytes=block_bytes)


def unmet(found: Found) -> list[str]:
    return [one.option for one in found.unmet]


def escaped(text: str) -> str:
    """As some writers have it: what need not be escaped is."""
    return "".join(f"\\u{ord(c):04x}" if c in '/"<' else c for c in json.dumps(text)[1:-1].replace('\\"', '"'))


@examples(40)
@given(
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from(KEYS), st.sampled_from([1, "spilt", "größe", {"c": 1}])), st.booleans()),
        min_size=1, max_size=12,
    ),
    st.sampled_from([1, 40, 4096]),
    st.lists(st.sampled_from([*KEYS, "m.c", "x", "m.d"]), min_size=1, max_size=4, unique=True),
)  # fmt: skip
def test_a_key_is_unmet_where_no_row_has_it(
    rows: list[tuple[dict[str, Any], bool]], block: int, keys: list[str]
) -> None:
    written = [
        "{" + ",".join([f'"{escaped(k)}":{json.dumps(v)}' for k, v in row.items()]) + "}" if odd else json.dumps(row)
        for row, odd in rows
    ]
    written.append('{"m":{"c":2},"kept":1}')
    there = {key for row, _ in rows for key in row} | {"m", "kept", "m.c"}
    with reading.scratch() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_text("\n".join(written) + "\n")
        found = scanned(path, block_bytes=block, drop=tuple(keys))
        assert unmet(found) == [f"--drop {key}" for key in keys if key not in there]


def test_one_row_of_the_last_file_is_enough(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text('{"id":1,"text":"spilt"}\n' * 500)
    paths = [tmp_path / name for name in "abc"]
    renames = (("gone", "here"), ("idd", "it"))
    assert unmet(scanned(*paths, renames=renames)) == ["--rename gone=here", "--rename idd=it"]
    (tmp_path / "c").write_text('{"id":1,"text":"t"}\n' * 500 + '{"id":1,"text":"t","gone":1,"spilt":2}\n')
    found = scanned(*paths, renames=renames, drop=("spilt", "iid"))
    assert unmet(found) == ["--drop iid", "--rename idd=it"]
    assert found.unmet[1].said(of_all=True) == (
        "--rename idd=it: no row has this key (did you mean id?); the rows have id, text"
    )


@pytest.mark.parametrize(
    ("key", "meant"),
    [("m.nmae", "m.name"), ("turns[].nam", "turns[].name"), ("turns[]", "turns[].name"), ("turns", "")],
)
def test_a_place_within_a_row_is_looked_for_as_it_is_left_out(tmp_path: Path, key: str, meant: str) -> None:
    row = '{"m":{"name":1,"b":1},"turns":[{"text":"a"},{"name":"b","text":"nam"}],"nmae":1}'
    said = [
        one.hint for one in unmet_in(Block(f"{row}\n".encode(), 0, len(row) + 1), dropped_keys(RowOptions(drop=(key,))))
    ]
    assert len(said) == (1 if meant else 0)
    assert key != "m.nmae" or said == [" (did you mean m.name?); the rows have m, turns, nmae"]


def test_of_a_row_that_cannot_be_read_nothing_is_said() -> None:
    data = b'{"a":1}\n{"spilt":NaN}\n'
    assert not unmet_in(Block(data, 0, len(data)), renamed_keys([("x", "spilt")]))
