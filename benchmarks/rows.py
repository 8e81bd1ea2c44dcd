"""Rows to upload, of several shapes and with unicode: the same bytes for the same size, on every machine.

    python -m benchmarks.rows --shape chat --size 1GB --out rows.jsonl

One block of 16 MB is composed of varied conversations: four in ten are English in plain ASCII, two English with typographic
signs, the others German, Russian, Chinese and Hindi (what is not ASCII costs a decoder more than twice as much). The file is
that block again and again, each time with other row ids (of one width, so that it is done by the block). So a smaller file is a
prefix of a larger one of its shape. It is on disk, not only in the page cache, when this ends. `--pack` writes it gzipped as well.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Any

__all__ = ["BLOCK_BYTES", "Shape", "Text", "pack", "parse_size", "write_rows"]

BLOCK_BYTES = 16_000_000

_REPEAT = b"~~~~~~~~"
"""Stands in each row's id where the number of the block's repetition goes."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}

_WORDS = {
    "en": "the model reads a long question about large caches and answers step by step with care because each row matters "
    "when data moves between services that count check store and bill tokens so it looks again at every detail",
    "en, typographic": "the naïve café – “as we’ve said” – isn’t what the reader’s rows are about: it’s №42 that’s “in "
    "doubt”, and they’d rather have it settled by evidence than quietly sent again",
    "de": "das Modell liest eine längere Frage über große Datensätze und erklärt für jeden Schritt weshalb die Größe "
    "der Anfrage zählt danach prüft es die Übertragung schließt Lücken und öffnet höchstens vier Verbindungen",
    "ru": "модель читает вопрос о больших наборах данных и подробно объясняет каждый шаг решения потому что порядок "
    "строк важен при переносе между службами которые считают проверяют и хранят записи",
    "zh": "模型 读取 一个 关于 大型 数据集 的 问题 并且 逐步 解释 每个 步骤 因为 行 的 顺序 在 服务 之间 传输 时 "
    "非常 重要 然后 检查 结果 保存 记录",
    "hi": "मॉडल बड़े डेटा के बारे में प्रश्न पढ़ता है और हर चरण को ध्यान से समझाता है क्योंकि पंक्तियों का क्रम महत्वपूर्ण है 🚀 🙂",
}
_LANGUAGES = ("en",) * 4 + ("en, typographic",) * 2 + ("de", "ru", "zh", "hi")
_ENGLISH = ("en",)
_BREAKS = {" ": 80, ", ": 8, ". ": 8, ".\n\n": 2, '" - "': 1, ':\n```python\nprint(f"{x!r}")\n```\n': 1}


class Shape(StrEnum):
    """The keys of a row."""

    CHAT = "chat"
    """`messages`, the last from the assistant."""

    COLLINEAR = "collinear"
    """`conv_prefix` and `response`; every third row has a `ground_truth`."""

    FLAT = "flat"
    """About 1 KB of `prompt` and `completion`, and a whole number: what Nebius takes as it is."""

    SMALL = "small"
    """About 150 bytes of `question` and `answer`."""

    WIDE = "wide"
    """About 2 KB in 40 keys, objects and arrays among them."""

    @property
    def first_key(self) -> str:
        """The key that begins each row."""
        return {
            "chat": "messages",
            "collinear": "conv_prefix",
            "flat": "prompt",
            "small": "question",
            "wide": "record",
        }[self]


class Text(StrEnum):
    """What the rows say."""

    MIXED = "mixed"
    """Six languages, as above."""

    ENGLISH = "english"
    """Plain ASCII, as most English chat data is."""


def parse_size(text: str) -> int:
    """Bytes, from a number with or without a unit: 250KB, 8MB, 1GB, 1GiB. Raises ValueError."""
    unit = text.lstrip("0123456789.").strip()
    number = text[: len(text) - len(unit)] if unit else text
    factor = _UNITS.get(unit.upper().removesuffix("B"))
    if factor is None or not number.strip() or float(number) <= 0:
        raise ValueError(f"{text!r} is not a size; write one such as 8MB or 1GB")
    return int(float(number) * factor)


def write_rows(path: Path, shape: Shape, size: int, text: Text = Text.MIXED) -> int:
    """Write at least *size* bytes of whole rows, by less than one row more, and return the number of rows."""
    block = _block(shape, min(size, BLOCK_BYTES), _LANGUAGES if text is Text.MIXED else _ENGLISH)
    rows = written = repeat = 0
    with path.open("wb") as out:
        while written < size:
            data = block.replace(_REPEAT, b"%08d" % repeat)
            if written + len(data) > size:
                data = data[: data.index(b"\n", size - written - 1) + 1]
            out.write(data)
            rows += data.count(b"\n")
            written += len(data)
            repeat += 1
        out.flush()
        os.fsync(out.fileno())
    return rows


def _block(shape: Shape, size: int, languages: tuple[str, ...]) -> bytes:
    import orjson  # the benchmark's parent process stays small: it reads a size and a shape, and makes no rows

    chance = random.Random(20_260_101)
    rows: list[bytes] = []
    length = 0
    while length < size:
        rows.append(orjson.dumps(_row(shape, chance, len(rows), languages), option=orjson.OPT_APPEND_NEWLINE))
        length += len(rows[-1])
    return b"".join(rows)


def _row(shape: Shape, chance: random.Random, number: int, languages: tuple[str, ...]) -> dict[str, Any]:
    row_id = f"{_REPEAT.decode()}-{number:06d}"
    if shape is Shape.SMALL or shape is Shape.FLAT:
        return _question(shape, chance, row_id, number, languages)
    if shape is Shape.WIDE:
        return _record(chance, row_id, number, languages)
    turns = _conversation(chance, row_id, languages)
    if shape is Shape.CHAT:
        return {"messages": turns}
    row: dict[str, Any] = {"conv_prefix": turns[:-1], "response": turns[-1]}
    return row | {"ground_truth": number % 6 - 1} if number % 3 == 0 else row


def _question(
    shape: Shape, chance: random.Random, row_id: str, number: int, languages: tuple[str, ...]
) -> dict[str, Any]:
    words = _WORDS[chance.choice(languages)].split()
    if shape is Shape.SMALL:
        asked, answered = _text(chance, words, 50), _text(chance, words, 40)
        return {"question": f"[{row_id}] {asked}", "answer": answered}
    size = chance.triangular(200, 2000, 350)
    asked, answered = _text(chance, words, size / 3), _text(chance, words, size * 2 / 3)
    return {"prompt": f"[{row_id}] {asked}", "completion": answered, "tokens": number % 997}


def _record(chance: random.Random, row_id: str, number: int, languages: tuple[str, ...]) -> dict[str, Any]:
    words = _WORDS[chance.choice(languages)].split()
    row: dict[str, Any] = {"record": row_id}
    row |= {f"text_{i:02d}": _text(chance, words, 60) for i in range(10)}
    row |= {f"count_{i:02d}": (number * 31 + i) % 10_007 for i in range(10)}
    row |= {f"share_{i:02d}": chance.randrange(10**6) / 10**6 + 0.5 for i in range(7)}
    row |= {f"flag_{i:02d}": chance.random() < 0.5 for i in range(4)}
    row |= {f"tags_{i:02d}": chance.choices(words, k=4) for i in range(4)}
    row |= {
        f"place_{i:02d}": {"name": chance.choice(words), "at": [number % 90, i], "by": {"who": chance.choice(words)}}
        for i in range(4)
    }
    return row


def _conversation(chance: random.Random, row_id: str, languages: tuple[str, ...]) -> list[dict[str, str]]:
    words = _WORDS[chance.choice(languages)].split()
    roles = ["system"] if chance.random() < 0.3 else []
    roles += ["user", "assistant"] * chance.choice((1, 1, 1, 2))
    weights = [0.3 if role == "system" else 1.0 if role == "user" else 2.0 for role in roles]
    text_bytes = chance.triangular(200, 2000, 350) / sum(weights)
    turns = [
        {"role": role, "content": _text(chance, words, text_bytes * weight)}
        for role, weight in zip(roles, weights, strict=True)
    ]
    turns[0]["content"] = f"[{row_id}] {turns[0]['content']}"
    return turns


def _text(chance: random.Random, words: list[str], size: float) -> str:
    mean = 1 + sum(len(word.encode()) for word in words) / len(words)
    count = max(1, int(size / mean))
    chosen = chance.choices(words, k=count)
    breaks = chance.choices(list(_BREAKS), list(_BREAKS.values()), k=count)
    return "".join(part for pair in zip(chosen, breaks, strict=True) for part in pair).strip()


def pack(path: Path, packed: Path) -> None:
    """Write *path* gzipped to *packed*, at the library's level 2."""
    from isal import igzip

    with path.open("rb") as rows, igzip.open(packed, "wb", compresslevel=2) as out:  # type: ignore[no-untyped-call]
        shutil.copyfileobj(rows, out, 1024 * 1024)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rows", description="Write rows to upload.")
    parser.add_argument("--shape", type=Shape, choices=list(Shape), required=True)
    parser.add_argument("--size", type=parse_size, required=True)
    parser.add_argument("--text", type=Text, choices=list(Text), default=Text.MIXED)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pack", type=Path, help="write the same there, gzipped")
    wanted = parser.parse_args()
    print(write_rows(wanted.out, wanted.shape, wanted.size, wanted.text))
    if wanted.pack is not None:
        pack(wanted.out, wanted.pack)


if __name__ == "__main__":
    main()
