"""What has no answer is in doubt: journaled, reported, held, and sent again only where the user says so."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from bulkup.account.receipt import Receipt
from bulkup.chunk import ChunkId, ChunkState
from bulkup.destinations.base import Asking, StoredRow
from bulkup.destinations.collinear.wire import CollinearDestination
from bulkup.doubt.naming import family_name
from bulkup.doubt.settlement import Look
from bulkup.emulator import Spawned
from bulkup.event import Note
from bulkup.flow.executors import Executors
from bulkup.flow.orders import Sent
from bulkup.flow.prepared import Prepared
from bulkup.flow.settler import Settler
from tests.e2e.harness import SPACE, Bench, Row, as_collinear, gsm8k_rows
from tests.sources.test_here_and_there import reads_counted

LANES = ("nebius", "collinear")

STORED = ["stored_then_reset", "stored_then_500", "stored_then_502", "stored_then_504", "garbled_200", "cut_200"]
NOT_STORED = [
    "reset_in_body",
    "reset_after_body",
    "not_stored_500",
    "not_stored_502",
    "not_stored_504",
    "not_stored_408",
    "not_stored_520",
    "503_plain",
]
ECHO = ["wrong_id_count", "repeated_ids"]


async def _held(bench: Bench, lane: str, fault: str, *, stored: bool) -> None:
    """With no read-back the doubt stays, and is named."""
    bench.emulator.patch(script={lane: ["ok", "ok", fault]}, readback="off")
    receipt = await bench.run(getattr(bench, lane)())
    done = receipt.destinations[lane]
    assert receipt.exit_code == 4
    assert (done.chunks_in_doubt, done.rows_left, done.rows_rejected) == (1, 0, 0)
    assert done.rows_landed + done.rows_in_doubt == len(bench.rows)
    missing = bench.expected(lane) - bench.stored(lane)
    assert not bench.stored(lane) - bench.expected(lane), "a row is there twice"
    assert missing.total() == (0 if stored else done.rows_in_doubt)


async def _settled(bench: Bench, lane: str, fault: str) -> None:
    """With read-back the doubt is settled by evidence."""
    bench.emulator.patch(script={lane: ["ok", "ok", fault]})
    receipt = await bench.run(getattr(bench, lane)(), settle_after_s=0.1)
    assert receipt.exit_code == 0, (receipt.destinations[lane], bench.notes)
    assert receipt.destinations[lane].this_invocation.attempts_by_outcome["in_doubt"] == 1
    assert bench.stored(lane) == bench.expected(lane)


@pytest.mark.parametrize("fault", STORED)
@pytest.mark.parametrize("lane", LANES)
async def test_stored_without_an_answer(small: Bench, lane: str, fault: str) -> None:
    await _settled(small, lane, fault)


@pytest.mark.parametrize("fault", NOT_STORED)
@pytest.mark.parametrize("lane", LANES)
async def test_not_stored_without_an_answer(small: Bench, lane: str, fault: str) -> None:
    await _settled(small, lane, fault)


@pytest.mark.parametrize("fault", ECHO)
async def test_an_echo_that_proves_nothing(small: Bench, fault: str) -> None:
    await _settled(small, "collinear", fault)


@pytest.mark.parametrize("fault", ["stored_then_reset", "garbled_200", "stored_then_504"])
@pytest.mark.parametrize("lane", LANES)
async def test_stored_without_an_answer_and_without_read_back_is_held(small: Bench, lane: str, fault: str) -> None:
    await _held(small, lane, fault, stored=True)


@pytest.mark.parametrize("fault", ["reset_in_body", "not_stored_500", "503_plain"])
@pytest.mark.parametrize("lane", LANES)
async def test_not_stored_without_an_answer_and_without_read_back_is_held(small: Bench, lane: str, fault: str) -> None:
    await _held(small, lane, fault, stored=False)


async def test_running_it_again_holds_what_is_in_doubt(small: Bench) -> None:
    small.emulator.patch(script={"collinear": ["ok", "stored_then_reset"]}, readback="off")
    first = await small.run(small.collinear())
    second = await small.run(small.collinear())
    assert (first.exit_code, second.exit_code) == (4, 4)
    assert second.destinations["collinear"].this_invocation.requests == 0
    assert small.stored("collinear") == small.expected("collinear")


async def test_resend_accepts_doubles(small: Bench) -> None:
    small.emulator.patch(script={"collinear": ["ok", "stored_then_reset"]})
    receipt = await small.run(small.collinear(), on_doubt="resend")
    assert receipt.exit_code == 0
    assert not small.expected("collinear") - small.stored("collinear")
    assert small.stored("collinear").total() > len(small.rows)


async def test_resend_takes_up_the_doubts_of_an_earlier_run(small: Bench) -> None:
    small.emulator.patch(script={"nebius": ["ok", "not_stored_500"]}, readback="off")
    assert (await small.run(small.nebius())).exit_code == 4
    receipt = await small.run(small.nebius(), on_doubt="resend")
    assert receipt.exit_code == 0
    assert small.stored("nebius") == small.expected("nebius")


async def test_a_service_that_answers_nothing_does_not_put_everything_in_doubt(bench: Bench) -> None:
    bench.emulator.patch(faults={"collinear": {"not_stored_500": 1.0}})
    receipt = await bench.run(bench.collinear(max_chunk_bytes=20_000), settle_after_s=0.05, retry_for_s=1.0)
    done = receipt.destinations["collinear"]
    assert receipt.exit_code == 75
    assert done.chunks_in_doubt <= 8 + 4
    assert done.reason is not None
    assert "no request succeeded" in done.reason


@pytest.mark.parametrize("fault", ["stored_then_reset", "reset_in_body", "stored_late"])
async def test_the_creating_chunk_in_doubt_makes_no_second_dataset(small: Bench, fault: str) -> None:
    """It may be stored, but nobody said so: it is looked up before anything else is sent."""
    small.emulator.patch(script={"collinear": [fault]}, racing_creates="two", store_delay_ms=100, late_s=0.3)
    receipt = await small.run(small.collinear(), settle_after_s=0.4)
    assert receipt.exit_code == 0
    assert len(small.emulator.summary()["collinear"]["datasets"]) == 1
    assert small.stored("collinear") == small.expected("collinear")


@pytest.mark.parametrize("fault", ["stored_then_reset", "reset_in_body", "stored_late"])
@pytest.mark.parametrize("lane", LANES)
async def test_the_only_chunk_in_doubt(small: Bench, lane: str, fault: str) -> None:
    small.emulator.patch(script={lane: [fault]}, late_s=0.2)
    receipt = await small.run(getattr(small, lane)(max_chunk_bytes=None), settle_after_s=0.3)
    assert receipt.exit_code == 0
    assert small.stored(lane) == small.expected(lane)


@pytest.mark.parametrize("lane", LANES)
async def test_a_third_of_everything_lost_after_it_was_stored(bench: Bench, lane: str) -> None:
    bench.emulator.patch(
        faults={lane: {"stored_then_reset": 0.2, "reset_in_body": 0.1, "stored_late": 0.05}}, late_s=0.1, seed=5
    )
    receipt = await bench.run(getattr(bench, lane)(max_chunk_bytes=50_000), settle_after_s=0.3)
    print([n.text for n in bench.notes if "settled" in n.text])
    assert receipt.exit_code == 0, receipt.destinations[lane].reason
    assert bench.stored(lane) == bench.expected(lane)


async def test_a_dataset_that_is_pending_for_ever_is_in_doubt(small: Bench) -> None:
    small.emulator.patch(pending_polls=-1)
    receipt = await small.run(small.nebius(pending_timeout_s=1.0, max_chunk_bytes=None))
    assert receipt.exit_code == 4
    assert receipt.destinations["nebius"].rows_in_doubt == len(small.rows)


async def test_a_dataset_that_failed_is_sent_once_more(small: Bench) -> None:
    small.emulator.patch(script={"nebius": ["failed_status"]})
    receipt = await small.run(small.nebius())
    assert receipt.exit_code == 0
    assert small.stored("nebius") == small.expected("nebius")


async def test_a_dataset_that_fails_again_is_set_aside(emulator: Spawned, tmp_path: Path) -> None:
    few = Bench(emulator, tmp_path, gsm8k_rows(500))
    emulator.patch(faults={"nebius": {"failed_status": 1.0}})
    receipt = await few.run(few.nebius(max_chunk_bytes=None))
    done = receipt.destinations["nebius"]
    assert receipt.exit_code == 3
    assert (done.rows_rejected, done.rows_landed) == (500, 0)


QUIET_S = 0.1
LATE = {"late_s": 2.0, "drip_s": 3.0, "drip_bytes": 1, "drip_ms": 30.0}
"""Stored twenty quiet periods after the last byte. By then its chunk was called absent, and is being sent again; that answer drips
until well after."""
LATE_SCRIPT = ["ok", "ok", "stored_late", "ok", "slow_drip"]


def _chunks(bench: Bench, receipt: Receipt, lane: str) -> list[dict[str, Any]]:
    manifest = json.loads((bench.folder / "state" / receipt.run_id / "manifest.json").read_text())
    return list(manifest["lanes"][lane])


def _rows_of(bench: Bench, chunk: dict[str, Any]) -> list[Row]:
    lines = bench.source.read_bytes()[chunk["byte_offset"] :].split(b"\n", chunk["lines"])[: chunk["lines"]]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("lane", LANES)
async def test_a_body_stored_after_its_chunk_was_called_absent_is_found_and_named(
    emulator: Spawned, tmp_path: Path, lane: str
) -> None:
    """The quiet period is too short for this service, so a double cannot be prevented: the audit must find it."""
    few = Bench(emulator, tmp_path, gsm8k_rows(80))
    emulator.patch(script={lane: LATE_SCRIPT}, **LATE)
    receipt = await few.run(getattr(few, lane)(max_chunk_rows=20, concurrency=1), settle_after_s=QUIET_S)
    emulator.idle()
    twice = few.stored(lane) - few.expected(lane)
    assert twice, "the test must force a double"
    done = receipt.destinations[lane]
    assert receipt.exit_code == 5, done
    assert done.reason is not None
    chunk = next(c for c in _chunks(few, receipt, lane) if few.expected(lane, _rows_of(few, c)) == twice)
    assert f"chunk {chunk['chunk']} " in done.reason
    assert f"byte {chunk['byte_offset']:,}, {chunk['rows']} rows" in done.reason
    again = await few.run(getattr(few, lane)(max_chunk_rows=20, concurrency=1), settle_after_s=QUIET_S)
    assert (again.exit_code, again.destinations[lane].this_invocation.requests) == (5, 0)


@pytest.mark.parametrize("lane", LANES)
async def test_no_audit_is_skipped_by_a_crash(
    emulator: Spawned, tmp_path: Path, lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends when all has landed and the audit has not been: the next one makes up for it."""
    few = Bench(emulator, tmp_path, gsm8k_rows(80))
    emulator.patch(script={lane: LATE_SCRIPT}, **LATE)

    async def stopped(self: Settler) -> None:
        raise RuntimeError("killed before the audit")

    with monkeypatch.context() as patched:
        patched.setattr(Settler, "audit", stopped)
        assert (
            await few.run(getattr(few, lane)(max_chunk_rows=20, concurrency=1), settle_after_s=QUIET_S)
        ).exit_code == 1
    emulator.idle()
    assert (await few.run(getattr(few, lane)(max_chunk_rows=20, concurrency=1), settle_after_s=QUIET_S)).exit_code == 5


@pytest.mark.parametrize("lane", LANES)
async def test_an_audit_that_could_not_look_is_told_and_made_up_for(
    emulator: Spawned, tmp_path: Path, lane: str
) -> None:
    few = Bench(emulator, tmp_path, gsm8k_rows(80))
    emulator.patch(script={lane: ["ok", "ok", "reset_in_body"]})

    class Notes(list[Note]):
        def append(self, note: Note) -> None:
            if "looked for chunks in doubt" in note.text:
                emulator.patch(readback="forbidden")

    few.notes = Notes()
    receipt = await few.run(getattr(few, lane)(max_chunk_rows=20, concurrency=1), settle_after_s=QUIET_S)
    done = receipt.destinations[lane]
    assert (receipt.exit_code, done.rows_landed) == (0, 80)
    assert "whether each chunk that was sent again (1 in all) is there once could not be checked" in (done.reason or "")
    emulator.patch(readback="on")
    again = await few.run(getattr(few, lane)(max_chunk_rows=20, concurrency=1), settle_after_s=QUIET_S)
    assert (again.exit_code, again.destinations[lane].reason) == (0, None)
    assert again.destinations[lane].this_invocation.requests == 0
    assert few.stored(lane) == few.expected(lane)


async def test_a_third_lost_settles_with_one_settlement_for_eight_doubts(emulator: Spawned, tmp_path: Path) -> None:
    few = Bench(emulator, tmp_path, gsm8k_rows(4000))
    emulator.patch(faults={"collinear": {"stored_then_reset": 0.3}}, seed=8)
    receipt = await few.run(few.collinear(max_chunk_bytes=12_000), settle_after_s=0.05)
    done = receipt.destinations["collinear"].this_invocation
    doubts = done.attempts_by_outcome["in_doubt"]
    settlements = sum("looked for chunks in doubt" in note.text for note in few.notes)
    page_backs = sum("rows paged back" in note.text for note in few.notes)
    print(
        f"{doubts} doubts, {settlements} settlements ({doubts / settlements:.1f} doubts each), {page_backs} page-backs"
    )
    assert receipt.exit_code == 0
    assert few.stored("collinear") == few.expected("collinear")
    assert settlements <= doubts / 8 + 4


def _equal_sizes(number: int) -> list[Row]:
    return [{"question": f"question {n:06d}", "answer": f"answer {n:06d}"} for n in range(number)]


def _equal_contents(number: int) -> list[Row]:
    """Ten rows again and again: every chunk of ten has the same content."""
    return [{"question": f"question {n % 10}", "answer": f"answer {n % 10}"} for n in range(number)]


@pytest.mark.parametrize("rows", [_equal_sizes, _equal_contents])
@pytest.mark.parametrize("fault", ["stored_then_reset", "mixed"])
async def test_chunks_that_the_count_cannot_tell_apart_are_paged_back(
    emulator: Spawned, tmp_path: Path, rows: Callable[[int], list[Row]], fault: str
) -> None:
    few = Bench(emulator, tmp_path, rows(600))
    faults = {"stored_then_reset": 0.3} if fault != "mixed" else {"stored_then_reset": 0.15, "reset_in_body": 0.15}
    emulator.patch(faults={"collinear": faults}, seed=4)
    receipt = await few.run(few.collinear(max_chunk_rows=10), settle_after_s=0.05)
    assert receipt.exit_code == 0, receipt.destinations["collinear"].reason
    assert few.stored("collinear") == few.expected("collinear")
    if fault == "mixed":
        assert any("rows paged back" in note.text for note in few.notes), [note.text for note in few.notes]


async def test_a_settlement_reads_each_shard_of_its_doubts_once(
    emulator: Spawned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many chunks of one are in doubt; and no others."""
    few = Bench(emulator, tmp_path, _equal_sizes(240))
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in range(8):
        rows = few.rows[30 * number : 30 * number + 30]
        (shards / f"{number}.jsonl.gz").write_bytes(
            gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
        )
    script = ["ok"] * 24
    for at in (1, 4, 20):
        script[at] = "stored_then_reset"
    for at in (2, 5, 13):
        script[at] = "reset_in_body"
    emulator.patch(script={"collinear": script})
    settle, read = Settler.settle, Counter[str]()
    doubted: set[str] = set()

    async def counted(self: Settler, **options: Any) -> None:
        bases = (*self._lane.source.bases, 2**62)
        for chunk in await self._journal.open_chunks(ChunkState.IN_DOUBT):
            files = [n for n, (a, b) in enumerate(pairwise(bases)) if a < chunk.stop and chunk.start < b]
            doubted.update(str(shards / f"{number}.jsonl.gz") for number in files)
        with reads_counted() as counts:
            await settle(self, **options)
        read.update(counts)

    monkeypatch.setattr(Settler, "settle", counted)
    receipt = await few.run(few.collinear(max_chunk_rows=10, concurrency=1), source=shards, settle_after_s=0.05)
    assert receipt.exit_code == 0
    assert few.stored("collinear") == few.expected("collinear")
    assert any("rows paged back" in note.text for note in few.notes)
    assert 3 <= len(doubted) <= 5
    assert read == {path: Path(path).stat().st_size for path in doubted}


async def test_rows_that_were_there_before_and_equal_a_doubt_leave_it_held(emulator: Spawned, tmp_path: Path) -> None:
    """Two chunks of equal size, one of them stored; rows of before equal the other's, so even the rows do not tell."""
    rows = _equal_sizes(60)
    few = Bench(emulator, tmp_path, rows)
    emulator.write("collinear", dataset_name="rows", space_id=SPACE, rows=[as_collinear(row) for row in rows])
    emulator.patch(script={"collinear": ["ok", "stored_then_reset", "reset_in_body"]})
    receipt = await few.run(few.collinear(max_chunk_rows=10, concurrency=1), settle_after_s=0.05, append=True)
    assert receipt.exit_code == 4
    assert receipt.destinations["collinear"].rows_in_doubt == 20
    missing = (few.expected("collinear") + few.expected("collinear")) - few.stored("collinear")
    assert missing.total() == 10


async def test_a_capped_list_is_read_to_its_end(emulator: Spawned, tmp_path: Path) -> None:
    """A short page is not the last one."""
    few = Bench(emulator, tmp_path, gsm8k_rows(100))
    for number in range(7):
        row = as_collinear(few.rows[0])
        emulator.write("collinear", dataset_name=f"other {number}", space_id=SPACE, rows=[row])
    emulator.patch(script={"collinear": ["ok", "stored_then_reset", "reset_in_body"]}, graphql_page_cap=3)
    receipt = await few.run(few.collinear(max_chunk_rows=15), settle_after_s=0.05)
    assert receipt.exit_code == 0, receipt.destinations["collinear"].reason


async def test_a_list_that_leaves_out_a_project_is_asked_for_it(emulator: Spawned, tmp_path: Path) -> None:
    few = Bench(emulator, tmp_path, gsm8k_rows(100))
    emulator.patch(script={"nebius": ["stored_then_reset"]}, list_scope="project")
    receipt = await few.run(few.nebius(ai_project_id="project-1"), settle_after_s=0.05)
    assert receipt.exit_code == 0
    assert few.stored("nebius") == few.expected("nebius")


async def test_the_dataset_that_failed_does_not_pass_for_the_next_attempt(emulator: Spawned, tmp_path: Path) -> None:
    """The second attempt's body is on its way while the list shows the first one's FAILED."""
    few = Bench(emulator, tmp_path, gsm8k_rows(100))
    emulator.patch(script={"nebius": ["failed_status", "stored_late"]}, late_s=0.2)
    receipt = await few.run(few.nebius(), settle_after_s=0.4)
    emulator.idle()
    assert receipt.exit_code == 0
    assert few.stored("nebius") == few.expected("nebius")


@pytest.mark.parametrize("lane", LANES)
async def test_an_absent_chunk_that_was_cut_afterwards_is_audited_too(
    emulator: Spawned, tmp_path: Path, lane: str
) -> None:
    few = Bench(emulator, tmp_path, gsm8k_rows(80))
    emulator.patch(script={lane: LATE_SCRIPT}, **LATE)
    size = few.source.stat().st_size // 6

    class Notes(list[Note]):
        def append(self, note: Note) -> None:
            if "looked for chunks in doubt" in note.text:  # just before it is sent again
                emulator.patch(body_limit_bytes=size)

    few.notes = Notes()
    receipt = await few.run(getattr(few, lane)(max_chunk_rows=20, concurrency=1), settle_after_s=QUIET_S)
    emulator.idle()
    assert few.stored(lane) - few.expected(lane), "the test must force a double"
    assert any(chunk["chunk"].count("-") for chunk in _chunks(few, receipt, lane)), "the test must force a cut"
    assert receipt.exit_code == 5


async def test_without_read_back_a_creating_chunk_in_doubt_is_waited_for(emulator: Spawned, tmp_path: Path) -> None:
    """It cannot be looked up, so the next chunk waits until nothing of it can be on its way: else there are two datasets."""
    few = Bench(emulator, tmp_path, gsm8k_rows(100))
    emulator.patch(script={"collinear": ["stored_late"]}, racing_creates="two", late_s=0.2, readback="off")
    receipt = await few.run(few.collinear(max_chunk_rows=20), settle_after_s=0.5)
    assert receipt.exit_code == 4
    assert len(emulator.summary()["collinear"]["datasets"]) == 1
    assert few.stored("collinear") == few.expected("collinear")


async def test_nothing_is_in_flight_while_rows_are_counted(emulator: Spawned, tmp_path: Path) -> None:
    """No look at Collinear falls into an upload, once the first eight doubts have made one necessary."""
    few = Bench(emulator, tmp_path, gsm8k_rows(300))
    emulator.patch(faults={"collinear": {"stored_then_reset": 0.3}}, latency_ms=60, store_delay_ms=30, seed=2)
    looks: list[int] = []
    look = CollinearDestination.look

    async def watched(self: CollinearDestination, asking: Asking) -> Look:
        looks.append((await anyio.to_thread.run_sync(emulator.summary))["collinear"]["concurrent_uploads"])
        return await look(self, asking)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(CollinearDestination, "look", watched)
        receipt = await few.run(few.collinear(max_chunk_rows=6), settle_after_s=0.1)
    assert receipt.exit_code == 0
    assert len(looks) > 3
    assert not any(looks)


SCHEMA = [{"name": key, "type": {"name": "string"}} for key in ("question", "answer")]


async def test_a_dataset_of_the_bare_name_is_compared_by_its_rows(emulator: Spawned, tmp_path: Path) -> None:
    """Somebody else makes a dataset of the same name, schema and number of rows, just when ours is lost."""
    few = Bench(emulator, tmp_path, _equal_sizes(50))
    emulator.patch(script={"nebius": ["reset_after_body"]})
    others = [{"question": row["question"], "answer": "another"} for row in few.rows]

    async def write() -> None:
        while not (await anyio.to_thread.run_sync(emulator.summary))["nebius"]["uploads_received"]:
            await anyio.sleep(0.005)
        emulator.write("nebius", name="rows", folder="/tests", schema=SCHEMA, rows=others)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        receipt = await few.run(few.nebius(), settle_after_s=QUIET_S)
    assert receipt.exit_code == 4
    assert receipt.destinations["nebius"].rows_in_doubt == 50


async def test_a_dataset_of_the_same_place_and_another_content_is_not_the_chunk(
    emulator: Spawned, tmp_path: Path
) -> None:
    """Another machine uploads another source under the same name. Its dataset of the same tile, schema and number of rows comes
    just when ours is lost: only the hash in the name tells them apart."""
    few = Bench(emulator, tmp_path, _equal_sizes(60))
    emulator.patch(script={"nebius": ["ok", "reset_after_body"]})
    others = [{"question": row["question"], "answer": "another"} for row in few.rows[:20]]

    async def write() -> None:
        while (await anyio.to_thread.run_sync(emulator.summary))["nebius"]["uploads_received"] < 2:
            await anyio.sleep(0.005)
        name = family_name("rows", ChunkId("nebius", 1, 0), bytes(16))
        emulator.write("nebius", name=name, folder="/tests", schema=SCHEMA, rows=others)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        receipt = await few.run(few.nebius(max_chunk_rows=20, concurrency=1), settle_after_s=0.5)
    assert receipt.exit_code == 0, receipt.destinations["nebius"].reason
    assert few.stored("nebius") == few.expected("nebius") + few.expected("nebius", others)


async def test_chunks_of_equal_content_have_datasets_of_their_own(emulator: Spawned, tmp_path: Path) -> None:
    """The one that landed is not the one that was lost: the place in the name tells them apart."""
    few = Bench(emulator, tmp_path, _equal_contents(40))
    emulator.patch(script={"nebius": ["ok", "reset_after_body", "stored_then_reset"]})
    receipt = await few.run(few.nebius(max_chunk_rows=10, concurrency=1), settle_after_s=QUIET_S)
    assert receipt.exit_code == 0, receipt.destinations["nebius"].reason
    assert few.stored("nebius") == few.expected("nebius")


async def test_a_dataset_that_the_list_calls_pending_is_asked_for_itself(emulator: Spawned, tmp_path: Path) -> None:
    few = Bench(emulator, tmp_path, gsm8k_rows(100))
    emulator.patch(script={"nebius": ["ok", "stored_then_reset"]}, pending_polls=1)
    receipt = await few.run(few.nebius(max_chunk_rows=40), settle_after_s=QUIET_S)
    assert receipt.exit_code == 0
    assert few.stored("nebius") == few.expected("nebius")


async def test_rows_read_back_that_are_not_all_there_decide_nothing(emulator: Spawned, tmp_path: Path) -> None:
    """The count shows more rows than the pages do: looked at once more."""
    few = Bench(emulator, tmp_path, _equal_sizes(60))
    emulator.patch(script={"collinear": ["ok", "stored_then_reset", "reset_in_body", "ok"]})
    read_rows = CollinearDestination.read_rows
    asked = 0

    async def lagging(self: CollinearDestination, asking: Asking, dataset_id: str, page: int) -> list[StoredRow]:
        nonlocal asked
        asked += 1
        rows = await read_rows(self, asking, dataset_id, page)
        return rows[:10] if asked == 1 else rows

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(CollinearDestination, "read_rows", lagging)
        receipt = await few.run(few.collinear(max_chunk_rows=10, concurrency=1), settle_after_s=QUIET_S)
    assert asked > 2
    assert receipt.exit_code == 0
    assert few.stored("collinear") == few.expected("collinear")


async def test_after_a_crash_a_creating_chunk_is_looked_up_before_anything_is_sent(
    emulator: Spawned, tmp_path: Path
) -> None:
    few = Bench(emulator, tmp_path, gsm8k_rows(100))
    emulator.patch(script={"collinear": ["stored_then_reset"]})

    async def stopped(self: Settler, *, patience_s: float = 0.0) -> None:
        raise RuntimeError("killed while the creating chunk was in doubt")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Settler, "settle", stopped)
        assert (await few.run(few.collinear(max_chunk_rows=20), settle_after_s=0.5)).exit_code == 1
    calls: list[str] = []
    look = CollinearDestination.look
    send = Executors.send

    async def looked(self: CollinearDestination, asking: Asking) -> Look:
        calls.append("look")
        return await look(self, asking)

    async def sent(self: Executors, prepared: Prepared, attempt: int, on_bytes: Callable[[int], None]) -> Sent:
        calls.append("send")
        return await send(self, prepared, attempt, on_bytes)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(CollinearDestination, "look", looked)
        patched.setattr(Executors, "send", sent)
        receipt = await few.run(few.collinear(max_chunk_rows=20), settle_after_s=0.05)
    assert receipt.exit_code == 0
    assert calls[:2] == ["look", "look"]
    assert "send" in calls
    assert few.stored("collinear") == few.expected("collinear")


@pytest.mark.parametrize("lane", LANES)
async def test_what_is_lost_twice_goes_in_smaller_pieces(small: Bench, lane: str) -> None:
    """Something on the way cuts long bodies off: the same body would be lost for ever."""
    small.emulator.patch(script={lane: ["reset_in_body", "reset_in_body"]})
    receipt = await small.run(getattr(small, lane)(max_chunk_bytes=None), settle_after_s=0.1)
    assert receipt.exit_code == 0
    assert receipt.destinations[lane].chunks_landed in (2, 3)
    assert small.stored(lane) == small.expected(lane)
