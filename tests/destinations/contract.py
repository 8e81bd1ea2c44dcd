"""What every destination promises, in one suite. A third service passes it or is not finished.

`Bench` is a service to try it on: the destination under test, a way to make its server fail, and a look at what it holds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import orjson
import pytest

from bulkup.destinations.base import Destination, LookFailed, Payload
from bulkup.doubt.settlement import Match
from bulkup.encoding import RowPlan
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
from tests.destinations.asking import at_once

SECRET = "tok-SECRET-0123456789"
NAME = "gsm8k"
FAMILY = "gsm8k-00042-003-0123abcd"


class Bench(Protocol):
    """One service, and a destination for dataset `NAME` in it."""

    destination: Destination
    plan: RowPlan
    names_bad_rows: bool
    """Whether a refusal says which rows it is about."""

    def row(self, number: int) -> dict[str, Any]:
        """A good row."""

    def bad_row(self) -> dict[str, Any]:
        """A row that only the server refuses."""

    async def fail(self, how: str) -> bool:
        """Let the next requests fail in this way. False where the service has no such failure."""

    async def stored(self) -> list[Any]:
        """The rows that the service holds."""

    async def foreign(self, name: str) -> None:
        """Let another writer store a dataset of that name."""

    async def answers(self) -> None:
        """The service is in order again."""


def payload(bench: Bench, rows: Sequence[Any], name: str = NAME, *, piece: int = 50) -> Payload:
    """A chunk of *rows*, handed over in pieces of any length."""
    body = b",".join(map(orjson.dumps, rows))

    async def blocks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), piece):
            yield body[at : at + piece]

    return Payload(name, len(rows), len(body), bench.destination.envelope(name, bench.plan), blocks)


def rows(bench: Bench, count: int, first: int = 0) -> list[Any]:
    return [bench.row(number) for number in range(first, first + count)]


async def send(bench: Bench, chunk: Payload) -> tuple[Outcome, int]:
    """The outcome, and how many bytes were handed on."""
    told: list[int] = []
    outcome = await bench.destination.send(chunk, told.append)
    assert SECRET not in repr(outcome), "whatever the service repeats"
    assert "\n" not in getattr(outcome, "reason", "")
    return outcome, sum(told)


def multiset(found: Sequence[Any]) -> list[str]:
    return sorted(orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode() for row in found)


class Contract:
    """The suite. A subclass gives the fixture `bench`."""

    async def test_what_is_sent_is_what_is_stored(self, bench: Bench) -> None:
        """All rows, once, in a body of the length it said, with an id for each row where the service gives ids."""
        sent = rows(bench, 25)
        chunk = payload(bench, sent)
        outcome, told = await send(bench, chunk)
        assert isinstance(outcome, Accepted)
        assert outcome.status is RemoteStatus.READY
        assert (outcome.remote_name, bool(outcome.remote_id)) == (NAME, True)
        assert told == chunk.content_length
        assert multiset(await bench.stored()) == multiset(sent)
        if bench.destination.capabilities.gives_row_ids:
            assert outcome.ids is not None
            assert len(set(outcome.ids)) == len(sent)
        else:
            assert outcome.ids is None

    async def test_one_row_goes_too_and_a_payload_can_be_sent_again(self, bench: Bench) -> None:
        chunk = payload(bench, rows(bench, 1), piece=1)
        for times in (1, 2):
            outcome, _ = await send(bench, chunk)
            assert isinstance(outcome, Accepted)
            assert multiset(await bench.stored()) == multiset(rows(bench, 1) * times)

    async def test_a_look_sees_what_was_stored_and_only_our_names(self, bench: Bench) -> None:
        """A longer name, a name in other letters, and one that only looks like a family's are somebody else's."""
        assert not (await bench.destination.look(at_once)).seen
        for name in ("gsm8k-test", "GSM8K", "gsm8", "gsm8k-00042-0123abcdef", "xgsm8k", "gsm8k.00042-0123abcd"):
            await bench.foreign(name)
        assert not (await bench.destination.look(at_once)).seen
        await send(bench, payload(bench, rows(bench, 3)))
        look = await bench.destination.look(at_once)
        assert look.unavailable is None
        assert [found.name for found in look.seen] == [NAME]
        assert look.seen[0].rows in (3, None)
        assert look.seen[0].id

    async def test_a_look_sees_past_the_first_page(self, bench: Bench) -> None:
        for number in range(130):
            await bench.foreign(f"other-{number}")
        await bench.foreign(NAME)
        for number in range(5):
            await bench.foreign(f"another-{number}")
        assert [found.name for found in (await bench.destination.look(at_once)).seen] == [NAME]

    @pytest.mark.parametrize("how", ["readback off", "readback forbidden", "readback garbled"])
    async def test_a_look_says_where_it_cannot_look(self, bench: Bench, how: str) -> None:
        if not await bench.fail(how):
            pytest.skip("the service has no such failure")
        look = await bench.destination.look(at_once)
        assert look.unavailable
        assert SECRET not in look.unavailable
        assert not look.seen

    @pytest.mark.parametrize("how", ["readback 429", "readback 500", "readback reset"])
    async def test_a_look_that_fails_just_now_may_be_repeated(self, bench: Bench, how: str) -> None:
        if not await bench.fail(how):
            pytest.skip("the service has no such failure")
        with pytest.raises(LookFailed) as caught:
            await bench.destination.look(at_once)
        assert isinstance(caught.value.outcome, TryAgain | CloseGate)
        assert SECRET not in str(caught.value)

    async def test_what_is_read_back_is_what_was_sent(self, bench: Bench) -> None:
        """A row's key is the same whether it is sent or read back, and the pages end."""
        sent = rows(bench, 7)
        outcome, _ = await send(bench, payload(bench, sent))
        assert isinstance(outcome, Accepted)
        dataset = outcome.remote_id
        found = [
            row for page in range(3) for row in await bench.destination.read_rows(at_once, dataset, page, page_rows=4)
        ]
        assert Counter(row.key for row in found) == Counter(
            bench.destination.row_key(orjson.dumps(row)) for row in sent
        )
        assert await bench.destination.read_rows(at_once, dataset, 9, page_rows=4) == []
        if outcome.ids is not None:
            assert {row.id for row in found} == set(outcome.ids)

    async def test_a_match_counts_the_rows(self, bench: Bench) -> None:
        if not bench.destination.policy.has_dataset_per_chunk:
            pytest.skip("a chunk is no dataset of its own here")
        outcome, _ = await send(bench, payload(bench, rows(bench, 5)))
        assert isinstance(outcome, Accepted)
        for count, expected in ((5, Match.SAME), (4, Match.OTHER), (6, Match.OTHER)):
            assert await bench.destination.match(at_once, outcome.remote_id, rows=count, plan=bench.plan) is expected

    async def test_too_large(self, bench: Bench) -> None:
        assert await bench.fail("413")
        assert isinstance((await send(bench, payload(bench, rows(bench, 200))))[0], TooLarge)
        assert await bench.stored() == []

    async def test_rows_at_fault_are_named_and_nothing_is_stored(self, bench: Bench) -> None:
        chunk = [bench.row(0), bench.bad_row(), bench.row(2), bench.bad_row()]
        outcome, _ = await send(bench, payload(bench, chunk))
        assert isinstance(outcome, RowsRefused)
        assert outcome.rows == ((1, 3) if bench.names_bad_rows else ())
        assert await bench.stored() == []

    @pytest.mark.parametrize(
        ("how", "kind"),
        [
            ("401", TokenRejected),
            ("402", StopLane),
            ("403", StopLane),
            ("307", StopLane),
            ("429", CloseGate),
            ("503 with Retry-After", CloseGate),
            ("closed port", TryAgain),
        ],
    )
    async def test_what_stores_nothing_says_so(self, bench: Bench, how: str, kind: type[Outcome]) -> None:
        if not await bench.fail(how):
            pytest.skip("the service has no such failure")
        outcome, _ = await send(bench, payload(bench, rows(bench, 3)))
        assert isinstance(outcome, kind)
        if isinstance(outcome, CloseGate):
            assert outcome.wait_s is not None
            assert 0 <= outcome.wait_s <= 2
        await bench.answers()
        assert await bench.stored() == []

    @pytest.mark.parametrize(
        "how",
        [
            "reset_before_body", "reset_in_body", "reset_after_body", "stored_then_reset", "stored_then_500",
            "stored_then_502", "stored_then_504", "not_stored_500", "not_stored_503", "not_stored_408", "not_stored_520",
            "503_plain", "accepted_202", "204", "conflict_409", "garbled_200", "cut_200", "wrong_id_count",
            "repeated_ids", "hang", "400 open",
        ],
    )  # fmt: skip
    async def test_what_may_have_stored_is_in_doubt(self, bench: Bench, how: str) -> None:
        """Never refused, never free to try again."""
        if not await bench.fail(how):
            pytest.skip("the service has no such failure")
        outcome, _ = await send(bench, payload(bench, rows(bench, 300)))
        assert isinstance(outcome, InDoubt), outcome

    async def test_a_slow_answer_is_an_answer(self, bench: Bench) -> None:
        if not await bench.fail("slow_drip"):
            pytest.skip("the service has no such failure")
        assert isinstance((await send(bench, payload(bench, rows(bench, 3))))[0], Accepted)

    @pytest.mark.parametrize("ends", [RemoteStatus.READY, RemoteStatus.FAILED])
    async def test_a_dataset_that_is_pending_is_polled_to_its_end(self, bench: Bench, ends: RemoteStatus) -> None:
        if not await bench.fail(f"pending then {ends}"):
            pytest.skip("the service has no such state")
        outcome, _ = await send(bench, payload(bench, rows(bench, 3)))
        assert isinstance(outcome, Accepted)
        assert outcome.status is RemoteStatus.PENDING
        seen = [await bench.destination.poll(at_once, outcome.remote_id) for _ in range(3)]
        assert seen == [RemoteStatus.PENDING, RemoteStatus.PENDING, ends]

    async def test_only_the_payload_raises(self, bench: Bench) -> None:
        """And then nothing was stored."""

        class Torn(Exception):
            pass

        async def blocks() -> AsyncIterator[bytes]:
            yield b"{"
            raise Torn

        chunk = payload(bench, rows(bench, 3))
        with pytest.raises(Torn):
            await bench.destination.send(Payload(NAME, 3, chunk.body_bytes, chunk.envelope, blocks), lambda _: None)
        assert await bench.stored() == []

    async def test_identity_tells_datasets_apart_and_holds_no_token(self, bench: Bench) -> None:
        assert SECRET not in bench.destination.identity
        assert NAME in bench.destination.identity
        assert "\n" not in bench.destination.identity

    async def test_an_envelope_is_the_same_each_time_and_as_long_for_every_name_of_one_length(
        self, bench: Bench
    ) -> None:
        """Sizes are planned with a stand-in for the name."""
        first, again = (bench.destination.envelope(FAMILY, bench.plan) for _ in range(2))
        assert first == again
        other = bench.destination.envelope(re.sub(r"\d", "7", FAMILY), bench.plan)
        assert other.size == first.size
        assert bench.destination.envelope(NAME, bench.plan).size <= first.size
