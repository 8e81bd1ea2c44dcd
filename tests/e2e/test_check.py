"""What `check` says is what `upload` then does, to the row, the request and the dataset, over sources with dirt in them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bulkup import Collinear, Nebius
from bulkup.errors import BulkupError
from bulkup.run.checking import check
from bulkup.scan import spread
from bulkup.settings.run import RejectLimit
from tests.e2e.harness import Bench

NO_LIMIT = RejectLimit(percent=100)
FEW, ALL = [0, 3, 5, 81], [1, 2, 4, *range(6, 40)]
DATASETS = re.compile(r"(about )?([\d,]+) datasets, named")


@pytest.fixture(autouse=True)
def _in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is scanned in one part otherwise is scanned in several."""
    monkeypatch.setattr(spread, "PART_BYTES", 16 * 1024)
    monkeypatch.setattr(spread, "LEAST_BYTES", 16 * 1024)


def turn(rng: random.Random, role: str) -> dict[str, Any]:
    return {"role": role, "content": "".join(rng.choices("abcde é語\n", k=rng.randint(1, 200)))}


def chat(rng: random.Random) -> dict[str, Any]:
    return {"messages": [turn(rng, "user"), turn(rng, "assistant")]}


def pair(rng: random.Random) -> dict[str, Any]:
    return {"question": turn(rng, "user")["content"], "answer": turn(rng, "assistant")["content"]}


def own(rng: random.Random) -> dict[str, Any]:
    return {"conv_prefix": [turn(rng, "user")], "response": turn(rng, "assistant")}


def spoilt(rng: random.Random, row: dict[str, Any]) -> bytes:
    """*row* with one fault, or one surprise."""
    key = rng.choice(list(row))
    line = json.dumps(row).encode()
    match rng.randrange(12):
        case 0:
            return line[: len(line) // 2]
        case 1:
            return line[:-1] + b"," + json.dumps(key).encode() + b":1}"
        case 2:
            return json.dumps(row | {key: None}).encode()
        case 3:
            return json.dumps(row | {key: rng.choice([1, 2.5, True, 2**70, [1], {"a": 1}])}).encode()
        case 4:
            return json.dumps({name: value for name, value in row.items() if name != key}).encode()
        case 5:
            return line.replace(b'"', b'"\xff', 1)
        case 6:
            return b"  " if rng.random() < 0.5 else b"[1, 2]"
        case 7:
            return json.dumps(row | {"ground_truth": rng.choice([1, 1.0, "x"])}).encode()
        case 8:
            return line[:-1] + b',"context":"\\ud800"}'
        case 9:
            return line[:-1] + b',"more":{"deep":["\\ud83d",NaN]}}'
        case 10:
            return line[:-1] + b',"more":{"k":1,"k":1e999}}'
        case _:
            return json.dumps(row | {key: "x" * 5000}).encode()


def source(folder: Path, seed: int) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A file of a few hundred rows, or a folder of some; what is chosen for the destination, and for the run."""
    rng = random.Random(seed)
    make = rng.choice([chat, pair, own])
    dirt = rng.choice([0, 0.01, 0.04])
    rows = [make(rng) for _ in range(rng.randint(1, 400))]
    kind = rng.choice(
        ["lines", "lines", "lines", "array", "pretty", "gzip", "crlf", "several", "several packed", "table"]
    )
    path = folder / "dirty.jsonl"
    if kind.startswith("several"):
        path = folder / "rows"
        path.mkdir()
        cuts = sorted(rng.randrange(len(rows) + 1) for _ in range(rng.randint(1, 4)))
        for number, (begin, end) in enumerate(pairwise([0, *cuts, len(rows)])):
            data = written(rng, rows[begin:end], dirt, b"\n")
            name = f"{number}.jsonl" + (".gz" if kind == "several packed" else "")
            (path / name).write_bytes(gzip.compress(data) if kind == "several packed" else data)
    elif kind == "table":
        path = folder / "dirty.csv"
        table = io.StringIO()
        out = csv.writer(table)
        out.writerows([["question", "answer"], *([one["question"], one["answer"]] for one in map(pair, [rng] * 50))])
        out.writerows([["5", "a"], ["only one"]] if dirt else [])
        path.write_text(table.getvalue(), encoding="utf-8")
        make = pair
    elif kind in ("array", "pretty"):
        path.write_text(json.dumps(rows) if kind == "array" else "\n".join(json.dumps(row, indent=1) for row in rows))
    else:
        data = written(rng, rows, dirt, b"\r\n" if kind == "crlf" else b"\n")
        path = path.with_suffix(".jsonl.gz") if kind == "gzip" else path
        path.write_bytes(gzip.compress(data) if kind == "gzip" else data)
    chosen: dict[str, Any] = {"max_chunk_bytes": rng.choice([4000, 20_000, 16_000_000])}
    if rng.random() < 0.3:
        chosen["max_chunk_rows"] = rng.choice([7, 50])
    if rng.random() < 0.3:
        chosen["preset"] = {chat: "chat", pair: "question-answer", own: "identity"}[make]
    settings: dict[str, Any] = {}
    if rng.random() < 0.2:
        settings["validation"] = "trust"
        settings["max_rejects"] = NO_LIMIT  # what the service refuses counts too
    elif rng.random() < 0.3:
        chosen["repair"] = "duplicate-keys=last,nan=null,surrogates=replace"
    return path, chosen, settings


def written(rng: random.Random, rows: list[dict[str, Any]], dirt: float, end: bytes) -> bytes:
    """*rows* as lines, some of them spoilt."""
    lines = [spoilt(rng, row) if rng.random() < dirt else json.dumps(row).encode() for row in rows]
    return end.join(lines) + rng.choice([b"", end, end * 2])


@pytest.mark.parametrize("seed", [*FEW, *(pytest.param(seed, marks=pytest.mark.slow) for seed in ALL)])
async def test_what_is_said_is_what_is_done(bench: Bench, tmp_path: Path, seed: int) -> None:
    path, chosen, settings = source(tmp_path, seed)
    for lane in (bench.nebius(**chosen), bench.collinear(**chosen)):
        await _agree(bench, path, lane, **settings)


async def _agree(bench: Bench, path: Path, lane: Nebius | Collinear, **settings: Any) -> None:
    name = lane.service
    said = done = None
    refusals: list[tuple[int, str]] = []
    try:
        checked = await check(bench.upload(lane, source=path, **{"workers": 1, **settings}), tell=lambda _: None)
        said = checked.lanes[name]
        if said.exit_code == 10:
            refusals.append((10, said.reason or ""))
    except BulkupError as error:
        refusals.append((error.exit_code, str(error)))
    bench.notes.clear()
    before = bench.emulator.summary()[name]["uploads_received"]
    try:
        receipt = await bench.run(lane, source=path, **settings)
        done = receipt.destinations[name]
    except BulkupError as error:
        refusals.append((error.exit_code, str(error)))
    sent = bench.emulator.summary()[name]["uploads_received"] - before
    if refusals:
        assert len(refusals) == 2, refusals
        assert refusals[0] == refusals[1]
        assert sent == 0
        return
    assert said is not None
    assert done is not None
    if refused := _refused_by_the_service(
        path.parent, name
    ):  # under `trust`: what is sent is as said, and no more is known
        assert settings["validation"] == "trust"
        assert (said.totals.rows_read, said.sent.rows, said.totals.rows_rejected) == (
            done.rows_read,
            done.rows_landed + refused,
            done.rows_rejected - refused,
        )
        assert sent > said.sent.requests
        return
    assert (said.exit_code, said.totals.rows_read, said.sent.rows, said.totals.rows_rejected) == (
        done.exit_code,
        done.rows_read,
        done.rows_landed,
        done.rows_rejected,
    )
    assert (said.sent.requests, said.sent.datasets, dict(said.sent.changes)) == (sent, done.datasets, done.changes)
    announced = [match for note in bench.notes if (match := DATASETS.match(note.text))]
    assert all(int(match[2].replace(",", "")) == sent for match in announced if not match[1])
    assert said.sent.body_bytes == done.this_invocation.bytes_sent
    assert [why.rows for why in said.reasons][:5] == [why.rows for why in done.rejected_for]
    assert [(row.file, row.row) for why in said.reasons for row in why.places[:1]][:5] == [
        (why.file, why.row_number) for why in done.rejected_for
    ]


def _refused_by_the_service(folder: Path, lane: str) -> int:
    """How many rows of the last run the service has refused."""
    runs = sorted((folder / "state").glob("*/rejects.jsonl"), key=lambda found: found.stat().st_mtime_ns)
    letters = [json.loads(line) for line in runs[-1].read_text().splitlines()] if runs else []
    return sum(letter["lane"] == lane and letter["stage"] == "server" for letter in letters)


@pytest.mark.parametrize(
    ("seed", "make", "preset", "lane"),
    [(1, pair, "identity", "nebius"), (2, own, "identity", "collinear"), (3, pair, "question-answer", "collinear")],
)
async def test_under_trust_with_dirt_what_is_sent_is_as_said(
    bench: Bench, tmp_path: Path, seed: int, make: Callable[[random.Random], dict[str, Any]], preset: str, lane: str
) -> None:
    rng = random.Random(seed)
    path = tmp_path / "dirty.jsonl"
    path.write_bytes(written(rng, [make(rng) for _ in range(150)], 0.05, b"\n"))
    chosen = getattr(bench, lane)(preset=preset)
    await _agree(bench, path, chosen, validation="trust", max_rejects=NO_LIMIT)
    assert (_refused_by_the_service(tmp_path, lane) > 0) is (preset == "identity")


async def test_labels_are_counted(bench: Bench, tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": "a"} | ({"ground_truth": n} if n % 3 else {"context": "c"}) for n in range(30)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"question": 1}]))
    checked = await check(bench.upload(bench.collinear(), source=tmp_path / "rows.jsonl"), tell=lambda _: None)
    counts = {
        name: (count.present, count.null, count.is_estimate) for name, count in checked.lanes["collinear"].keys.items()
    }
    every = {"conv_prefix": (30, 0, False), "response": (30, 0, False)}
    assert counts == every | {"ground_truth": (20, 0, False), "context": (10, 0, False)}


@pytest.mark.parametrize(("last", "is_exact"), [({"n": 1, "text": "z"}, True), ({"n": 1}, False)])
async def test_how_many_datasets_is_said_exactly_where_it_is_certain(
    bench: Bench, tmp_path: Path, last: dict[str, Any], *, is_exact: bool
) -> None:
    """The last tile begins within the last row, so no row begins in it."""
    path = tmp_path / "rows.jsonl"
    rows = [{"n": 1, "text": "x" * 500}] * 2000 + [last | {"text": "x" * 3000} if is_exact else last]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lane = bench.nebius(max_chunk_bytes=300_000)
    await _agree(bench, path, lane)
    (found,) = [match for note in bench.notes if (match := DATASETS.match(note.text))]
    assert (not found[1]) == is_exact
