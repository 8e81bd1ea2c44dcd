"""Uploads whose journal is in PostgreSQL: begun on one machine, gone on with on another, each with a state directory of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bulkup.errors import ExitCode, UsageProblem
from bulkup.run.again import rejects, resume, settle, status, verify
from bulkup.run.folder import StateDir
from bulkup.run.interrupt import Interrupt
from bulkup.run.overview import overview
from tests.e2e.harness import Bench
from tests.journal.postgres_server import postgres_server


@pytest.fixture
def journal(emulator: Any) -> str:
    """A database of the test's own: run ids come from paths."""
    import psycopg

    with psycopg.connect(postgres_server().address(), autocommit=True) as db:
        db.execute("DROP SCHEMA IF EXISTS bulkup CASCADE")
    return postgres_server().address()


async def test_another_machine_goes_on_and_says_what_became_of_it(small: Bench, journal: str) -> None:
    """The second one has nothing but the source, the same path to it, and the database."""
    chosen: dict[str, Any] = {"journal": journal, "name": "rows"}
    interrupt = Interrupt()
    small.emulator.patch(latency_ms=30)
    first = asyncio.create_task(small.run(interrupt=interrupt, drain_timeout_s=30.0, **chosen))
    while not small.stored("nebius"):
        await asyncio.sleep(0.01)
    interrupt.request()
    assert (await first).exit_code in (ExitCode.INTERRUPTED, ExitCode.ALL_LANDED)
    run = StateDir(small.folder / "state").runs()[-1]
    elsewhere = small.folder / "other" / "state"
    receipt = await resume(run, state_dir=elsewhere, journal=journal)
    assert receipt.exit_code == 0
    for service in ("nebius", "collinear"):
        assert small.stored(service) == small.expected(service)
    third = small.folder / "third"
    shown = await status(run, state_dir=third, journal=journal)
    assert (shown["status"], shown["exit_code"]) == ("landed", 0)
    assert await rejects(run, state_dir=third, journal=journal) == []
    assert (await settle(run, state_dir=third, journal=journal)).exit_code == 0
    assert (await verify(run, sample=1.0, state_dir=third, journal=journal)).exit_code == 0
    assert [line.run_id for line in overview(StateDir(small.folder / "fourth", journal))] == [run]
    assert not (small.folder / "fourth").exists(), "to list runs makes no folders"


async def test_the_folder_knows_its_database_and_a_run_has_one_journal(small: Bench, journal: str) -> None:
    receipt = await small.run(small.nebius(), journal=journal)
    assert receipt.exit_code == 0
    again = await small.run(small.nebius())  # without --journal: the run's folder says where it is
    assert again.run_id == receipt.run_id
    assert again.destinations["nebius"].this_invocation.requests == 0
    assert not list((small.folder / "state").glob("*/journal.db"))
    other = await small.run(small.nebius(), name="others")
    with pytest.raises(UsageProblem, match=f"run {other.run_id} keeps its journal in .*: leave out --journal"):
        await small.run(small.nebius(), name="others", journal=journal)


async def test_a_source_that_changed_and_a_run_that_is_refused_leave_the_database_in_order(
    small: Bench, journal: str
) -> None:
    chosen: dict[str, Any] = {"journal": journal, "on_source_change": "restart"}
    first = await small.run(small.nebius(), **chosen)
    small.source.write_text('{"question":"a","answer":"b"}\n')
    second = await small.run(small.nebius(), append=True, **chosen)
    assert second.destinations["nebius"].rows_read == 1
    names = {line.run_id for line in overview(StateDir(small.folder / "state", journal))}
    assert names == {first.run_id, f"{first.run_id}.1"}
    bad = Path(small.folder / "bad.jsonl")
    bad.write_text('{"question":"a","answer":"b"}\n' * 10 + "no row\n" * 2000)
    with pytest.raises(Exception, match="rejected"):
        await small.run(small.nebius(), source=bad, name="bad", journal=journal)
    assert {line.run_id for line in overview(StateDir(small.folder / "state", journal))} == names
