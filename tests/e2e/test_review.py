"""What a reviewer with fresh eyes broke, kept from breaking again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from bulkup.account.finished import Event
from bulkup.errors import DestinationNotEmpty
from bulkup.event import Note
from bulkup.flow import pending, rounds
from bulkup.pacing import ByteBudget
from bulkup.run.interrupt import Interrupt
from bulkup.run.story import execute
from tests.e2e.harness import SPACE, Bench, as_collinear, twice


@pytest.fixture
def budgets(monkeypatch: pytest.MonkeyPatch) -> list[ByteBudget]:
    made: list[ByteBudget] = []

    class Watched(ByteBudget):
        def __init__(self, total_bytes: int) -> None:
            super().__init__(total_bytes)
            self.most = 0
            made.append(self)

        async def take(self, size: int) -> None:
            await super().take(size)
            self.most = max(self.most, self.held_bytes)

    monkeypatch.setattr(rounds, "ByteBudget", Watched)
    return made


async def test_pieces_that_are_pending_give_the_budget_back_once(small: Bench, budgets: list[ByteBudget]) -> None:
    small.emulator.patch(pending_polls=1, body_limit_bytes=60_000)
    mapped = small.nebius(mapping={"content": "question"}, max_chunk_bytes=120_000)
    receipt = await small.run(mapped)
    assert receipt.exit_code == 0
    assert [budget.held_bytes for budget in budgets] == [0] * len(budgets)
    assert receipt.destinations["nebius"].max_body_bytes > 0, "pending datasets count too"


async def test_a_lane_that_stored_nothing_looks_again(small: Bench) -> None:
    """Refused by 429 until Ctrl-C; meanwhile somebody else makes the dataset."""
    small.emulator.patch(faults={"collinear": {"429": 1.0}})
    interrupt = Interrupt()

    async def stop() -> None:
        while not small.emulator.summary()["collinear"]["uploads_received"]:
            await anyio.sleep(0.01)
        interrupt.request()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        receipt = await small.run(small.collinear(), interrupt=interrupt)
    assert receipt.exit_code == 130
    small.emulator.patch(faults={})
    small.emulator.write("collinear", dataset_name="rows", space_id=SPACE, rows=[as_collinear(small.rows[0])])
    with pytest.raises(DestinationNotEmpty):
        await small.run(small.collinear())


async def test_resend_keeps_a_doubt_until_it_has_landed(small: Bench) -> None:
    small.emulator.patch(faults={"nebius": {"stored_then_reset": 1.0}}, readback="off")
    receipt = await small.run(small.nebius(max_chunk_bytes=None), on_doubt="resend", retry_for_s=1.0)
    done = receipt.destinations["nebius"]
    assert receipt.exit_code == 75
    assert (done.rows_in_doubt, done.rows_left) == (len(small.rows), 0)
    small.emulator.patch(faults={})
    again = await small.run(small.nebius(max_chunk_bytes=None))
    assert again.exit_code == 4, "held, not silently sent again"


async def test_patience_ends_under_retry_after_too(small: Bench) -> None:
    small.emulator.patch(faults={"collinear": {"503_retry_after": 1.0}}, retry_after_s=1)
    with anyio.fail_after(30):
        receipt = await small.run(small.collinear(), retry_for_s=2.0)
    assert receipt.exit_code == 75


async def test_polling_renews_its_token(small: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two tokens is good for three requests: the first ends while the dataset is PENDING."""
    monkeypatch.setattr(pending, "FIRST_POLL_S", 0.01)
    token = tmp_path / "token"
    token.write_text("first")
    small.emulator.patch(pending_polls=2, token_requests=3, tokens=["first", "second"])

    def renew(event: Event) -> None:
        """The first token is read when the run is opened, before anything is said."""
        token.write_text("second")

    receipt = await execute(small.upload(small.nebius(token_file=token, max_chunk_bytes=None)), tell=renew)
    assert (receipt.exit_code, receipt.destinations["nebius"].rows_landed) == (0, len(small.rows))


async def test_a_refused_command_leaves_no_run_behind(small: Bench) -> None:
    small.emulator.write("collinear", dataset_name="rows", space_id=SPACE, rows=[as_collinear(small.rows[0])])
    with pytest.raises(DestinationNotEmpty):
        await small.run()
    assert [path.name for path in (small.folder / "state").iterdir()] == ["locks"]


async def test_every_request_has_an_outcome_even_when_it_is_aborted(small: Bench) -> None:
    small.emulator.patch(faults={"nebius": {"hang": 1.0}}, hang_s=30)
    interrupt = Interrupt()

    async def stop() -> None:
        while not small.emulator.summary()["nebius"]["uploads_received"]:
            await anyio.sleep(0.01)
        await twice(interrupt)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        receipt = await small.run(small.nebius(), interrupt=interrupt)
    done = receipt.destinations["nebius"].this_invocation
    assert sum(done.attempts_by_outcome.values()) == done.requests > 0


async def test_a_token_that_changes_while_the_first_look_waits(small: Bench) -> None:
    """The look before the run is refused for the moment; until it comes again the token's file holds another one."""
    token = small.folder / "token"
    token.write_text("the-old-token")

    class Notes(list[Note]):
        def append(self, note: Note) -> None:  # the run has begun: the old token was read
            token.write_text("the-new-token")

    small.notes = Notes()
    small.emulator.patch(readback_script={"nebius": ["not_stored_503", "unauthorized_401"]})
    receipt = await small.run(small.nebius(token_file=token))
    assert receipt.exit_code == 0, receipt.destinations["nebius"].reason
    assert small.stored("nebius") == small.expected("nebius")


async def test_a_great_many_bad_rows_are_held_in_portions(small: Bench, budgets: list[ByteBudget]) -> None:
    """Each chunk comes with a bounded number of rejected rows, and they are on disk as it goes."""
    source = small.folder / "bad.jsonl"
    with source.open("wb") as out:
        out.write(b'{"text": "good"}\n' * 100)
        out.write(b"1,2,3\n" * 50_000)
        out.write(b'{"text": "good"}\n' * 100)
    receipt = await small.run(small.nebius(max_chunk_bytes=None), source=source, max_rejects={"percent": 100.0})
    done = receipt.destinations["nebius"]
    assert (receipt.exit_code, done.rows_landed, done.rows_rejected) == (3, 200, 50_000)
    manifest: dict[str, Any] = json.loads((small.folder / "state" / receipt.run_id / "manifest.json").read_text())
    most = max(chunk["rows_rejected"] for chunk in manifest["lanes"]["nebius"])
    assert most < 30_000, "a block more than the bound"
    lines = (small.folder / "state" / receipt.run_id / "rejects.jsonl").read_bytes().splitlines()
    assert len({json.loads(line)["byte_offset"] for line in lines}) == 50_000
