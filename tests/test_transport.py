"""The transport against real sockets: what is sent, how far it came, what is never told to anybody."""

# ruff: noqa: SIM117 - a server, a client, and then the exchange that is tested

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import struct
import traceback
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bulkup.errors import SourceChanged, UsageProblem
from bulkup.tokens.secret import Token, redact
from bulkup.transport import Answer, Phase, Timeouts, Transport, TransportFailure, Withheld, check_base_url

SECRET = "tok-SECRET-0123456789"
TOKEN = Token(SECRET)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BIG = 16 * 1024 * 1024
"""More than the kernel takes in for a peer that does not read."""

Handler = Callable[["Connection"], Awaitable[None]]


@dataclass
class Body:
    """A request's body from blocks."""

    pieces: list[bytes]
    content_length: int = -1
    content_type: str = "application/json"
    fails: BaseException | None = None

    def __post_init__(self) -> None:
        if self.content_length < 0:
            self.content_length = sum(map(len, self.pieces))

    async def blocks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        if self.fails is not None:
            raise self.fails


def large(size: int = BIG) -> Body:
    return Body([b"x" * 65_536] * (size // 65_536))


@dataclass
class Connection:
    """One connection as a server sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes = b""
    body: bytes = b""
    was_reset: bool = False

    async def request(self) -> None:
        """Read one whole request."""
        await self.read_head()
        await self.read_body(self.length)

    async def read_head(self) -> None:
        self.head = await self.reader.readuntil(b"\r\n\r\n")

    async def read_body(self, count: int) -> None:
        self.body = await self.reader.readexactly(count)

    @property
    def length(self) -> int:
        found = [line for line in self.head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return int(found[0].split(b":")[1]) if found else 0

    async def answer(self, data: bytes = OK) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """A TCP reset."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def drained(self) -> int:
        """How many more bytes come until the client closes or resets."""
        count = 0
        try:
            while data := await self.reader.read(65_536):
                count += len(data)
        except ConnectionError:
            self.was_reset = True
        return count


@dataclass
class Server:
    """A server whose every connection is handled by a script."""

    url: str
    connections: list[Connection] = field(default_factory=list)
    done: asyncio.Queue[Connection] = field(default_factory=asyncio.Queue)

    async def finished(self) -> Connection:
        """The next connection whose script came to its end."""
        return await self.done.get()


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        connection = Connection(reader, writer)
        server.connections.append(connection)
        try:
            await handler(connection)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            return
        finally:
            server.done.put_nowait(connection)
            writer.transport.abort()

    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # so that little of a body is taken in unread
    sock.bind(("127.0.0.1", 0))
    listening = await asyncio.start_server(serve, sock=sock, ssl=tls)
    scheme = "http" if tls is None else "https"
    server = Server(f"{scheme}://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def transport(url: str, *, stall_s: float = 10.0, answer_bytes_per_s: float = 1e9) -> Transport:
    timeouts = Timeouts(connect_s=5.0, stall_s=stall_s, answer_bytes_per_s=answer_bytes_per_s)
    return Transport(url, user_agent="bulkup/test", timeouts=timeouts)


async def read(answer: Answer, limit: int = 1 << 20) -> bytes:
    return await answer.read(limit)


async def failure(wire: Transport, body: Body | None = None) -> TransportFailure:
    """How an exchange that reads its whole answer fails."""
    with pytest.raises(TransportFailure) as caught:
        async with wire.exchange("POST", "/x", token=TOKEN, body=body or Body([b"{}"])) as answer:
            await read(answer)
    return caught.value


async def echo_nothing(connection: Connection) -> None:
    while True:
        await connection.request()
        await connection.answer()


# --- what is sent -----------------------------------------------------------------------------------------------------


async def test_the_body_goes_with_its_exact_length_and_is_told_as_it_goes() -> None:
    """Not chunked, nothing added, the type as the body says, one token."""
    sent: list[int] = []
    body = Body([b"[", b"1," * 50_000, b"2]"])
    async with serving(echo_nothing) as server, transport(server.url) as wire:
        async with wire.exchange("POST", "/a/b", token=TOKEN, body=body, on_bytes=sent.append) as answer:
            assert (answer.status, await read(answer)) == (200, b"ok")
        connection = server.connections[0]
    assert connection.body == b"".join(body.pieces)
    assert sent == [len(piece) for piece in body.pieces]
    head = connection.head.lower()
    assert head.startswith(b"post /a/b http/1.1\r\n")
    assert head.count(b"content-length: 100003\r\n") == 1
    assert b"transfer-encoding" not in head
    assert head.count(b"authorization: bearer " + SECRET.lower().encode()) == 1
    assert b"user-agent: bulkup/test\r\n" in head
    assert b"expect" not in head


async def test_a_body_is_gone_with_its_request() -> None:
    """Not only once garbage is collected: until then a dozen bodies of 8 MiB came together."""
    async with serving(echo_nothing) as server, transport(server.url) as wire:
        gc.disable()
        try:
            body = Body([b"1" * 100])
            gone = weakref.ref(body)
            async with wire.exchange("POST", "/x", token=TOKEN, body=body) as answer:
                await read(answer)
            del body
            assert gone() is None
        finally:
            gc.enable()


async def test_the_quotas_headers_of_every_answer_are_told_and_no_others() -> None:
    """Names in lower case; a refusal's and a look's as well; an answer without any tells nothing."""
    heads = [
        b"200 OK\r\nX-RateLimit-Limit-Requests: 600\r\nx-ratelimit-remaining-requests: 599\r\nX-Other: 1",
        b"429 Too Many Requests\r\nRetry-After: 1\r\nx-ratelimit-limit-requests: 60",
        b"200 OK\r\nx-rate: 1",
    ]
    told: list[dict[str, str]] = []

    async def handler(connection: Connection) -> None:
        for head in heads:
            await connection.request()
            await connection.answer(b"HTTP/1.1 " + head + b"\r\nContent-Length: 2\r\n\r\nok")

    async with serving(handler) as server:
        async with Transport(server.url, user_agent="test", on_quota=lambda found: told.append(dict(found))) as wire:
            for body in (None, Body([b"x"]), None):
                async with wire.exchange("POST", "/", token=TOKEN, body=body) as answer:
                    await read(answer)
    assert told == [
        {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "599"},
        {"x-ratelimit-limit-requests": "60"},
    ]


async def test_a_body_is_made_anew_for_each_request_and_the_connection_is_used_again() -> None:
    async with serving(echo_nothing) as server, transport(server.url) as wire:
        body = Body([b"{", b"}"])
        for _ in range(3):
            async with wire.exchange("POST", "/x", token=TOKEN, body=body) as answer:
                assert await read(answer) == b"ok"
        assert len(server.connections) == 1
        assert server.connections[0].body == b"{}"


# --- how far it came --------------------------------------------------------------------------------------------------


async def test_a_refused_port_is_before_the_first_byte() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        async with transport(f"http://127.0.0.1:{held.getsockname()[1]}") as wire:
            assert (await failure(wire)).phase is Phase.CONNECT


async def test_a_name_that_is_none_is_before_the_first_byte() -> None:
    async with transport("https://no-such-host.invalid") as wire:
        assert (await failure(wire)).phase is Phase.CONNECT


async def test_a_server_that_speaks_no_tls_is_before_the_first_byte() -> None:
    async def garbage(connection: Connection) -> None:
        await connection.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(garbage) as server, transport(server.url.replace("http:", "https:")) as wire:
        assert (await failure(wire)).phase is Phase.CONNECT


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("when", ["before the body", "in the body", "after the body"])
async def test_a_connection_that_breaks_once_the_body_has_begun_is_no_connect_failure(when: str, how: str) -> None:
    """Whatever the phase is called: once a byte of the body may have left, nothing may be sent again for free."""

    async def breaks(connection: Connection) -> None:
        await connection.read_head()
        if when != "before the body":
            await connection.read_body(connection.length // (2 if when == "in the body" else 1))
        connection.reset() if how == "reset" else connection.writer.close()

    async with serving(breaks) as server, transport(server.url) as wire:
        found = await failure(wire, large())
    assert found.phase is (Phase.ANSWER if when == "after the body" else Phase.BODY)


@pytest.mark.parametrize("cut", [OK[:10], OK[:-1], OK[:-2], b""])
async def test_an_answer_that_is_cut_short_is_after_the_body(cut: bytes) -> None:
    async def cuts(connection: Connection) -> None:
        await connection.request()
        await connection.answer(cut)
        connection.writer.close()

    async with serving(cuts) as server, transport(server.url) as wire:
        assert (await failure(wire)).phase is Phase.ANSWER


async def test_an_answer_that_is_no_http_is_after_the_body() -> None:
    async def raves(connection: Connection) -> None:
        await connection.request()
        await connection.answer(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        await connection.drained()

    async with serving(raves) as server, transport(server.url) as wire:
        assert (await failure(wire)).phase is Phase.ANSWER


# --- stalls -----------------------------------------------------------------------------------------------------------

STALL_S = 0.4


@pytest.mark.parametrize("where", ["body", "answer", "rest of the answer"])
async def test_a_hang_is_cut(where: str) -> None:
    """Nothing taken, nothing answered, or an answer that stops: each is cut once nothing moves for the stall timeout."""

    async def hangs(connection: Connection) -> None:
        await connection.read_head()
        if where != "body":
            await connection.read_body(connection.length)
        if where == "rest of the answer":
            await connection.answer(OK[:-1])
        await asyncio.Event().wait()

    async with serving(hangs) as server, transport(server.url, stall_s=STALL_S) as wire:
        started = asyncio.get_running_loop().time()
        found = await failure(wire, large())
        took = asyncio.get_running_loop().time() - started
    assert found.phase is (Phase.BODY if where == "body" else Phase.ANSWER)
    assert "nothing moved" in str(found)
    assert took < 5


async def test_the_first_byte_of_the_answer_is_waited_for_longer_after_a_large_body() -> None:
    """What the buffers in between still hold must drain: 1 MiB at ¼ MiB/s is four seconds more."""

    async def thinks(connection: Connection) -> None:
        await connection.request()
        await asyncio.sleep(4 * STALL_S)
        await connection.answer()

    size = 1024 * 1024
    async with serving(thinks) as server:
        async with transport(server.url, stall_s=STALL_S, answer_bytes_per_s=size / 4) as wire:
            async with wire.exchange("POST", "/x", token=TOKEN, body=large(size)) as answer:
                assert await read(answer) == b"ok"
        async with transport(server.url, stall_s=STALL_S) as wire:
            assert (await failure(wire, large(size))).phase is Phase.ANSWER


async def test_a_slow_upload_that_moves_is_not_cut() -> None:
    """It takes several times the stall timeout in all."""

    async def sips(connection: Connection) -> None:
        await connection.read_head()
        left = connection.length
        while left:
            left -= len(await connection.reader.readexactly(min(left, BIG // 16)))
            await asyncio.sleep(STALL_S / 5)
        await connection.answer()

    async with serving(sips) as server, transport(server.url, stall_s=STALL_S, answer_bytes_per_s=1e6) as wire:
        started = asyncio.get_running_loop().time()
        async with wire.exchange("POST", "/x", token=TOKEN, body=large()) as answer:
            assert await read(answer) == b"ok"
        assert asyncio.get_running_loop().time() - started > 2 * STALL_S


async def test_an_answer_drip_by_drip_is_not_cut() -> None:
    async def drips(connection: Connection) -> None:
        await connection.request()
        await connection.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
        for _ in range(12):
            await asyncio.sleep(STALL_S / 5)
            await connection.answer(b".")

    async with serving(drips) as server, transport(server.url, stall_s=STALL_S) as wire:
        async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as answer:
            assert await read(answer) == b"." * 12


# --- a body that fails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [SourceChanged("changed"), OSError(5, "I/O"), ValueError("odd"), ConnectionResetError(104, "disk?")]
)
@pytest.mark.parametrize("first", [[], [b"x" * 1000], [b"x" * 65_536] * 30])
async def test_a_body_that_raises_passes_through_and_its_request_is_never_completed(
    error: Exception, first: list[bytes]
) -> None:
    """The server sees fewer bytes than Content-Length, then the end; the error is the body's own."""

    async def counts(connection: Connection) -> None:
        await connection.read_head()
        connection.body = b"x" * await connection.drained()

    body = Body(first, content_length=sum(map(len, first)) + 10, fails=error)
    async with serving(counts) as server, transport(server.url) as wire:
        with pytest.raises(type(error)) as caught:
            async with wire.exchange("POST", "/x", token=TOKEN, body=body):
                pytest.fail("there is no answer")
        assert caught.value is error
        if server.connections:
            assert len((await server.finished()).body) < body.content_length


class Lease:
    """Authority that is there for the first *times* it is asked."""

    epoch = 7
    left_s = 0.0

    def __init__(self, times: int) -> None:
        self.times = times

    def holds(self) -> bool:
        self.times -= 1
        return self.times >= 0


@pytest.mark.parametrize("pieces", [[b"x"], [b"x" * 4096] * 3, [b"x" * 3_000_000], [b"x" * 1024, b"y" * 1025]])
async def test_a_body_comes_to_its_end_only_under_authority(pieces: list[bytes]) -> None:
    """Without it the service gets all but the last piece: the request is never whole, and nothing of it may be stored."""
    whole = asyncio.Event()
    seen: list[int] = []

    async def handler(connection: Connection) -> None:
        await connection.read_head()
        try:
            await connection.read_body(connection.length)
            whole.set()
            connection.writer.write(OK)
        except asyncio.IncompleteReadError as cut:
            seen.append(len(cut.partial))
        except ConnectionError:
            seen.append(0)

    async with serving(handler) as server:
        async with Transport(server.url, user_agent="test", authority=Lease(1)) as wire:
            async with wire.exchange("POST", "/", token=TOKEN, body=Body(pieces)) as answer:
                assert answer.status == 200
        assert whole.is_set()
        async with Transport(server.url, user_agent="test", authority=Lease(0)) as wire:
            with pytest.raises(Withheld, match="the right to send was lost"):
                async with wire.exchange("POST", "/", token=TOKEN, body=Body(pieces)):
                    pass
    assert len(seen) <= 1
    assert sum(seen) < sum(map(len, pieces))


async def test_under_authority_the_last_piece_waits_until_all_else_has_left() -> None:
    """A process that is stopped with a body in its hands would else go on with it when it wakes, whatever has become of its
    authority: so it is asked when little is left, and not while the service takes nothing."""
    reading, asked = asyncio.Event(), asyncio.Event()

    class Asked:
        epoch = 1
        left_s = 0.0

        def holds(self) -> bool:
            asked.set()
            return reading.is_set()

    async def handler(connection: Connection) -> None:
        await connection.read_head()
        await reading.wait()
        await connection.read_body(connection.length)
        connection.writer.write(OK)

    async with serving(handler) as server:
        async with Transport(server.url, user_agent="test", authority=Asked()) as wire:

            async def send() -> int:
                async with wire.exchange("POST", "/", token=TOKEN, body=Body([b"x" * BIG])) as answer:
                    return answer.status

            sending = asyncio.ensure_future(send())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asked.wait(), 0.1)
            reading.set()
            assert await sending == 200
            assert asked.is_set()


async def test_cancelling_in_mid_body_leaves_the_request_incomplete() -> None:
    begun = asyncio.Event()

    async def counts(connection: Connection) -> None:
        await connection.read_head()
        begun.set()
        connection.body = b"x" * await connection.drained()

    stopped = asyncio.Event()

    class Endless(Body):
        async def blocks(self) -> AsyncIterator[bytes]:
            yield b"x" * 10
            await stopped.wait()

    async with serving(counts) as server, transport(server.url) as wire:

        async def exchange() -> None:
            async with wire.exchange("POST", "/x", token=TOKEN, body=Endless([], content_length=20)):
                pass

        task = asyncio.ensure_future(exchange())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len((await server.finished()).body) == 10


# --- where it goes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(status: int) -> None:
    """Neither the body nor the token goes on."""

    async def redirects(connection: Connection) -> None:
        await connection.request()
        await connection.answer(
            f"HTTP/1.1 {status} Moved\r\nLocation: {elsewhere.url}/x\r\nContent-Length: 0\r\n\r\n".encode()
        )

    async with serving(echo_nothing) as elsewhere, serving(redirects) as server, transport(server.url) as wire:
        async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as answer:
            assert answer.status == status
        assert elsewhere.connections == []


async def test_cookies_are_not_kept() -> None:
    async def bakes(connection: Connection) -> None:
        for _ in range(2):
            await connection.request()
            await connection.answer(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Path=/\r\n\r\n"))

    async with serving(bakes) as server, transport(server.url.replace("127.0.0.1", "localhost")) as wire:
        for _ in range(2):
            async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as answer:
                await read(answer)
        assert b"cookie" not in server.connections[0].head.lower()


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://api.example.com", "https://api.example.com"),
        ("https://api.example.com/base/", "https://api.example.com/base"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_base_urls_that_are_taken(url: str, clean: str) -> None:
    assert check_base_url(url) == clean


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "http://10.0.0.1",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        f"https://user:{SECRET}@api.example.com",
        "https://api.example.com?x=1",
        "https://api.example.com#x",
        "ftp://api.example.com",
        "api.example.com",
        "https://",
        "",
    ],
)
def test_base_urls_that_are_refused(url: str) -> None:
    """Before anything is sent, and without repeating a password."""
    with pytest.raises(UsageProblem) as caught:
        check_base_url(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://[::1", "https://[nonsense]/", "https://api.example.com:port", "https://api.example.com:99999"]
)
def test_base_urls_that_cannot_be_parsed_are_refused_too(url: str) -> None:
    with pytest.raises(UsageProblem):
        check_base_url(url)


async def test_netrc_and_proxy_variables_neither_break_nor_divert_a_loopback_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A token for this machine goes to this machine."""

    async def records(connection: Connection) -> None:
        await connection.drained()

    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\nthis is no netrc {")
    async with serving(records) as proxy, serving(echo_nothing) as server:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(netrc))
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with transport(server.url) as wire:
            async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as answer:
                assert await read(answer) == b"ok"
        assert proxy.connections == []
        assert server.connections[0].head.lower().count(b"authorization:") == 1


async def test_a_remote_url_goes_through_the_proxy_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """By CONNECT: the proxy sees neither the path nor the token."""

    async def refuses(connection: Connection) -> None:
        await connection.read_head()
        await connection.answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await connection.drained()

    async with serving(refuses) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        async with transport("https://api.example.com") as wire:
            found = await failure(wire)
        assert found.phase is Phase.CONNECT
        head = proxy.connections[0].head
    assert head.startswith(b"CONNECT api.example.com:443 ")
    assert SECRET.encode() not in head


# --- connections that end ---------------------------------------------------------------------------------------------


async def test_the_first_post_after_the_server_closed_an_idle_connection_is_not_lost() -> None:
    """It goes over a new connection: a pause must not put a chunk in doubt."""

    async def one_only(connection: Connection) -> None:
        await connection.request()
        await connection.answer()  # as if it were kept alive, then it is closed

    async with serving(one_only) as server, transport(server.url) as wire:
        for number in range(3):
            async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as answer:
                assert await read(answer) == b"ok"
            await server.finished()
            await asyncio.sleep(0.01)  # what the server's end takes through the kernel
            assert len(server.connections) == number + 1


async def test_an_idle_connection_is_dropped_before_the_server_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `IDLE_S` the next request opens a new one, though the old one is still up."""
    monkeypatch.setattr("bulkup.transport.session.IDLE_S", 0.05)
    async with serving(echo_nothing) as server, transport(server.url) as wire:
        for _ in range(2):
            async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as answer:
                await read(answer)
            await asyncio.wait_for(server.finished(), 5)
        assert len(server.connections) == 2


# --- answers within bounds --------------------------------------------------------------------------------------------


def answering(status: str, body: bytes) -> Handler:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.answer(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await connection.drained()

    return handler


async def test_an_answer_over_the_bound_is_a_failure() -> None:
    async with serving(answering("200 OK", b"x" * 200_000)) as server, transport(server.url) as wire:
        async with wire.exchange("GET", "/x", token=TOKEN) as answer:
            with pytest.raises(TransportFailure, match="more than 100,000 bytes") as caught:
                await read(answer, 100_000)
        assert caught.value.phase is Phase.ANSWER


async def test_an_errors_body_is_read_so_far_and_never_raises() -> None:
    async with serving(answering("500 Oops", b"e" * 3_000_000)) as server, transport(server.url) as wire:
        async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as answer:
            assert await answer.error_body() == b"e" * 65_536

    async def cuts(connection: Connection) -> None:
        await connection.request()
        await connection.answer(b"HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\nhalf")

    async with serving(cuts) as server, transport(server.url) as wire:
        async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as answer:
            assert await answer.error_body() == b"half"


# --- an answer before the body is through -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["413 Too Large", "429 Too Many", "401 Unauthorized"])
async def test_an_early_answer_is_read_as_that_answer(status: str) -> None:
    """The server answers after the head and goes on reading, or lingers: no doubt comes of it."""

    async def early(connection: Connection) -> None:
        await connection.read_head()
        await connection.answer(f"HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nmuch".encode())
        await connection.drained()

    async with serving(early) as server, transport(server.url) as wire:
        async with wire.exchange("POST", "/x", token=TOKEN, body=large()) as answer:
            assert str(answer.status) == status[:3]
            assert await answer.error_body() == b"much"
        async with wire.exchange("POST", "/x", token=TOKEN, body=Body([b"{}"])) as answer:
            assert str(answer.status) == status[:3]
        assert len(server.connections) == 2, "a connection with half a body on it is never used again"


async def test_an_early_answer_without_reading_on_is_read_too() -> None:
    """The server does not take the rest of the body: the answer is there all the same."""

    async def early(connection: Connection) -> None:
        await connection.read_head()
        await connection.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmuch")
        await asyncio.Event().wait()

    async with serving(early) as server, transport(server.url, stall_s=STALL_S) as wire:
        async with wire.exchange("POST", "/x", token=TOKEN, body=large()) as answer:
            assert (answer.status, await answer.error_body()) == (413, b"much")


async def test_an_early_answer_with_a_reset_behind_it_is_that_answer_or_a_loss_in_the_body() -> None:
    """A server that closes at once, unread bytes and all, makes its kernel send a reset, which may overtake the answer: then
    the chunk is in doubt, which is safe. Never is it anything else."""
    seen = set()

    async def slams(connection: Connection) -> None:
        await connection.read_head()
        await connection.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmuch")

    async with serving(slams) as server, transport(server.url) as wire:
        for _ in range(10):
            try:
                async with wire.exchange("POST", "/x", token=TOKEN, body=large()) as answer:
                    seen.add(str(answer.status))
            except TransportFailure as lost:
                seen.add(lost.phase.value)
    assert seen <= {"413", Phase.BODY.value}


# --- nothing secret ---------------------------------------------------------------------------------------------------


def told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + str(error) + repr(error.__dict__)


def test_a_token_shows_in_its_header_alone() -> None:
    assert SECRET not in repr(TOKEN) + str(TOKEN) + f"{TOKEN}" + repr([TOKEN])
    assert TOKEN.header() == f"Bearer {SECRET}"
    assert redact(f"a {SECRET} b{SECRET}") == "a *** b***"
    with pytest.raises(TypeError):
        TOKEN.__reduce__()


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 " + SECRET.encode() + b" what\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX Bad: " + SECRET.encode() + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + SECRET.encode() + b" \r\n: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + SECRET.encode() + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + SECRET.encode() + b"\r\n",
        b"Authorization: Bearer " + SECRET.encode(),
    ],
)
async def test_an_answer_that_cannot_be_parsed_and_holds_the_token_does_not_tell_it(data: bytes) -> None:
    async def raves(connection: Connection) -> None:
        await connection.request()
        await connection.answer(data)

    async with serving(raves) as server, transport(server.url) as wire:
        assert SECRET not in told(await failure(wire))


async def test_a_token_at_the_edge_of_what_is_kept_is_redacted_whole() -> None:
    found = "".join([await _raving(pad) for pad in range(270, 400, 4)])
    assert SECRET[:10] not in found


async def _raving(pad: int) -> str:
    """What is told of an answer that cannot be parsed and has the token behind *pad* bytes."""

    async def raves(connection: Connection) -> None:
        await connection.request()
        await connection.answer(b"HTTP/1.1 200 OK\r\nX Bad" + b"y" * pad + b" " + SECRET.encode() + b"\r\n\r\n")

    async with serving(raves) as server, transport(server.url) as wire:
        return told(await failure(wire))


async def test_a_failed_connection_does_not_tell_the_token() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        async with transport(f"http://127.0.0.1:{held.getsockname()[1]}") as wire:
            assert SECRET not in told(await failure(wire))
