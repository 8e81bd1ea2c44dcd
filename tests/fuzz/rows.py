"""Rows of every kind through every way to encode them: each is sent as it stands, or rejected with a reason, and nothing else."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import zstandard

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import BlockEncoder, RowOptions, RowPlan, decide
from bulkup.encoding.meaning import as_meant
from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.model import HEAD_BYTES, Block, Changes, LongRow, Validation
from bulkup.rows.mapping import parse_mapping
from bulkup.rows.schema import Column, Holds, Nested
from bulkup.settings.repair import Repair
from bulkup.sources import open_source
from tests.encoding.reference import Number, by_preset

__all__ = ["one"]

SPACE = b" \t\r\n"
KEYS = [
    *(
        "a",
        "b",
        "id",
        'q"k',
        "back\\slash",
        "new\nline",
        "\x00",
        "a,b",
        'x":"y',
        "日",
        "",
        "}{",
        "messages",
        "question",
        "e\u0301",
    ),
]
TEXTS = [
    *(
        "",
        "x",
        'say "hi"',
        "\\",
        "\n",
        "}\n{",
        '","a":"',
        "東京🙂",
        "\u2028",
        "\x7f",
        "a" * 300,
        "#### 12",
        '"}',
        "\x01",
    ),
]
NUMBERS = [
    *("0", "-0", "1", "-1", "1.5", "1e5", "1E+5", "1e-400", "1e999", "123456789.123456789123", "9223372036854775807"),
    *("-9223372036854775808", "9223372036854775808", "18446744073709551615", "18446744073709551616", "1" * 40, "0.1"),
    *("1.0", "-0.0", "2" * 400, "7" * 5000),
]
JUNK = [
    *(b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x00", b"\r", b"\x0b", b"\\ud800", b"NaN", b"\n", b"\\"),
    *(b'"', b"{}", b"[", b"]"),
]
ROLES = ["system", "developer", "user", "assistant", "tool", "function"]


# --- what rows may be -----------------------------------------------------------------------------------------------


class Maker:
    """Makes JSON text at random."""

    def __init__(self, case: random.Random) -> None:
        self.case = case
        self.space = case.choice([b"", b"", b" "])
        self.ascii_only = case.random() < 0.3

    def text(self, value: str | None = None) -> bytes:
        if value is None:
            value = self.case.choice(TEXTS)
        return json.dumps(value, ensure_ascii=self.ascii_only).encode()

    def value(self, depth: int = 0) -> bytes:
        kind = self.case.randrange(10 if depth < 4 else 6)
        if kind < 2:
            return self.text()
        if kind < 4:
            return self.case.choice(NUMBERS[:19] if self.case.random() < 0.98 else NUMBERS).encode()
        if kind < 6:
            return self.case.choice([b"true", b"false", b"null"])
        count = self.case.randrange(4)
        if kind < 8:
            return self.array([self.value(depth + 1) for _ in range(count)])
        return self.object([(self.case.choice(KEYS), self.value(depth + 1)) for _ in range(count)])

    def array(self, items: list[bytes]) -> bytes:
        return b"[" + (b"," + self.space).join(items) + b"]"

    def object(self, pairs: list[tuple[str, bytes]]) -> bytes:
        made = [self.text(key) + b":" + self.space + value for key, value in pairs]
        return b"{" + (b"," + self.space).join(made) + b"}"

    def turn(self, role: str) -> bytes:
        return self.object([("role", self.text(role)), ("content", self.text())])

    def turns(self, last: str) -> bytes:
        before = [self.turn(self.case.choice(ROLES)) for _ in range(self.case.randrange(3))]
        return self.array([*before, self.turn(last)])

    def labels(self) -> list[tuple[str, bytes]]:
        found = []
        if self.case.random() < 0.3:
            found.append(("ground_truth", self.case.choice(NUMBERS[:16]).encode()))
        if self.case.random() < 0.3:
            found.append(("context", self.text()))
        return found


def _table(maker: Maker, keys: list[tuple[str, int]]) -> bytes:
    case = maker.case
    pairs = []
    for key, kind in keys:
        fitting = (maker.text(), case.choice(NUMBERS[:11]).encode(), b"true", maker.value())[kind]
        if case.random() < 0.95:
            pairs.append((key, fitting if case.random() < 0.9 else maker.value()))
    if case.random() < 0.05:
        pairs.append((case.choice(KEYS), maker.value()))
    return maker.object(pairs)


def _collinear(maker: Maker) -> bytes:
    return maker.object([("conv_prefix", maker.turns("user")), ("response", maker.turn("assistant")), *maker.labels()])


def _content(maker: Maker) -> bytes:
    match maker.case.randrange(12):
        case 0:
            return maker.value()
        case 1:
            texts = [maker.object([("type", maker.text("text")), ("text", maker.text())]) for _ in range(2)]
            return maker.array(texts[: maker.case.randrange(1, 3)])
        case 2:
            return maker.case.choice([b"42", b"-0", b"true", b"null", b"1.0"])
        case _:
            return maker.text()


def _turns(maker: Maker, key: str, who: str, what: str, asking: list[str], answering: list[str]) -> bytes:
    def one(roles: list[str]) -> bytes:
        return maker.object([(who, maker.text(maker.case.choice(roles))), (what, _content(maker))])

    before = [one([*asking, *answering]) for _ in range(maker.case.randrange(2))]
    turns = maker.array([*before, one(asking), one(answering)])
    return maker.object([(key, maker.text(turns.decode()) if maker.case.random() < 0.2 else turns), *maker.labels()])


def _chat(maker: Maker) -> bytes:
    return _turns(maker, "messages", "role", "content", ROLES, ["assistant"])


def _shared(maker: Maker) -> bytes:
    return _turns(maker, "conversations", "from", "value", ["human", "user", "system"], ["gpt", "chatgpt"])


def _alpaca(maker: Maker) -> bytes:
    below = [("input", _content(maker))] if maker.case.random() < 0.7 else []
    return maker.object([("instruction", maker.text()), *below, ("output", _content(maker)), *maker.labels()])


def _pair(first: str, second: str) -> Callable[[Maker], bytes]:
    return lambda maker: maker.object([(first, maker.text()), (second, _content(maker)), *maker.labels()])


def mutated(case: random.Random, line: bytes) -> bytes:
    """*line* with something done to it that a disk, a program or a person may do."""
    at, other = sorted((case.randrange(len(line) + 1), case.randrange(len(line) + 1)))
    junk = case.choice(JUNK)
    deep = case.choice([300, 900, 1100, 3000])
    match case.randrange(10):
        case 0:
            return line[:at]
        case 1:
            return line[:at] + line[other:]
        case 2:
            return line[:at] + line[at:other] * 2 + line[other:]
        case 3:
            return line[:at] + bytes([case.randrange(256)]) + line[at + 1 :]
        case 4:
            return line[:-1] + b',"deep":' + b"[" * deep + b"]" * deep + b"}"
        case 5:
            return line[:-1] + b',"deep":' + b'{"a":' * deep + b"1" + b"}" * deep + b"}"
        case 6:
            return case.choice([b" ", b"\t", b"\xef\xbb\xbf", b"\x0c"]) + line + case.choice([b"", b" ", b"\r"])
        case 7:
            return line + case.choice([b"", b" ", b","]) + line
        case 8:
            return case.choice([b"", b"   ", b"null", b"[]", b'"x"', b"7", b"{", b"}", b"{}"])
        case _:
            return line[:at] + junk + line[at:]


# --- what must become of them ---------------------------------------------------------------------------------------


@dataclass
class Source:
    """A row as Python's own decoder reads it, once *mended*. *unsure*: whether it is taken may differ (numbers without end, depth,
    and keys twice where these may stand)."""

    row: dict[str, Any] | None
    unsure: bool = False
    mended: frozenset[Repair] = frozenset()


HALF = re.compile("[\ud800-\udfff]")


def read(line: bytes, repairs: tuple[Repair, ...] = (), *, doubled: bool = True) -> Source:
    """The row on *line*. *doubled*: keys may stand twice."""
    unsure = False
    mended: set[Repair] = set()

    def needs(repair: Repair) -> None:
        if repair not in repairs:
            raise ValueError
        mended.add(repair)

    def whole(value: Any) -> Any:
        if isinstance(value, str) and not isinstance(value, Number) and HALF.search(value):
            needs(Repair.SURROGATES)
            return HALF.sub("\ufffd", value)
        return [whole(item) for item in value] if isinstance(value, list) else value

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        table = {whole(key): whole(value) for key, value in found}
        if len(table) < len(found):
            nonlocal unsure
            unsure = unsure or doubled
            if not doubled:
                needs(Repair.DUPLICATE_KEYS)
        return table

    def number(text: str) -> Number:
        nonlocal unsure
        unsure = unsure or len(text) > 300 or float(text) in (float("inf"), float("-inf"))
        return Number(text)

    try:
        text = line.strip(SPACE).decode()
        row = json.loads(
            text,
            object_pairs_hook=pairs,
            parse_int=number,
            parse_float=number,
            parse_constant=lambda _: needs(Repair.NAN),
        )
        json.dumps(row, ensure_ascii=False).encode()
    except RecursionError:
        return Source({}, unsure=True)
    except ValueError:
        return Source(None)
    if not isinstance(row, dict):
        return Source(None)
    return Source(row, unsure or _depth(text) > 200, frozenset(mended))


def _depth(text: str) -> int:
    return max(text.count("[["), text.count('{"a":'))


def same(one: Any, other: Any) -> bool:
    """Equal, each number in its own characters."""
    if isinstance(one, Number) or isinstance(other, Number):
        if not (isinstance(one, Number) and isinstance(other, Number)):
            return False
        return str(one) == str(other) or (not STRICT_DIGITS and float(one) == float(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


STRICT_DIGITS = True
"""Whether a number carried over must keep its characters, not just its value."""


def is_whole(value: Any) -> bool:
    digits = str(value).removeprefix("-")
    return isinstance(value, Number) and digits.isdigit() and len(digits) < 20 and -(2**63) <= int(value) < 2**63


def is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


HOLDS: dict[Holds, Callable[[Any], bool]] = {
    Holds.STRING: is_text,
    Holds.INTEGER: is_whole,
    Holds.BOOLEAN: lambda value: isinstance(value, bool),
    Holds.TEXT: lambda _: True,
    Holds.CHARACTERS: lambda value: not isinstance(value, dict | list),
    Holds.AS_IS: lambda _: True,
}


def by_columns(columns: tuple[Column, ...]) -> Callable[[dict[str, Any]], dict[str, Any] | None]:
    def judge(row: dict[str, Any]) -> dict[str, Any] | None:
        if not row.keys() <= {column.name for column in columns}:
            return None
        made = {}
        for column in columns:
            value = row.get(column.name)
            if not (column.nullable if value is None else HOLDS[column.holds](value)):
                return None
            made[column.name] = value
        return made

    return judge


def is_turn(value: Any, roles: list[str]) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"role", "content"}
        and is_text(value["role"])
        and value["role"] in roles
        and is_text(value["content"])
    )


def as_collinear(row: dict[str, Any]) -> dict[str, Any] | None:
    turns = row.get("conv_prefix")
    fits = (
        row.keys() <= {"conv_prefix", "response", "ground_truth", "context"}
        and isinstance(turns, list)
        and bool(turns)
        and all(is_turn(turn, ROLES) for turn in turns)
        and turns[-1]["role"] == "user"
        and is_turn(row.get("response"), ["assistant"])
        and ("ground_truth" not in row or is_whole(row["ground_truth"]))
        and ("context" not in row or is_text(row["context"]))
    )
    return row if fits else None


def _asked(question: Any, answer: Any, more: dict[str, Any]) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}]
    return {"conv_prefix": turns, "response": {"role": "assistant", "content": answer}, **more}


MAPPING = parse_mapping(
    {
        "conv_prefix": [{"role": {"const": "user"}, "content": '$["q\\"k"]'}],
        "response": {"role": {"const": "assistant"}, "content": "b"},
        "ground_truth": {"path": "id"},
    }
)


def from_mapping(row: dict[str, Any]) -> dict[str, Any] | None:
    if not is_text(row.get('q"k')) or not is_text(row.get("b")):
        return None
    truth = {} if row.get("id") is None else {"ground_truth": row["id"]}
    return as_collinear(_asked(row['q"k'], row["b"], truth))


# --- one case -------------------------------------------------------------------------------------------------------

Make = Callable[[Maker], bytes]
Judge = Callable[[dict[str, Any]], dict[str, Any] | None]

SHAPES: dict[str, list[Make]] = {
    "identity": [_collinear],
    "chat": [_chat],
    "sharegpt": [_shared],
    "alpaca": [_alpaca],
    "question-answer": [_pair("question", "answer")],
    "prompt-completion": [_pair("prompt", "completion"), _pair("prompt", "response"), _pair("input", "output")],
}


PACKS: list[Callable[[bytes], bytes]] = [bytes, gzip.compress, zstandard.ZstdCompressor().compress]


def _tables(number: int) -> list[tuple[str, int]]:
    """Columns, and the kind of each. There are few of these tables, since automata are made for each."""
    case = random.Random(number)
    return [(key, case.randrange(4)) for key in case.sample(KEYS, case.randrange(1, 5))]


def one(case: random.Random, scratch: Path) -> None:
    """Some rows in a file of some kind, encoded in some way."""
    trouble: Exception | None = None
    try:
        _one(case, scratch)
    except AssertionError:
        raise
    except Exception as other:  # noqa: BLE001 - the finding
        trouble = other
    path = scratch / "rows"
    assert trouble is None, f"{trouble!r} for {path.read_bytes() if path.exists() else 'the sample'!r:.3000}"


def _one(case: random.Random, scratch: Path) -> None:
    maker = Maker(case)
    max_row_bytes = case.choice([16 * 1024 * 1024, 16 * 1024 * 1024, 4096, 300])
    validation = Validation.TRUST if case.random() < 0.1 else Validation.FULL
    target = COLLINEAR
    judge: Judge = as_collinear
    options = RowOptions(max_row_bytes=max_row_bytes)
    keys = [('q"k', 0), ("b", 0), ("id", 1), ("x", 3)]
    make: Make = partial(_table, keys=keys)
    match case.randrange(4):
        case 0 | 1:
            target, make = NEBIUS, partial(_table, keys=_tables(case.randrange(12)))
            options = replace(options, nested=case.choice(list(Nested)), validation=validation)
        case 2:
            judge, options = from_mapping, replace(options, mapping=MAPPING)
        case _:
            name = case.choice(list(SHAPES))
            make = case.choice(SHAPES[name])
            options = replace(options, preset=name if case.random() < 0.5 else "auto")
    if validation is Validation.FULL and case.random() < 0.3:
        options = replace(options, repairs=tuple(repair for repair in Repair if case.random() < 0.7))
    share = case.choice([0.0, 0.05, 0.3])
    first = [make(maker) for _ in range(case.randrange(1, 4))]
    lines = [make(maker) for _ in range(case.choice([1, 5, 60, 200]))]
    lines = [*first, *(mutated(case, line) if case.random() < share else line for line in lines)]
    sample = b"\n".join(first if case.random() < 0.8 else lines)
    problem = None
    try:
        plan = decide(Block(sample, 0, len(sample)), target, options)
    except UsageProblem as refused:
        problem = str(refused)
    if problem is not None:
        assert problem.isprintable(), f"{problem!r} for {sample!r}"
        return
    if target is NEBIUS:
        judge = by_columns(plan.columns or ())
    elif plan.mapping is None:
        judge = as_collinear if plan.preset == "identity" else partial(by_preset, plan.preset)
    _check(case, scratch, plan, judge, lines)


def _check(case: random.Random, scratch: Path, plan: RowPlan, judge: Judge, lines: list[bytes]) -> None:
    is_array = case.random() < 0.3
    if is_array:
        data = b"[" + case.choice([b",", b",\n", b" , "]).join(lines) + b"]"
    else:
        data = case.choice([b"\n", b"\n", b"\r\n"]).join(lines) + case.choice([b"", b"\n"])
    path = scratch / "rows"
    path.write_bytes(case.choice(PACKS)(data))
    items, trouble = asyncio.run(_read(path, plan.max_row_bytes, case.choice([512, 128 * 1024])))
    assert trouble is None or trouble.replace(str(path), "").isprintable(), repr(trouble)
    encoder = plan.encoder()
    found: list[tuple[bytes, bytes | None, Changes]] = []
    for item in items:
        if isinstance(item, LongRow):
            assert encoder.reject_long(item).reason
            found.append((item.head, None, ()))
        else:
            found += _encoded(encoder, item)
    if is_array:
        whole = read(b'{"":' + data + b"}")
        if whole.row is not None and not whole.unsure and trouble is None:
            count = len(whole.row[""])
            assert len(found) == count, f"{len(found)} rows of {count} in {data!r}"
    elif trouble is None:
        _same_lines(data, [raw for raw, *_ in found])
    for raw, body, changes in found:
        _compare(plan, judge, raw, body, changes)


def _same_lines(data: bytes, found: list[bytes]) -> None:
    wanted = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    wanted = wanted if wanted[-1] else wanted[:-1]
    if len(found) != len(wanted) and 2 * sum(read(line).row is not None for line in wanted) <= len(wanted):
        return  # mostly no rows: the file was read as objects one after the other
    assert len(wanted) == len(found), f"{len(found)} rows of {len(wanted)} in {data!r}"
    for line, raw in zip(wanted, found, strict=True):
        bare = line.removesuffix(b"\r")
        assert raw in (bare, bare[:HEAD_BYTES]), f"{raw!r} was read for {line!r}"


async def _read(path: Path, max_row_bytes: int, block_bytes: int) -> tuple[list[Block | LongRow], str | None]:
    items: list[Block | LongRow] = []
    try:
        source = open_source([str(path)], max_row_bytes=max_row_bytes, block_bytes=block_bytes)
    except (SourceUnreadable, UsageProblem) as refused:
        return items, str(refused)
    cursor = source.cursor()
    try:
        async for item in cursor.read(0, 1 << 60):
            items.append(item)  # noqa: PERF401 - it may break off
    except SourceUnreadable as refused:
        return items, str(refused)
    finally:
        await cursor.aclose()
        source.close()
    return items, None


def _encoded(encoder: BlockEncoder, block: Block) -> list[tuple[bytes, bytes | None, Changes]]:
    """Each line of *block* and what it came to, told the same by both ways."""
    whole, rows = encoder.encode(block), encoder.encode_rows(block)
    assert whole.body == b",".join(row.body for row in rows if row.body is not None), block
    assert whole.rejects == tuple(row.reject for row in rows if row.reject is not None), block
    assert whole.lines == len(rows), block
    assert dict(whole.changes) == sum((Counter(dict(row.changes)) for row in rows), Counter()), block
    lines = block.data.split(b"\n")
    lines = lines[:-1] if not lines[-1] else lines
    found = []
    for line, row in zip(lines, rows, strict=True):
        raw = line.removesuffix(b"\r")
        if row.reject is not None:
            reject = row.reject
            assert reject.reason.isprintable(), f"{reject.reason!r} for {raw!r}"
            assert len(reject.reason) <= 500, f"{reject.reason!r} for {raw!r}"
            assert "cannot be encoded" not in reject.reason, f"{reject.reason!r} for {raw!r}"
            assert "could not be found out" not in reject.reason, f"{reject.reason!r} for {raw!r}"
            assert "does not fit the destination's shape" not in reject.reason, f"{reject.reason!r} for {raw!r}"
            assert reject.row in (raw, raw[:HEAD_BYTES]), f"{reject.row!r} for {raw!r}"
        else:
            assert (row.body is None) == (not raw.strip(SPACE)), f"{raw!r} is neither sent nor rejected"
        found.append((raw, row.body, row.changes))
    if whole.verbatim:
        assert whole.body == b",".join(line.strip(SPACE) for line in lines), block
    return found


def _compare(plan: RowPlan, judge: Judge, raw: bytes, body: bytes | None, changes: Changes) -> None:
    line = raw.strip(SPACE)
    if not line:
        return
    if plan.validation is Validation.TRUST and body is not None and body == line:
        return
    source = read(line, plan.repairs, doubled=plan.validation is Validation.TRUST)
    right = None if source.row is None else judge(source.row)
    too_long = len(raw) > plan.max_row_bytes
    if body is None:
        sent_for_sure = right is not None and not source.unsure and not too_long
        assert not sent_for_sure, f"rejected, but it is good: {raw!r} ({plan.describe()})"
        return
    assert not too_long, f"sent, but longer than the limit: {raw!r}"
    if source.unsure:
        return
    if plan.validation is not Validation.TRUST:
        assert right is not None, f"sent, but it is not good: {raw!r} as {body!r} ({plan.describe()})"
        assert {kind for kind, _ in changes} & set(Repair) == source.mended, f"{raw!r}: {changes}"
    if body == line or right is None:
        return
    made = read(body)
    assert made.row is not None, f"{body!r} of {raw!r} is no row"
    texts, characters = (
        {column.name for column in plan.columns or () if column.holds is holds}
        for holds in (Holds.TEXT, Holds.CHARACTERS)
    )
    for name in texts & made.row.keys():
        if made.row[name] is not None:
            made.row[name] = read(b'{"":' + made.row[name].encode() + b"}").row[""]  # type: ignore[index]
    for name in characters & made.row.keys():
        if not is_text(right[name]) and right[name] is not None:
            made.row[name] = read(b'{"":' + made.row[name].encode() + b"}").row[""]  # type: ignore[index]
    assert same(made.row, right), f"{raw!r} was sent as {body!r} ({plan.describe()})"
    meant = as_meant(plan, line, body)
    assert meant == body, f"{raw!r} was sent as {body!r}, and means {meant!r} ({plan.describe()})"
