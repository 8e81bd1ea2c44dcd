"""Tiles that workers draft, some of them ahead: the same chunks as without them, and all memory given back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from bulkup import secret
from bulkup.chunk import Chunk, ChunkId
from bulkup.destinations.seam import Payload
from bulkup.flow.draft import Hold
from bulkup.flow.helped import LaneHelp, PoolSender
from bulkup.flow.orders import SendChunk, Sent
from bulkup.flow.prepared import Prepared, from_memory, listed
from bulkup.outcome import Accepted, CloseGate, InDoubt, Outcome
from bulkup.secret import remember_secret
from bulkup.workers import Pool
from tests.examples import examples
from tests.flow.rig import LANE, Planned, Setting, destination, plan, planned, rows_plan, scratch_dir, write_source
from tests.flow.test_prepare import contents, setting

RENEWED = "renewed-while-a-worker-sends"


@pytest.fixture(scope="module")
def at_work() -> Iterator[tuple[asyncio.Runner, Pool]]:
    """Two workers, and the event loop in which they can be asked."""
    with asyncio.Runner() as runner:
        pool = runner.run(
            Pool.start(
                2,
                module="bulkup.wiring.worker_process",
                keep_fds=[],
                news=lambda *_: None,
                lost=lambda worker: pytest.fail(f"worker {worker} has ended"),
                verbose=True,
            )
        )
        yield runner, pool
        runner.run(pool.aclose())


def came_to(found: Planned) -> tuple[object, ...]:
    assert found.budget.held_bytes == 0
    made = [(planned(m.chunk), m.body) for m in found.made]
    return made, found.totals, found.stored, sorted(str(letter) for letter in found.letters)


@examples(12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents(), setting, st.sampled_from(["plain", "gzip"]), st.sampled_from([1, 1000, 4000, 1 << 20]))
def test_workers_make_the_same_chunks(
    at_work: tuple[asyncio.Runner, Pool], files: list[bytes], how: Setting, form: str, memory: int
) -> None:
    """Whatever the memory: a tile that is drafted ahead never waits for one before it with what that one needs."""
    runner, pool = at_work
    with scratch_dir() as scratch:
        folder = Path(scratch)
        paths = write_source(folder, files, form)
        found = []
        for by in (None, pool):
            state = folder / ("own" if by is None else "pool")
            state.mkdir()
            wanted = plan(state, paths, replace(how, memory=memory), pool=by)
            found.append(came_to(runner.run(asyncio.wait_for(wanted, 30))))
    assert found[0] == found[1]


@examples(6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents(), setting, st.integers(1, 4), st.sampled_from(["plain", "gzip"]))
def test_stopped_with_workers_it_goes_on_where_it_was(
    at_work: tuple[asyncio.Runner, Pool], files: list[bytes], how: Setting, stop_after: int, form: str
) -> None:
    runner, pool = at_work
    with scratch_dir() as scratch:
        folder = Path(scratch)
        paths = write_source(folder, files, form)
        whole = folder / "whole"
        whole.mkdir()
        expected = runner.run(plan(whole, paths, how))
        state = folder / "state"
        state.mkdir()
        runner.run(asyncio.wait_for(plan(state, paths, how, stop_after=stop_after, pool=pool), 60))
        again = runner.run(asyncio.wait_for(plan(state, paths, how, pool=pool), 60))
    assert b",".join(m.body for m in sorted(again.made, key=lambda m: m.chunk.start)) == b",".join(
        m.body for m in sorted(expected.made, key=lambda m: m.chunk.start)
    )
    for what in (
        "lines",
        "rows_left",
        "rows_blank",
        "rows_rejected",
    ):  # a tile that was planned in part may be cut otherwise
        assert getattr(again.stored, what) == getattr(expected.stored, what)


class Renewing:
    """A pool whose worker answers *came*, and meanwhile the token is renewed."""

    def __init__(self, came: Sent) -> None:
        self.came = came

    def is_alive(self, worker: int) -> bool:
        return worker == 0

    async def ask(self, worker: int, order: SendChunk, told: object) -> Sent:
        assert RENEWED not in order.secrets
        remember_secret(RENEWED)
        return self.came


@pytest.mark.parametrize(
    ("outcome", "ids", "expected"),
    [
        (CloseGate(f"429: {RENEWED}", 3.0), b"", CloseGate("429: ***", 3.0)),
        (Accepted("d", "n", reason=f"ok {RENEWED}"), b'["a"]\n', Accepted("d", "n", reason="ok ***")),
        (Accepted(RENEWED, "n"), b"", InDoubt("the answer has a token in an id or a name")),
        (Accepted("d", "n"), f'["{RENEWED}"]\n'.encode(), InDoubt("the answer has a token in an id or a name")),
    ],
    ids=["a reason", "a success", "an id", "a row's id"],
)
async def test_a_token_that_is_renewed_meanwhile_is_kept_quiet_too(
    monkeypatch: pytest.MonkeyPatch, outcome: Outcome, ids: bytes, expected: Outcome
) -> None:
    monkeypatch.setattr(secret, "_known", ())
    to = destination()
    help_ = LaneHelp(cast("Pool", Renewing(Sent(outcome, ids))), LANE, None)
    chunk = Chunk(
        id=ChunkId(LANE, 0, 0),
        start=0,
        stop=3,
        file=0,
        byte_offset=0,
        rows=1,
        blank=0,
        rejected=0,
        lines=((0, 1),),
        body_bytes=2,
        raw_hash=b"",
        rows_hash=b"",
        name="n",
        verbatim=True,
    )
    prepared = Prepared(chunk, from_memory([]), listed([]), 0, hold=Hold(0, 0))
    payload = Payload(
        name="n", rows=1, body_bytes=2, envelope=to.envelope("n", rows_plan()), row_blocks=from_memory([])
    )
    assert (await PoolSender(help_, to).send(prepared, payload, lambda _: None)).outcome == expected
