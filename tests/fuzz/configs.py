"""Configs, flags and variables of every kind: each makes an upload that can be carried out, or is refused with one line."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from bulkup.cli.choices import choose
from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.destinations.nebius.rows import wire_schema
from bulkup.encoding import decide
from bulkup.encoding.plan import RowPlan
from bulkup.errors import UsageProblem
from bulkup.journal.facts import UPLOAD
from bulkup.model import Block
from bulkup.rows.mapping import parse_mapping
from bulkup.run.build import row_options
from bulkup.run.wish import Upload, run_id

__all__ = ["one"]

SPACE_ID = "8f14e45f-ceea-467f-a8f6-0f1e2d3c4b5a"
TOP = [
    *(
        "name",
        "state_dir",
        "on_doubt",
        "settle_after_s",
        "on_source_change",
        "append",
        "retry_for_s",
        "drain_timeout_s",
    ),
    *(
        "max_row_bytes",
        "validation",
        "memory_bytes",
        "workers",
        "connect_timeout_s",
        "stall_timeout_s",
        "to",
        "unheard",
    ),
]
IN_LANE = [
    *("url", "token_file", "preset", "drop", "max_chunk_bytes", "max_chunk_rows", "concurrency", "requests_per_minute"),
    *(
        "rows_per_second",
        "bytes_per_second",
        "folder",
        "ai_project_id",
        "schema",
        "columns",
        "nested",
        "pending_timeout_s",
    ),
    *("space_id", "mapping", "strange"),
]
FLAGS = [
    *(
        "name",
        "state_dir",
        "on_doubt",
        "settle_after",
        "retry_for",
        "max_rejects",
        "workers",
        "validation",
        "preset",
        "drop",
    ),
    *(
        "max_chunk_bytes",
        "max_chunk_rows",
        "concurrency",
        "requests_per_minute",
        "bytes_per_second",
        "folder",
        "space_id",
    ),
    *("nebius_url", "collinear_url", "ai_project_id", "append", "on_source_change", "drain_timeout"),
]
WORDS = [
    *(
        "",
        "x",
        "a.b",
        "nebius",
        "collinear",
        "auto",
        "chat",
        "identity",
        "text",
        "as-is",
        "full",
        "trust",
        "hold",
        "5%",
        "nan%",
    ),
    *(
        "nan",
        "inf",
        "-1",
        "0",
        "1",
        "9" * 400,
        "9" * 5000,
        "8MiB",
        "10m",
        "1e400",
        "true",
        "\udcff",
        "a\nb",
        "\x00",
        "\u202e",
    ),
    *(
        SPACE_ID,
        "https://x.example",
        "http://[",
        "a" * 300,
        "../..",
        "integer",
        "string?",
        "$.a[0]",
        "a[" + "9" * 5000 + "]",
        "$",
    ),
    *('$["\\x"]', '$["\\ud800"]', '$["q\\"k"]', "turns[-1].text", "0_1", "１２"),
]
REGEXES = [
    *(
        r"(a+)+$",
        r"(\d+)",
        "(",
        "()()",
        "(a{99999999999})",
        "(" * 150 + "a" + ")" * 150,
        "[[a]](b)",
        r"(\N{DASH})",
        "(?i)(x)",
    ),
    *("(?<=a+)(b)", "(?P<n>a)(?(n)b|c)", "\udcff(a)", "a" * 5000 + "(b)", "(" * 5000),
]
SAMPLE = b'{"a":"1","b":2,"q\\"k":null,"x":{"y":[1.5]}}\n{"a":"2","b":3,"q\\"k":"z","x":{"y":[]}}\n{"messages":[]}\n'


def _value(case: random.Random, depth: int = 0) -> Any:
    match case.randrange(12 if depth < 3 else 8):
        case 0 | 1 | 2:
            return case.choice(WORDS)
        case 3:
            return case.choice([0, 1, -1, 16, 2**31, 2**63, 2**64, -(2**63) - 1, 1 << 20_000])
        case 4:
            return case.choice([0.0, 0.5, -1.0, 1e308, float("inf"), float("nan"), -0.0])
        case 5 | 6:
            return case.choice([True, False])
        case 7:
            return Raw(case.choice(["1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "9" * 5000, "0x" + "f" * 20_000]))
        case 8 | 9:
            return [_value(case, depth + 1) for _ in range(case.randrange(4))]
        case _:
            return {
                case.choice([*WORDS[:8], "name", "item", "const", "path"]): _value(case, depth + 1) for _ in range(3)
            }


class Raw(str):
    """TOML as it stands."""

    __slots__ = ()


def _mapping(case: random.Random, depth: int = 0) -> Any:
    match case.randrange(7 if depth < 4 else 3):
        case 0 | 1:
            return case.choice(["a", "b", "x.y[0]", '$["q\\"k"]', *WORDS])
        case 2:
            table = {"path": case.choice(["a", "b", "x"]), "regex": case.choice(REGEXES)}
            return {
                **table,
                **case.choice([{}, {"cast": "integer"}, {"default": _value(case, 2)}, {"cast": _value(case, 2)}]),
            }
        case 3:
            return {"const": _value(case, depth)}
        case 4:
            return [_mapping(case, depth + 1) for _ in range(case.randrange(3))]
        case 5:
            deep: Any = "a"
            for _ in range(case.choice([3, 60, 64, 70, 400, 3000])):
                deep = [deep] if case.random() < 0.5 else {"k": deep}
            return deep
        case _:
            return {case.choice(["k", 'q"k', "a\nb", "日", ""]): _mapping(case, depth + 1) for _ in range(2)}


def _toml(value: Any) -> str:
    """*value* as TOML on one line; built from the inside out, so that it may be deep."""
    done: list[str] = []
    left: list[Any] = [value]
    while left:
        part = left.pop()
        if isinstance(part, tuple):
            opening, keys, count, closing = part
            items = [done.pop() for _ in range(count)][::-1]
            shown = (
                [f"{json.dumps(key)} = {item}" for key, item in zip(keys, items, strict=True)]
                if keys is not None
                else items
            )
            done.append(opening + ", ".join(shown) + closing)
        elif isinstance(part, list):
            left += [("[", None, len(part), "]"), *reversed(part)]
        elif isinstance(part, dict):
            left += [("{ ", list(part), len(part), " }"), *reversed(part.values())]
        elif isinstance(part, bool):
            done.append("true" if part else "false")
        elif isinstance(part, Raw):
            done.append(part)
        elif isinstance(part, str):
            done.append(json.dumps(part))
        else:
            done.append(hex(part) if isinstance(part, int) and part > 0 else repr(part))
    return done[0]


def _file(case: random.Random) -> bytes:
    if case.random() < 0.1:
        deep = case.choice([50, 100, 1000, 3000, 100_000])
        dotted = ".".join("a" * deep)
        return case.choice(["a = " + "[" * deep + "]" * deep, f"{dotted} = 1", f"[{dotted}]"]).encode()
    lines = [f"{key} = {_toml(_value(case))}" for key in case.sample(TOP, case.randrange(3))]
    for lane in case.sample(["nebius", "collinear"], case.randrange(3)):
        lines.append(f"[{lane}]")
        for key in case.sample(IN_LANE, case.randrange(4)):
            value = _mapping(case) if key == "mapping" else _value(case)
            if key in ("mapping", "schema", "columns") and not isinstance(value, dict):
                value = {case.choice(["a", "b", 'q"k', "new"]): value}
            lines.append(f"{key} = {_toml(value)}")
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    if case.random() < 0.2 and data:
        at = case.randrange(len(data))
        data = data[:at] + bytes([case.randrange(256)]) * case.choice([0, 1]) + data[at + case.choice([0, 1, 9]) :]
    return data


def one(case: random.Random, scratch: Path) -> None:
    """A config, some flags and some variables."""
    path = scratch / "config.toml"
    path.write_bytes(_file(case))
    given: dict[str, Any] = {"to": [case.choice(["nebius", "collinear", "nebius,collinear"])], "space_id": SPACE_ID}
    if case.random() < 0.9:
        given["config"] = str(path)
    for flag in case.sample(FLAGS, case.randrange(3)):
        word = case.choice(WORDS)
        given[flag] = [word, word] if flag == "drop" else word
    variables = {"BULKUP_" + case.choice(FLAGS).upper(): case.choice(WORDS) for _ in range(case.randrange(2))}
    shown = f"{path.read_bytes()!r:.3000}, {given}, {variables}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _refused_or(lambda: _carried_out(choose(["rows.jsonl"], given, variables)), shown)
        table = {"k": _mapping(case)}
        _refused_or(lambda: parse_mapping(table), f"{_toml(table):.3000}")


def _refused_or(work: Callable[[], object], shown: str) -> None:
    problem: str | None = None
    trouble: Exception | None = None
    try:
        work()
    except UsageProblem as refused:
        problem = str(refused)
    except Exception as other:  # noqa: BLE001 - the finding
        trouble = other
    assert trouble is None, f"{trouble!r} for {shown}"
    if problem is not None:
        assert problem.isprintable(), f"{problem!r} for {shown}"
        assert len(problem) < 8000, f"{problem[:200]!r} for {shown}"


def _carried_out(upload: Upload) -> None:
    record = UPLOAD.of_text(UPLOAD.to_text(upload.to_record()))
    assert record is not None
    assert Upload.of_record(record) == upload
    assert run_id(upload) == run_id(upload)
    for settings in upload.destinations:
        target = NEBIUS if type(settings).__name__ == "Nebius" else COLLINEAR
        settings.dataset(upload.settings.name)
        plan = decide(Block(SAMPLE, 0, len(SAMPLE)), target, row_options(settings, upload.settings))
        assert RowPlan.from_json(json.loads(json.dumps(plan.to_json())), target) == plan
        orjson.dumps(wire_schema(plan.columns or ()))
        assert plan.describe().isprintable()
        encoder = plan.encoder()
        assert encoder.encode(Block(SAMPLE, 0, len(SAMPLE))).lines == SAMPLE.count(b"\n")
