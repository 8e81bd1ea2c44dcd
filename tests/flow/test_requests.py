"""A lane's requests: each has a slot of its own, teaches the pacing, and is followed by what `reaction` says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from bulkup.destinations.base import LookFailed, NotThere, ReadBackUnavailable
from bulkup.errors import ExitCode
from bulkup.flow.halt import Halted, Reason
from bulkup.flow.reaction import told_too_long, until_text
from bulkup.flow.requests import InARow
from bulkup.outcome import CloseGate, StopLane, TokenRejected, TryAgain
from bulkup.tokens.token_source import TokenSource
from tests.flow.alone import UNIX_S, WITHIN_S, Alone, counted, now_s
from tests.pacing.virtual import give_way, run_virtual

T = TypeVar("T")

Answer = TryAgain | CloseGate | TokenRejected | StopLane | ReadBackUnavailable | int

PAGE = StopLane("HTTP 404: a page", ExitCode.USAGE, may_pass=True)


class Service:
    """Answers a request with the next of *answers*: 5, or what it raises."""

    def __init__(
        self, *answers: TryAgain | CloseGate | TokenRejected | StopLane | ReadBackUnavailable | int, trip_s: float = 0.0
    ) -> None:
        self.answers = list(answers)
        self.trip_s = trip_s
        self.asked: list[float] = []

    async def __call__(self) -> int:
        self.asked.append(now_s())
        await asyncio.sleep(self.trip_s)
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            return answer
        raise answer if isinstance(answer, ReadBackUnavailable) else LookFailed(answer)


def on_its_own(work: Callable[[Alone], Awaitable[T]], **how: float) -> T:
    async def main() -> T:
        alone = Alone(**how)  # type: ignore[arg-type]
        found = await work(alone)
        assert alone.pacing.concurrency.in_flight == 0, "every slot was handed back"
        return found

    return run_virtual(main)


class TestAsking:
    def test_each_attempt_waits_as_long_as_it_must(self) -> None:
        service = Service(TryAgain("reset"), TryAgain("reset"), CloseGate("HTTP 429", 60.0, True), 5)
        assert on_its_own(lambda alone: alone.requests.ask(service)) == 5
        assert service.asked == pytest.approx([0, 0.5, 1.5, 61.5], abs=WITHIN_S)

    def test_three_refusals_of_a_look_teach_the_quota(self) -> None:
        """As those of uploads do. Ten were taken, and then none for a minute: from there on looks keep to a pace below that."""
        service = Service(*[5] * 10, *[CloseGate("HTTP 429", 20.0, True)] * 3, *[5] * 6, trip_s=0.01)

        async def work(alone: Alone) -> tuple[bool, int, float]:
            for _ in range(10):
                await alone.requests.ask(service)
            knew = alone.pacing.quota.is_known
            look = asyncio.ensure_future(alone.requests.ask(service))
            await asyncio.sleep(59)
            refused = alone.pacing.quota.refusals_in_a_row
            await look
            pace = alone.pacing.quota.per_minute(now_s())
            assert pace is not None
            for _ in range(5):
                await alone.requests.ask(service)
            return knew, refused, pace

        knew, refused, pace = on_its_own(work)
        assert (knew, refused) == (False, 3)
        assert 1 <= pace <= 10
        gaps = [later - one for one, later in pairwise(service.asked[14:])]
        assert min(gaps) > 60 / 10

    def test_what_headers_tell_holds_for_looks_too(self) -> None:
        service = Service(*[5] * 4)

        async def work(alone: Alone) -> None:
            alone.pacing.headers({"x-ratelimit-limit-requests": "60"})
            for _ in range(4):
                await alone.requests.ask(service)

        on_its_own(work)
        assert service.asked[3] - service.asked[2] >= 1.0

    @pytest.mark.parametrize("answer", [NotThere("HTTP 404"), ReadBackUnavailable("HTTP 403")])
    def test_an_answer_that_shows_nothing_is_one_and_ends_a_row_of_refusals(self, answer: ReadBackUnavailable) -> None:
        service = Service(CloseGate("HTTP 429", 1.0, True), answer)

        async def work(alone: Alone) -> tuple[int, int]:
            with pytest.raises(type(answer)):
                await alone.requests.ask(service)
            return alone.pacing.refusals.in_a_row, alone.pacing.quota.refusals_in_a_row

        assert on_its_own(work) == (0, 0)

    @pytest.mark.parametrize(("pages", "answers"), [(3, True), (4, False)])
    def test_a_gateway_that_goes_on_answering_shows_nothing(self, pages: int, answers: bool) -> None:
        """And does not stop the lane: whether the service can be looked at is not the gateway's to say."""
        service = Service(*[PAGE] * pages, 5)

        async def work(alone: Alone) -> tuple[int | str, Reason | None]:
            try:
                return await alone.requests.ask(service), alone.halt.reason
            except ReadBackUnavailable as why:
                return str(why), alone.halt.reason

        assert on_its_own(work) == ((5 if answers else PAGE.reason), None)
        assert service.asked == pytest.approx([0, 0.5, 1.5, 3.5], abs=WITHIN_S)

    def test_what_lasts_stops_the_lane(self) -> None:
        async def work(alone: Alone) -> Reason | None:
            with pytest.raises(Halted):
                await alone.requests.ask(Service(StopLane("HTTP 402: pay", ExitCode.NO_PERMISSION)))
            return alone.halt.reason

        assert on_its_own(work) == Reason("HTTP 402: pay", ExitCode.NO_PERMISSION)

    def test_asked_once_it_is_asked_once(self) -> None:
        service = Service(CloseGate("HTTP 429", 60.0, True), 5)

        async def work(alone: Alone) -> float:
            with pytest.raises(LookFailed):
                await alone.requests.once(service)
            return alone.pacing.gate.wait_s

        assert on_its_own(work) == pytest.approx(60, abs=WITHIN_S)

    def test_nobody_asks_once_the_lane_has_stopped(self) -> None:
        service = Service(5)

        async def work(alone: Alone) -> None:
            alone.halt.set(Reason("stopped", ExitCode.INTERRUPTED))
            with pytest.raises(Halted):
                await alone.requests.ask(service)

        on_its_own(work)
        assert service.asked == []


class TestSlots:
    def test_a_refused_upload_closes_the_gate_before_its_slot_is_handed_back(self) -> None:
        async def work(alone: Alone) -> float:
            async with alone.requests.slot(rows=1, size=10) as slot:
                slot.begin()
                slot.sent()
                slot.answered(CloseGate("HTTP 503", 30.0))
                return alone.pacing.gate.wait_s

        assert on_its_own(work) == 30.0

    def test_moments_are_those_of_the_request(self) -> None:
        async def work(alone: Alone) -> tuple[float, float, bool]:
            async with alone.requests.slot(rows=1, size=10) as slot:
                await asyncio.sleep(1)
                slot.begin()
                assert not slot.has_sent
                await asyncio.sleep(2)
                slot.sent()
                await asyncio.sleep(4)
            return round(slot.began_s, 3), round(slot.body_ended_s, 3), slot.has_sent

        assert on_its_own(work) == (1.0, 3.0, True)


class TestTries:
    def test_a_lane_that_stops_meanwhile_ends_the_wait(self) -> None:
        async def work(alone: Alone) -> float:
            waiting = asyncio.ensure_future(alone.requests.tries(InARow(failures=6)).failed(TryAgain("refused")))
            await asyncio.sleep(10)
            alone.halt.set(Reason("stopped", ExitCode.INTERRUPTED))
            with pytest.raises(Halted):
                await waiting
            return now_s()

        assert on_its_own(work) == pytest.approx(10, abs=WITHIN_S)

    def test_patience_lasts_as_long_as_the_user_says(self) -> None:
        async def work(alone: Alone) -> Reason | None:
            await asyncio.sleep(599.0)
            await alone.requests.tries().failed(TryAgain("connection refused"))
            await asyncio.sleep(1.0)
            with pytest.raises(Halted):
                await alone.requests.tries().failed(TryAgain("connection refused"))
            return alone.halt.reason

        words = "no request succeeded for too long; the last answer: connection refused"
        assert on_its_own(work) == Reason(words, ExitCode.TRY_LATER)

    def test_several_things_may_count_together_until_one_is_answered(self) -> None:
        async def work(alone: Alone) -> list[float]:
            row, waited = InARow(), []
            for failure in (TryAgain("a"), CloseGate("b", None), TryAgain("c"), None, TryAgain("d")):
                began_s = now_s()
                if failure is None:
                    row.answered()
                else:
                    await alone.requests.tries(row).failed(failure)
                waited.append(round(now_s() - began_s, 3))
            return waited

        assert on_its_own(work) == [0.5, 0.0, 1.0, 0.0, 0.5]

    @pytest.mark.parametrize("failures", [0, 1])
    def test_a_token_that_cannot_be_renewed_ends_the_lane_at_once(self, failures: int) -> None:
        async def work(alone: Alone) -> tuple[float, Reason | None]:
            with pytest.raises(Halted):
                await alone.requests.tries(InARow(failures=failures)).failed(TokenRejected("HTTP 401"))
            return round(now_s(), 6), alone.halt.reason

        words = "the service rejected T (HTTP 401)"
        assert on_its_own(work) == (0.0, Reason(words, ExitCode.NO_PERMISSION))

    async def test_a_renewed_token_is_tried_at_once_and_then_after_a_wait(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text("the-first-token-of-all")
        alone, waited = Alone(TokenSource(variable="T", file=file), clock=counted()), []
        tries = alone.requests.tries()
        for number in range(3):
            rejected = alone.token.current
            file.write_text(f"a-token-that-is-renewed-{number}")
            began_s = alone.clock.monotonic()
            await tries.failed(TokenRejected("HTTP 401"))
            assert alone.token.current != rejected
            waited.append(alone.clock.monotonic() - began_s)
        assert waited == [0, 1, 2]

    async def test_what_was_rejected_is_the_token_that_the_request_had(self, tmp_path: Path) -> None:
        """Another one may have been read meanwhile: that is not taken for the rejected one."""
        file = tmp_path / "token"
        file.write_text("the-first-token-of-all")
        alone = Alone(TokenSource(variable="T", file=file), clock=counted())
        one, other = alone.requests.tries(), alone.requests.tries()
        file.write_text("the-second-token-of-all")
        await one.failed(TokenRejected("HTTP 401"))
        await other.failed(TokenRejected("HTTP 401"))
        assert alone.halt.reason is None


async def refuse(alone: Alone, told_s: float | None, reason: str = "HTTP 429: too many") -> None:
    """One request that is refused."""
    refusal = CloseGate(reason, told_s)
    alone.pacing.answered(refusal, began_s=now_s(), body_ended_s=now_s(), size=0)
    await alone.requests.tries().failed(refusal)


class TestRefusals:
    def test_a_refusal_is_waited_out_in_the_slot(self) -> None:
        """Who wants to send waits at the gate, as one who is held back by the service; who does not is not held up."""

        async def work(alone: Alone) -> tuple[float, float]:
            await refuse(alone, 100.0)
            held_up_s = now_s()
            async with alone.requests.slot():
                return round(held_up_s, 3), round(alone.pacing.throttled_s, 3)

        assert on_its_own(work) == (0.0, 100.0)

    @pytest.mark.parametrize(
        ("told_s", "is_told"), [(None, False), (0.0, False), (9.99, False), (10.0, True), (60.0, True)]
    )
    def test_a_wait_of_ten_seconds_is_told(self, told_s: float | None, is_told: bool) -> None:
        async def work(alone: Alone) -> list[str]:
            await refuse(alone, told_s)
            return alone.said

        until, said = until_text(told_s or 0.0, UNIX_S), on_its_own(work)
        if is_told:
            assert said == [f"waiting until {until}, as the service asked for it (HTTP 429: too many)"]
        else:
            doing = "waiting 10 s" if told_s else "trying again in a moment"
            assert said == [f"HTTP 429: too many; {doing}"]

    @pytest.mark.parametrize(("later_s", "times"), [(0.0, 1), (0.5, 1), (1.0, 1), (1.01, 2), (2.0, 2)])
    def test_who_is_told_the_same_does_not_say_it_again(self, later_s: float, times: int) -> None:
        """Within a second it is the same moment."""

        async def work(alone: Alone) -> list[str]:
            for told_s in (60.0, 60.0 + later_s, 60.0 + later_s):
                await refuse(alone, told_s)
            return alone.said

        assert len(on_its_own(work)) == times

    def test_a_wait_that_is_told_later_is_told_anew(self) -> None:
        async def work(alone: Alone) -> list[str]:
            await refuse(alone, 60.0)
            await asyncio.sleep(60)
            await refuse(alone, 60.0)
            return alone.said

        assert len(on_its_own(work)) == 2

    @pytest.mark.parametrize(("told_s", "ends"), [(3600.0, False), (3600.1, True)])
    def test_more_than_the_user_allows_ends_the_lane_with_the_time_to_come_back(
        self, told_s: float, ends: bool
    ) -> None:
        async def work(alone: Alone) -> Reason | None:
            try:
                await refuse(alone, told_s)
            except Halted:
                assert ends
                assert alone.said == []
            return alone.halt.reason

        text = told_too_long(told_s, UNIX_S, 3600.0, "HTTP 429: too many")
        assert on_its_own(work, max_wait_s=3600.0) == (Reason(text, ExitCode.TRY_LATER) if ends else None)

    @pytest.mark.parametrize("told_s", [None, 0.0])
    def test_refusals_without_a_wait_use_up_patience(self, told_s: float | None) -> None:
        async def work(alone: Alone) -> Reason | None:
            for _ in range(5):
                await refuse(alone, told_s)
                await asyncio.sleep(1)
            await asyncio.sleep(0.1)
            with pytest.raises(Halted):
                await refuse(alone, told_s)
            await give_way()
            return alone.halt.reason

        words = "the service refused every request for too long: HTTP 429: too many"
        assert on_its_own(work, retry_for_s=5.0) == Reason(words, ExitCode.TRY_LATER)

    def test_a_wait_that_was_told_does_not_use_up_patience(self) -> None:
        async def work(alone: Alone) -> Reason | None:
            for _ in range(10):
                await refuse(alone, 60.0)
                await asyncio.sleep(60)
            return alone.halt.reason

        assert on_its_own(work, retry_for_s=5.0) is None


def test_slots_are_no_more_than_there_are() -> None:
    """Whatever is asked: looks and uploads share them."""

    async def work(alone: Alone) -> int:
        most = 0

        async def ask() -> int:
            nonlocal most
            most = max(most, alone.pacing.concurrency.in_flight)
            await asyncio.sleep(1)
            return 5

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(alone.requests.ask, ask)
        return most

    assert on_its_own(work, concurrency=3) == 3
