"""How a request leaves its connection: what has no whole answer is reset, so that nothing more of its body arrives."""

# ruff: noqa: SIM117 - a server, a client, and then the exchange that is tested

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from benchmarks.certificate import NoCertificate, make_certificate
from bulkup.errors import SourceChanged
from bulkup.transport import Phase, Transport, TransportFailure
from tests.test_transport import BIG, OK, STALL_S, TOKEN, Body, Connection, failure, large, read, serving, transport

HELD = 768 * 1024
"""More than the server's end takes in unread, less than the two ends together: the client's kernel holds the rest."""

End = Callable[[Transport, Body], Awaitable[None]]


@pytest.fixture(scope="module", params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext | None]:
    """What the server speaks; this process trusts its authority."""
    if request.param == "plain":
        yield None
        return
    try:
        made = make_certificate(tmp_path_factory.mktemp("certificate"))
    except NoCertificate as why:
        pytest.skip(str(why))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.chain, made.key)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SSL_CERT_FILE", str(made.authority))
        yield context


async def stalls(wire: Transport, body: Body) -> None:
    assert "nothing moved" in str(await failure(wire, body))


async def is_cancelled(wire: Transport, body: Body) -> None:
    moved = asyncio.Event()

    async def exchange() -> None:
        async with wire.exchange("POST", "/x", token=TOKEN, body=body, on_bytes=lambda _: moved.set()):
            pass

    task = asyncio.ensure_future(exchange())
    await moved.wait()
    await asyncio.sleep(STALL_S)  # until nothing moves any more
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def fails_in_its_body(wire: Transport, body: Body) -> None:
    body.content_length += 1
    body.fails = SourceChanged("changed")
    with pytest.raises(SourceChanged):
        async with wire.exchange("POST", "/x", token=TOKEN, body=body):
            pass


@pytest.mark.parametrize("size", [HELD, BIG], ids=["handed over whole", "in mid-body"])
@pytest.mark.parametrize("end", [stalls, is_cancelled])
async def test_nothing_of_a_body_that_was_given_up_arrives_once_the_service_reads_on(
    end: End, size: int, tls: ssl.SSLContext | None
) -> None:
    """What this machine's kernel and the connection's own buffer still hold is thrown away."""
    reads_on = asyncio.Event()

    async def pauses(connection: Connection) -> None:
        await connection.read_head()
        await reads_on.wait()
        connection.body = b"x" * await connection.drained()

    async with serving(pauses, tls) as server, transport(server.url, stall_s=STALL_S) as wire:
        body = large(size)
        await end(wire, body)
        await asyncio.sleep(0)
        reads_on.set()
        connection = await server.finished()
    assert connection.was_reset
    assert len(connection.body) < body.content_length


async def test_a_body_that_fails_is_reset_at_once(tls: ssl.SSLContext | None) -> None:
    async def counts(connection: Connection) -> None:
        await connection.read_head()
        connection.body = b"x" * await connection.drained()

    async with serving(counts, tls) as server, transport(server.url) as wire:
        body = large(HELD)
        await fails_in_its_body(wire, body)
        connection = await server.finished()
    assert connection.was_reset
    assert len(connection.body) < body.content_length


@pytest.mark.parametrize("answer", [OK[:-1], b"SSH-2.0-OpenSSH_9.6\r\n\r\n"], ids=["cut short", "no HTTP"])
async def test_an_answer_that_is_not_whole_ends_in_a_reset(answer: bytes, tls: ssl.SSLContext | None) -> None:
    async def raves(connection: Connection) -> None:
        await connection.request()
        await connection.answer(answer)
        await connection.drained()

    async with serving(raves, tls) as server, transport(server.url, stall_s=0.1) as wire:
        await failure(wire)
        # What is no HTTP is closed by the client library at once, which under TLS says goodbye: the reset comes behind that.
        assert (await server.finished()).was_reset or (tls is not None and answer != OK[:-1])


async def test_a_connection_with_a_whole_answer_is_closed_in_peace(tls: ssl.SSLContext | None) -> None:
    """Idle too long, or at the session's end: the service sees an end, no reset."""
    ended: list[bool] = []

    async def one(connection: Connection) -> None:
        while True:
            try:
                await connection.request()
            except asyncio.IncompleteReadError:
                ended.append(True)
                return
            await connection.answer()

    async with serving(one, tls) as server:
        async with transport(server.url) as wire:
            for _ in range(2):
                async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as answer:
                    assert await read(answer) == b"ok"
            assert len(server.connections) == 1
        await server.finished()
    assert ended == [True]


async def test_the_next_request_over_a_connection_is_reset_as_the_first_one_would_be(
    tls: ssl.SSLContext | None,
) -> None:
    async def answers_once(connection: Connection) -> None:
        await connection.request()
        await connection.answer()
        await connection.read_head()
        await connection.drained()

    async with serving(answers_once, tls) as server, transport(server.url, stall_s=STALL_S) as wire:
        async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as answer:
            assert await read(answer) == b"ok"
        await stalls(wire, Body([b"{}"]))
        assert (await server.finished()).was_reset
        assert len(server.connections) == 1


async def test_a_request_that_is_given_up_late_does_not_reset_the_one_after_it() -> None:
    """Its answer has come whole, so its connection may carry another request by the time it is left."""

    async def answers(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.answer()

    async with serving(answers) as server, transport(server.url) as wire:
        async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as first:
            assert await read(first) == b"ok"
            async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as second:
                assert await read(second) == b"ok"
        async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as third:
            assert await read(third) == b"ok"
        assert len(server.connections) == 1


async def test_the_sockets_of_requests_have_the_options_that_bound_what_the_kernel_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[int, ...]] = []

    async def looks(connection: Connection) -> None:
        await connection.request()
        (sock,) = made
        options = [socket.TCP_USER_TIMEOUT] if hasattr(socket, "TCP_USER_TIMEOUT") else []
        seen.append(
            (
                int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)[:4], "little"),
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                *(sock.getsockopt(socket.IPPROTO_TCP, option) for option in options),
            )
        )
        await connection.answer()
        await connection.drained()

    made: list[socket.socket] = []
    inner = socket.socket.__init__

    async with serving(looks) as server, transport(server.url, stall_s=10.0) as wire:

        def remember(self: socket.socket, *args: object, **kwargs: object) -> None:
            inner(self, *args, **kwargs)  # type: ignore[arg-type]
            if not kwargs.get("fileno") and not args[3:]:
                made.append(self)

        monkeypatch.setattr(socket.socket, "__init__", remember)
        async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as answer:
            assert await read(answer) == b"ok"
        (sock,) = made
        linger = int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)[:4], "little")
        assert linger == 0, "a whole answer has come"
    assert seen[0][:2] == (1, 1)
    assert all(timeout == 40_000 for timeout in seen[0][2:])


# --- an answer before the body is through -----------------------------------------------------------------------------

BEFORE_THE_END = "before the whole body was sent"


def early(
    head: str, *, then: Callable[[Connection], Awaitable[None]] | None = None
) -> Callable[[Connection], Awaitable[None]]:
    """A server that answers after the head, and goes on with *then*."""

    async def handler(connection: Connection) -> None:
        await connection.read_head()
        rest = "\r\n\r\n" if head.startswith("204") else "\r\nContent-Length: 2\r\n\r\nok"
        await connection.answer(f"HTTP/1.1 {head}{rest}".encode())
        if then is not None:
            await then(connection)
        connection.body = b"x" * await connection.drained()

    return handler


@pytest.mark.parametrize(
    "head",
    [
        "200 OK", "201 Created", "202 Accepted", "204 No Content", "400 Bad", "406 Not", "408 Timeout", "409 Conflict", "410 Gone",
        "418 Teapot", "422 Bad rows", "451 No", "500 Oops", "501 No", "502 Bad", "503 Busy", "504 Late", "505 No", "520 What",
    ],
)  # fmt: skip
async def test_an_early_answer_that_proves_nothing_is_a_loss_in_the_body(head: str) -> None:
    """A success too: it cannot speak of rows that had not been sent."""
    async with serving(early(head)) as server, transport(server.url) as wire:
        found = await failure(wire, large())
        connection = await server.finished()
    assert found.phase is Phase.BODY
    assert BEFORE_THE_END in str(found)
    assert len(connection.body) < BIG
    assert connection.was_reset


@pytest.mark.parametrize(
    "head",
    [
        "301 Moved", "307 Moved", "401 Who", "402 Pay", "403 No", "404 None", "405 No", "413 Much", "415 What", "429 Many",
        "503 Busy\r\nRetry-After: 1",
    ],
)  # fmt: skip
async def test_an_early_refusal_stops_the_body_is_read_and_reset(head: str) -> None:
    await _stops(head, None)


async def test_an_early_refusal_stops_the_body_under_tls_too(tls: ssl.SSLContext | None) -> None:
    await _stops("413 Much", tls)


async def _stops(head: str, tls: ssl.SSLContext | None) -> None:
    """Not one more block is taken from the body, though the service reads on as fast as it can."""
    asked = 0

    class Counting(Body):
        async def blocks(self) -> AsyncIterator[bytes]:
            nonlocal asked
            for piece in self.pieces:
                asked += 1
                yield piece

    async with serving(early(head), tls) as server, transport(server.url) as wire:
        async with wire.exchange("POST", "/x", token=TOKEN, body=Counting(large().pieces)) as answer:
            assert str(answer.status) == head[:3]
            before = asked
            assert await answer.error_body() == b"ok"
            await asyncio.sleep(0.05)  # for what might go on by itself
            assert asked <= before + 1
        connection = await server.finished()
    assert len(connection.body) < BIG
    assert connection.was_reset


async def test_a_success_for_a_body_that_this_machine_still_holds_is_early(tls: ssl.SSLContext | None) -> None:
    """All of it has been handed to the kernel, and the answer has come: but the service cannot have read it."""
    reads_on = asyncio.Event()

    async def waits(_: Connection) -> None:
        await reads_on.wait()

    async with serving(early("200 OK", then=waits), tls) as server, transport(server.url) as wire:
        handed = asyncio.Event()
        count = 0

        def sent(size: int) -> None:
            nonlocal count
            count += size
            if count == HELD:
                handed.set()

        with pytest.raises(TransportFailure, match=BEFORE_THE_END):
            async with wire.exchange("POST", "/x", token=TOKEN, body=large(HELD), on_bytes=sent):
                pass
        reads_on.set()
        assert (await server.finished()).was_reset


async def test_a_success_that_overtakes_nothing_is_none(tls: ssl.SSLContext | None) -> None:
    """The service answers as soon as it has the last byte, whatever the client knows of that yet: a hundred times, no doubt."""

    async def quick(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.answer()

    async with serving(quick, tls) as server, transport(server.url) as wire:
        for number in range(100):
            body = Body([b"x" * (1 + number * 3_000), b"y" * number * 2_000, b"]"])
            async with wire.exchange("POST", "/x", token=TOKEN, body=body) as answer:
                assert await read(answer) == b"ok"


async def test_a_success_with_the_end_of_the_connection_right_behind_it_is_none(tls: ssl.SSLContext | None) -> None:
    """As a gateway answers the last request that it takes over a connection: the client's own goodbye under TLS is no part of the
    body."""

    async def quick(connection: Connection) -> None:
        await connection.request()
        connection.writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        connection.writer.close()

    async with serving(quick, tls) as server, transport(server.url) as wire:
        for _ in range(30):
            async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"x" * 2_000])) as answer:
                assert await read(answer) == b"ok"


async def test_the_text_of_an_early_refusal_is_not_waited_for_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkup.transport.answer.ERROR_BODY_S", 0.1)

    async def hangs(connection: Connection) -> None:
        await connection.read_head()
        await connection.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 400\r\n\r\nmuch")
        await asyncio.Event().wait()

    async with serving(hangs) as server, transport(server.url) as wire:
        async with wire.exchange("POST", "/x", token=TOKEN, body=large()) as answer:
            assert (answer.status, await answer.error_body()) == (413, b"much")


# --- a connection that has been idle ----------------------------------------------------------------------------------


async def test_a_post_does_not_take_a_connection_that_was_idle_for_a_third_of_a_second() -> None:
    """The service may be closing it just then, and a body that is lost so is a doubt."""

    async def answers(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.answer()

    async with serving(answers) as server, transport(server.url) as wire:
        for pause_s in (0.0, 0.35):
            await asyncio.sleep(pause_s)
            async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as answer:
                await read(answer)
        assert len(server.connections) == 2
