"""The journal in PostgreSQL: what only a database does. That it keeps what the others keep is `test_contract`'s matter."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.chunk import ChunkId, ChunkState, Evidence
from bulkup.errors import ExitCode, JournalUnusable, RunLocked, TokenRefused, UsageProblem
from bulkup.journal.facts import RunFact
from bulkup.journal.memory import MemoryJournal
from bulkup.journal.place import kept_in, mark
from bulkup.journal.postgres import changes, client, questions
from bulkup.journal.postgres import lease as leases
from bulkup.journal.postgres.client import DatabaseAway, connect
from bulkup.journal.postgres.keeper import PostgresJournal
from bulkup.journal.postgres.lease import Lease, claim_dataset
from bulkup.journal.postgres.runs import discard_run, has_run, holder_of_run, names_of_runs
from bulkup.journal.postgres.wanted import Wanted
from bulkup.journal.reading import view
from bulkup.journal.state_files import make_folder
from bulkup.tokens.database import full_address, shown_address
from bulkup.tokens.secret import redact
from tests.cli.shell import eventually
from tests.examples import examples
from tests.flow.rig import scratch_dir
from tests.journal.chunks import LANE, NUMBERS, Step, answers, assert_shows, chunk, ids_line, steps
from tests.journal.postgres_server import PostgresServer, postgres_server, unique

_RUN_NUMBER: RunFact[int] = RunFact("a number", int, 0)


@pytest.fixture
def server() -> PostgresServer:
    return postgres_server()


@contextmanager
def opened(folder: Path, name: str, **wanted: Any) -> Iterator[PostgresJournal]:
    make_folder(folder)
    journal = PostgresJournal.open(postgres_server().address(), folder, name, Wanted(**wanted))
    try:
        yield journal
    finally:
        journal.close()


def taken(folder: Path, name: str, **wanted: Any) -> PostgresJournal:
    """By a process without the folder's lock."""
    return PostgresJournal.open(postgres_server().address(), folder, name, Wanted(has_lock=False, **wanted))


def execute(statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Done by somebody else."""
    with psycopg.connect(postgres_server().address(), autocommit=True) as db:
        cursor = db.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def stop_renewing(journal: PostgresJournal, name: str) -> None:
    """As if the journal's process had not reached the database for the time of its lease, which it does not know yet."""
    lease = journal.authority
    assert isinstance(lease, Lease)
    lease._ends.set()
    lease._thread.join()
    execute("UPDATE bulkup.runs SET expires_at = now() - interval '1 ms' WHERE name = %s", name)


# --- what is kept -----------------------------------------------------------------------------------------------------


@examples(3)
@given(steps, st.integers(0, 24))
def test_any_operations_and_then_opened_elsewhere(done: list[Step], moment: int) -> None:
    """Every answer is that of the journal in memory, after another process has gone on with it, and for who only looks."""

    async def main(folder: Path) -> None:
        name, twin = unique(), MemoryJournal()
        for part in (done[:moment], done[moment:]):
            with opened(folder / name, name) as journal:
                for step in part:
                    await step.apply(journal.lane(LANE), twin.lane(LANE))
                assert await answers(journal.lane(LANE)) == await answers(twin.lane(LANE))
                assert await journal.latest_time() == await twin.latest_time()
        mark(folder / name, postgres_server().address())
        await assert_shows(folder / name, twin.lane(LANE))

    with scratch_dir() as scratch:
        asyncio.run(main(Path(scratch)))


async def test_pieces_of_a_group_that_touch_one_chunk_keep_their_order(tmp_path: Path) -> None:
    """They are submitted together, so they become few statements."""
    with opened(tmp_path, unique()) as journal:
        lane = journal.lane(LANE)
        one, two = chunk(0), chunk(1)
        planned = lane.plan([one, two])
        await asyncio.gather(
            planned,
            lane.sending(one.id, 1.0),
            lane.set_fact(NUMBERS[0], 1),
            lane.sending(two.id, 2.0),
            lane.in_doubt(one.id, "lost", 3.0),
            lane.set_fact(NUMBERS[0], 2),
            lane.absent(one.id),
            lane.landed(two.id, "ds", evidence=Evidence.ANSWER),
            lane.sending(one.id, 4.0),
        )
        assert await lane.chunk(0, 0) == replace(
            one, state=ChunkState.SENDING, attempts=2, absences=1, last_byte_at=4.0, reason=None
        )
        assert (await lane.totals()).rows_landed == 3
        assert await lane.fact(NUMBERS[0]) == 2


def test_a_piece_of_work_goes_before_none_that_touches_the_same_chunk() -> None:
    """It joins an earlier statement of its kind only if nothing in between is about its chunk, and no question stands there."""
    one, two = chunk(0).id, chunk(1).id
    sent, again, asked = changes.sending(one, 1.0), changes.plan_again(two, None), changes.Ask(questions.is_blank)
    cases: list[tuple[list[changes.Piece], list[set[ChunkId]]]] = [
        ([sent, changes.sending(two, 1.0)], [{one, two}]),
        ([sent, again, changes.sending(two, 2.0)], [{one}, {two}, {two}]),
        ([sent, asked, changes.sending(two, 2.0)], [{one}, set(), {two}]),
        ([again, sent, changes.plan_again(one, None)], [{two}, {one}, {one}]),
    ]
    for pieces, touched in cases:
        assert [batch.touched for batch in changes.batched(pieces, lambda *_: 0)] == touched


async def test_runs_share_a_database_and_nothing_else(tmp_path: Path) -> None:
    names = [unique("a"), unique("b")]
    with opened(tmp_path / "a", names[0]) as one, opened(tmp_path / "b", names[1]) as other:
        await one.lane(LANE).plan([chunk(0)])
        await one.lane(LANE).set_fact(NUMBERS[0], 7)
        assert await other.is_blank()
        assert await other.lane(LANE).chunk(0, 0) is None
        assert await other.lane(LANE).fact(NUMBERS[0]) == 0
    assert set(names) <= {name for _, name in names_of_runs(postgres_server().address())}
    assert discard_run(postgres_server().address(), names[0], 1)
    assert not has_run(postgres_server().address(), names[0])
    assert has_run(postgres_server().address(), names[1])


async def test_who_was_taken_over_discards_nothing_of_the_other_s(tmp_path: Path) -> None:
    """Not even when the other one has ended, and given the run back."""
    name, address = unique(), postgres_server().address()
    with opened(tmp_path / "a", name) as first:
        stop_renewing(first, name)
        with opened(tmp_path / "b", name) as second:
            await second.lane(LANE).plan([chunk(0)])
            assert not discard_run(address, name, first.authority.epoch)
        assert not discard_run(address, name, first.authority.epoch)
        assert has_run(address, name)
    assert discard_run(address, name, second.authority.epoch)
    assert not has_run(address, name)
    assert discard_run(address, name, second.authority.epoch)


async def test_what_text_cannot_hold_is_escaped(tmp_path: Path) -> None:
    with opened(tmp_path, unique()) as journal:
        lane = journal.lane(LANE)
        await lane.plan([replace(chunk(0), name="nul \0 é \ud800")])
        await lane.sending(chunk(0).id, 1.0)
        await lane.in_doubt(chunk(0).id, "said \0 \udcff", 2.0)
        found = await lane.chunk(0, 0)
        assert found is not None
        assert (found.name, found.reason) == ("nul \\x00 é \\ud800", "said \\x00 \\udcff")


async def test_ids_and_rejected_rows_of_another_machine_are_missed_and_named(tmp_path: Path) -> None:
    """Its files are not here: rows are told by their content then, and the rejected ones are asked for where they are."""
    name = unique()
    here, there = tmp_path / "here" / name, tmp_path / "there" / name
    with opened(there, name) as journal:
        lane = journal.lane(LANE)
        await lane.plan([chunk(0), chunk(1)], rejects=_reject(5))
        await lane.landed(chunk(0).id, "ds", evidence=Evidence.ANSWER, ids=ids_line(chunk(0), "a"))
    with opened(here, name) as journal:
        lane = journal.lane(LANE)
        await lane.landed(chunk(1).id, "ds", evidence=Evidence.ANSWER, ids=ids_line(chunk(1), "b"))
        assert [one.id.tile for one in await lane.page_without_ids()] == [0]
        assert [one.ids_at is None for one in await lane.page()] == [True, False]
        page, after = await lane.page_of_ids()
        assert page == []
        assert after is not None
        page, after = await lane.page_of_ids(after)
        assert [line.ids for line in page] == [["b"]]
        assert after is None
    for folder, known in ((here, [None, ["b"]]), (there, [["a"], None])):
        mark(folder, postgres_server().address())
        with view(folder) as looked:
            assert [looked.ids_at(one.ids_at) for one in looked.chunks(LANE)] == known
    with view(there) as looked:
        assert [reject["position"] for _, reject in looked.rejects([LANE])] == [5]
    with view(here) as looked, pytest.raises(UsageProblem, match=rf"{there}/rejects.1.jsonl on {socket.gethostname()}"):
        list(looked.rejects([LANE]))


def _reject(position: int) -> bytes:
    reject = {"id": "x", "lane": LANE, "file": "f", "stage": "client", "reason": "r", "length": 1}
    return json.dumps({**reject, "line_in_chunk": 0, "position": position}).encode() + b"\n"


# --- who may write ----------------------------------------------------------------------------------------------------


async def test_a_process_that_lives_keeps_its_run(tmp_path: Path) -> None:
    """The second one sees that the lease is renewed, and says who has the run."""
    name, waits = unique(), threading.Event()
    with opened(tmp_path / "a", name) as journal:
        refused = asyncio.create_task(asyncio.to_thread(taken, tmp_path, name, say=lambda _: waits.set()))
        assert await asyncio.to_thread(waits.wait, 60)
        assert not refused.done()
        execute(
            "UPDATE bulkup.runs SET expires_at = now() + interval '60 s' WHERE name = %s", name
        )  # as the holder would
        with pytest.raises(RunLocked, match=f"held by process {os.getpid()} on {socket.gethostname()}"):
            await refused
        assert journal.authority.holds()
        holder = holder_of_run(postgres_server().address(), name)
        assert holder is not None
        assert holder.pid == os.getpid()
    assert holder_of_run(postgres_server().address(), name) is None


async def test_whoever_was_taken_over_writes_nothing_and_sends_nothing(tmp_path: Path) -> None:
    """A process that was stopped, and wakes: each of its commits looks for its epoch."""
    name = unique()
    with opened(tmp_path / "a", name) as old:
        await old.lane(LANE).plan([chunk(0), chunk(1)])
        await old.lane(LANE).sending(chunk(0).id, 1.0)
        stop_renewing(old, name)
        assert old.authority.holds()
        with opened(tmp_path / "b", name, has_lock=False) as new:
            assert new.authority.epoch == old.authority.epoch + 1
            with pytest.raises(RunLocked, match="another process has taken this run over"):
                await old.lane(LANE).sending(chunk(1).id, 2.0)
            with pytest.raises(RunLocked):
                await old.lane(LANE).landed(chunk(0).id, "ds", evidence=Evidence.ANSWER, ids=ids_line(chunk(0), "a"))
            assert not old.authority.holds()
            assert new.authority.holds()
            assert await new.lane(LANE).recover(9.0) == 1
            assert [one.id.tile for one in await new.lane(LANE).open_chunks(ChunkState.IN_DOUBT)] == [0]
            assert await new.lane(LANE).page_of_ids() == ([], None)
    assert RunLocked.exit_code == ExitCode.LOCKED


@pytest.mark.parametrize("takeovers", [8, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
async def test_in_a_race_of_takeovers_no_commit_comes_out_of_order(tmp_path: Path, takeovers: int) -> None:
    """Each holder writes as fast as it can, and goes on when others have taken the run over, until it is told so."""
    name, folder = unique(), tmp_path / "run"
    make_folder(folder)
    database = postgres_server().new_database()
    PostgresJournal.open(database, folder, name, Wanted()).close()
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("""
            CREATE TABLE public.came (number bigint GENERATED ALWAYS AS IDENTITY, epoch bigint);
            CREATE FUNCTION public.came() RETURNS trigger LANGUAGE plpgsql AS
                $$BEGIN INSERT INTO public.came (epoch) VALUES (NEW.value::bigint); RETURN NEW; END$$;
            CREATE TRIGGER came AFTER INSERT OR UPDATE ON bulkup.facts FOR EACH ROW EXECUTE FUNCTION public.came()""")
        ended: list[int] = []

        async def write(journal: PostgresJournal) -> None:
            try:
                while True:
                    await journal.set_fact(_RUN_NUMBER, journal.authority.epoch)
            except RunLocked:
                ended.append(journal.authority.epoch)
                await asyncio.to_thread(journal.close)

        wanted = Wanted(has_lock=False, stands_by=True)
        async with asyncio.TaskGroup() as tasks:
            for epoch in range(2, takeovers + 2):
                journal = await asyncio.to_thread(PostgresJournal.open, database, folder, name, wanted)
                assert journal.authority.epoch == epoch
                await journal.set_fact(_RUN_NUMBER, epoch)
                tasks.create_task(write(journal))
                journal._lease._ends.set()
                await asyncio.to_thread(
                    journal._lease._thread.join
                )  # the lease is given back, which its writer does not know
            last = await asyncio.to_thread(PostgresJournal.open, database, folder, name, wanted)
            await last.set_fact(_RUN_NUMBER, takeovers + 2)
        last.close()
        assert sorted(ended) == list(range(2, takeovers + 2))
        came = [epoch for (epoch,) in db.execute("SELECT epoch FROM public.came ORDER BY number").fetchall()]
        assert came == sorted(came)
        assert set(came) == set(range(2, takeovers + 3))


@contextmanager
def before_each_commit(journal: PostgresJournal, act: Callable[[], None]) -> Iterator[None]:
    """*act* in the writer's thread, when all of a group is done and it is about to count."""
    db = journal._writer._db
    whole = db.execute

    def execute_(query: Any, *rest: Any, **more: Any) -> Any:
        if query == "COMMIT":
            act()
        return whole(query, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(db, "execute", execute_)
        yield


async def test_while_a_group_is_committed_nobody_can_raise_the_epoch(tmp_path: Path) -> None:
    """What has found its epoch counts before another one's does."""
    name, found = unique(), []

    def take() -> None:
        try:
            execute("SELECT 1 FROM bulkup.runs WHERE name = %s FOR UPDATE NOWAIT", name)
        except psycopg.errors.LockNotAvailable:
            found.append("it is locked")

    with opened(tmp_path, name) as journal, before_each_commit(journal, take):
        await journal.set_fact(_RUN_NUMBER, 1)
    assert found == ["it is locked"]


async def test_what_is_told_is_told_when_it_is_durable(tmp_path: Path) -> None:
    """No byte of a chunk leaves before another machine would see that it is being sent."""
    name, reached, goes_on = unique(), threading.Event(), threading.Event()
    seen = "SELECT state FROM bulkup.chunks JOIN bulkup.runs r USING (run) WHERE r.name = %s"

    def wait() -> None:
        reached.set()
        assert goes_on.wait(60)

    with opened(tmp_path, name) as journal:
        await journal.lane(LANE).plan([chunk(0)])
        await journal.latest_time()  # asked behind it: now the plan counts
        with before_each_commit(journal, wait):
            sending = asyncio.create_task(journal.lane(LANE).sending(chunk(0).id, 1.0))
            assert await asyncio.to_thread(reached.wait, 60)
            was_told, were = sending.done(), execute(seen, name)
            goes_on.set()
            await sending
        assert not was_told
        assert were == [("planned",)]
        assert execute(seen, name) == [("sending",)]


async def test_where_commits_need_not_be_durable_they_are_asked_to_be(tmp_path: Path) -> None:
    database = postgres_server().new_database()
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(f'ALTER DATABASE "{db.info.dbname}" SET synchronous_commit = off'.encode())
    with connect(database) as db:
        assert db.execute("SHOW synchronous_commit").fetchone() == ("on",)


async def test_a_lease_that_is_renewed_while_another_reaches_for_the_run_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at once more under the run's lock."""
    name = unique()
    with opened(tmp_path / "a", name) as journal:
        stop_renewing(journal, name)

        def renew(*_: Any) -> None:
            execute("UPDATE bulkup.runs SET expires_at = now() + interval '60 s' WHERE name = %s", name)

        monkeypatch.setattr(leases, "_end_writer", renew)
        with psycopg.connect(postgres_server().address(), autocommit=True) as db:
            found = leases._take(db, name, "{}", 1.0, is_known_dead=lambda _: False)
        assert isinstance(found, leases.Standing)
        assert found.epoch == 1


@pytest.mark.parametrize(
    "place",
    [
        "another folder",
        "another machine",
        "another machine of this name",
        "another folder at this path",
        "this folder, and its lock was not taken",
    ],
)
async def test_the_lock_of_one_folder_says_nothing_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Whoever has a folder's lock knows the processes dead that had it, and no other."""
    name, folder = unique(), tmp_path / "a"
    make_folder(folder)
    with opened(folder, name, has_lock=place != "this folder, and its lock was not taken"):
        if place == "another machine":
            monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
        elif place == "another machine of this name":  # as a pod has it that is placed anew
            monkeypatch.setattr(leases, "machine_boot", lambda: "another")
        elif place == "another folder at this path":  # as two containers may have it
            folder.rename(tmp_path / "away")
            make_folder(folder)
        elif place == "another folder":
            folder = tmp_path / "b"
            make_folder(folder)
        told = threading.Event()
        refused = asyncio.create_task(
            asyncio.to_thread(
                PostgresJournal.open, postgres_server().address(), folder, name, Wanted(say=lambda _: told.set())
            )
        )
        assert await asyncio.to_thread(told.wait, 60)
        execute("UPDATE bulkup.runs SET expires_at = now() + interval '60 s' WHERE name = %s", name)
        with pytest.raises(RunLocked):
            await refused


def test_a_lease_runs_from_before_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a little less, as clocks of two machines do not run quite alike: it never ends later here than in the database."""
    name, now = unique(), iter(range(0, 10_000, 1000))
    with opened(tmp_path, name):
        pass
    with psycopg.connect(postgres_server().address(), autocommit=True) as db:
        monkeypatch.setattr(leases, "machine_clock", lambda: float(next(now)))
        claim = leases._take(db, name, "{}", 25.0, is_known_dead=lambda _: False)
    assert isinstance(claim, leases.Claim)
    assert 20.0 < claim.until < 25.0


def test_a_renewal_runs_from_before_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, now, renewed = unique(), [1000.0], threading.Event()
    with opened(tmp_path, name, lease_s=1.0) as journal:
        stop_renewing(journal, name)

        def connect_once(address: str, **_: Any) -> Any:
            assert not renewed.is_set()
            made = connect(address)
            whole = made.execute

            def execute_once(query: Any, *rest: Any) -> Any:
                assert not renewed.is_set()
                found = whole(query, *rest)
                if "make_interval" in query:
                    now[0] = 2000.0  # the answer was long on its way
                    renewed.set()
                return found

            made.execute = execute_once
            return made

        monkeypatch.setattr(leases, "connect", connect_once)
        monkeypatch.setattr(leases, "machine_clock", lambda: now[0])
        again = Lease(postgres_server().address(), replace(journal._claim, until=0.0), 1.0, tmp_path)
        assert renewed.wait(60)
        again.close()
        assert again._until == 1000 + 1.0 * (1 - leases.MARGIN)


async def test_a_takeover_brings_the_datasets_along(tmp_path: Path) -> None:
    """In its own transaction: at no moment may another run take the dataset of one that lives."""
    name, dataset = unique("a"), unique("dataset")
    with opened(tmp_path / "a", name) as old, opened(tmp_path / "b", unique("b")) as other:
        await old.claim_dataset(dataset)
        stop_renewing(old, name)
        with (
            opened(tmp_path / "c", name, has_lock=False),
            psycopg.connect(postgres_server().address(), autocommit=True) as db,
            pytest.raises(RunLocked, match=r"the dataset .* is held by run a-"),
        ):
            claim_dataset(db, other._claim, dataset, waits=False)


async def test_a_chunk_that_has_come_to_its_end_stays_there(tmp_path: Path) -> None:
    """Whoever says otherwise has lost count, and nothing of what it said with it counts."""
    with opened(tmp_path, unique()) as journal:
        lane = journal.lane(LANE)
        await lane.plan([chunk(0), chunk(1)])
        await lane.landed(chunk(0).id, "ds", evidence=Evidence.ANSWER)
        said = await asyncio.gather(
            lane.sending(chunk(1).id, 1.0), lane.plan_again(chunk(0).id), return_exceptions=True
        )
        assert [type(one) for one in said] == [AssertionError] * 2
        assert [one.state for one in await lane.page()] == [ChunkState.LANDED, ChunkState.PLANNED]


async def test_a_process_that_is_stopped_in_the_middle_of_a_group_holds_nobody_up(tmp_path: Path) -> None:
    """It keeps the run's row locked, and the database waits for the rest of its group: whoever takes over ends its connection."""
    name = unique()
    with opened(tmp_path / "a", name) as old:
        stop_renewing(old, name)
        writer = old._writer
        pipeline = writer._db.pipeline()
        pipeline.__enter__()
        writer._db.execute("BEGIN")
        writer._db.execute("SELECT 1 FROM bulkup.runs WHERE name = %s FOR SHARE", (name,))
        writer._db.pgconn.send_flush_request()
        writer._db.pgconn.flush()  # and no word more: no Sync
        journal = await asyncio.wait_for(asyncio.to_thread(taken, tmp_path, name), 60)
        assert journal.authority.epoch == 2
        journal.close()
        with pytest.raises(psycopg.OperationalError):
            pipeline.__exit__(None, None, None)


async def test_a_dead_process_with_the_folder_s_lock_is_followed_at_once(tmp_path: Path) -> None:
    """Its lease goes on for 25 s, but whoever has the folder's lock on the same machine knows that all of its processes are
    gone."""
    name = unique()
    with opened(tmp_path, name, lease_s=25.0) as dead:
        dead._lease._ends.set()
        dead._lease.lose()
        with opened(tmp_path, name) as journal:
            assert journal.authority.holds()


async def test_who_stands_by_takes_over_when_the_other_ends(tmp_path: Path) -> None:
    name, waits = unique(), threading.Event()
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        waits.set()

    with opened(tmp_path / "a", name):
        second = asyncio.create_task(asyncio.to_thread(taken, tmp_path, name, stands_by=True, say=say))
        assert await asyncio.to_thread(waits.wait, 60)
        assert not second.done()
    journal = await second
    try:
        assert journal.authority.epoch == 2
        assert "waiting until it ends or dies" in said[0]
    finally:
        journal.close()


async def test_a_dataset_has_one_run(tmp_path: Path) -> None:
    """Another run gets it when the first has given its lease back, or when that has ended: then the first can write nothing
    more."""
    dataset = unique("https://service dataset")
    with opened(tmp_path / "a", unique("a")) as one, opened(tmp_path / "b", unique("b")) as other:
        await one.claim_dataset(dataset)
        await one.claim_dataset(dataset)
        with (
            psycopg.connect(postgres_server().address(), autocommit=True) as db,
            pytest.raises(RunLocked, match=r"the dataset .* is held by run a-"),
        ):
            claim_dataset(db, other._claim, dataset, waits=False)
    stopped = unique("c")
    with opened(tmp_path / "c", stopped) as one, opened(tmp_path / "d", unique("d")) as other:
        await one.claim_dataset(dataset)
        stop_renewing(one, stopped)
        await other.claim_dataset(dataset)
        with pytest.raises(RunLocked):
            await one.set_fact(_RUN_NUMBER, 1)
        await other.set_fact(_RUN_NUMBER, 1)


def test_a_lease_ends_by_this_machine_s_clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with opened(tmp_path, unique()) as journal:
        lease = journal.authority
        assert isinstance(lease, Lease)
        assert lease.holds()
        until = lease._until
        monkeypatch.setattr("bulkup.journal.postgres.lease.machine_clock", lambda: until - 0.001)
        assert lease.holds()
        monkeypatch.setattr("bulkup.journal.postgres.lease.machine_clock", lambda: until)
        assert not lease.holds()


async def test_where_another_database_answers_all_that_is_not_at_its_end_is_in_doubt(tmp_path: Path) -> None:
    """A replica that was promoted may not know what was sent last."""
    name = unique()
    said: list[str] = []
    with opened(tmp_path, name) as journal:
        await journal.lane(LANE).plan([chunk(0), chunk(1), chunk(2)])
        await journal.lane(LANE).sending(chunk(1).id, 1.0)
        await journal.lane(LANE).landed(chunk(2).id, "ds", evidence=Evidence.ANSWER)
    execute("UPDATE bulkup.runs SET timeline = timeline + 1 WHERE name = %s", name)
    with opened(tmp_path, name, say=said.append) as journal:
        assert "has failed over" in said[0]
        assert await journal.lane(LANE).recover(9.0) == 2
    with opened(tmp_path, name) as journal:
        assert await journal.lane(LANE).recover(9.0) == 0
        assert len(await journal.lane(LANE).open_chunks(ChunkState.IN_DOUBT)) == 2


# --- a database that is away ------------------------------------------------------------------------------------------


async def test_what_is_told_while_the_database_is_away_is_kept_when_it_is_back(tmp_path: Path) -> None:
    name = unique()
    said: list[str] = []
    away = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        away.set()

    with opened(tmp_path, name, say=say) as journal:
        lane = journal.lane(LANE)
        await lane.plan([chunk(0), chunk(1)])
        await lane.sending(chunk(0).id, 1.0)
        server = postgres_server()
        server.stop()
        landing = asyncio.ensure_future(lane.landed(chunk(0).id, "ds", evidence=Evidence.ANSWER))
        assert await asyncio.to_thread(away.wait, 30)
        sending = asyncio.ensure_future(lane.sending(chunk(1).id, 2.0))
        assert not landing.done()
        server.start()
        await asyncio.gather(landing, sending)
        assert [found.state for found in await lane.page()] == [ChunkState.LANDED, ChunkState.SENDING]
    assert "the journal's database is away" in said[0]
    assert "the journal's database is back" in said[1]


async def test_a_database_that_stays_away_ends_the_run(tmp_path: Path) -> None:
    with opened(tmp_path, unique(), retry_for_s=0.0) as journal:
        lane = journal.lane(LANE)
        await lane.plan([chunk(0)])
        postgres_server().stop()
        try:
            with pytest.raises(DatabaseAway, match="the same command goes on when it is back"):
                await lane.sending(chunk(0).id, 1.0)
            assert DatabaseAway.exit_code == ExitCode.TRY_LATER
        finally:
            postgres_server().start()  # by this thread: the server ends with the one that started it


@pytest.mark.parametrize("counts", ["yes", "no", "once another has looked"])
async def test_a_connection_that_breaks_in_mid_commit_makes_it_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: str
) -> None:
    """Whether the commit counted is asked; the outcome is not told twice: that would count its rows twice. The database may still
    be at it, as where it waits for a replica, or its disk."""
    with opened(tmp_path, unique()) as journal:
        lane = journal.lane(LANE)
        await lane.plan([chunk(0)])
        await lane.sending(chunk(0).id, 1.0)
        writer = journal._writer
        whole, broken, late = psycopg.Connection.execute, threading.Event(), list[threading.Thread]()

        def commits_late(db: psycopg.Connection[Any]) -> None:
            pid = db.info.backend_pid
            while not execute("SELECT 1 FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))", pid):
                pass  # until the new connection waits for this one
            whole(db, b"COMMIT")
            db.close()

        def breaks(self: psycopg.Connection[Any], query: Any, *rest: Any, **more: Any) -> Any:
            if query == "COMMIT" and self is writer._db and not broken.is_set():
                broken.set()
                if counts == "once another has looked":
                    late.append(threading.Thread(target=commits_late, args=(self,)))
                    late[0].start()
                    writer._db = SimpleNamespace(closed=True)
                else:
                    if counts == "yes":
                        whole(self, query)
                    self.close()
                raise psycopg.OperationalError("the connection is gone")
            return whole(self, query, *rest, **more)

        monkeypatch.setattr(psycopg.Connection, "execute", breaks)
        await lane.landed(chunk(0).id, "ds", evidence=Evidence.ANSWER, ids=ids_line(chunk(0), "a"))
        assert broken.is_set()
        for thread in late:
            thread.join()
        assert (await lane.totals()).rows_landed == 3
        assert [line.ids for line in (await lane.page_of_ids())[0]] == [["a"]]


# --- addresses and what is said ---------------------------------------------------------------------------------------

SECRET = "pa55/w+rd-0a81c2"


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:pa55%2Fw%2Brd-0a81c2@db.example.com:5432/journals",
        "postgres://me@db.example.com/journals?password=pa55%2Fw%2Brd-0a81c2&sslmode=require",
        "postgresql://me@db.example.com/journals?sslmode=require&sslpassword=pa55/w%2Brd-0a81c2",
    ],
)
def test_an_address_is_kept_without_its_password(address: str) -> None:
    shown = shown_address(address)
    assert shown.startswith("postgresql://me@db.example.com")
    assert "pa55" not in shown
    assert shown_address(shown) == shown
    assert full_address(shown) == address
    assert redact(f"they say {SECRET}, and {SECRET.upper()}") == "they say ***, and ***"
    if "sslmode" in address:
        assert shown.endswith("?sslmode=require")


@pytest.mark.parametrize("address", ["sqlite:///x", "db.example.com", "postgresql://[x/y", "postgresql://a@b/c\n", ""])
def test_what_is_no_address_is_not_repeated(address: str) -> None:
    with pytest.raises(UsageProblem, match="give postgresql://USER@HOST/DATABASE") as refused:
        shown_address(address)
    assert not address or address not in str(refused.value)


def test_a_database_that_is_not_there_or_lets_nobody_in_is_one_line(server: PostgresServer, tmp_path: Path) -> None:
    for address, kind, words in (
        (server.address(database="none"), UsageProblem, 'database "none" does not exist; create it'),
        (server.address(user="nobody", password=SECRET), UsageProblem, 'role "nobody" does not exist'),
        ("postgresql://me@127.0.0.1:1/x", DatabaseAway, "cannot be reached"),
    ):
        shown = shown_address(address)
        with pytest.raises(kind, match=words) as said:
            PostgresJournal.open(shown, tmp_path, "run", Wanted())
        assert "\n" not in str(said.value)
        assert "pa55" not in str(said.value)
    assert isinstance(client.meaning(psycopg.OperationalError("password authentication failed"), "x"), TokenRefused)


def test_who_begins_waits_for_a_database_that_is_away(tmp_path: Path) -> None:
    """It is back after a while, or the user does not want to wait any more."""
    server, said, away = postgres_server(), list[str](), threading.Event()

    def say(text: str) -> None:
        said.append(text)
        away.set()

    name, given_up = unique(), threading.Event()
    server.stop()
    try:
        with pytest.raises(DatabaseAway):
            taken(tmp_path, name, open_for_s=60.0, given_up=lambda: True)
        with ThreadPoolExecutor() as threads:
            opening = threads.submit(taken, tmp_path, name, open_for_s=60.0, say=say, given_up=given_up.is_set)
            assert away.wait(30)
            server.start()
            opening.result(30).close()
    finally:
        if server.process is None:
            server.start()
    (text,) = said
    assert text.startswith("waiting up to 60 s for the journal's database: postgresql://")


def test_who_stands_by_goes_on_when_the_database_was_away(tmp_path: Path) -> None:
    """And whoever is asked to end ends, and keeps nothing."""
    server, name, said, given_up = postgres_server(), unique(), list[str](), threading.Event()
    with opened(tmp_path / "a", name), ThreadPoolExecutor() as threads:
        chosen: dict[str, Any] = {"stands_by": True, "open_for_s": 60.0, "say": said.append}
        make_folder(tmp_path / "b")
        waiting = threads.submit(taken, tmp_path / "b", name, given_up=given_up.is_set, **chosen)
        eventually(lambda: any("until it ends or dies" in text for text in said))
        server.restart()
        eventually(lambda: sum("until it ends or dies" in text for text in said) > 1)
        assert not waiting.done()
        given_up.set()
        with pytest.raises(RunLocked):
            waiting.result(30)


def test_without_psycopg_the_command_to_install_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(UsageProblem, match=r"pip install 'bulkup\[postgres\]'"):
        PostgresJournal.open("postgresql://me@localhost/x", tmp_path, "run", Wanted())


def test_a_newer_bulkup_s_journals_are_refused(tmp_path: Path, server: PostgresServer) -> None:
    execute("CREATE DATABASE newer")
    with psycopg.connect(server.address(database="newer"), autocommit=True) as db:
        db.execute(
            "CREATE SCHEMA bulkup; CREATE TABLE bulkup.format (known int); INSERT INTO bulkup.format VALUES (99)"
        )
    with pytest.raises(JournalUnusable, match="newer bulkup"):
        PostgresJournal.open(server.address(database="newer"), tmp_path, "run", Wanted())


def test_many_that_make_the_tables_at_once_make_them_once(tmp_path: Path, server: PostgresServer) -> None:
    execute("CREATE DATABASE fresh")
    address = server.address(database="fresh")
    failed: list[BaseException] = []

    def begin(number: int) -> None:
        try:
            PostgresJournal.open(address, tmp_path, f"run-{number}", Wanted()).close()
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(names_of_runs(address)) == 6


def test_the_folder_says_where_the_journal_is(tmp_path: Path) -> None:
    assert kept_in(tmp_path) is None
    mark(tmp_path, "postgresql://me@host/x")
    assert kept_in(tmp_path) == "postgresql://me@host/x"
    (tmp_path / "journal.json").write_text("{}")
    with pytest.raises(JournalUnusable, match="names no database"):
        kept_in(tmp_path)
