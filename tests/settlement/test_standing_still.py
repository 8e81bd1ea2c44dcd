"""What keeps the evidence true while it is taken: the fence, the single flight of a creation, the last byte of a crash."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from bulkup.chunk import Chunk, ChunkId, ChunkState, Evidence
from bulkup.flow.creation import Creation
from bulkup.flow.fence import Fence
from bulkup.journal import Journal, SqliteJournal
from bulkup.journal.memory import MemoryJournal


class TestFence:
    async def test_nobody_counts_while_something_is_in_flight(self) -> None:
        fence, counted = Fence(), anyio.Event()

        async def count() -> None:
            await fence.close()
            counted.set()

        await fence.enter()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            await anyio.wait_all_tasks_blocked()
            assert not counted.is_set()
            await fence.leave()
            await counted.wait()

    async def test_each_of_those_in_flight_is_waited_for(self) -> None:
        fence, counted = Fence(), anyio.Event()

        async def count() -> None:
            await fence.close()
            counted.set()

        await fence.enter()
        await fence.enter()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            await fence.leave()
            await anyio.wait_all_tasks_blocked()
            assert not counted.is_set()
            await fence.leave()
            await counted.wait()

    async def test_who_is_stopped_while_sending_lets_the_others_count(self) -> None:
        fence = Fence()
        await fence.enter()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await fence.leave()
        with anyio.fail_after(5):
            await fence.close()

    async def test_nobody_sends_while_somebody_counts_or_wants_to(self) -> None:
        fence, sent = Fence(), anyio.Event()

        async def send() -> None:
            await fence.enter()
            sent.set()

        await fence.enter()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fence.close)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            await fence.leave()
            await anyio.wait_all_tasks_blocked()
            assert not sent.is_set()
            await fence.open()
            await sent.wait()

    async def test_who_counts_is_alone(self) -> None:
        fence, second = Fence(), anyio.Event()

        async def count() -> None:
            await fence.close()
            second.set()

        await fence.close()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            await anyio.wait_all_tasks_blocked()
            assert not second.is_set()
            await fence.open()
            await second.wait()

    async def test_who_gives_up_waiting_to_count_lets_the_others_send(self) -> None:
        fence = Fence()
        await fence.enter()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fence.close)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await fence.enter()

    async def test_who_is_stopped_after_counting_lets_the_others_send(self) -> None:
        fence = Fence()
        await fence.close()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await fence.open()
        with anyio.fail_after(5):
            await fence.enter()


class TestCreation:
    def creation(self, *, exists: bool = False, last_byte_at: float | None = None) -> Creation:
        self.now = 100.0

        async def sleep(seconds: float) -> None:
            self.now += seconds
            await checkpoint()

        return Creation(exists=exists, quiet_s=30.0, last_byte_at=last_byte_at, clock=lambda: self.now, sleep=sleep)

    async def test_one_at_a_time_until_one_has_landed(self) -> None:
        creation = self.creation()
        assert await creation.enter()
        second = False

        async def enter() -> None:
            nonlocal second
            second = True
            assert not await creation.enter()
            second = False

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter)
            await anyio.wait_all_tasks_blocked()
            assert second
            creation.landed()
            creation.leave()
        assert not second

    async def test_after_a_doubt_the_next_waits_for_a_quiet_period(self) -> None:
        creation = self.creation()
        assert await creation.enter()
        assert creation.in_doubt()
        creation.leave()
        assert await creation.enter()
        assert self.now == 130.0

    async def test_who_gives_up_waiting_for_it_lets_the_next_one_wait(self) -> None:
        sleeps = iter([anyio.sleep_forever, checkpoint])
        now = iter([100.0, 100.0, 125.0])
        creation = Creation(
            exists=False, quiet_s=30.0, last_byte_at=95.0, clock=lambda: next(now), sleep=lambda _: next(sleeps)()
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(creation.enter)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            assert await creation.enter()

    async def test_so_it_does_after_a_doubt_of_an_earlier_process(self) -> None:
        creation = self.creation(last_byte_at=95.0)
        assert await creation.enter()
        assert self.now == 125.0

    async def test_nobody_waits_where_the_dataset_exists(self) -> None:
        creation = self.creation(exists=True, last_byte_at=99.0)
        assert not await creation.enter()
        assert self.now == 100.0


CHUNK = Chunk(
    id=ChunkId("lane", 0, 0), start=0, stop=10, file=0, byte_offset=0, rows=1, blank=0, rejected=0, lines=((0, 1),),
    body_bytes=9, raw_hash=b"r", rows_hash=b"h", name="name", verbatim=True,
)  # fmt: skip


@pytest.fixture(params=["on disk", "in memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Journal:
    return MemoryJournal() if request.param == "in memory" else SqliteJournal.open(tmp_path, create=True)


async def test_after_a_crash_the_last_byte_may_have_left_until_now(journal: Journal) -> None:
    """It was being sent for an hour: the quiet period does not begin with the first byte."""
    lane = journal.lane("lane")
    await lane.plan([CHUNK])
    await lane.sending(CHUNK.id, 1000.0)
    assert await lane.recover(4600.0) == 1
    (chunk,) = await lane.open_chunks(ChunkState.IN_DOUBT)
    assert chunk.last_byte_at == 4600.0
    journal.close()


async def test_what_landed_is_a_control_from_its_first_byte_on(journal: Journal) -> None:
    """It may have been stored long before its answer came."""
    lane = journal.lane("lane")
    await lane.plan([CHUNK])
    await lane.sending(CHUNK.id, 1000.0)
    await lane.landed(CHUNK.id, "id", evidence=Evidence.ANSWER)
    assert await lane.landings() == {"id": 1000.0}
    journal.close()


async def test_what_was_found_is_no_control(journal: Journal) -> None:
    """Nobody knows when it was stored."""
    lane = journal.lane("lane")
    await lane.plan([CHUNK])
    await lane.sending(CHUNK.id, 1000.0)
    await lane.in_doubt(CHUNK.id, "reset", 1005.0)
    await lane.landed(CHUNK.id, "id", evidence=Evidence.READ_BACK)
    assert await lane.landings() == {"id": 0.0}
    journal.close()
