"""Workers of other machines: the lease, silence, and messages that are none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import msgspec
import pytest

from bulkup.errors import SourceUnreadable
from bulkup.flow.orders import Forget
from bulkup.machine import machine_clock
from bulkup.run.wire import at_run, at_worker
from bulkup.workers import Pool, WorkerLost
from bulkup.workers.channel import Ask, Raised, Returned
from bulkup.workers.far import Bye, End, FarRun, FarWorker, Frames, Ping, Pong, TooLong
from bulkup.workers.lease import Lease
from tests.workers.far import frames_over


@dataclass
class Right:
    """An authority that a test gives and takes."""

    epoch: int = 3
    is_held: bool = True
    left: float = inf

    def holds(self) -> bool:
        return self.is_held

    @property
    def left_s(self) -> float:
        return self.left if self.is_held else 0.0


def test_a_lease_runs_from_the_question_and_once_out_stays_out() -> None:
    now = [100.0]
    lease = Lease(3, 100.0, 10.0, clock=lambda: now[0])
    now[0] = 109.0
    lease.renew(101.0, 10.0)
    assert lease.left_s == 2.0
    now[0] = 111.5
    assert not lease.holds(), "the answer came late, and says nothing of the time since its question"
    lease.renew(111.4, 10.0)
    assert not lease.holds(), "what was asked before it ran out is answered too late"


def test_an_older_answer_and_one_from_the_future_give_no_more() -> None:
    now = [100.0]
    lease = Lease(3, 100.0, 10.0, clock=lambda: now[0])
    now[0] = 105.0
    lease.renew(104.0, 10.0)
    lease.renew(101.0, 10.0)
    assert lease.answered == 104.0, "an answer that comes late is none to a later question"
    lease.renew(9999.0, 10.0)
    assert lease.left_s == 10.0


async def ends(right: Right) -> tuple[FarWorker, Frames, Frames]:
    mine, theirs = await frames_over()
    return FarWorker(mine, at_run, right), mine, theirs


async def test_a_ping_is_answered_with_its_own_time_while_the_run_may_send() -> None:
    right = Right()
    worker, mine, theirs = await ends(right)
    hearing = asyncio.create_task(worker.receive())
    theirs.put(at_worker.encode(Ping(41.5)))
    assert at_worker.decode(await theirs.get() or b"") == Pong(41.5, 3, 10.0)
    right.left = 4.5
    theirs.put(at_worker.encode(Ping(41.7)))
    assert at_worker.decode(await theirs.get() or b"") == Pong(41.7, 3, 4.5), "no longer than the run itself may"
    right.is_held = False
    theirs.put(at_worker.encode(Ping(42.5)))
    theirs.put(at_worker.encode(Returned(7, None)))
    assert await hearing == Returned(7, None)
    worker.end()
    assert at_worker.decode(await theirs.get() or b"") == End(""), "the second ping had no answer"
    mine.abort()
    theirs.abort()


async def test_a_worker_that_says_nothing_is_lost_and_its_answers_come_once_its_lease_is_out() -> None:
    mine, theirs = await frames_over()
    lost: list[int] = []
    pool = Pool(news=lambda *_: None, lost=lost.append)
    loop = asyncio.get_running_loop()
    began = loop.time()
    number = pool.adopt(FarWorker(mine, at_run, Right(), lease_s=0.3, lost_s=0.4, clock=loop.time))
    with pytest.raises(WorkerLost):
        await pool.ask(number, Forget("lane", 1))
    assert (lost, loop.time() - began >= 0.35) == ([number], True)
    theirs.abort()
    await pool.aclose()


async def test_a_worker_that_is_cut_off_is_asked_no_more_and_may_still_send_until_its_lease_is_out() -> None:
    mine, theirs = await frames_over()
    loop = asyncio.get_running_loop()
    has_gone = asyncio.Event()
    pool = Pool(news=lambda *_: None, lost=lambda _: has_gone.set())
    number = pool.adopt(FarWorker(mine, at_run, Right(), lease_s=0.3, lost_s=0.4, clock=loop.time))
    began = loop.time()
    asked = asyncio.create_task(pool.ask(number, Forget("lane", 1)))
    assert isinstance(at_worker.decode(await theirs.get() or b""), Ask)
    theirs.abort()
    await has_gone.wait()
    assert not pool.is_alive(number)
    assert not asked.done(), "it may still be sending"
    with pytest.raises(WorkerLost):
        await asked
    assert loop.time() - began >= 0.3
    await pool.aclose()


async def test_a_worker_that_says_goodbye_is_over_at_once() -> None:
    mine, theirs = await frames_over()
    pool = Pool(news=lambda *_: None, lost=lambda _: None)
    number = pool.adopt(FarWorker(mine, at_run, Right(), lease_s=500, lost_s=600))
    asked = asyncio.create_task(pool.ask(number, Forget("lane", 1)))
    await theirs.get()
    theirs.put(at_worker.encode(Bye()))
    await theirs.finish()
    with pytest.raises(WorkerLost):
        await asyncio.wait_for(asked, 10)
    await pool.aclose()


async def test_an_answer_of_another_epoch_ends_the_workers_session() -> None:
    mine, theirs = await frames_over()
    run = FarRun(theirs, at_worker, Lease(3, machine_clock()))
    mine.put(at_run.encode(Pong(0.0, 4, 10.0)))
    assert await asyncio.wait_for(run.receive(), 10) is None
    assert run.end is None
    mine.abort()
    theirs.abort()


def test_errors_come_back_as_what_they_were_and_unknown_ones_as_a_bug() -> None:
    for error, kind in ((SourceUnreadable("rows: no more"), SourceUnreadable), (KeyError("x"), RuntimeError)):
        back = at_run.decode(at_worker.encode(Raised(1, error)))
        assert isinstance(back, Raised)
        assert type(back.error) is kind
        assert str(back.error) == str(error)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x80",
        msgspec.msgpack.encode({"ping": {"at": "late"}}),
        msgspec.msgpack.encode({"ping": {"at": 1.0}, "bye": {}}),
        msgspec.msgpack.encode({"run": "rm -rf"}),
        msgspec.msgpack.encode({"returned": [1, {"drafted": [0]}]}),
        b"\x80\x04\x95\x17\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94.",
    ],
)
@pytest.mark.parametrize("decode", [at_run.decode, at_worker.decode])
def test_what_is_no_message_is_a_value_error_and_nothing_else(data: bytes, decode: Callable[[bytes], object]) -> None:
    with pytest.raises(ValueError, match="message"):
        decode(data)


async def test_a_message_that_is_too_long_is_neither_sent_nor_read() -> None:
    mine, theirs = await frames_over()
    mine.max_bytes = 100
    with pytest.raises(TooLong):
        mine.put(bytes(101))
    theirs.put(bytes(101))
    with pytest.raises(TooLong):
        await mine.get()
    mine.abort()
    theirs.abort()
