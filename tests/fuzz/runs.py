"""Whole runs against a slow reference: what is stored must be what the rows mean, digit for digit, and nothing else.

A file of rows of one shape, some of them spoilt, goes through the real engine to an emulator of the service: in one process or with
workers, under `full` or `trust`, cut at random. The reference reads the file with Python's own decoder. For Collinear it is
`tests.encoding.reference`, for Nebius the rules of the columns are written here once more.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import random
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from bulkup.account.receipt import Receipt
from bulkup.destinations.collinear.settings import Collinear
from bulkup.destinations.nebius.settings import Nebius
from bulkup.emulator import Spawned
from bulkup.run.story import execute
from bulkup.run.wish import Upload
from bulkup.settings.config import RunSettings
from tests.cli.shell import SPACE, TOKENS
from tests.emulators import emptied, with_a_file
from tests.encoding.reference import Number, by_preset, for_nebius, two_sides
from tests.fuzz.rows import SHAPES, Maker, as_collinear, is_text, is_whole, mutated, read

__all__ = ["one", "run_of", "sends"]

Row = dict[str, Any]
Judge = Callable[[bytes], Row | list[Row] | None]
"""What becomes of a line: a row, several, or none."""

MOST_ROWS = 2500
DIRT = 0.03
SPACES = b" \t\r\n"
KINDS = ("string", "integer", "boolean", "float", "large", "array", "object", "null", "absent")


def one(case: random.Random, scratch: Path) -> int:
    """One run; how many rows it had."""
    return run_of(case, scratch, case.randrange(200, MOST_ROWS), workers=case.choice([1, 1, 2]))


def run_of(case: random.Random, scratch: Path, count: int, *, workers: int) -> int:
    """A run of *count* rows, or about so many, by so many workers. Raises `AssertionError` where what is stored is not right."""
    trusts = case.random() < 0.3
    is_nebius = case.random() < 0.5
    kinds = [_for_nebius, _for_named_nebius] if is_nebius else [_for_collinear, _for_collinear, _for_both_sides]
    made = case.choice(kinds)(case, count, trusts=trusts)
    lines, judge, options = made.lines, made.judge, made.options
    if not trusts and case.random() < 0.2:  # handed on by a function, rows are what they were
        (scratch / "as_it_is.py").write_text("def fix(row): return row\n")
        options["map"] = f"{scratch / 'as_it_is.py'}:fix"
    path = scratch / "rows.jsonl"
    path.write_bytes(b"".join(line + case.choice([b"\n", b"\n", b"\r\n"]) for line in lines))
    rows = [line for line in lines if line.strip(SPACES)]
    judged = [found for found in map(judge, rows) if found is not None]
    wanted = [row for found in judged for row in (found if isinstance(found, list) else [found])]
    emulator, db_path = _emulator()
    emptied(emulator)
    size = case.choice([4096, 30_000, 1_000_000])
    kind: type[Nebius | Collinear] = Nebius if is_nebius else Collinear
    place = {"folder": "/tests"} if is_nebius else {"space_id": SPACE}
    destination = kind.model_validate({"url": emulator.url, "max_chunk_bytes": size, **place, **options})
    settings = RunSettings(
        name="rows",
        state_dir=scratch / "state",
        settle_after_s=0.0,
        workers=workers,
        lines=True,
        max_rejects=None,
        validation="trust" if trusts else "full",  # type: ignore[arg-type]
    )
    upload = Upload((str(path),), (destination,), settings)
    how = f"{destination.service} {options} {'trust' if trusts else 'full'} {workers} workers, bodies of {size}"
    try:
        receipt = asyncio.run(execute(upload, tell=lambda _: None))
    except Exception as error:
        raise AssertionError(f"{how}: {error!r}") from error
    rejected = len(rows) - len(judged)
    _compare(
        receipt, destination.service, how, (len(rows), len(wanted), rejected), wanted, _stored(db_path, made.texts)
    )
    return len(rows)


def sends(path: Path, lines: Iterable[bytes], scratch: Path, *, size: int) -> None:
    """The file at *path* comes to *lines*, those that are no rows among them: what Nebius stores of it, in bodies of *size*, must
    be what these mean. Raises `AssertionError` where it is not."""
    rows = [line for line in lines if line.strip(SPACES)]
    good = [row for row in (read(line, doubled=False).row for line in rows) if row is not None]
    seen = {
        key: {_kind(row[key]) if key in row else "absent" for row in good} for key in {k for row in good for k in row}
    }
    if not seen:
        return  # a dataset has columns
    wanted = [_by_columns(row, seen) for row in good]
    emulator, db_path = _emulator()
    emptied(emulator)
    destination = Nebius.model_validate(
        {"url": emulator.url, "folder": "/tests", "max_chunk_bytes": size, "preset": "identity"}
    )
    settings = RunSettings(name="rows", state_dir=scratch / "state", settle_after_s=0.0, max_rejects=None, workers=1)
    try:
        receipt = asyncio.run(execute(Upload((str(path),), (destination,), settings), tell=lambda _: None))
    except Exception as error:
        raise AssertionError(f"{path.name}: {error!r}") from error
    texts = frozenset(key for key, kinds in seen.items() if _held(kinds) == "JSON text")
    counts = len(rows), len(good), len(rows) - len(good)
    _compare(receipt, "nebius", path.name, counts, wanted, _stored(db_path, texts))


def _compare(
    receipt: Receipt, lane: str, how: str, right: tuple[int, int, int], wanted: list[Row], stored: list[Row]
) -> None:
    counts = receipt.destinations[lane]
    told = (counts.rows_read, counts.rows_landed, counts.rows_rejected)
    missing = Counter(map(_text, wanted))
    missing.subtract(map(_text, stored))
    lost, extra = list((+missing).elements())[:3], list((-missing).elements())[:3]
    assert not lost, f"{how}: not stored as they are: {lost}; stored instead: {extra}"
    assert not extra, f"{how}: stored, and should not be: {extra}"
    assert told == right, f"{how}: rows read, landed, rejected are {told}, not {right}: {counts.rejected_for}"


@dataclass
class Made:
    """A file's lines, what each row is stored as (None: not at all), the destination's options, and which columns are JSON text."""

    lines: list[bytes]
    judge: Judge
    options: dict[str, Any]
    texts: frozenset[str] = frozenset()


# --- Collinear: presets ---------------------------------------------------------------------------------------------


def _for_collinear(case: random.Random, count: int, *, trusts: bool) -> Made:
    name = case.choice(list(SHAPES))
    make = case.choice(SHAPES[name])
    shaped = as_collinear if name == "identity" else partial(by_preset, name)
    maker = Maker(case)

    def judge(line: bytes) -> Row | None:
        source = read(line, doubled=False)
        return None if source.row is None else shaped(source.row)

    lines = list(_lines(case, maker, partial(make, maker), count, judge, trusts=trusts))
    return Made(lines, judge, {"preset": name})


def _for_both_sides(case: random.Random, count: int, *, trusts: bool) -> Made:
    maker = Maker(case)

    def make() -> bytes:
        pairs = [("prompt", maker.text()), ("chosen", _answer(maker)), ("rejected", _answer(maker))]
        return maker.object(pairs if case.random() < 0.8 else [*pairs, ("context", maker.text())])

    def judge(line: bytes) -> list[Row] | None:
        source = read(line, doubled=False)
        return None if source.row is None else two_sides(source.row)

    lines = list(_lines(case, maker, make, count, judge, trusts=trusts))
    return Made(lines, judge, {"both_sides": True})


def _answer(maker: Maker) -> bytes:
    return (
        maker.text()
        if maker.case.random() < 0.9
        else maker.case.choice([b"42", b"-0", b"true", b"null", b"1.5", b"{}"])
    )


# --- Nebius: columns ------------------------------------------------------------------------------------------------


def _for_nebius(case: random.Random, count: int, *, trusts: bool) -> Made:
    maker = Maker(case)
    keys = {
        f"k{n}": [(kind, case.choice([0.002, 0.1, 1.0])) for kind in case.sample(KINDS, case.randrange(1, 4))]
        for n in range(4)
    }

    def make() -> bytes:
        pairs = []
        for key, kinds in keys.items():
            (kind,) = case.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
            if kind != "absent":
                pairs.append((key, _value(case, maker, kind)))
        return maker.object(pairs)

    def readable(line: bytes) -> Row | None:
        return read(line, doubled=False).row

    lines = [b'{"k0":"x"}', *_lines(case, maker, make, count, readable, trusts=trusts)]
    rows = [row for row in map(readable, lines) if row is not None]
    seen = {
        key: {_kind(row[key]) if key in row else "absent" for row in rows} for key in {k for row in rows for k in row}
    }

    def judge(line: bytes) -> Row | None:
        row = readable(line)
        return None if row is None else _by_columns(row, seen)

    texts = frozenset(key for key, kinds in seen.items() if _held(kinds) == "JSON text")
    return Made(lines, judge, {"preset": "identity"}, texts)


def _for_named_nebius(case: random.Random, count: int, *, trusts: bool) -> Made:
    maker = Maker(case)
    name = case.choice(list(NAMED))
    shaped = case.choice(NAMED[name])

    def make() -> bytes:
        line = shaped(maker)
        return line[:-1] + b',"more":' + maker.value(3) + b"}" if case.random() < 0.3 else line

    def made(line: bytes) -> Row | None:
        row = read(line, doubled=False).row
        return None if row is None else for_nebius(name, row)

    def unchanged(line: bytes) -> Row | None:
        row = made(line)  # under trust nobody looks whether an answer is a text
        return None if name in ("question-answer", "prompt-completion") and _text(row) != _text(read(line).row) else row

    lines = list(_lines(case, maker, make, count, unchanged if trusts else made, trusts=trusts))
    rows = [row for row in map(made, lines) if row is not None]
    seen = {
        key: {_kind(row[key]) if key in row else "absent" for row in rows} for key in {k for row in rows for k in row}
    }

    def judge(line: bytes) -> Row | None:
        row = made(line)
        return None if row is None else _by_columns(row, seen)

    texts = frozenset(key for key, kinds in seen.items() if _held(kinds) == "JSON text")
    return Made(lines, judge, {"preset": name}, texts)


def _preference(maker: Maker) -> bytes:
    sides = [maker.turns("assistant") if maker.case.random() < 0.3 else _answer(maker) for _ in range(2)]
    before = [("prompt", maker.text())] if maker.case.random() < 0.8 else []
    return maker.object([*before, ("chosen", sides[0]), ("rejected", sides[1])])


def _plain_text(maker: Maker) -> bytes:
    return maker.object([("text", _answer(maker))])


NAMED: dict[str, list[Callable[[Maker], bytes]]] = {
    **{name: makes for name, makes in SHAPES.items() if name != "identity"},
    "preference": [_preference],
    "text": [_plain_text],
}


def _held(kinds: set[str]) -> str:
    """What a column holds in which just *kinds* of values were seen."""
    kinds = kinds - {"null", "absent"}
    if kinds <= {"string"} or kinds in ({"integer"}, {"boolean"}):
        return "as it is"
    return "JSON text" if "string" not in kinds or kinds & {"array", "object"} else "characters"


def _value(case: random.Random, maker: Maker, kind: str) -> bytes:
    match kind:
        case "string":
            return maker.text()
        case "integer":
            return case.choice([b"0", b"-0", b"7", b"-12", b"9223372036854775807", b"-9223372036854775808"])
        case "boolean":
            return case.choice([b"true", b"false"])
        case "float":
            return case.choice(
                [b"1.0", b"1.50", b"1e5", b"-0.0", b"123456789.123456789123", b"1E+5", b"0.1", b"1e-400"]
            )
        case "large":
            return case.choice([b"9223372036854775808", b"18446744073709551616", b"1" * 40, b"-9223372036854775809"])
        case "array":
            return maker.array([maker.value(3) for _ in range(case.randrange(3))])
        case "object":
            return maker.object([(f"i{n}", maker.value(3)) for n in range(case.randrange(3))])
        case _:
            return b"null"


def _kind(value: Any) -> str:
    if isinstance(value, Number):
        if set(value) & set(".eE"):
            return "float"
        return "integer" if is_whole(value) else "large"
    names = {str: "string", bool: "boolean", list: "array", dict: "object", type(None): "null"}
    return names[type(value)]


def _by_columns(row: Row, seen: dict[str, set[str]]) -> Row:
    """*row* as it is stored where just those kinds of values were *seen* of each key. What is null is left out."""
    made: Row = {}
    for key, value in row.items():
        held = _held(seen[key])
        if value is None:
            continue
        if held == "JSON text":
            made[key] = f"json {_text(value)}"
        elif held == "characters" and not is_text(value):
            made[key] = ("true" if value else "false") if isinstance(value, bool) else str(value)
        else:
            made[key] = value
    return made


# --- lines ----------------------------------------------------------------------------------------------------------


def _lines(
    case: random.Random,
    maker: Maker,
    make: Callable[[], bytes],
    count: int,
    judge: Judge,
    *,
    trusts: bool,
) -> Iterable[bytes]:
    """About *count* lines; under `trust` those alone of which nothing is wrong, since it looks at none."""
    allowed = {key for _ in range(300) for key in _keys_in(read(make()).row)}
    line = make()
    while judge(line) is None:
        line = make()
    yield line  # a byte order mark before it would belong to the file
    for _ in range(count):
        line = make()
        if not trusts and case.random() < DIRT:
            line = _doubled(case, maker, line) if case.random() < 0.3 else mutated(case, line)
            line = line.replace(b"\n", b" ")
        source = read(line, doubled=False)
        if source.unsure or b"\x00" in line or not _keys_in(source.row) <= allowed:
            continue  # a key that has no place would end the run
        if not trusts or judge(line) is not None:
            yield line


def _keys_in(value: Any) -> set[str]:
    """The keys of all objects in *value*."""
    if isinstance(value, dict):
        return set(value).union(*map(_keys_in, value.values()))
    return set().union(*map(_keys_in, value)) if isinstance(value, list) else set()


def _doubled(case: random.Random, maker: Maker, line: bytes) -> bytes:
    """*line* with a key that stands twice in it, here or within."""
    twice = maker.object([("x", maker.value(3)), ("y", b"1"), ("x", maker.value(3))])
    if case.random() < 0.5 or not line.startswith(b"{") or line == b"{}":
        return twice
    return line[:1] + line[1:-1] + b"," + line[1:-1] + b"}"


# --- what is stored -------------------------------------------------------------------------------------------------


@cache
def _emulator() -> tuple[Spawned, Path]:
    """One for all runs of a process, and the file that holds its rows."""
    os.environ.update(TOKENS)
    held = ExitStack()
    atexit.register(held.close)
    folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-emulator-")))
    return held.enter_context(with_a_file(folder))


def _stored(path: Path, texts: frozenset[str]) -> list[Row]:
    """The rows that the service holds, what is null left out; the columns *texts* hold JSON text."""
    db = sqlite3.connect(path, timeout=10)
    try:
        stored = [bytes(data) for (data,) in db.execute("SELECT data FROM rows")]
    finally:
        db.close()
    found = [_parsed(text) for text in stored]
    return [
        {
            key: f"json {_text(_parsed(value))}" if key in texts else value
            for key, value in row.items()
            if value is not None
        }
        for row in found
    ]


def _parsed(text: bytes | str) -> Any:
    return json.loads(text, parse_int=Number, parse_float=Number)


def _text(value: Any) -> str:
    """*value* in one form: keys sorted, numbers in their own characters."""
    match value:
        case Number():
            return str(value)
        case dict():
            return "{" + ",".join(f"{json.dumps(key)}:{_text(value[key])}" for key in sorted(value)) + "}"
        case list():
            return "[" + ",".join(map(_text, value)) + "]"
        case _:
            return json.dumps(value)
