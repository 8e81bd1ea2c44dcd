"""Answers within bounds: their heads, their codings, the time that they take."""

# ruff: noqa: SIM117 - a server, a client, and then the exchange that is tested

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.transport import AnswerTooLong, AnswerUnreadable, Phase, TransportFailure
from bulkup.transport.coding import PIECE_BYTES, decoder_for
from bulkup.transport.stalls import FREE_TIMES, LEAST_BYTES_PER_S, SlowAnswer
from tests.examples import examples
from tests.test_transport import TOKEN, Body, Connection, Handler, serving, transport

TEXT = b'{"some":"text"}' * 5000
STALL_S = 0.2


def saying(head: str, body: bytes) -> Handler:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.answer(f"HTTP/1.1 200 OK\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await connection.drained()

    return handler


async def taken(handler: Handler, limit: int = 1 << 20, stall_s: float = 10.0) -> bytes:
    """What is read of the answer."""
    async with serving(handler) as server, transport(server.url, stall_s=stall_s) as wire:
        async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as answer:
            return await answer.read(limit)


# --- heads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        "X-Long: " + "x" * 65_536 + "\r\n",
        "".join(f"X-{number}: y\r\n" for number in range(990)),
        "".join(f"X-{number}: {'y' * 900}\r\n" for number in range(900)),
    ],
)
async def test_a_large_head_is_read(head: str) -> None:
    """A header of 64 KiB; a thousand of them."""
    assert await taken(saying(head, b"ok")) == b"ok"


@pytest.mark.parametrize(
    "head",
    [
        "X-Long: " + "x" * 70_000 + "\r\n",
        "".join(f"X-{number}: y\r\n" for number in range(1100)),
        "".join(f"X-{number}: {'y' * 60_000}\r\n" for number in range(30)),
    ],
)
async def test_a_larger_one_is_a_failure_after_the_body(head: str) -> None:
    with pytest.raises(TransportFailure) as caught:
        await taken(saying(head, b"ok"))
    assert caught.value.phase is Phase.ANSWER


async def test_a_head_without_end_is_cut() -> None:
    async def raves(connection: Connection) -> None:
        await connection.request()
        await connection.answer(b"HTTP/1.1 200 OK\r\n")
        while True:
            await connection.answer(b"X-Y: " + b"z" * 60_000 + b"\r\n")

    with pytest.raises(TransportFailure, match="headers pass"):
        await taken(raves)


# --- codings ----------------------------------------------------------------------------------------------------------


async def test_what_is_asked_for_is_what_can_be_read() -> None:
    """Whatever else is installed."""
    async with serving(saying("", b"ok")) as server, transport(server.url) as wire:
        async with wire.exchange("GET", "/x", token=TOKEN) as answer:
            await answer.read(10)
        assert b"accept-encoding: gzip, deflate\r\n" in server.connections[0].head.lower()


CODED: dict[str, Callable[[bytes], bytes]] = {
    "identity": lambda data: data,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP ": lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:]),
    "deflate": zlib.compress,
    " Deflate": lambda data: zlib.compress(data)[2:-4],
}


@pytest.mark.parametrize("name", CODED)
async def test_an_answer_in_a_coding_that_was_asked_for(name: str) -> None:
    assert await taken(saying(f"Content-Encoding: {name}\r\n", CODED[name](TEXT))) == TEXT


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("br", TEXT),
        ("zstd", TEXT),
        ("gzip, gzip", gzip.compress(gzip.compress(TEXT))),
        ("gzip", TEXT),
        ("gzip", gzip.compress(TEXT)[:-1]),
        ("gzip", gzip.compress(TEXT) + b"more"),
        ("gzip", b""),
        ("deflate", b"\xff" * 50),
        ("gzip", gzip.compress(b"") * 20_000),
    ],
    ids=range(9),
)
async def test_an_answer_in_any_other_cannot_be_read(name: str, body: bytes) -> None:
    """That is a failure after the body, which says so: an upload is then in doubt, and a look is none."""
    with pytest.raises(AnswerUnreadable) as caught:
        await taken(saying(f"Content-Encoding: {name}\r\n", body))
    assert caught.value.phase is Phase.ANSWER
    assert "compress" in str(caught.value) or name in str(caught.value)


async def test_a_bomb_goes_off_at_the_bound() -> None:
    bomb = gzip.compress(bytes(300 << 20), 6)
    with pytest.raises(AnswerTooLong):
        await taken(saying("Content-Encoding: gzip\r\n", bomb), limit=1 << 20)


@examples(60)
@given(st.binary(max_size=3000), st.integers(0, 400), st.lists(st.integers(1, 900), max_size=20), st.booleans())
def test_pieces_of_any_size_stand_for_the_same(text: bytes, zeros: int, cuts: list[int], is_gzip: bool) -> None:
    """And none that is handed on is larger than it may be."""
    text += bytes(zeros * 1000)
    data = gzip.compress(text) if is_gzip else zlib.compress(text)
    decoder = decoder_for("gzip" if is_gzip else "deflate")
    assert decoder is not None
    found = []
    for size in [*cuts, len(data)]:
        found += list(decoder.pieces(data[:size]))
        data = data[size:]
    decoder.finish()
    assert b"".join(found) == text
    assert all(0 < len(piece) <= PIECE_BYTES for piece in found)


# --- time -------------------------------------------------------------------------------------------------------------


def test_an_answer_that_moves_at_a_sane_rate_is_never_too_slow() -> None:
    watch = SlowAnswer(0.0, 120.0)
    for second in range(1, 100_000):
        assert watch.came(second, LEAST_BYTES_PER_S) is None


@given(st.floats(0.5, 110), st.integers(1, 50))
def test_one_that_drips_ends_within_its_time(every_s: float, count: int) -> None:
    """Five quiet periods and a second for each KiB, and what it takes until the next piece."""
    if count / every_s > LEAST_BYTES_PER_S / 2:
        return
    watch, now, came = SlowAnswer(0.0, 120.0), 0.0, 0
    while True:
        now += every_s
        came += count
        if watch.came(now, count) is not None:
            break
        assert now <= FREE_TIMES * 120 + came / LEAST_BYTES_PER_S
    assert now <= FREE_TIMES * 120 + came / LEAST_BYTES_PER_S + every_s + 1


def test_a_process_that_was_stopped_gives_nothing_up_for_that() -> None:
    watch = SlowAnswer(0.0, 120.0)
    for hour in range(1, 4):
        assert watch.came(hour * 3600.0, 10) is None


async def test_an_answer_that_drips_for_ever_is_cut() -> None:
    async def drips(connection: Connection) -> None:
        await connection.request()
        await connection.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n")
        while True:
            await asyncio.sleep(STALL_S / 8)
            await connection.answer(b".")

    with pytest.raises(TransportFailure, match="too slowly") as caught:
        await taken(drips, stall_s=STALL_S)
    assert caught.value.phase is Phase.ANSWER


async def test_an_answer_that_moves_takes_as_long_as_it_takes() -> None:
    """Longer than one that drips may."""
    pieces = 60

    async def flows(connection: Connection) -> None:
        await connection.request()
        await connection.answer(f"HTTP/1.1 200 OK\r\nContent-Length: {pieces * 4096}\r\n\r\n".encode())
        for _ in range(pieces):
            await asyncio.sleep(STALL_S * FREE_TIMES * 1.5 / pieces)
            await connection.answer(b"." * 4096)

    assert len(await taken(flows, stall_s=STALL_S)) == pieces * 4096


async def test_an_errors_words_are_waited_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status says what to do: it is not lost because the words do not come."""
    monkeypatch.setattr("bulkup.transport.answer.ERROR_BODY_S", 0.2)

    async def drips(connection: Connection) -> None:
        await connection.request()
        await connection.answer(b"HTTP/1.1 401 No\r\nContent-Length: 999999\r\n\r\nno")
        while True:
            await asyncio.sleep(0.05)
            await connection.answer(b".")

    async with serving(drips) as server, transport(server.url) as wire:
        async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as answer:
            assert answer.status == 401
            assert (await answer.error_body()).startswith(b"no")
