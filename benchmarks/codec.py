"""How fast blocks are made ready to send, without any I/O, beside a bare codec that makes the same rows.

    python -m benchmarks.codec [--rounds N] [--size SIZE] [--path NAME]

The *bare codec* of a path is what one would write for just this shape: msgspec's line decoder into structs, the mapping in one
list comprehension (with the regex and the cast, where the mapping has one), msgspec's encoder. It checks no line breaks, finds
no bad row, and takes one shape only. Where rows are sent as their own bytes it is the typed decoder alone. Under `trust`
nothing is decoded, so there the beside is a copy of the block with commas for its breaks.

One JSON line a path on standard output: the median MB/s of source of each, with min and max, and the median of the rounds'
ratios. Both are measured in CPU time of this process, in turn, in every round.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import statistics
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.rows import Shape, Text, parse_size, write_rows
from bulkup.destinations.collinear_rows import COLLINEAR, CollinearRow
from bulkup.destinations.nebius_rows import NEBIUS
from bulkup.encoding import RowOptions, Target, decide
from bulkup.mapping import parse_mapping
from bulkup.model import BLOCK_BYTES, Block, Validation

__all__ = ["PATHS", "Case", "compare"]

ROOT = Path(__file__).parent.parent
_NUMBER = re.compile(r"####\s*(-?[\d,]+)")

Codec = Callable[[bytes], bytes]
_encode = msgspec.json.Encoder().encode


class _Turn(msgspec.Struct, gc=False):
    role: str
    content: str


class _Made(msgspec.Struct, gc=False, omit_defaults=True):
    conv_prefix: list[_Turn]
    response: _Turn
    ground_truth: int | None = None


class _QuestionAnswer(msgspec.Struct, gc=False):
    question: str
    answer: str


class _Chat(msgspec.Struct, gc=False):
    messages: list[_Turn]


class _Messages(msgspec.Struct, gc=False):
    messages: msgspec.Raw


class _Text(msgspec.Struct, gc=False):
    messages: str


_identity = msgspec.json.Decoder(CollinearRow).decode_lines
_answers = msgspec.json.Decoder(_QuestionAnswer).decode_lines
_chats = msgspec.json.Decoder(_Chat).decode_lines
_messages = msgspec.json.Decoder(_Messages).decode_lines


def _bare_identity(data: bytes) -> bytes:
    _identity(data)
    return data


def _bare_trust(data: bytes) -> bytes:
    return data.replace(b"\n", b",")


def _bare_question_answer(data: bytes) -> bytes:
    return _encode([_Made([_Turn("user", r.question)], _Turn("assistant", r.answer)) for r in _answers(data)])


def _bare_regex(data: bytes) -> bytes:
    return _encode(
        [
            _Made([_Turn("user", r.question)], _Turn("assistant", r.answer), _number(_NUMBER.search(r.answer)))
            for r in _answers(data)
        ]
    )


def _number(found: re.Match[str] | None) -> int | None:
    return None if found is None else int(found[1].replace(",", ""))


def _bare_chat(data: bytes) -> bytes:
    return _encode([_Made(r.messages[:-1], r.messages[-1]) for r in _chats(data)])


def _bare_text(data: bytes) -> bytes:
    return _encode([_Text(str(r.messages, "utf-8")) for r in _messages(data)])


def _gsm8k(_: int) -> bytes:
    return gzip.decompress((ROOT / "bulkup/demo_data/gsm8k-train.jsonl.gz").read_bytes())


def _written(shape: Shape, text: Text, size: int) -> bytes:
    with tempfile.TemporaryDirectory(prefix="bulkup-benchmark-") as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(path, shape, size, text)
        return path.read_bytes()


def _gsm8k_mapping() -> dict[str, Any]:
    config = tomllib.loads((ROOT / "configs/gsm8k.toml").read_text())
    mapping: dict[str, Any] = config["collinear"]["mapping"]
    return mapping


@dataclass(frozen=True, slots=True)
class Case:
    """One way of the rows: what is read, how it is made, and the bare codec beside it. *source* takes a size in bytes, which
    GSM8K does not heed."""

    name: str
    source: Callable[[int], bytes]
    target: Target
    bare: Codec
    options: Callable[[], RowOptions] = field(default=RowOptions)


def _of(shape: Shape) -> Iterable[tuple[str, Callable[[int], bytes]]]:
    return [(str(text), partial(_written, shape, text)) for text in Text]


PATHS = {
    path.name: path
    for path in (
        *(Case(f"identity, {t}", s, COLLINEAR, _bare_identity) for t, s in _of(Shape.COLLINEAR)),
        *(
            Case(f"identity, trust, {t}", s, COLLINEAR, _bare_trust, lambda: RowOptions(validation=Validation.TRUST))
            for t, s in _of(Shape.COLLINEAR)
        ),
        Case("question and answer (GSM8K)", _gsm8k, COLLINEAR, _bare_question_answer),
        Case(
            "mapping with a regex (GSM8K)",
            _gsm8k,
            COLLINEAR,
            _bare_regex,
            lambda: RowOptions(mapping=parse_mapping(_gsm8k_mapping())),
        ),
        *(Case(f"chat into Collinear, {t}", s, COLLINEAR, _bare_chat) for t, s in _of(Shape.CHAT)),
        *(Case(f"messages as text for Nebius, {t}", s, NEBIUS, _bare_text) for t, s in _of(Shape.CHAT)),
    )
}
"""Every path by its name."""


def compare(path: Case, *, size: int, rounds: int) -> dict[str, object]:
    """Encoder and bare codec on *size* bytes of the path's rows, in turn. Raises `ValueError` where a row is refused."""
    data = path.source(size)
    blocks = _blocks(data)
    encoder = decide(blocks[0], path.target, path.options()).encoder()
    if any(made.rejects for made in map(encoder.encode, blocks)):
        raise ValueError(f"{path.name}: the encoder refuses rows that it should take")
    raw = [block.data for block in blocks]
    ours, bare = [], []
    for _ in range(rounds):
        ours.append(_speed(lambda: list(map(_encoded_size, map(encoder.encode, blocks))), len(data)))
        bare.append(_speed(lambda: list(map(len, map(path.bare, raw))), len(data)))
    return {
        "path": path.name,
        "rounds": rounds,
        "source_bytes": len(data),
        "encoder_MB_s": _figures(ours),
        "bare_MB_s": _figures(bare),
        "ratio": round(statistics.median(a / b for a, b in zip(ours, bare, strict=True)), 3),
    }


def _encoded_size(made: Any) -> int:
    return len(made.body)


def _blocks(data: bytes) -> list[Block]:
    blocks, start = [], 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + BLOCK_BYTES) + 1
        blocks.append(Block(data[start:end], start, end))
        start = end
    return blocks


def _speed(work: Callable[[], object], size: int) -> float:
    began = time.process_time()
    work()
    return size / 1e6 / max(time.process_time() - began, 1e-9)


def _figures(speeds: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(speeds)), "min": round(min(speeds)), "max": round(max(speeds))}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codec", description=__doc__.splitlines()[0])
    parser.add_argument("--path", action="append", choices=list(PATHS), help="may be repeated; all by default")
    parser.add_argument("--size", type=parse_size, default=16_000_000, help="of generated rows; 16MB by default")
    parser.add_argument("--rounds", type=int, default=7, help="7 by default")
    wanted = parser.parse_args()
    for name in wanted.path or PATHS:
        sys.stdout.write(json.dumps(compare(PATHS[name], size=wanted.size, rounds=wanted.rounds)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
