"""Workers of other machines scan too: they find what this process finds, and what they find wrong is looked at again here."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bulkup import Collinear, Nebius
from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions, Target
from bulkup.encoding.choosing import Choice
from bulkup.model import BLOCK_BYTES, Validation
from bulkup.rows.function import function_given
from bulkup.rows.mapping import parse_mapping
from bulkup.rows.schema import Nested
from bulkup.run.run_workers import RunWorkers
from bulkup.run.scan_hands import WorkerHand
from bulkup.run.scan_worker import LookAtPart, PartLooker, Reached, ScannedLane
from bulkup.run.wire import at_run, at_worker
from bulkup.scan import spread
from bulkup.scan.judging import ALL_SHAPES, Stage, Way
from bulkup.scan.learned import FileRead, Learned
from bulkup.scan.scanner import first_rows, made_way, scan
from bulkup.scan.spread import Part, whole_in_parts
from bulkup.settings.repair import Repair
from bulkup.sources import Source, open_source
from bulkup.workers import Tell
from bulkup.workers.channel import Told
from tests.e2e.harness import SPACE
from tests.scan.whole import Here, NothingKept, found_in
from tests.workers.far import adopted

MIB = 1024 * 1024

DATASETS = {
    "nebius": Nebius(url="http://127.0.0.1:1", folder="/tests").dataset("rows"),
    "collinear": Collinear(url="http://127.0.0.1:1", space_id=SPACE).dataset("rows"),
}
TARGETS: dict[str, Target] = {"nebius": NEBIUS, "collinear": COLLINEAR}

FUNCTION = """
def doubled(row):
    return None if row["n"] % 7 == 0 else [row, {"n": row["n"], "late": "x"}]
"""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "PART_BYTES", 4096)
    monkeypatch.setattr(spread, "LEAST_BYTES", 1)


def rows_of(count: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for n in range(count):
        row: dict[str, Any] = {"n": n, "question": "q" * (n % 50), "answer": "a"}
        if n % 3 == 0:
            row |= {"late": n, "deep": {"a": [1, None]}}
        if n % 11 == 0:
            row |= {"late": None, "question": n}
        rows.append(row)
    return rows


def written(path: Path, rows: Sequence[dict[str, Any]], *, block_bytes: int = BLOCK_BYTES) -> Source:
    lines = [json.dumps(row) for row in rows]
    lines[::70] = [line[:-3] for line in lines[::70]]  # no rows
    path.write_text("\n\n".join(lines) + "\n")
    return open_source([str(path)], max_row_bytes=MIB, block_bytes=block_bytes)


@asynccontextmanager
async def far_workers(count: int) -> AsyncIterator[tuple[RunWorkers, list[int]]]:
    workers = RunWorkers(say=lambda *_: None, on_quota=lambda *_: None)
    made = [await adopted(workers._pool) for _ in range(count)]
    try:
        yield workers, [number for number, _ in made]
    finally:
        await workers._pool.aclose()
        for _, task in made:
            await task


async def lane_of(name: str, options: RowOptions, source: Source) -> ScannedLane:
    first = await asyncio.to_thread(first_rows, source, TARGETS[name], options, lambda: None)
    return ScannedLane(DATASETS[name], options, first)


async def way_of(name: str, lane: ScannedLane) -> Way:
    return await asyncio.to_thread(made_way, TARGETS[name], lane.options, lane.first)


def hand(workers: RunWorkers, number: int, lanes: Mapping[str, ScannedLane], source: Source) -> WorkerHand:
    return WorkerHand(workers, number, lanes, source, MIB, lambda *_: None, goes_on=False)


def here_at(source: Source) -> Here:
    return Here(source, goes_on=False, block_bytes=BLOCK_BYTES, max_row_bytes=MIB)


def options_for(folder: Path) -> dict[str, tuple[str, RowOptions]]:
    (folder / "rows.py").write_text(FUNCTION)
    mapping = {"conv_prefix": [{"role": {"const": "user"}, "content": "question"}], "response": {"const": {"a": 1}}}
    given = {"late": "text", "n": "integer?"}
    return {
        "none": ("nebius", RowOptions()),
        "columns": ("nebius", RowOptions(columns=given, repairs=(Repair.NAN, Repair.DUPLICATE_KEYS))),
        "schema": ("nebius", RowOptions(schema={"n": "integer", "question": {"name": "string"}}, drop=("answer",))),
        "as is": ("nebius", RowOptions(nested=Nested.AS_IS, validation=Validation.TRUST)),
        "function": ("nebius", RowOptions(function=function_given(f"{folder / 'rows.py'}:doubled"))),
        "auto": ("collinear", RowOptions()),
        "preset": ("collinear", RowOptions(preset="question-answer", drop=("n", "late", "deep"), max_row_bytes=90)),
        "mapping": ("collinear", RowOptions(mapping=parse_mapping(mapping))),
    }


@pytest.mark.parametrize("which", ["none", "columns", "schema", "as is", "function", "auto", "preset", "mapping"])
async def test_a_worker_of_another_machine_finds_what_this_process_finds(tmp_path: Path, which: str) -> None:
    name, options = options_for(tmp_path)[which]
    source = written(tmp_path / "rows.jsonl", rows_of(400))
    parts = whole_in_parts(source.files)
    assert len(parts) > 5
    lanes = {name: await lane_of(name, options, source)}
    ways, here = {name: await way_of(name, lanes[name])}, here_at(source)
    async with far_workers(1) as (workers, (number,)):
        for part in parts:
            found = await here.look(ways, part)
            assert await hand(workers, number, lanes, source).look(ways, part) == found
            assert found[name].read


class Until:
    """Looks at nothing, and gives its part back once something *holds*."""

    def __init__(self, holds: Callable[[], bool]) -> None:
        self._holds = holds

    async def look(self, lanes: Mapping[str, Way], part: Part) -> None:
        while not self._holds():
            await asyncio.sleep(0.001)


async def test_workers_that_come_scan_in_every_pass_what_others_have_not(tmp_path: Path) -> None:
    """Three passes: the first block leaves the preset open, then all shapes are counted, then the rows are judged by it."""
    chat = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    rows = [chat] * 10 + [{"question": "q", "answer": "a"}] * 800 + [{"question": "q"}]
    source = written(tmp_path / "rows.jsonl", rows, block_bytes=256)
    parts, here, options = whole_in_parts(source.files), here_at(source), RowOptions()
    lanes = {"collinear": await lane_of("collinear", options, source)}
    looked: list[tuple[int, Stage]] = []
    async with far_workers(2) as (workers, numbers):

        async def come() -> AsyncIterator[WorkerHand]:
            async for number in workers.far_arrivals():
                made = hand(workers, number, lanes, source)

                async def look(ways: Any, part: Part, was: Any = made.look, number: int = number) -> Any:
                    looked.append((number, ways["collinear"].stage))
                    return await was(ways, part)

                made.look = look  # type: ignore[assignment,method-assign]
                yield made

        class InTurn:
            """The first of each pass waits until each worker has looked in it; this process does what is left."""

            async def look(self, lanes: Mapping[str, Way], part: Part) -> Mapping[str, Learned] | None:
                stage = lanes["collinear"].stage
                await Until(lambda: {number for number, at in looked if at == stage} == set(numbers)).look(lanes, part)
                return None

        ways = {"collinear": await way_of("collinear", lanes["collinear"])}
        async with asyncio.timeout(60):
            found = await scan(ways, parts, [InTurn(), here], NothingKept(), here, is_whole=True, come=[come])
    whole = await asyncio.to_thread(found_in, source, COLLINEAR, options, parts)
    assert found["collinear"] == whole
    stages = {stage for _, stage in looked}
    assert ALL_SHAPES in stages
    assert any(isinstance(stage, Choice) for stage in stages)
    assert len(parts) > len(numbers)


async def test_a_scan_ends_when_all_is_looked_at_whoever_might_still_come(tmp_path: Path) -> None:
    source = written(tmp_path / "rows.jsonl", rows_of(300))
    parts, here = whole_in_parts(source.files), here_at(source)
    lane = await lane_of("nebius", RowOptions(), source)

    async def come() -> AsyncIterator[WorkerHand]:
        await asyncio.Event().wait()
        yield hand(workers, number, {}, source)

    ways = {"nebius": await way_of("nebius", lane)}
    async with far_workers(1) as (workers, (number,)), asyncio.timeout(60):
        found = await scan(ways, parts, [here, here], NothingKept(), here, is_whole=True, come=[come])
    assert found["nebius"] == await asyncio.to_thread(found_in, source, NEBIUS, RowOptions(), parts)


async def test_one_whose_files_are_others_is_sent_away_and_finds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = written(tmp_path / "rows.jsonl", rows_of(300))
    lanes = {"nebius": await lane_of("nebius", RowOptions(), source)}
    ways, part = {"nebius": await way_of("nebius", lanes["nebius"])}, whole_in_parts(source.files)[1]
    os.utime(tmp_path / "rows.jsonl", (1, 1))
    async with far_workers(1) as (workers, (number,)):
        reasons: list[str] = []
        monkeypatch.setattr(workers, "dismiss", lambda _, reason: reasons.append(reason))
        assert await hand(workers, number, lanes, source).look(ways, part) is None
    (reason,) = reasons
    assert "rows.jsonl: on " in reason


@pytest.mark.parametrize("how", ["nothing", "none", "another lane", "a file behind it", "it broke off"])
async def test_what_makes_no_sense_or_could_not_be_read_there_is_looked_at_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    source = written(tmp_path / "rows.jsonl", rows_of(300))
    lanes = {"nebius": await lane_of("nebius", RowOptions(), source)}
    ways, part = {"nebius": await way_of("nebius", lanes["nebius"])}, whole_in_parts(source.files)[1]
    async with far_workers(1) as (workers, (number,)):
        ask = workers.ask

        async def wrong(*given: Any) -> object:
            found = cast("dict[str, Learned]", await ask(*given))
            match how:
                case "nothing":
                    return None
                case "none":
                    return {}
                case "another lane":
                    return {"collinear": found["nebius"]}
                case "a file behind it":
                    return {"nebius": replace(found["nebius"], read=(FileRead(1, 1, 1, None),))}
                case _:
                    return {"nebius": replace(found["nebius"], broke_off="Input/output error")}

        assert await hand(workers, number, lanes, source).look(ways, part) is not None
        monkeypatch.setattr(workers, "ask", wrong)
        assert await hand(workers, number, lanes, source).look(ways, part) is None


async def test_the_part_of_one_that_is_lost_is_looked_at_by_another_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease has days to run. That matters where it may be sending, which it is not."""
    source = written(tmp_path / "rows.jsonl", rows_of(300))
    lanes = {"nebius": await lane_of("nebius", RowOptions(), source)}
    ways, part = {"nebius": await way_of("nebius", lanes["nebius"])}, whole_in_parts(source.files)[1]
    is_asked = asyncio.Event()

    async def never(self: PartLooker, order: LookAtPart, tell: Tell) -> Any:
        is_asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(PartLooker, "look", never)
    async with far_workers(1) as (workers, (number,)):
        looking = asyncio.create_task(hand(workers, number, lanes, source).look(ways, part))
        await is_asked.wait()
        workers._pool.kill(number)
        async with asyncio.timeout(20):
            assert await looking is None


def test_how_far_a_worker_is_goes_between_machines() -> None:
    assert at_run.decode(at_worker.encode(Told(3, Reached(77)))) == Told(3, Reached(77))
