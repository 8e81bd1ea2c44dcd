"""Several are begun at once, and taken one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.errors import ExitCode
from bulkup.flow.ahead import begun_ahead
from bulkup.flow.halt import Halt, Halted, Reason
from tests.examples import examples
from tests.flow.alone import now_s
from tests.pacing.virtual import run_virtual


class Work:
    """Items of so many seconds and bytes. *most* is how many were begun and not taken at once, *most_bytes* what they held."""

    def __init__(self, items: Sequence[tuple[float, int]]) -> None:
        self.items = items
        self.begun: list[int] = []
        self.taken: list[int] = []
        self.halt = Halt()
        self.most = self.most_bytes = 0
        self.began_s: dict[int, float] = {}

    async def begin(self, number: int) -> int:
        self.begun.append(number)
        held = [one for one in self.begun if one not in self.taken]
        self.most = max(self.most, len(held))
        self.most_bytes = max(self.most_bytes, sum(self.items[one][1] for one in held))
        self.began_s[number] = now_s()
        await self.halt.unless_halted(lambda: asyncio.sleep(self.items[number][0]))
        return number * number

    async def take(self, number: int, found: int) -> None:
        assert found == number * number
        assert now_s() >= self.began_s[number] + self.items[number][0]
        await asyncio.sleep(0)
        self.taken.append(number)

    async def run(self, *, memory_bytes: int = 100) -> float:
        async def items() -> AsyncIterator[tuple[int, int]]:
            for number, (_, size) in enumerate(self.items):
                yield number, size

        await begun_ahead(items(), self.begin, self.take, halt=self.halt, at_once=4, memory_bytes=memory_bytes)
        return now_s()


@examples(60)
@given(st.lists(st.tuples(st.floats(0, 9), st.integers(1, 150)), max_size=20))
def test_all_are_taken_in_order_and_no_more_are_held_than_may_be(items: list[tuple[float, int]]) -> None:
    work = Work(items)
    run_virtual(work.run)
    assert work.taken == work.begun == list(range(len(items)))
    assert work.most <= 4
    assert work.most_bytes <= max([100, *(size for _, size in items)])


def test_four_go_at_once() -> None:
    work = Work([(1.0, 1)] * 12)
    assert run_virtual(work.run) == pytest.approx(3, abs=0.01)
    assert work.most == 4


def test_a_stop_ends_all_of_it() -> None:
    work = Work([(1.0, 1)] * 3 + [(1000.0, 40)] * 9)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(10, work.halt.set, Reason("stopped", ExitCode.INTERRUPTED))
        with pytest.raises(Halted):
            await work.run()
        return now_s()

    assert run_virtual(main) == pytest.approx(10, abs=0.01)
    assert work.taken == [0, 1, 2]


def test_what_goes_wrong_is_raised() -> None:
    class Wrong(Exception):
        pass

    work = Work([(1.0, 1)] * 8)

    async def take(number: int, found: int) -> None:
        if number == 2:
            raise Wrong

    work.take = take  # type: ignore[method-assign]
    with pytest.raises(ExceptionGroup) as caught:
        run_virtual(work.run)
    assert caught.value.subgroup(Wrong) is not None
