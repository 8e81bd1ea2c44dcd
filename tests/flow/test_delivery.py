"""From a chunk to its outcome, with a real journal and source and a destination in memory: what is recorded and sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from bulkup.chunk import FAILED_ONCE, WHOLE, Chunk, ChunkId, ChunkState, Evidence
from bulkup.destinations.base import Asking, ReadBackUnavailable
from bulkup.doubt.by_count import BY_COUNT
from bulkup.doubt.policy import DOUBTS_TO_SETTLE
from bulkup.errors import BulkupError, ExitCode, LocalDisk, SourceUnreadable
from bulkup.flow.creation import Creation
from bulkup.flow.halt import Halted, Reason
from bulkup.flow.orders import Sent
from bulkup.flow.pending import Share
from bulkup.flow.prepared import Prepared, changed
from bulkup.flow.recorder import DOUBTED
from bulkup.journal import landed_without_ids
from bulkup.journal.facts import FAILED_DATASETS
from bulkup.outcome import (
    Accepted,
    CloseGate,
    InDoubt,
    Outcome,
    RemoteStatus,
    RowsRefused,
    StopLane,
    TokenRejected,
    TooLarge,
    TryAgain,
)
from bulkup.pacing import slow_start
from bulkup.settings.config import OnDoubt
from tests.flow.alone import UNIX_S
from tests.flow.lane_alone import HELD_BYTES, QUIET_S, LaneAlone, lane_of


@pytest.fixture(autouse=True)
def nobody_waits_for_who_goes_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that wait for each other would wait for slow start's patience first, by the real clock."""
    monkeypatch.setattr(slow_start, "PATIENCE_S", 0.0)


@pytest.fixture
async def lane() -> AsyncIterator[LaneAlone]:
    """Four chunks, each of which makes a dataset."""
    async with lane_of(4) as made:
        yield made


def outcomes(lane: LaneAlone) -> dict[str, int]:
    return dict(lane.tally.outcomes)


LOST = InDoubt("the answer was lost")


class Together:
    """Where so many wait for each other."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._are_here = anyio.Event()

    async def wait(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._are_here.set()
        await self._are_here.wait()


class TestLanding:
    async def test_a_chunk_lands_once_with_its_ids(self, lane: LaneAlone) -> None:
        await lane.deliver(0, 2)
        assert await lane.states() == ["landed", "planned", "landed", "planned"]
        chunk = await lane.now(2)
        assert (chunk.evidence, chunk.remote_id, chunk.attempts) == (Evidence.ANSWER, "ds-1", 1)
        assert [one async for one in landed_without_ids(lane.journal)] == []
        assert lane.to.rows() == [*lane.rows(0), *lane.rows(2)]
        tally = lane.tally
        assert (tally.requests, tally.retries, tally.rows_landed, tally.bodies) == (2, 0, 4, 2)
        assert (outcomes(lane), lane.halt.reason) == ({"landed": 2}, None)
        size = chunk.body_bytes + lane.to.envelope(chunk.name, lane.plan.rows).size
        assert (tally.largest_body, tally.bytes_sent, tally.mean_fill) == (size, 2 * size, size / lane.limit.bytes)

    async def test_its_rows_and_its_whole_body_are_what_the_rates_are_asked_for(
        self, lane: LaneAlone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked, enter = [], lane.pacing.enter

        async def asking(*, rows: int, size: int) -> None:
            asked.append((rows, size))
            await enter(rows=rows, size=size)

        monkeypatch.setattr(lane.pacing, "enter", asking)
        await lane.deliver(0)
        chunk = lane.chunks[0]
        assert asked == [(2, chunk.body_bytes + lane.to.envelope(chunk.name, lane.plan.rows).size)]

    @pytest.mark.parametrize(
        ("outcome", "found"),
        [
            (
                Accepted("ds-0", "set-1", RemoteStatus.READY),
                {"outcome": "landed", "reason": None, "remote_id": "ds-0", "remote_name": "set-1"},
            ),
            (LOST, {"outcome": "in_doubt", "reason": "the answer was lost"}),
        ],
    )
    async def test_each_answer_is_logged_with_what_it_took(
        self, lane: LaneAlone, outcome: Outcome, found: dict[str, str | None]
    ) -> None:
        async def send(prepared: Prepared, on_bytes: Callable[[int], None]) -> Sent:
            await lane.clock.sleep(1.23456)
            return Sent(outcome)

        await lane.clock.sleep(5)
        await lane.deliver(1, send=send)
        chunk = lane.chunks[1]
        size = chunk.body_bytes + lane.to.envelope(chunk.name, lane.plan.rows).size
        assert lane.logged == [
            ("request", {"chunk": str(chunk.id), "rows": 2, "bytes": size, "took_s": 1.235, **found})
        ]

    async def test_those_in_flight_are_counted(self, lane: LaneAlone) -> None:
        seen, together = [], Together(2)

        async def send(prepared: Prepared, on_bytes: Callable[[int], None]) -> Sent:
            await together.wait()
            seen.append(lane.tally.in_flight)
            return Sent(TooLarge("HTTP 413"))

        async with lane_of(2, each=1) as lane:
            await lane.deliver(0, 1, at_once=2, send=send)
        assert seen == [2, 1]

    async def test_it_began_to_be_sent_when_it_had_its_slot(self, lane: LaneAlone) -> None:
        """So late it was stored at the earliest."""
        await lane.clock.sleep(7)
        lane.to.script.append(CloseGate("HTTP 429", 20.0))
        await lane.deliver(0)
        assert await lane.journal.landings() == {"ds-0": UNIX_S + 27}

    @pytest.mark.parametrize(
        ("first", "label", "waited_s"),
        [
            (TryAgain("refused"), "not_sent", 0.5),
            (CloseGate("HTTP 429", 20.0, over_quota=True), "told_to_wait", 20.0),
            (StopLane("a page", ExitCode.USAGE, may_pass=True), "stopped", 0.5),
        ],
    )
    async def test_what_stored_nothing_is_tried_again(
        self, lane: LaneAlone, first: Outcome, label: str, waited_s: float
    ) -> None:
        lane.to.script.append(first)
        await lane.deliver(0)
        assert (outcomes(lane), lane.tally.retries, lane.tally.requests) == ({label: 1, "landed": 1}, 1, 2)
        chunk = await lane.now(0)
        assert (chunk.state, chunk.attempts, lane.clock.monotonic()) == (ChunkState.LANDED, 2, waited_s)
        assert await lane.states() == ["landed", "planned", "planned", "planned"]

    async def test_each_failure_in_a_row_waits_longer_and_another_chunk_begins_anew(self, lane: LaneAlone) -> None:
        lane.to.script.extend([TryAgain("refused")] * 3)
        await lane.deliver(0)
        assert lane.clock.monotonic() == 0.5 + 1 + 2
        lane.to.script.append(TryAgain("refused"))
        await lane.deliver(1)
        assert lane.clock.monotonic() == 0.5 + 1 + 2 + 0.5
        assert lane.tally.retries == 4


class TestStops:
    @pytest.mark.parametrize(
        ("outcome", "label", "words"),
        [
            (StopLane("HTTP 402: pay", ExitCode.NO_PERMISSION), "stopped", "HTTP 402: pay"),
            (TokenRejected("HTTP 401"), "token_rejected", "the service rejected T (HTTP 401)"),
        ],
    )
    async def test_what_stops_the_lane_stores_nothing(
        self, lane: LaneAlone, outcome: Outcome, label: str, words: str
    ) -> None:
        """And nothing more is sent."""
        lane.to.script.append(outcome)
        await lane.deliver(0, 1)
        assert lane.halt.reason == Reason(words, ExitCode.NO_PERMISSION)
        assert (outcomes(lane), lane.tally.requests, lane.to.rows()) == ({label: 1}, 1, [])
        assert await lane.states() == ["planned"] * 4

    @pytest.mark.parametrize(("pages", "stops"), [(3, False), (4, True)])
    async def test_so_many_pages_of_a_gateway_may_come_in_a_row(self, lane: LaneAlone, pages: int, stops: bool) -> None:
        page = StopLane("HTTP 404: a page", ExitCode.USAGE, may_pass=True)
        lane.to.script.extend([page] * pages)
        await lane.deliver(0)
        assert lane.halt.reason == (Reason(page.reason, ExitCode.USAGE) if stops else None)
        assert (await lane.now(0)).state is (ChunkState.PLANNED if stops else ChunkState.LANDED)
        assert lane.clock.monotonic() == 0.5 + 1 + 2

    async def test_a_page_is_not_tried_past_patience(self, lane: LaneAlone) -> None:
        lane.requests.patience.tries(lane.clock.monotonic())
        await lane.clock.sleep(601)
        page = StopLane("HTTP 404: a page", ExitCode.USAGE, may_pass=True)
        lane.to.script.append(page)
        await lane.deliver(0)
        assert (lane.halt.reason, lane.tally.requests) == (Reason(page.reason, ExitCode.USAGE), 1)

    @pytest.mark.parametrize("bytes_sent", [0, 1])
    @pytest.mark.parametrize("how", ["changed", "unreadable"])
    async def test_rows_that_cannot_be_read_again_stop_the_lane_and_are_not_stored(
        self, lane: LaneAlone, how: str, bytes_sent: int
    ) -> None:
        """Their body was never whole. Those that are on their way meanwhile come to their ends."""
        raised: BulkupError = SourceUnreadable("rows.jsonl: cannot be read at byte 7: Input/output error")
        if how == "changed":
            raised = changed(lane.chunks[0])
        together = Together(2)

        async def send(prepared: Prepared, on_bytes: Callable[[int], None]) -> Sent:
            if bytes_sent:
                on_bytes(bytes_sent)
            await together.wait()
            raise raised

        await lane.deliver(0, 1, 2, at_once=2, send=send)
        assert lane.halt.reason == Reason(str(raised), raised.exit_code)
        assert (outcomes(lane), await lane.states()) == ({f"source_{how}": 2}, ["planned"] * 4)

    @pytest.mark.parametrize("has_sent", [False, True])
    @pytest.mark.parametrize("error", [LocalDisk("no space left"), Halted(), ArithmeticError()])
    async def test_any_other_end_without_an_answer_is_a_doubt_if_a_byte_may_have_left(
        self, lane: LaneAlone, error: Exception, has_sent: bool
    ) -> None:
        """It never stays as one that is being sent."""

        async def send(prepared: Prepared, on_bytes: Callable[[int], None]) -> Sent:
            if has_sent:
                on_bytes(1)
            raise error

        try:
            await lane.deliver(0, send=send)
        except* ArithmeticError:
            pass
        assert await lane.states() == ["in doubt" if has_sent else "planned", *["planned"] * 3]
        assert (outcomes(lane), lane.tally.in_flight) == ({"broken_off": 1}, 0)
        assert (await lane.now(0)).reason == ("broken off while it was being sent" if has_sent else None)

    async def test_a_full_disk_stops_the_lane(self, lane: LaneAlone) -> None:
        async def send(prepared: Prepared, on_bytes: Callable[[int], None]) -> Sent:
            raise LocalDisk("no space left")

        await lane.deliver(0, 1, send=send)
        assert lane.halt.reason == Reason("no space left", LocalDisk("").exit_code)
        assert lane.tally.requests == 1

    async def test_pieces_that_were_not_sent_are_let_go_of(self, lane: LaneAlone) -> None:
        """`deliver` sees to it."""
        lane.to.script.extend([TooLarge("HTTP 413"), StopLane("HTTP 402", ExitCode.NO_PERMISSION)])
        await lane.deliver(0)
        assert (lane.tally.requests, (await lane.journal.totals()).chunks_left) == (2, 5)

    async def test_cancelled_before_anything_was_handed_over_it_is_planned(self, lane: LaneAlone) -> None:
        """Though its first byte might have left at any moment, as the journal says."""
        lane.writes_take_time()
        sending = lane.journal.sending
        with anyio.CancelScope() as scope:

            async def cancelled(chunk: ChunkId, at: float) -> None:
                scope.cancel()
                await sending(chunk, at)

            lane.journal.sending = cancelled  # type: ignore[method-assign]
            await lane.deliver(0)
        assert (await lane.states(), outcomes(lane)) == (["planned"] * 4, {"cancelled": 1})
        assert (lane.to.sent, (await lane.now(0)).attempts) == ([], 1)

    async def test_cancelled_once_it_was_answered_it_has_landed(self, lane: LaneAlone) -> None:
        lane.writes_take_time()
        with anyio.CancelScope() as scope:

            async def send(prepared: Prepared, on_bytes: Callable[[int], None]) -> Sent:
                scope.cancel()
                return Sent(Accepted("ds-0", prepared.chunk.name, RemoteStatus.READY))

            await lane.deliver(0, send=send)
        assert await lane.states() == ["landed", "planned", "planned", "planned"]
        assert (lane.tally.rows_landed, outcomes(lane)) == (2, {"landed": 1})

    @pytest.mark.parametrize(("bytes_sent", "state"), [(0, ChunkState.PLANNED), (1, ChunkState.IN_DOUBT)])
    async def test_cancelled_it_is_in_doubt_if_a_byte_may_have_left(
        self, lane: LaneAlone, bytes_sent: int, state: ChunkState
    ) -> None:
        async def hung(prepared: Prepared, on_bytes: Callable[[int], None]) -> Sent:
            if bytes_sent:
                on_bytes(bytes_sent)
                await lane.clock.sleep(9)
            await together.wait()
            tasks.cancel_scope.cancel()
            await anyio.sleep_forever()
            raise AssertionError

        together = Together(2)
        lane.writes_take_time()
        send, receive = anyio.create_memory_object_stream[Prepared](2)
        async with send:
            for number in (0, 1):
                await send.send(await lane.prepared(number))
        delivery = lane.delivery(send=hung)
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(delivery.run, receive.clone(), tasks)
        receive.close()
        chunk = await lane.now(0)
        assert (chunk.state, outcomes(lane), lane.tally.in_flight) == (state, {"cancelled": 2}, 0)
        assert (lane.budget.held_bytes, lane.pacing.concurrency.in_flight) == (0, 0)
        if state is ChunkState.IN_DOUBT:
            assert (chunk.reason, chunk.last_byte_at) == ("cancelled while it was being sent", UNIX_S + 18)
        assert await lane.states() == [state, state, "planned", "planned"]


class TestDoubt:
    async def test_what_is_in_doubt_is_not_sent_again(self, lane: LaneAlone) -> None:
        lane.to.script.append("stored")
        await lane.deliver(0)
        chunk = await lane.now(0)
        assert (chunk.state, chunk.reason, chunk.attempts) == (ChunkState.IN_DOUBT, "the answer was lost", 1)
        assert (outcomes(lane), lane.tally.retries, lane.to_settle) == ({"in_doubt": 1}, 0, 0)
        assert not chunk.was_answered
        assert await lane.states() == ["in doubt", "planned", "planned", "planned"]

    @pytest.mark.parametrize(
        ("on_doubt", "follows"), [(OnDoubt.HOLD, DOUBTED), (OnDoubt.RESEND, "retrying, giving up in 10 min 00 s")]
    )
    async def test_it_is_told_with_what_follows_from_it(self, lane: LaneAlone, on_doubt: OnDoubt, follows: str) -> None:
        lane.to.script.append(LOST)
        await lane.deliver(0, on_doubt=on_doubt)
        assert lane.said == [f"the answer was lost; {follows}"]

    async def test_what_was_refused_and_may_be_stored_in_part_is_so_recorded(self, lane: LaneAlone) -> None:
        lane.to.script.append(InDoubt("HTTP 400", was_answered=True))
        await lane.deliver(0)
        chunk = await lane.now(0)
        assert (chunk.state, chunk.was_answered, lane.tally.requests) == (ChunkState.IN_DOUBT, True, 1)

    async def test_where_refusals_are_known_to_store_nothing_it_is_a_refusal(self, lane: LaneAlone) -> None:
        lane.to.script.append(InDoubt("HTTP 400: bad", was_answered=True, rows=(1,)))
        await lane.deliver(0, refusals_store_nothing=True)
        assert (await lane.now(0)).state is ChunkState.SPLIT
        assert [(one["position"], one["reason"]) for one in await lane.rejects()] == [(10, "HTTP 400: bad")]
        assert lane.to.rows() == lane.rows(0)[:1]
        lane.to.script.append(LOST)
        await lane.deliver(1, refusals_store_nothing=True)
        assert (await lane.now(1)).state is ChunkState.IN_DOUBT

    async def test_after_so_many_doubts_they_are_settled_first(self) -> None:
        async with lane_of(2 * DOUBTS_TO_SETTLE) as lane:
            lane.to.script.extend([LOST] * 2 * DOUBTS_TO_SETTLE)
            seen = []

            async def watching(prepared: Prepared, on_bytes: Callable[[int], None]) -> Sent:
                seen.append(lane.to_settle)
                return Sent(LOST)

            await lane.deliver(*range(2 * DOUBTS_TO_SETTLE), send=watching)
            assert seen == [0] * DOUBTS_TO_SETTLE + [1] * DOUBTS_TO_SETTLE
            assert lane.to_settle == 2

    @pytest.mark.parametrize("is_over", [False, True])
    async def test_doubts_without_end_use_up_patience(self, lane: LaneAlone, is_over: bool) -> None:
        lane.requests.patience.tries(lane.clock.monotonic())
        await lane.clock.sleep(600 + is_over)
        lane.to.script.append(LOST)
        await lane.deliver(0)
        words = "no request succeeded for too long; the last doubt: the answer was lost"
        assert lane.halt.reason == (Reason(words, ExitCode.TRY_LATER) if is_over else None)
        assert (await lane.now(0)).state is ChunkState.IN_DOUBT

    async def test_what_lands_renews_patience(self, lane: LaneAlone) -> None:
        lane.patience.tries(lane.clock.monotonic())
        await lane.clock.sleep(599)
        await lane.deliver(0)
        await lane.clock.sleep(599)
        assert not lane.patience.is_over(lane.clock.monotonic())

    async def test_who_accepts_doubles_sends_again_until_it_has_landed(self, lane: LaneAlone) -> None:
        lane.to.script.extend(["stored", TryAgain("refused"), "stored"])
        await lane.deliver(0, on_doubt=OnDoubt.RESEND)
        chunk = await lane.now(0)
        assert (chunk.state, chunk.attempts, lane.to_settle) == (ChunkState.LANDED, 4, 0)
        assert lane.to.rows() == lane.rows(0) * 3
        assert outcomes(lane) == {"in_doubt": 2, "not_sent": 1, "landed": 1}
        assert lane.clock.monotonic() == 0.5 + 1 + 2
        assert await lane.states() == ["landed", "planned", "planned", "planned"]

    async def test_who_accepts_doubles_does_not_try_past_patience(self, lane: LaneAlone) -> None:
        lane.requests.patience.tries(lane.clock.monotonic())
        await lane.clock.sleep(601)
        lane.to.script.append(LOST)
        await lane.deliver(0, on_doubt=OnDoubt.RESEND)
        words = "no request succeeded for too long; the last answer: the answer was lost"
        assert lane.halt.reason == Reason(words, ExitCode.TRY_LATER)
        assert (await lane.now(0)).state is ChunkState.IN_DOUBT

    async def test_an_attempt_that_stored_nothing_leaves_an_earlier_doubt(self, lane: LaneAlone) -> None:
        lane.to.script.extend([LOST, StopLane("HTTP 402", ExitCode.NO_PERMISSION)])
        await lane.deliver(0, on_doubt=OnDoubt.RESEND)
        chunk = await lane.now(0)
        assert (chunk.state, chunk.reason) == (ChunkState.IN_DOUBT, "an earlier attempt is in doubt")
        assert await lane.states() == ["in doubt", "planned", "planned", "planned"]


class TestCreation:
    """Where the first chunk makes the dataset."""

    async def made(self, lane: LaneAlone, *, exists: bool = False) -> Creation:
        return Creation(
            exists=exists, quiet_s=QUIET_S, last_byte_at=None, clock=lane.clock.unix, sleep=lane.clock.sleep
        )

    async def test_a_doubt_about_it_is_settled_at_once(self) -> None:
        async with lane_of(4, policy=BY_COUNT) as lane:
            creation = await self.made(lane)
            lane.to.script.append(LOST)
            await lane.deliver(0, creation=creation)
            assert lane.to_settle == 1
            assert await creation.enter(), "its turn is over"

    async def test_a_doubt_of_before_keeps_it_waiting_for_a_quiet_period(self) -> None:
        async with lane_of(4, policy=BY_COUNT) as lane:
            clock = lane.clock
            creation = Creation(exists=False, quiet_s=QUIET_S, last_byte_at=UNIX_S, clock=clock.unix, sleep=clock.sleep)
            await lane.deliver(0, creation=creation)
            assert await lane.states() == ["landed", "planned", "planned", "planned"]
            assert clock.monotonic() == QUIET_S

    async def test_once_it_exists_it_need_not_be(self) -> None:
        async with lane_of(4, policy=BY_COUNT) as lane:
            creation = await self.made(lane)
            lane.to.script.extend([TryAgain("refused")])
            await lane.deliver(0, creation=creation)
            assert not await creation.enter()
            lane.to.script.append(LOST)
            await lane.deliver(1, creation=creation)
            assert lane.to_settle == 0


class TestNotReady:
    async def test_it_is_asked_for_until_it_is_ready(self, lane: LaneAlone) -> None:
        lane.to.script.append("pending")
        await lane.deliver(0)
        chunk = await lane.now(0)
        assert (chunk.state, chunk.remote_id, chunk.evidence) == (ChunkState.LANDED, "ds-0", Evidence.ANSWER)
        assert (lane.to.polled, lane.clock.monotonic()) == (["ds-0"] * 3, 0.5 + 1 + 2)
        assert (outcomes(lane), lane.tally.rows_landed, lane.tally.bodies) == ({"accepted_not_ready": 1}, 2, 1)
        assert [one.id async for one in landed_without_ids(lane.journal)] == [chunk.id], "its answer had none"
        assert await lane.states() == ["landed", "planned", "planned", "planned"]

    async def test_what_was_answered_before_is_asked_for_and_not_sent(self, lane: LaneAlone) -> None:
        id_ = lane.store(0)
        await lane.journal.sending(lane.chunks[0].id, UNIX_S)
        await lane.journal.answered(lane.chunks[0].id, id_)
        await lane.deliver(0)
        assert (await lane.now(0)).state is ChunkState.LANDED
        assert (lane.to.sent, lane.to.polled) == ([], [id_])

    async def test_what_was_in_doubt_before_it_was_answered_is_no_control_for_others(self, lane: LaneAlone) -> None:
        """A worker had kept the answer: when it was stored is not known, only when its doubt began."""
        id_ = lane.store(0)
        await lane.doubt(0, at=9.0)
        await lane.journal.answered(lane.chunks[0].id, id_)
        await lane.deliver(0)
        assert (await lane.now(0)).evidence is Evidence.KEPT_ANSWER
        assert (await lane.journal.landings())[id_] == 0

    async def test_the_wait_between_two_questions_grows_to_ten_seconds(self, lane: LaneAlone) -> None:
        lane.to.script.append("pending")
        polls = lane.to.polled
        await lane.journal.sending(lane.chunks[1].id, UNIX_S)
        id_ = lane.store(1)
        lane.to.datasets[id_].polls_left = 6
        await lane.journal.answered(lane.chunks[1].id, id_)
        await lane.deliver(1)
        assert len(polls) == 7
        assert lane.clock.monotonic() == 0.5 + 1 + 2 + 4 + 8 + 10 + 10

    @pytest.mark.parametrize("how", ["never ready", "not to be asked"])
    async def test_what_does_not_become_ready_is_in_doubt(self, lane: LaneAlone, how: str) -> None:
        lane.to.script.append("pending")
        if how == "not to be asked":

            class Mute(type(lane.to)):  # type: ignore[misc]
                async def poll(self, asking: Asking, remote_id: str) -> RemoteStatus:
                    raise ReadBackUnavailable("HTTP 404")

            lane.to = Mute(**{name: getattr(lane.to, name) for name in lane.to.__dataclass_fields__})
        await lane.deliver(0, pending_timeout_s=1.5)
        chunk = await lane.now(0)
        words = "dataset ds-0 was still not READY after 2 s"
        assert (chunk.state, chunk.reason, chunk.was_answered) == (ChunkState.IN_DOUBT, words, False)
        assert lane.clock.monotonic() == (1.5 if how == "never ready" else 0.5)

    async def test_what_failed_goes_once_more_in_the_next_round(self, lane: LaneAlone) -> None:
        lane.to.script.append("failed")
        await lane.deliver(0)
        chunk = await lane.now(0)
        assert (chunk.state, chunk.reason) == (ChunkState.PLANNED, FAILED_ONCE)
        assert await lane.journal.fact(FAILED_DATASETS) == ("ds-0",)
        assert await lane.states() == ["planned"] * 4
        lane.to.script.append("failed")
        await lane.deliver(0)
        chunk = await lane.now(0)
        assert (chunk.state, chunk.rejected, chunk.reason) == (
            ChunkState.REFUSED,
            2,
            "dataset ds-1 FAILED at the service",
        )
        assert await lane.journal.fact(FAILED_DATASETS) == ("ds-0", "ds-1")
        rejects = await lane.rejects()
        assert [reject["isolated"] for reject in rejects] == [False, False], "any of them may be the cause"
        assert await lane.states() == ["refused", "planned", "planned", "planned"]

    async def test_memory_is_held_until_the_last_who_needs_it_lets_go(self, lane: LaneAlone) -> None:
        share = Share(lane.budget, await lane.prepared(0))
        share.keep()
        share.keep()
        held = []
        for _ in range(3):
            share.drop()
            held.append(lane.budget.held_bytes)
        assert held == [HELD_BYTES, HELD_BYTES, 0]

    async def test_that_it_failed_is_not_forgotten_by_an_attempt_that_stored_nothing(self, lane: LaneAlone) -> None:
        lane.to.script.append("failed")
        await lane.deliver(0)
        lane.to.script.append(StopLane("HTTP 402", ExitCode.NO_PERMISSION))
        await lane.deliver(0)
        chunk = await lane.now(0)
        assert (chunk.state, chunk.reason) == (ChunkState.PLANNED, FAILED_ONCE)

    async def test_a_lane_that_stops_meanwhile_leaves_it_answered(self, lane: LaneAlone) -> None:
        """The next invocation asks on."""

        class Stopping(type(lane.to)):  # type: ignore[misc]
            async def poll(self, asking: Asking, remote_id: str) -> RemoteStatus:
                lane.halt.set(Reason("stopped", ExitCode.INTERRUPTED))
                return RemoteStatus.PENDING

        lane.to = Stopping(**{name: getattr(lane.to, name) for name in lane.to.__dataclass_fields__})
        lane.to.script.append("pending")
        await lane.clock.sleep(599)
        await lane.deliver(0)
        chunk = await lane.now(0)
        assert (chunk.state, chunk.remote_id) == (ChunkState.ANSWERED, "ds-0")
        assert await lane.states() == ["answered", "planned", "planned", "planned"]
        assert not lane.patience.is_over(1198), "it got through"

    async def test_what_failed_once_may_land(self, lane: LaneAlone) -> None:
        lane.to.script.append("failed")
        await lane.deliver(0)
        lane.to.script.append("pending")
        await lane.deliver(0)
        assert (await lane.now(0)).state is ChunkState.LANDED


class TestTooMuch:
    async def halves(self, lane: LaneAlone, number: int = 0) -> list[Chunk]:
        id_ = lane.chunks[number].id
        found = [await lane.journal.chunk(id_.tile, child) for child in (5, 6)]
        return [chunk for chunk in found if chunk is not None]

    async def test_what_is_too_large_goes_in_halves_and_the_limit_falls(self, lane: LaneAlone) -> None:
        lane.to.script.append(TooLarge("HTTP 413"))
        await lane.deliver(0)
        assert (await lane.now(0)).state is ChunkState.SPLIT
        assert [c.state for c in await self.halves(lane)] == [ChunkState.LANDED, ChunkState.LANDED]
        assert (outcomes(lane), lane.to.rows()) == ({"too_large": 1, "landed": 2}, lane.rows(0))
        chunk = lane.chunks[0]
        size = chunk.body_bytes + lane.to.envelope(chunk.name, lane.plan.rows).size
        assert (lane.limit.bytes, lane.limit.learned) == (size // 2, size // 2)

    async def test_one_row_that_is_too_large_is_set_aside_and_says_nothing_of_the_limit(self, lane: LaneAlone) -> None:
        lane.to.script.extend([TooLarge("HTTP 413"), TooLarge("HTTP 413: the row")])
        chunk = lane.chunks[0]
        size = chunk.body_bytes + lane.to.envelope(chunk.name, lane.plan.rows).size
        await lane.deliver(0)
        assert [c.state for c in await self.halves(lane)] == [ChunkState.REFUSED, ChunkState.LANDED]
        assert [(one["position"], one["reason"]) for one in await lane.rejects()] == [(0, "HTTP 413: the row")]
        assert lane.limit.bytes == size // 2
        assert lane.to.rows() == lane.rows(0)[1:]

    async def test_what_was_planned_before_the_limit_is_not_tried_whole(self, lane: LaneAlone) -> None:
        chunk = lane.chunks[0]
        size = chunk.body_bytes + lane.to.envelope(chunk.name, lane.plan.rows).size
        lane.limit.bytes = size
        await lane.deliver(0)
        lane.limit.bytes = size - 1
        await lane.deliver(1)
        assert ((await lane.now(0)).state, (await lane.now(1)).state) == (ChunkState.LANDED, ChunkState.SPLIT)
        assert (await lane.now(1)).reason == f"planned before bodies were limited to {size - 1} bytes"
        assert (outcomes(lane), lane.tally.requests) == ({"landed": 3}, 3)

    @pytest.mark.parametrize(("absences", "is_split"), [(1, False), (2, True)])
    async def test_what_was_lost_twice_goes_in_smaller_pieces(
        self, lane: LaneAlone, absences: int, is_split: bool
    ) -> None:
        for _ in range(absences):
            await lane.journal.absent(lane.chunks[0].id)
        await lane.deliver(0)
        chunk = await lane.now(0)
        assert chunk.state is (ChunkState.SPLIT if is_split else ChunkState.LANDED)
        if is_split:
            assert chunk.reason == "lost on the way 2 times, with nothing stored: it is sent in smaller pieces"
        assert lane.to.rows() == lane.rows(0)

    async def test_one_row_that_was_lost_twice_is_sent_again(self) -> None:
        async with lane_of(2, each=1) as lane:
            for _ in range(2):
                await lane.journal.absent(lane.chunks[0].id)
            await lane.deliver(0)
            assert await lane.states() == ["landed", "planned"]


class TestRefused:
    async def test_rows_at_fault_are_set_aside_and_the_others_land(self, lane: LaneAlone) -> None:
        lane.to.refuse = lambda row: row == {"t": "1"}
        await lane.deliver(0, 1)
        assert lane.to.rows() == [{"t": "0"}, *lane.rows(1)]
        assert outcomes(lane) == {"rows_refused": 1, "landed": 2}
        (reject,) = await lane.rejects()
        assert (reject["id"], reject["reason"], reject["row"]) == ("memory:10", "HTTP 422: refused", '{"t":"1"}')
        assert "isolated" not in reject

    async def test_a_refusal_that_names_no_row_is_searched(self, lane: LaneAlone) -> None:
        lane.to.script.append(RowsRefused("HTTP 422"))
        await lane.deliver(0)
        assert lane.to.rows() == lane.rows(0)
        assert outcomes(lane) == {"rows_refused": 1, "landed": 2}

    @pytest.fixture
    async def tiles(self) -> AsyncIterator[LaneAlone]:
        """Four chunks, each of which is a tile."""
        async with lane_of(4, tile_bytes=20) as made:
            assert [chunk.id.child for chunk in made.chunks] == [WHOLE] * 4
            yield made

    async def test_three_tiles_of_which_nothing_lands_stop_the_lane(self, tiles: LaneAlone) -> None:
        lane = tiles
        lane.to.refuse = lambda row: True
        await lane.deliver(0, 1, 2, 3)
        assert lane.halt.reason is not None
        assert lane.halt.reason.exit_code is ExitCode.STOPPED_BY_LIMIT
        assert (lane.tally.requests, (await lane.journal.totals()).rows_rejected) == (3, 6)

    async def test_chunks_of_one_tile_are_one(self, lane: LaneAlone) -> None:
        lane.to.refuse = lambda row: True
        await lane.deliver(0, 1, 2, 3)
        assert (lane.halt.reason, (await lane.journal.totals()).rows_rejected) == (None, 8)

    async def test_the_service_is_quoted_by_what_it_said_of_the_whole_chunk(self, tiles: LaneAlone) -> None:
        """Of its pieces it may say anything else."""
        lane = tiles
        for chunk in "abc":
            lane.to.script.extend([RowsRefused("HTTP 422: many"), RowsRefused(f"one {chunk}"), RowsRefused(chunk)])
        await lane.deliver(0, 1, 2, 3)
        assert lane.halt.reason is not None
        assert "HTTP 422: many" in lane.halt.reason.text

    async def test_a_tile_of_which_a_row_landed_is_none_of_them(self, tiles: LaneAlone) -> None:
        tiles.to.refuse = lambda row: row != {"t": "1"}
        await tiles.deliver(0, 1, 2)
        assert (tiles.halt.reason, tiles.to.rows()) == (None, [{"t": "1"}])

    @pytest.mark.parametrize("piece", [LOST, "failed", "pending"])
    async def test_nor_is_one_of_which_a_row_may_land(self, tiles: LaneAlone, piece: Outcome | str) -> None:
        lane = tiles
        lane.to.script.extend([RowsRefused("HTTP 422", (0,)), piece] * 4)
        await lane.deliver(0, 1, 2, 3)
        assert (lane.halt.reason, lane.tally.requests) == (None, 8)

    async def test_nor_is_one_whose_rows_are_too_large(self, tiles: LaneAlone) -> None:
        lane = tiles
        lane.to.script.extend([TooLarge("HTTP 413")] * 12)
        await lane.deliver(0, 1, 2, 3)
        assert (lane.halt.reason, (await lane.journal.totals()).rows_rejected) == (None, 8)

    async def test_who_takes_any_number_of_rejects_is_not_stopped(self, lane: LaneAlone) -> None:
        lane.to.refuse = lambda row: True
        await lane.deliver(0, 1, 2, 3, max_rejects="100%")
        assert lane.halt.reason is None
        assert (await lane.journal.totals()).rows_rejected == 8

    async def test_more_rejects_than_the_user_allows_stop_it(self, lane: LaneAlone) -> None:
        lane.to.refuse = lambda row: True
        await lane.deliver(0, 1, 2, 3, max_rejects="3")
        assert lane.halt.reason is not None
        assert lane.halt.reason.exit_code is ExitCode.STOPPED_BY_LIMIT
        assert (await lane.journal.totals()).rows_rejected == 4


async def test_nobody_sends_while_the_rows_are_counted(lane: LaneAlone) -> None:
    await lane.fence.close()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lane.deliver, 0)
        await anyio.wait_all_tasks_blocked()
        assert lane.to.sent == []
        await lane.fence.open()
    assert len(lane.to.sent) == 1
    with anyio.fail_after(5):
        await lane.fence.close()  # nobody is inside any more
