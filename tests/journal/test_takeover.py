"""Who takes over a run in a database, when, and what is left to the one that had it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.chunk import ChunkState, Evidence
from bulkup.errors import BulkupError, LocalDisk, RunLocked
from bulkup.flow.lane import recovered
from bulkup.journal.facts import FAR_LEASE_S, UPLOAD, UploadRecord
from bulkup.journal.lease_cell import SharedLease
from bulkup.journal.postgres import lease as leases
from bulkup.journal.postgres.client import connect
from bulkup.journal.postgres.keeper import PostgresJournal
from bulkup.journal.postgres.lease import Claim, Lease, Silence, Standing, acquire, claim_dataset
from bulkup.journal.postgres.logs import IDS, begin_log
from bulkup.journal.postgres.runs import discard_run, has_run, rename_run
from bulkup.journal.postgres.wanted import Wanted
from bulkup.journal.state_files import make_folder
from bulkup.run.changed_source import _set_aside
from bulkup.run.folder import RunFolder
from bulkup.run.run_clock import run_clock
from tests.journal.chunks import LANE, NUMBERS, chunk, ids_line
from tests.journal.postgres_server import postgres_server, unique

Steps = list[tuple[float, bool]]


@contextmanager
def opened(folder: Path, name: str, *, has_lock: bool = False, **wanted: Any) -> Iterator[PostgresJournal]:
    """By a process without the folder's lock, unless it *has_lock*."""
    make_folder(folder)
    journal = PostgresJournal.open(postgres_server().address(), folder, name, Wanted(has_lock=has_lock, **wanted))
    try:
        yield journal
    finally:
        journal.close()


def falls_silent(journal: PostgresJournal) -> None:
    """As if the journal's process had been stopped, or cut off from the database: its lease goes on, and it renews nothing."""
    lease = journal.authority
    assert isinstance(lease, Lease)
    lease._is_lost = True
    lease._ends.set()
    lease._thread.join()
    lease._is_lost = False


def taken_by(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, between: Callable[[], None] = lambda: None, **given: Any
) -> tuple[Claim, float, list[str]]:
    """The run, taken by a process whose clock runs on by itself: how long that took by it, and what it said."""
    now, said = [1000.0], list[str]()
    make_folder(folder)

    def sleep(for_s: float) -> None:
        now[0] += for_s
        between()

    with monkeypatch.context() as patched:
        patched.setattr(leases, "machine_clock", lambda: now[0])
        db = connect(postgres_server().address())
        try:
            more = {"lease_s": 25.0, "has_lock": False, "stands_by": True, **given}
            claim = acquire(db, name, folder, say=said.append, sleep=sleep, **more)
        finally:
            db.close()
    return claim, now[0] - 1000.0, said


def execute(statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Done by somebody else."""
    with psycopg.connect(postgres_server().address(), autocommit=True) as db:
        cursor = db.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


# --- when -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stands_by", [True, False])
async def test_a_lease_that_was_given_back_is_taken_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stands_by: bool
) -> None:
    """Whoever comes waits for nothing, and nothing of the one before can come any more."""
    name = unique()
    with opened(tmp_path / "a", name) as first:
        await first.lane(LANE).plan([chunk(0)])
    claim, waited_s, said = taken_by(tmp_path / "b", name, monkeypatch, stands_by=stands_by)
    assert (claim.epoch, waited_s, said) == (2, 0.0, [])
    assert claim.earlier_until == 0.0


@pytest.mark.parametrize("stands_by", [True, False])
def test_a_holder_that_falls_silent_is_followed_after_half_of_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stands_by: bool
) -> None:
    name = unique()
    with opened(tmp_path / "a", name) as silent:
        falls_silent(silent)
        claim, waited_s, said = taken_by(tmp_path / "b", name, monkeypatch, stands_by=stands_by)
        assert claim.epoch == 2
        assert waited_s == 12.75  # with the look that finds it
        assert stands_by or "waiting to see whether it lives, 12 s at most" in said[0]
        left_s = claim.earlier_until - (1000.0 + waited_s)
        assert 15.0 < left_s <= 25.0  # by the database's clock hardly any time has passed


def test_a_holder_that_renews_is_never_taken_for_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long another stands by."""
    name, looks = unique(), 0

    def renew() -> None:
        nonlocal looks
        looks += 1
        if looks % 40 == 0:  # every 10 s
            execute("UPDATE bulkup.runs SET expires_at = now() + interval '25 s' WHERE name = %s", name)

    with opened(tmp_path / "a", name) as living:
        falls_silent(living)  # its own renewals would count too
        with pytest.raises(RunLocked):
            taken_by(tmp_path / "b", name, monkeypatch, renew, given_up=lambda: looks > 200)
        assert living.authority.epoch == 1


def test_a_renewal_that_comes_at_the_last_moment_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decided is looked at once more under the run's lock."""
    name, renewed = unique(), threading.Event()

    def renew(*_: Any) -> None:
        if not renewed.is_set():
            execute("UPDATE bulkup.runs SET expires_at = now() + interval '25 s' WHERE name = %s", name)
            renewed.set()

    with opened(tmp_path / "a", name) as silent:
        falls_silent(silent)
        monkeypatch.setattr(leases, "_end_writer", renew)
        _, waited_s, _ = taken_by(tmp_path / "b", name, monkeypatch)
        assert renewed.is_set()
        assert waited_s > 25.0


@pytest.mark.parametrize("holder", ["{}", '{"pid": 1, "host": "h"}', '{"lease_s": "25"}', "no JSON"])
def test_who_does_not_say_how_long_its_lease_is_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: str
) -> None:
    """As versions did that renewed otherwise."""
    name, looks = unique(), 0

    def count() -> None:
        nonlocal looks
        looks += 1

    with opened(tmp_path / "a", name) as silent:
        falls_silent(silent)
        execute("UPDATE bulkup.runs SET holder = %s WHERE name = %s", holder, name)
        with pytest.raises(RunLocked):
            taken_by(tmp_path / "b", name, monkeypatch, count, given_up=lambda: looks > 100)


@given(st.lists(st.tuples(st.floats(0.0, 60.0), st.booleans()), max_size=200), st.floats(0.5, 60.0))
def test_silence_is_time_in_which_the_database_answered(steps: Steps, lease_s: float) -> None:
    """Looks that took long count for no more than half a second each, and a renewal begins it anew."""
    silence, at, until, heard_s = Silence(), 0.0, 100.0, 0.0
    silence.look(Standing(1, 1, {"lease_s": lease_s}, 1.0, until), at)
    for gap_s, is_renewed in steps:
        at += gap_s
        until += is_renewed
        heard_s = 0.0 if is_renewed else heard_s + min(gap_s, 0.5)
        now = Standing(1, 1, {"lease_s": lease_s}, 1.0, until)
        assert silence.look(now, at) == is_renewed
        if abs(heard_s - lease_s / 2) > 1e-6:
            assert silence.is_over(now) == (heard_s > lease_s / 2)
        for other in (Standing(1, 2, now.holder, 1.0, until), Standing(1, 1, now.holder, 1.0, until + 1)):
            assert not silence.is_over(other)


def test_a_renewal_that_hangs_is_given_up_before_the_holder_counts_as_silent(tmp_path: Path) -> None:
    """A way to the database that is lost without a word: the next one is tried in time."""
    with opened(tmp_path, unique(), lease_s=25.0) as journal:
        lease = journal.authority
        assert isinstance(lease, Lease)
        with lease._connected() as db:
            chosen = db.info.get_parameters()
            (statement,) = db.execute("SHOW statement_timeout").fetchone()
    assert (chosen["tcp_user_timeout"], chosen["connect_timeout"], statement) == ("2500", "3", "3500ms")
    renewed_every_s, hangs_s, pause_s, connects_s = 5.0, 3.5, 1.0, 3.0
    assert renewed_every_s + hangs_s + pause_s + connects_s <= 25.0 * leases.SILENT_SHARE


# --- what is left to who was taken over -------------------------------------------------------------------------------


async def test_what_was_sent_may_come_until_the_old_lease_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that an old process has begun may end until then: whatever becomes of the next processes, it is in doubt as of then,
    and no other run gets the dataset before."""
    name, dataset = unique(), unique("dataset")
    with opened(tmp_path / "a", name) as old:
        await old.claim_dataset(dataset)
        await old.lane(LANE).plan([chunk(0), chunk(1)])
        await old.lane(LANE).sending(chunk(0).id, 1.0)
        falls_silent(old)
        claim, _, _ = taken_by(tmp_path / "b", name, monkeypatch)
        assert claim.epoch == 2
        execute("UPDATE bulkup.runs SET expires_at = '-infinity', holder = '' WHERE name = %s", name)  # it ends at once
        with (
            opened(tmp_path / "d", unique()) as other,
            psycopg.connect(postgres_server().address(), autocommit=True) as db,
            pytest.raises(RunLocked, match="is held by run"),
        ):
            claim_dataset(db, other._claim, dataset, waits=False)
        with opened(tmp_path / "c", name) as third:
            lane = third.lane(LANE)
            assert 15.0 < lane.earlier_s <= 25.0
            await lane.set_fact(FAR_LEASE_S, 10.0)
            assert await recovered(lane, 1000.0) == 1
            (doubt,) = await lane.open_chunks(ChunkState.IN_DOUBT)
            assert doubt.last_byte_at is not None
            assert 1015.0 < doubt.last_byte_at <= 1025.0
    execute("UPDATE bulkup.facts SET value = '1.0' WHERE key = 'earlier holders send until'")  # it has ended
    with opened(tmp_path / "c", name) as fourth:
        assert fourth.lane(LANE).earlier_s == 0.0
    with opened(tmp_path / "d", unique()) as other:
        await other.claim_dataset(dataset)


async def test_what_is_in_doubt_is_as_of_the_old_lease_s_end_on_any_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process takes over, puts what was being sent in doubt, and ends; the next one, whose clock knows nothing of that one's,
    must not count from now what may still come."""
    name = unique()
    with opened(tmp_path / "a", name) as old:
        await old.set_fact(UPLOAD, UploadRecord([], {LANE: {}}, {}))
        await old.lane(LANE).plan([chunk(0)])
        await old.lane(LANE).sending(chunk(0).id, (await run_clock(old)).unix())
        falls_silent(old)
        taken_by(tmp_path / "b", name, monkeypatch)
        execute("UPDATE bulkup.runs SET expires_at = '-infinity', holder = '' WHERE name = %s", name)
        for boot in ("of b", "of c", "of c", "of d"):
            monkeypatch.setattr("bulkup.run.run_clock.machine_boot", lambda boot=boot: boot)
            with opened(tmp_path / boot, name) as journal:
                lane, clock = journal.lane(LANE), await run_clock(journal)
                await recovered(lane, clock.unix())
                (doubt,) = await lane.open_chunks(ChunkState.IN_DOUBT)
                may_come_s = lane.earlier_s
                assert may_come_s > 15.0
                assert clock.sent_at(doubt.last_byte_at) >= clock.unix() + may_come_s - 0.5, boot


async def test_what_far_workers_may_still_send_is_waited_for_on_any_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows when the last process that could answer them has ended."""
    name = unique()
    with opened(tmp_path / "a", name) as first:
        await first.set_fact(UPLOAD, UploadRecord([], {LANE: {}}, {}))
        lane, clock = first.lane(LANE), await run_clock(first)
        await lane.set_fact(FAR_LEASE_S, 10.0)
        await lane.plan([chunk(0)])
        await lane.sending(chunk(0).id, clock.unix())
        await lane.in_doubt(chunk(0).id, "a worker is lost", clock.unix())
    monkeypatch.setattr("bulkup.run.run_clock.machine_boot", lambda: "another")
    with opened(tmp_path / "b", name) as journal:
        clock = await run_clock(journal)
        (doubt,) = await journal.lane(LANE).open_chunks(ChunkState.IN_DOUBT)
        assert clock.sent_at(doubt.last_byte_at) >= clock.unix() + 9.0


async def test_a_longer_lease_of_one_before_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may have a lease of its own length; and a process whose death is certain can send nothing."""
    name = unique()
    with opened(tmp_path / "a", name, lease_s=600.0) as first:
        falls_silent(first)
        second, _, _ = taken_by(tmp_path / "b", name, monkeypatch, lease_s=2.0)
        assert second.earlier_until > 1300.0 + 200.0
        third, _, _ = taken_by(tmp_path / "c", name, monkeypatch, lease_s=2.0)
        assert third.earlier_until > 1000.0 + 500.0
    dead = unique()
    with opened(tmp_path / "d", dead, has_lock=True) as first:
        falls_silent(first)
        claim, waited_s, _ = taken_by(tmp_path / "d", dead, monkeypatch, has_lock=True)
        assert (claim.epoch, waited_s, claim.earlier_until) == (2, 0.0, 0.0)


async def test_a_dataset_stays_with_a_run_that_renews_at_the_last_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that could not reach the database for a while: two runs would have the dataset."""
    name, dataset = unique(), unique("dataset")

    def renew(*_: Any) -> None:
        execute("UPDATE bulkup.runs SET expires_at = now() + interval '25 s' WHERE name = %s", name)

    with opened(tmp_path / "a", name) as first, opened(tmp_path / "b", unique()) as other:
        await first.claim_dataset(dataset)
        falls_silent(first)
        execute("UPDATE bulkup.runs SET expires_at = now() - interval '1 s' WHERE name = %s", name)
        monkeypatch.setattr(leases, "_end_writer", renew)
        with (
            psycopg.connect(postgres_server().address(), autocommit=True) as db,
            pytest.raises(RunLocked, match="is held by run"),
        ):
            claim_dataset(db, other._claim, dataset, waits=False)
        await first.claim_dataset(dataset)


def test_a_lease_ends_while_the_machine_sleeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted while it sleeps counts: another machine has taken over meanwhile, and the first body to be ended by who wakes
    would come beside its second copy. Here, and in this machine's workers."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        pytest.skip("this system has no clock that goes on while the machine sleeps")
    with opened(tmp_path, unique()) as journal:
        falls_silent(journal)
        assert journal.shared_lease is not None
        shared = SharedLease(*journal.shared_lease)
        assert journal.authority.holds()
        assert shared.holds()
        real = time.clock_gettime
        monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + 60.0 * (clock == time.CLOCK_BOOTTIME))
        assert not journal.authority.holds()
        assert not shared.holds()


async def test_a_process_of_an_old_epoch_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In no table, by whatever it does: it may have been stopped at any place, and wakes."""
    name, address = unique(), postgres_server().new_database()
    make_folder(tmp_path / "a")
    make_folder(tmp_path / "b")
    old = PostgresJournal.open(address, tmp_path / "a", name, Wanted(has_lock=False))
    lane = old.lane(LANE)
    await lane.plan([chunk(0), chunk(1)])
    await lane.sending(chunk(0).id, 1.0)
    falls_silent(old)
    lease = old.authority
    assert isinstance(lease, Lease)

    with psycopg.connect(address, autocommit=True) as db:

        def everything() -> dict[str, list[Any]]:
            tables = db.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'bulkup'")
            return {
                one: sorted(db.execute(f"SELECT t::text FROM bulkup.{one} t".encode()).fetchall()) for (one,) in tables
            }

        # the new process has ended, and the run is free: nothing but the epoch keeps the old one from it
        db.execute("UPDATE bulkup.runs SET expires_at = '-infinity'")
        PostgresJournal.open(address, tmp_path / "b", name, Wanted(has_lock=False)).close()
        before = everything()

        lane.plan([chunk(2)])
        deeds: list[Awaitable[object]] = [
            lane.landed(chunk(0).id, "ds", evidence=Evidence.ANSWER, ids=ids_line(chunk(0), "a")),
            lane.recover(9.0),
            lane.set_fact(NUMBERS[0], 1),
            old.claim_dataset("a dataset"),
        ]
        for deed in deeds:
            with pytest.raises(RunLocked):
                await deed
        for act in (
            lambda: rename_run(address, name, "other", 1),
            lambda: begin_log(db, old._claim.run, 1, IDS, tmp_path / "a"),
        ):
            with pytest.raises(BulkupError, match="another process has taken this run over"):
                act()
        assert not discard_run(address, name, 1)
        woken = Lease(address, old._claim, 25.0, tmp_path / "a")
        woken._thread.join()  # it tries to renew its lease
        assert woken.is_lost
        woken._is_lost = False
        woken._give_back(None)
        await asyncio.to_thread(old.close)
        assert everything() == before
        assert has_run(address, name)
        rename_run(address, name, "other", 2)
        assert has_run(address, "other")


async def test_a_run_that_is_set_aside_takes_a_name_that_is_free_everywhere(tmp_path: Path) -> None:
    """Another machine may have set the run aside before; and where the folder stays, so does the name."""
    name, address = unique(), postgres_server().address()
    for machine in ("a", "b"):
        folder = RunFolder(tmp_path / machine / name)
        folder.path.parent.mkdir()
        with opened(folder.path, name) as journal:
            await journal.lane(LANE).plan([chunk(0)])
        set_aside = partial(_set_aside, folder, address, journal.authority.epoch)
        if machine == "b":
            folder.path.rename(tmp_path / "away")
            with pytest.raises(LocalDisk, match="cannot be renamed"):
                set_aside()
            assert has_run(address, name)
            (tmp_path / "away").rename(folder.path)
        assert set_aside().name == (f"{name}.1" if machine == "a" else f"{name}.2")
        assert not has_run(address, name)
    assert has_run(address, f"{name}.1")
    assert has_run(address, f"{name}.2")
