"""What a codec raises, whatever it is, costs the row that it was given and no other."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions, RowPlan, Target, decide
from bulkup.encoding.language import Automaton
from bulkup.encoding.meaning import as_meant
from bulkup.encoding.rows import BlockEncoder
from bulkup.encoding.target import Pipeline
from bulkup.encoding.utf8 import Utf8
from bulkup.errors import Interrupted, UsageProblem
from bulkup.model import Block, EncodedRow
from bulkup.rows.mapping import parse_mapping

T = TypeVar("T")
ODD = ['q"k', "back\\slash", "new\nline", "\x00", "\x1f", '"', "\\", 'a":"b']
MAPPING = {
    "conv_prefix": [{"role": {"const": "user"}, "content": '$["q\\"k"]'}],
    "response": {"role": {"const": "assistant"}, "content": "$.answer"},
}


def line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()


def block(*lines: bytes) -> Block:
    data = b"\n".join(lines) + b"\n"
    return Block(data, 0, len(data))


def plan_of(*sample: bytes, target: Target = NEBIUS, **options: Any) -> RowPlan:
    return decide(block(*sample), target, RowOptions(**options))


def encoded(plan: RowPlan, *lines: bytes) -> list[EncodedRow]:
    """Each line, told the same by both ways."""
    encoder = plan.encoder()
    whole, rows = encoder.encode(block(*lines)), encoder.encode_rows(block(*lines))
    assert whole.body == b",".join(row.body for row in rows if row.body is not None)
    assert whole.rejects == tuple(row.reject for row in rows if row.reject is not None)
    return rows


GOOD = line({"id": 1, "text": "日本" * 40, "more": [1, {"a": 2}]})
MANY = [GOOD] * 60
"""Enough of them for simdjson to be asked: more than 4 KiB, and not ASCII."""


OPTIONS: list[dict[str, Any]] = [{}, {"nested": "as-is"}, {"drop": ("more.a.b",)}, {"drop": ("gone",)}]
"""What is dropped is not decoded, so its UTF-8 is looked at besides."""


@pytest.mark.parametrize("odd", [2**64, 2**64 + 1, -(2**63) - 1, 10**30, int("7" * 4000)])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_large_integer_is_sent_where_it_may_be_and_rejected_elsewhere(odd: int, options: dict[str, Any]) -> None:
    nested = line({"id": 1, "text": "日本", "more": [odd]})
    for before in ([], MANY):  # simdjson only comes to the first row
        rows = encoded(plan_of(GOOD, **options), *before, nested, *MANY)
        assert sum(row.body is not None for row in rows) >= len(before) + 60
    reject = encoded(plan_of(GOOD, **options), line({"id": odd, "text": "日本", "more": 1}), *MANY)[0].reject
    assert reject is not None
    assert reject.field == "id"


@pytest.mark.parametrize("depth", [1025, 1100, 5000, 100_000])
@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_row_nested_without_end_is_rejected_alone(
    depth: int, opened: bytes, closed: bytes, options: dict[str, Any]
) -> None:
    deep = '{"id":1,"text":"日","more":'.encode() + opened * depth + b"1" + closed * depth + b"}"
    for before in ([], MANY):
        rows = encoded(plan_of(GOOD, **options), *before, deep, *MANY)
        rejects = [row.reject for row in rows if row.body is None]
        (reason,) = [reject and reject.reason for reject in rejects]
        assert reason == "nested too deeply to be read; brackets may stand 1,000 deep within each other"


@pytest.mark.parametrize("depth", [700, 960, 993, 995, 999, 1000, 1001])
@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("options", OPTIONS)
def test_how_deep_a_row_may_be_is_the_same_wherever_it_is_encoded(
    depth: int, opened: bytes, closed: bytes, options: dict[str, Any]
) -> None:
    """`verify` and a resumed run stand other numbers of calls deep than the run that sent the row."""
    deep = b'{"id":1,"text":"[]{","more":' + opened * (depth - 1) + b"-0" + closed * (depth - 1) + b"}"
    plan = plan_of(GOOD, **options)
    first, *others = [at_depth(calls, lambda: encoded(plan, deep, *MANY)[0]) for calls in (0, 40, 300)]
    assert (first.body is not None) == (depth <= 1000)
    assert others == [first, first]
    if first.body is not None:
        for calls in (0, 300):
            assert at_depth(calls, lambda: as_meant(plan, deep, first.body or b"")) == first.body


def at_depth(calls: int, work: Callable[[], T]) -> T:
    return at_depth(calls - 1, work) if calls else work()


@pytest.mark.parametrize(
    "row",
    [
        b'{"id":1,"text":"x","more":[-0,-0e' + b"7" * 300_000 + b"]}",
        b'{"id":1,"text":"x","more":[-0,-0e0,-0e1,-0e2,-0e10]}',
        b'{"id":1,"text":"x","more":[-0,"' + b'\\"' * 100_000,
        b'{"id":1,"text":"x","more":[' + b"[" * 990 + b'-0,"' + b'\\"' * 100_000,
    ],
    ids=lambda row: row[:50],
)
def test_a_minus_zero_beside_something_long_takes_no_time(row: bytes) -> None:
    began = time.process_time()
    (made, *_) = encoded(plan_of(GOOD, drop=("more.a.b",), nested="as-is"), row, GOOD)
    assert time.process_time() - began < 5
    assert made.body == (row if row.endswith(b"}") else None)


def test_a_surrogate_escape_deep_within_is_found() -> None:
    deep = b'{"id":1,"text":"x","more":%b"\\ud800"%b}' % (b"[" * 600, b"]" * 600)
    reject = encoded(plan_of(GOOD), GOOD, deep)[1].reject
    assert reject is not None
    assert "lone surrogate" in reject.reason


def test_many_keys_are_looked_at_in_no_time() -> None:
    many = b'{"id":1e999,' + b",".join(b'"k%d":1' % i for i in range(60_000)) + b"}"
    assert encoded(plan_of(GOOD), many)[0].reject is not None


@pytest.mark.parametrize("key", ODD)
def test_a_column_may_have_any_name(key: str) -> None:
    good = line({key: "x", "n": 1})
    rows = encoded(plan_of(good), good, line({key: 1, "n": 1}), line({"n": 1}), line({key: "y", "n": 2, "z": 1}))
    assert rows[0].body == good
    assert [row.body is None for row in rows] == [False, True, True, True]
    made = encoded(plan_of(good, line({key: "x", "n": [1]})), good, line({key: "z\n", "n": 2}), line({key: "x"}))
    assert [None if row.body is None else json.loads(row.body) for row in made] == [
        {key: "x", "n": "1"},
        {key: "z\n", "n": "2"},
        None,
    ]


@pytest.mark.parametrize("key", [*ODD, "plain"])
@pytest.mark.parametrize("space", ["", " \t"])
def test_both_values_of_a_key_that_stands_twice_must_fit_whatever_its_name(key: str, space: str) -> None:
    """As with a plain name, though rows with odd ones are read in another way. So in a run that began when such rows passed."""
    good = line({key: "x", "n": 1, "more": [1]})
    plan = replace(plan_of(good), edition=1)

    def twice(first: str, second: str) -> bytes:
        name = json.dumps(key)
        return f'{{{name}{space}:{space}{first},{name}:{second},"n"{space}:1,"more":[{{"a":"b"}}]}}'.encode()

    fits, bad, worse = encoded(plan, twice('"\\":[{"', '"y"'), twice("7", '"y"'), twice('"y"', "[1]"), *[good] * 20)[:3]
    assert fits.body is not None
    assert json.loads(fits.body)[key] == "y"
    assert bad.reject is not None
    assert "more than once" in bad.reject.reason
    assert worse.body is None


@pytest.mark.parametrize("key", ODD)
def test_a_key_of_any_name_may_be_dropped(key: str) -> None:
    row = {key: [1], "question": "a", "answer": "b"}
    asked = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    (made,) = encoded(plan_of(line(row), target=COLLINEAR, drop=(key,)), line(row))
    assert made.body is not None
    assert json.loads(made.body) == {"conv_prefix": [asked[0]], "response": asked[1]}
    chat = {"messages": asked, key: {"x": 1}}
    (made,) = encoded(plan_of(line(chat), target=COLLINEAR, drop=(key,)), line(chat))
    assert made.body is not None
    assert json.loads(made.body) == {"conv_prefix": [asked[0]], "response": asked[1]}
    (made,) = encoded(plan_of(line({key: 1, "b": 2}), drop=(key, key)), line({key: 1, "b": 2}))
    assert made.body == b'{"b":2}'


@pytest.mark.parametrize("key", ODD)
def test_a_mapping_may_read_and_write_keys_of_any_name(key: str) -> None:
    path = f"$[{json.dumps(key)}]"
    mapping = parse_mapping({key: path, "inner": {key: [path], "none": "absent"}})
    row = line({key: "v", "x": 1})
    (made,) = encoded(plan_of(row, mapping=mapping), row)
    assert made.body is not None
    assert json.loads(made.body) == {key: "v", "inner": json.dumps({key: ["v"]}, separators=(",", ":"))}


KINDS: dict[str, Callable[[], tuple[RowPlan, bytes]]] = {
    "verbatim": lambda: (plan_of(line({"a": "é", "b": 1})), line({"a": "é", "b": 1})),
    "text column": lambda: (plan_of(GOOD), GOOD),
    "chat": lambda: _chat(line({"messages": [_turn("user"), _turn("assistant")]})),
    "mapped": lambda: _mapped(line({'q"k': "é", "answer": "b"})),
}


def _turn(role: str) -> dict[str, str]:
    return {"role": role, "content": "é"}


def _chat(row: bytes) -> tuple[RowPlan, bytes]:
    return plan_of(row, target=COLLINEAR), row


def _mapped(row: bytes) -> tuple[RowPlan, bytes]:
    return plan_of(row, target=COLLINEAR, mapping=parse_mapping(MAPPING)), row


RAISED = [
    *(RuntimeError("BIGINT_ERROR"), RecursionError(), MemoryError(), ValueError("odd"), OverflowError(), KeyError("k")),
    *(
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"),
        SystemError("error return without exception"),
        Exception(),
    ),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)
def test_whatever_a_codec_raises_costs_one_row(kind: str, raised: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, good = KINDS[kind]()
    evil = good.replace("é".encode(), b"EVIL").replace("日".encode(), b"EVIL")
    body = Pipeline.body

    def broken(self: Pipeline, data: bytes, rows: int) -> bytes:
        if b"EVIL" in data:
            raise raised
        return body(self, data, rows)

    monkeypatch.setattr(Pipeline, "body", broken)
    monkeypatch.setattr(BlockEncoder, "_shortcut", lambda *_: None)
    rows = encoded(plan, good, evil, good)
    assert [row.body is None for row in rows] == [False, True, False]
    assert rows[1].reject is not None
    assert rows[1].reject.reason.isprintable()


@pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)
def test_where_a_quick_check_raises_the_decoder_decides(raised: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """simdjson and hyperscan only make it faster."""

    def broken(*_: object, **__: object) -> Any:
        raise raised

    class Parser:
        parse = broken

    monkeypatch.setattr("bulkup.encoding.utf8.reliable_parser", Parser)
    monkeypatch.setattr("bulkup.encoding.language._Scanner.end_of_match", broken)
    verbatim = line({"a": "日本" * 40, "b": 1})
    for plan, good in ((plan_of(GOOD), GOOD), (plan_of(verbatim), verbatim)):
        bad = good.replace("日".encode(), b"\xff")
        rows = encoded(plan, *[good] * 60, bad, *[good] * 60)
        assert [row.body is None for row in rows] == [False] * 60 + [True] + [False] * 60


def test_an_automaton_that_cannot_be_made_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(Automaton, "__init__", broken)
    good = line({"a": "x", "b": 1})
    assert encoded(plan_of(good), good)[0].body == good


def test_a_problem_of_ours_is_no_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, good = KINDS["verbatim"]()

    def stopped(*_: object) -> bytes:
        raise Interrupted(UsageProblem.exit_code)

    monkeypatch.setattr(Pipeline, "body", stopped)
    monkeypatch.setattr(Utf8, "holds", lambda *_: False)
    with pytest.raises(Interrupted):
        plan.encoder().encode(block(good + b" "))


PACKAGE = Path(__file__).parent.parent.parent / "bulkup"
CODECS = {"msgspec", "orjson", "simdjson", "hyperscan", "isal", "zstandard", "tomllib", "json", "pickle"}

OWNERS = {
    "a row: it is rejected": """
        journal.reject_line rows.exact rows.numerals encoding.by_function encoding.by_row encoding.carried encoding.columns
        encoding.decision encoding.doubled_keys encoding.drop encoding.faults encoding.meant_shapes encoding.repairing
        encoding.shapes encoding.identity encoding.language encoding.mapped encoding.meaning encoding.members encoding.recast
        encoding.row_types encoding.searching encoding.shortcuts encoding.splice encoding.stitched encoding.target
        encoding.utf8 destinations.collinear.presets destinations.collinear.shape destinations.nebius.presets
        run.retrying run.spooling bench.sweep_rows scan.key_counter scan.look scan.seen scan.sought scan.widening ray_lines""",
    "an answer: it is in doubt, or no look": """
        destinations.collinear.wire destinations.collinear.echo destinations.nebius.wire destinations.row_keys destinations.http
        flow.lane_worker""",
    "a config: it is refused": "settings.config rows.mapping cli.emulating run.wish",
    "a source: it cannot be read further": """
        sources.beside_rows sources.renaming
        sources.decompress sources.separated.conversion sources.json_array
        sources.json_lines sources.json_values sources.lone_object sources.not_rows
        sources.shape sources.stdlib_streams sources.workbook.child sources.workbook.format sources.zstd""",
    "a message between machines: who sent it is let go": """run.wire run.forms run.scan_wire run.keeping workers.door
        workers.keys run.launching run.ray_launcher""",
    "what bulkup has written itself": """
        journal.facts journal.locks journal.queries journal.schema journal.sidecars run.changed_source
        journal.chunk_rows journal.place scan.learned journal.postgres.lease journal.postgres.questions
        run.build run.kept_scans run.kept_looks sources.looked ray_data run.settling_by_hand run.folder run.manifest run.story
        workers.channel path_text cli.app cli.ids cli.streams cli.exporting cli.settling cli.standing_lines cli.runner cli.verifying
        cli.benching cli.demo run.record run.control run.overview run.standing run.again cli.display cli.listing""",
    "nothing is decoded: only classes of values": "sources.format sources.inspection scan.counting scan.scanner",
}
"""Every module that calls a codec, by whose fault it is if that raises."""


def _paths() -> dict[str, Path]:
    """bulkup's modules but for the emulator's, by their names within the package."""
    paths = [path for path in PACKAGE.rglob("*.py") if "emulator" not in path.parts]
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in paths}


def _codecs(text: str) -> set[str]:
    """Those that a module with this *text* imports, anywhere."""
    found = set[str]()
    for node in ast.walk(ast.parse(text)) if any(codec in text for codec in CODECS) else ():
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found |= {name.split(".")[0] for name in names}
    return found & CODECS


def test_every_module_that_calls_a_codec_is_somebodys() -> None:
    """A new one is put into the list above, with the tests that its kind has."""
    known = set(" ".join(OWNERS.values()).split())
    assert {name for name, path in _paths().items() if _codecs(path.read_text())} - known == set()


def test_no_code_of_rows_lists_what_codecs_raise() -> None:
    """`bulkup.refusal.attempt` is the one place: such lists are never whole. `faults` looks for words, `exact` and
    `meaning` have readers of their own for what the codecs refuse."""
    paths = _paths()
    for owner in ("a row: it is rejected", "a config: it is refused", "a source: it cannot be read further"):
        for name in OWNERS[owner].split():
            tree = ast.parse(paths[name].read_bytes()) if name in paths else ast.Module([], [])
            handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
            caught = " ".join(ast.unparse(node.type) for node in handlers if node.type is not None)
            listed = [
                word for word in ("msgspec", "json", "toml", "Zstd", "hyperscan", "RecursionError") if word in caught
            ]
            assert not listed or name in ("encoding.faults", "run.retrying", "rows.exact", "encoding.meaning"), (
                name,
                listed,
            )
