"""`--map`: what the user's function is given, what may come of it, and how its rows go on."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions, RowPlan, decide
from bulkup.encoding.by_function import ByFunction, Number
from bulkup.encoding.exploding import Exploder, ExplodingEncoder
from bulkup.encoding.faults import Fault
from bulkup.errors import SourceChanged, UsageProblem
from bulkup.flow.chunker import pieces
from bulkup.model import Block, Stage
from bulkup.rows.function import Function, function_given, function_of
from bulkup.rows.schema import Column, Holds
from bulkup.settings.repair import Repair
from tests.encoding.lines import block
from tests.examples import examples

COLUMNS = (Column("k", Holds.AS_IS, "json", nullable=True), Column("n", Holds.INTEGER, "integer"))
Write = Callable[[str], Function]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Function:
        (tmp_path / "rows.py").write_text(text)
        return function_given(f"{tmp_path / 'rows.py'}:fix")

    return written


def made(function: Function, row: bytes, max_row_bytes: int = 1 << 20) -> list[bytes] | str:
    """What *function* makes of *row*, or why it does not."""
    exploder = Exploder(
        ByFunction(function, max_row_bytes), repairs=(), max_row_bytes=max_row_bytes, finds_doubled_keys=True
    )
    (line,) = exploder.lines(block(row + b"\n"))
    return list(line.rows) if line.reject is None else line.reject.reason


def test_numbers_that_are_handed_on_keep_their_characters(write: Write) -> None:
    """However they were written, wherever they stand, also in copies; what is computed is written in the shortest form."""
    function = write(
        "import copy, pickle\n"
        "def fix(row):\n"
        "    return {'same': row, 'copy': copy.deepcopy(row['a']), 'list': [row['a'], *row['l']], 'new': row['a'] + 1,\n"
        "            'sent': pickle.loads(pickle.dumps(row['a'])), 'whole': row['i'] + 1, 'big': row['b'] * 10}\n"
    )
    row = b'{"a":1.10,"l":[1e2,-0,0.30000000000000004],"i":7,"b":18446744073709551616}'
    assert made(function, row) == [
        b'{"same":%b,"copy":1.10,"list":[1.10,1e2,-0,0.30000000000000004],"new":2.1,"sent":1.10,"whole":8,'
        b'"big":184467440737095516160}' % row
    ]


def test_a_number_is_a_float() -> None:
    number = Number("1.10")
    assert (number + 1, f"{number:.1f}", number == 1.1, isinstance(number, float)) == (2.1, "1.1", True, True)
    assert [copy.copy(number).text, copy.deepcopy([number])[0].text, pickle.loads(pickle.dumps(number)).text] == [
        "1.10"
    ] * 3


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 7", "rows.py:fix: the integer 7 is not a row: give a dict, a list of dicts, or None"),
        ("return 'x'", "the string 'x' is not a row"),
        ("return {1, 2}", "a set is not a row"),
        ("return [{'a': 1}, None]", "row 2 of the 2 that it gave: null is not a row"),
        ("return {'a': float('nan')}", "a: nan is not a JSON value"),
        ("return {'a': [None, {'b': -float('inf')}]}", "a[1].b: -inf is not a JSON value"),
        ("return {1: 2}", "the row has the key 1, and keys are strings"),
        ("return {'a': {2: 2}}", "a has the key 2, and keys are strings"),
        ("return {'a': object()}", "a: a object is not a JSON value"),
        ("import datetime; return {'a': datetime.date(2000, 1, 1)}", "a: a date is not a JSON value"),
        ("return {'a': chr(0xD800)}", "a: a lone surrogate"),
        ("row['a'] = row; return row", "it is nested too deeply, or holds itself"),
        ("return {'a': 'x' * 2_000_000}", "what it made of one row is larger than max_row_bytes"),
        ("return [row] * 300_000", "what it made of one row is larger than max_row_bytes"),
        ("return row['none']", "rows.py, line 2, in fix: KeyError: 'none'"),
        ("raise SystemExit(3)", "rows.py, line 2, in fix: SystemExit: 3"),
        ("return int(row['q'])", "rows.py, line 2, in fix: ValueError: invalid literal"),
        ("import json; return json.loads('{')", "rows.py, line 2, in fix: JSONDecodeError"),
    ],
)
def test_what_will_not_do_is_a_rejected_row(write: Write, body: str, words: str) -> None:
    reason = made(write(f"def fix(row):\n    {body}\n"), b'{"q":"x"}')
    assert isinstance(reason, str)
    assert words in reason


def test_what_a_function_may_give(write: Write) -> None:
    for body, rows in (
        ("return None", []),
        ("return []", []),
        ("return ({'a': 1}, {'a': 2})", [b'{"a":1}', b'{"a":2}']),
        ("yield {'a': 1}; yield row", [b'{"a":1}', b'{"q":"x"}']),
        ("from collections import OrderedDict; return OrderedDict(a=1)", [b'{"a":1}']),
        ("return {'a': (1, None, 'é')}", ['{"a":[1,null,"é"]}'.encode()]),
    ):
        assert made(write(f"def fix(row):\n    {body}\n"), b'{"q":"x"}') == rows, body


def test_a_row_that_cannot_be_read_is_not_given(write: Write) -> None:
    function = write("def fix(row):\n    return row\n")
    assert "not valid JSON" in str(made(function, b'{"a":'))
    assert "the key stands twice" in str(made(function, b'{"a":{"b":1,"b":2}}'))
    assert "--repair nan=null" in str(made(function, b'{"a":NaN}'))
    exploder = Exploder(ByFunction(function, 100), repairs=(Repair.NAN,), max_row_bytes=100, finds_doubled_keys=True)
    lines = exploder.lines(block(b'{"a":NaN,"b":1.10}\n\n{"a":"' + b"x" * 100 + b'"}\n'))
    assert [line.rows for line in lines] == [(b'{"a":null,"b":1.10}',), (), ()]
    assert lines[0].changes == (("nan=null", 1),)
    assert [line.is_skipped for line in lines] == [False, False, False]
    assert lines[2].reject is not None
    assert "limit (max_row_bytes) is 100" in lines[2].reject.reason


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def fix(row:\n", "line 1: SyntaxError"),
        ("import none_such\n", "line 1, in <module>: ModuleNotFoundError"),
        ("fix = 7\n", "fix is not a function"),
        ("def other(row): pass\n", "it holds no such function"),
        ("raise SystemExit\n", "cannot be loaded"),
    ],
)
def test_a_file_that_will_not_do(write: Write, text: str, words: str) -> None:
    with pytest.raises(UsageProblem) as raised:
        write(text).load()
    assert words in str(raised.value)


@pytest.mark.parametrize("text", ["rows.py", "none.py:fix", ":fix", "rows.py:not a name", "rows.py:"])
def test_a_name_that_will_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "rows.py").write_text("def fix(row): return row\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageProblem, match="--map"):
        function_given(text)


def test_what_runs_is_what_was_hashed(write: Write, tmp_path: Path) -> None:
    function = write("def fix(row): return row\n")
    assert function_of(str(function)) == function
    (tmp_path / "rows.py").write_text("def fix(row): return None\n")
    with pytest.raises(SourceChanged, match="the file has changed"):
        function.load()


def test_what_stands_beside_the_file_can_be_imported(write: Write, tmp_path: Path) -> None:
    (tmp_path / "beside_the_rows.py").write_text("SAID = 'x'\n")
    function = write("from beside_the_rows import SAID\ndef fix(row): return {'a': SAID}\n")
    assert made(function, b"{}") == [b'{"a":"x"}']


# --- blocks -----------------------------------------------------------------------------------------------------------


class Scripted:
    """Makes of the row `{"n": N, "do": …}` what `do` says."""

    def made(self, row: dict[str, Any]) -> Any:
        from bulkup.encoding.by_function import Made

        do = row["do"]
        if do == "fail":
            return Fault(Stage.MAP, None, "it failed")
        bad = {"n": "no integer"}
        rows = [bad if one == "bad" else {"n": row["n"], "k": one} for one in do]
        return Made(tuple(json.dumps(one).encode() for one in rows))


dos = st.sampled_from(["fail", [], ["a"], ["bad"], ["a", "b"], ["a", "bad", "c"], ["bad", "bad"], list(range(9))])
kinds = st.lists(st.one_of(dos, st.sampled_from(["blank", "broken"])), max_size=30)


def encoder() -> ExplodingEncoder:
    plan = RowPlan(target=NEBIUS, preset="identity", columns=COLUMNS)
    exploder = Exploder(Scripted(), repairs=(), max_row_bytes=1 << 20, finds_doubled_keys=True)
    return ExplodingEncoder(plan, exploder, runs_user_code=False)


def text_of(of: list[Any]) -> bytes:
    lines = [
        b"" if kind == "blank" else b"{" if kind == "broken" else json.dumps({"n": n, "do": kind}).encode()
        for n, kind in enumerate(of)
    ]
    return b"".join(line + b"\n" for line in lines)


@examples(60)
@given(kinds)
def test_a_block_is_its_lines_and_every_row_is_accounted_for(of: list[Any]) -> None:
    data = text_of(of)
    whole = Block(data, 1000, 1000 + len(data))
    block_, lines = encoder().encode(whole), encoder().encode_lines(whole)
    rows = [row for line in lines for row in line.rows]
    assert block_.body == b",".join(row.body for row in rows if row.body is not None)
    assert list(block_.rejects) == [row.reject for row in rows if row.reject is not None]
    assert block_.lines == len(lines) == len(of)
    assert len(of) - block_.blank + block_.made == block_.rows + len(block_.rejects) + block_.skipped
    assert block_.skipped == of.count([])
    for reject in block_.rejects:
        several = isinstance(of[reject.line], list) and len(of[reject.line]) > 1
        assert (reject.part is None) == (not several)
        source = data.split(b"\n")[reject.line]
        assert reject.row == (b'{"n": "no integer"}' if several else source)
        assert data[reject.position - 1000 :].startswith(source)


@examples(40)
@given(kinds, st.booleans())
def test_pieces_are_the_block(of: list[Any], has_offsets: bool) -> None:
    data = text_of(of * 9)
    if not data:
        return
    starts = [at for at in range(len(data)) if at == 0 or data[at - 1 : at] == b"\n"]
    offsets = [5 + 3 * at for at in starts] if has_offsets else None
    whole = Block(data, 5, 5 + 3 * len(data) if has_offsets else 5 + len(data), offsets)
    found = [piece for piece in pieces(whole) if isinstance(piece, Block)]
    assert b"".join(piece.data for piece in found) == data
    assert (found[0].start, found[-1].end) == (whole.start, whole.end)
    assert all(one.end == other.start for one, other in pairwise(found))
    assert not has_offsets or [at for piece in found for at in piece.offsets or ()] == offsets
    assert max(piece.data.count(b"\n") for piece in found) <= 64


# --- plans ------------------------------------------------------------------------------------------------------------


def test_the_map_runs_first_and_a_preset_shapes_what_it_gives(write: Write) -> None:
    function = write("def fix(row):\n    return [{'question': row['q'], 'answer': n} for n in range(row['n'])]\n")
    sample = block(b'{"q":"a","n":2}\n{"q":"b","n":0}\n')
    plan = decide(sample, COLLINEAR, RowOptions(function=function))
    assert plan.preset == "question-answer"
    encoded = plan.line_encoder().encode(sample)
    assert (encoded.rows, encoded.skipped, encoded.made) == (2, 1, 1)
    assert dict(encoded.changes) == {'42 -> "42"': 2}
    kept = RowPlan.from_json(json.loads(json.dumps(plan.to_json())), COLLINEAR, function)
    assert kept == plan


def test_no_code_runs_that_only_a_journal_names(write: Write) -> None:
    function = write("def fix(row):\n    return row\n")
    plan = RowPlan(target=NEBIUS, preset="identity", columns=COLUMNS, function=function)
    kept = json.loads(json.dumps(plan.to_json()))
    assert function.path not in json.dumps(kept)
    with pytest.raises(SourceChanged, match="--map"):
        RowPlan.from_json(kept, NEBIUS)
    other = write("def fix(row):\n    return None\n")
    with pytest.raises(SourceChanged, match="--map"):
        RowPlan.from_json(kept, NEBIUS, other)
    with pytest.raises(SourceChanged, match="--map"):
        RowPlan.from_json(RowPlan(target=NEBIUS, preset="identity").to_json(), NEBIUS, function)


def test_a_first_block_of_which_nothing_comes(write: Write) -> None:
    with pytest.raises(UsageProblem, match=r"The first: .*KeyError"):
        decide(block(b"{}\n{}\n"), COLLINEAR, RowOptions(function=write("def fix(row): return row['a']\n")))
    skips = write("def fix(row): return None\n")
    with pytest.raises(UsageProblem, match="skips every row of the first block"):
        decide(block(b"{}\n"), NEBIUS, RowOptions(function=skips))
    assert decide(block(b"{}\n"), COLLINEAR, RowOptions(function=skips)).preset == "identity"
