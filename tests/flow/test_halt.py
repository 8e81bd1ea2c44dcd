"""A lane's stop signal: the first reason stays, waits end, and what is no trouble of the lane goes through."""

from __future__ import annotations

import anyio
import pytest

from bulkup.errors import ExitCode, SourceChanged
from bulkup.flow.halt import Halt, Halted, Reason

FIRST, SECOND = Reason("first", ExitCode.TRY_LATER), Reason("second", ExitCode.INTERNAL)


def test_the_first_reason_stays() -> None:
    halt = Halt()
    halt.check()
    halt.set(FIRST)
    halt.set(SECOND)
    assert halt.reason == FIRST
    with pytest.raises(Halted):
        halt.check()


async def test_a_wait_ends_when_the_lane_stops_and_another_does_not_begin() -> None:
    halt, ended, begun = Halt(), [], []

    async def wait() -> None:
        with pytest.raises(Halted):
            await halt.unless_halted(anyio.sleep_forever)
        ended.append(1)

    async def another() -> None:
        begun.append(1)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert not ended
            halt.set(FIRST)
    assert len(ended) == 2
    with pytest.raises(Halted):
        await halt.unless_halted(another)
    assert not begun


def test_trouble_stops_the_lane_with_its_own_code() -> None:
    def read() -> None:
        raise SourceChanged("the file is another one")

    halt = Halt()
    with halt.on_trouble():
        read()
    assert halt.reason == Reason("the file is another one", ExitCode.SOURCE_CHANGED)
    with halt.on_trouble():
        halt.check()


def test_a_bug_is_not_the_lanes_trouble() -> None:
    halt = Halt()
    with pytest.raises(ZeroDivisionError), halt.on_trouble():
        raise ZeroDivisionError
    assert halt.reason is None
