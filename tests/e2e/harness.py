"""What the end-to-end tests share: the real dataset, an emulator in another process, and the comparison that counts."""

from __future__ import annotations

import functools
import gzip
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import orjson

from bulkup import Collinear, Nebius
from bulkup.account.finished import Event
from bulkup.account.receipt import Receipt
from bulkup.emulator import ServiceName, Spawned
from bulkup.event import Note
from bulkup.run.interrupt import Interrupt
from bulkup.run.story import execute
from bulkup.run.wish import Upload
from bulkup.settings.config import RunSettings

__all__ = [
    "SPACE",
    "TOKENS",
    "WORKERS",
    "Bench",
    "as_collinear",
    "canonical",
    "gsm8k_rows",
    "one",
    "twice",
    "write_rows",
]

SPACE = "3c90c3cc-0d44-4b50-8888-8dd25736052a"
TOKENS = {"NEBIUS_API_KEY": "nb-token-5f0c8d3a91", "COLLINEAR_API_KEY": "co-token-77aa10c2e4"}
DATA = Path(__file__).parents[2] / "bulkup" / "demo_data" / "gsm8k-train.jsonl.gz"

WORKERS = {"workers": os.environ["BULKUP_WORKERS"]} if "BULKUP_WORKERS" in os.environ else {}
"""Every test can be run with worker processes: `BULKUP_WORKERS=2 python -m pytest tests/e2e`."""

Row = dict[str, Any]
_WRITTEN = json.JSONEncoder(ensure_ascii=False).encode


def gsm8k_rows(count: int | None = None) -> list[Row]:
    """The first *count* rows of the real dataset (all 7,473 by default)."""
    return [dict(row) for row in _gsm8k()[:count]]


@functools.cache
def _gsm8k() -> tuple[Row, ...]:
    with gzip.open(DATA, "rt", encoding="utf-8") as stream:
        return tuple(map(json.loads, stream))


async def twice(interrupt: Interrupt) -> None:
    """Ctrl-C, and again when the first has been heard: before that it would count as the same one."""
    interrupt.request()
    await interrupt.drain_requested()
    interrupt.request()


def write_rows(path: Path, rows: Iterable[Row]) -> Path:
    """*rows* as JSON lines."""
    listed = list(rows)
    text = _gsm8k_text(len(listed)) if _are_gsm8k(listed) else _text(listed)
    path.write_text(text, encoding="utf-8")
    return path


def _are_gsm8k(rows: Sequence[Row]) -> bool:
    """Whether they are its first rows, as most tests have them: what is made of these is made once."""
    known = _gsm8k()[: len(rows)]
    return tuple(rows) == known and [*map(tuple, rows)] == [*map(tuple, known)]  # the order of the keys is another text


@functools.cache
def _gsm8k_text(count: int) -> str:
    return _text(_gsm8k()[:count])


def _text(rows: Iterable[Row]) -> str:
    return "".join(_WRITTEN(row) + "\n" for row in rows)


@functools.cache
def _gsm8k_expected(service: str, count: int) -> Counter[str]:
    return _expected(service, _gsm8k()[:count])


def _expected(service: str, rows: Iterable[Row]) -> Counter[str]:
    make: Callable[[Row], Row] = as_collinear if service == "collinear" else dict
    return canonical(make(row) for row in rows)


def as_collinear(row: Row) -> Row:
    """What the question-answer preset makes of a row."""
    return {
        "conv_prefix": [{"role": "user", "content": row["question"]}],
        "response": {"role": "assistant", "content": row["answer"]},
    }


def canonical(rows: Iterable[Row]) -> Counter[str]:
    """*rows* as a multiset."""
    return Counter(map(one, rows))


def one(row: Row) -> str:
    """What stands for *row* in a multiset: the same for rows that are equal, whatever the order of their keys."""
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode()


class Bench:
    """One source, one state directory and one emulator, driven through the engine in this process."""

    def __init__(self, emulator: Spawned, folder: Path, rows: Sequence[Row]) -> None:
        self.emulator = emulator
        self.folder = folder
        self.rows = rows
        self.source = write_rows(folder / "rows.jsonl", rows)
        self.notes: list[Note] = []

    def nebius(self, **chosen: Any) -> Nebius:
        return Nebius.model_validate(
            {"url": self.emulator.url, "folder": "/tests", "max_chunk_bytes": 200_000, **chosen}
        )

    def collinear(self, **chosen: Any) -> Collinear:
        return Collinear.model_validate(
            {"url": self.emulator.url, "space_id": SPACE, "max_chunk_bytes": 200_000, **chosen}
        )

    def upload(self, *destinations: Nebius | Collinear, source: Path | None = None, **settings: Any) -> Upload:
        chosen = {**WORKERS, "name": "rows", "state_dir": self.folder / "state", "settle_after_s": 0.0, **settings}
        return Upload(
            (str(source or self.source),),
            destinations or (self.nebius(), self.collinear()),
            RunSettings.model_validate(chosen),
        )

    async def run(
        self,
        *destinations: Nebius | Collinear,
        interrupt: Interrupt | None = None,
        source: Path | None = None,
        **settings: Any,
    ) -> Receipt:
        def tell(event: Event) -> None:
            if isinstance(event, Note):
                self.notes.append(event)

        return await execute(self.upload(*destinations, source=source, **settings), tell=tell, interrupt=interrupt)

    def stored(self, service: str) -> Counter[str]:
        """What the service holds, as a multiset of rows."""
        return canonical(
            json.loads(row) if isinstance(row, str | bytes) else row
            for row in self.emulator.rows(cast("ServiceName", service))
        )

    def expected(self, service: str, rows: Sequence[Row] | None = None) -> Counter[str]:
        """What the service must hold of *rows* (all of them by default)."""
        wanted = self.rows if rows is None else rows
        is_known = _are_gsm8k(wanted)
        return Counter(_gsm8k_expected(service, len(wanted))) if is_known else _expected(service, wanted)
