"""How fast blocks are made ready to send, without any I/O, beside a bare codec that makes the same rows.

    python -m benchmarks.codec [--rounds N] [--size SIZE] [--path NAME]

The *bare codec* of a path is what one would write by hand for just this shape (`benchmarks.bare`).

One JSON line a path on standard output: the median MB/s of source of each, with min and max, and the median of the rounds'
ratios. Both are measured in CPU time of this process, in turn, in every round.
"""

from __future__ import annotations

import argparse
import gzip
import json
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

from benchmarks import bare
from benchmarks.rows import Shape, Text, parse_size, write_rows
from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions, Target, decide
from bulkup.model import BLOCK_BYTES, Block, Validation
from bulkup.rows.mapping import parse_mapping

__all__ = ["PATHS", "Case", "compare"]

ROOT = Path(__file__).parent.parent


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
    bare: bare.Codec
    options: Callable[[], RowOptions] = field(default=RowOptions)


def _of(shape: Shape) -> Iterable[tuple[str, Callable[[int], bytes]]]:
    return [(str(text), partial(_written, shape, text)) for text in Text]


PATHS = {
    path.name: path
    for path in (
        *(Case(f"identity, {t}", s, COLLINEAR, bare.identity) for t, s in _of(Shape.COLLINEAR)),
        *(
            Case(f"identity, trust, {t}", s, COLLINEAR, bare.trust, lambda: RowOptions(validation=Validation.TRUST))
            for t, s in _of(Shape.COLLINEAR)
        ),
        Case("question and answer (GSM8K)", _gsm8k, COLLINEAR, bare.question_answer),
        Case(
            "mapping with a regex (GSM8K)",
            _gsm8k,
            COLLINEAR,
            bare.with_a_regex,
            lambda: RowOptions(mapping=parse_mapping(_gsm8k_mapping())),
        ),
        *(Case(f"chat into Collinear, {t}", s, COLLINEAR, bare.chat) for t, s in _of(Shape.CHAT)),
        *(Case(f"messages as text for Nebius, {t}", s, NEBIUS, bare.text) for t, s in _of(Shape.CHAT)),
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
