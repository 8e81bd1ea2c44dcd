"""Both services pass the contract against the emulator, and what only one of them promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulkup.destinations.base import ReadBackUnavailable
from bulkup.outcome import Accepted, InDoubt, RowsRefused
from tests.destinations import contract
from tests.destinations.asking import at_once
from tests.destinations.contract import payload, rows, send
from tests.destinations.served import ServedBench, bench_of


class TestNebius(contract.Contract):
    @pytest.fixture
    async def bench(self, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ServedBench]:
        async with bench_of("nebius", tmp_path) as bench:
            yield bench

    async def test_the_family_is_ours_in_our_folder_alone(self, bench: ServedBench) -> None:
        for name in (contract.NAME, contract.FAMILY, "gsm8k-100000-0123abcd"):
            await bench.foreign(name)
        found = (await bench.destination.look(at_once)).seen
        assert {one.name for one in found} == {contract.NAME, contract.FAMILY, "gsm8k-100000-0123abcd"}
        elsewhere = bench.destination
        elsewhere._folder = "/elsewhere"  # type: ignore[attr-defined]
        assert not (await elsewhere.look(at_once)).seen

    async def test_polling_another_dataset_is_no_answer(self, bench: ServedBench) -> None:
        with pytest.raises(ReadBackUnavailable):
            await bench.destination.poll(at_once, "no-such-dataset")

    @pytest.mark.parametrize("names", ["all", "first", "none"])
    async def test_rows_are_named_as_far_as_the_service_names_them(self, bench: ServedBench, names: str) -> None:
        bench.emulator.patch(refuse_rows={"nebius": {"marker": "row 3", "names": names}})
        outcome, _ = await send(bench, payload(bench, rows(bench, 40)))
        assert isinstance(outcome, RowsRefused)
        assert outcome.rows == {"all": (3, *range(30, 40)), "first": (3,), "none": ()}[names]


class TestCollinear(contract.Contract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[ServedBench]:
        async with bench_of("collinear", tmp_path) as bench:
            yield bench

    async def test_the_second_chunk_is_appended(self, bench: ServedBench) -> None:
        first, _ = await send(bench, payload(bench, rows(bench, 3)))
        second, _ = await send(bench, payload(bench, rows(bench, 4, first=3)))
        assert isinstance(first, Accepted)
        assert isinstance(second, Accepted)
        assert first.remote_id == second.remote_id != ""
        assert [found.rows for found in (await bench.destination.look(at_once)).seen] == [7]

    async def test_a_page_that_is_silently_shorter_does_not_hide_our_dataset(self, bench: ServedBench) -> None:
        """Open in the reference: a cap on the page's size."""
        for number in range(12):
            await bench.foreign(f"other-{number}")
        await bench.foreign(contract.NAME)
        bench.emulator.patch(graphql_page_cap=5)
        look = await bench.destination.look(at_once)
        assert look.unavailable or look.seen

    @pytest.mark.parametrize("more", ["one_less", "one_more"])
    async def test_another_number_of_ids_is_in_doubt(self, bench: ServedBench, more: str) -> None:
        bench.emulator.patch(wrong_ids=more, script={"collinear": ["wrong_id_count"]})
        outcome, _ = await send(bench, payload(bench, rows(bench, 30)))
        assert isinstance(outcome, InDoubt)
        assert "30 were sent" in outcome.reason

    async def test_a_400_whose_rows_before_were_stored_is_in_doubt(self, bench: ServedBench) -> None:
        assert await bench.fail("400 open")
        outcome, _ = await send(bench, payload(bench, rows(bench, 3)))
        assert isinstance(outcome, InDoubt)
        assert len(await bench.stored()) == 1
