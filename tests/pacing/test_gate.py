"""The gate on a fake clock: closed until then, only ever for longer."""

from __future__ import annotations

import asyncio

import pytest

from bulkup.pacing import Gate
from tests.pacing.virtual import give_way, run_virtual


def on(loop: asyncio.AbstractEventLoop) -> Gate:
    return Gate(clock=loop.time, sleep=asyncio.sleep)


def test_it_opens_at_the_moment_it_was_told() -> None:
    async def main() -> float:
        gate = on(asyncio.get_running_loop())
        gate.close(900, "quota")
        assert (gate.wait_s, gate.reason) == (900, "quota")
        await gate.opened()
        assert gate.wait_s == 0
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == pytest.approx(900)


def test_closing_anew_while_somebody_waits_prolongs_the_wait() -> None:
    """Also when the wait was nearly over."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        gate = on(loop)
        gate.close(10, "first")
        waiting = asyncio.ensure_future(gate.opened())
        await asyncio.sleep(9)
        gate.close(20, "second")
        await waiting
        return loop.time()

    assert run_virtual(main) == pytest.approx(29)


def test_closing_for_less_changes_nothing() -> None:
    async def main() -> float:
        gate = on(asyncio.get_running_loop())
        gate.close(10, "long")
        assert gate.close(1, "short") == pytest.approx(10)
        assert gate.reason == "long"
        return gate.wait_s

    assert run_virtual(main) == pytest.approx(10)


async def test_an_open_gate_costs_nothing() -> None:
    gate = Gate(clock=lambda: 0.0, sleep=asyncio.sleep)
    task = asyncio.ensure_future(gate.opened())
    await give_way()
    assert task.done()
    assert gate.wait_s == 0
