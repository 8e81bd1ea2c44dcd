"""HTTP, and the only module that knows the HTTP client.

One session, HTTP/1.1, bodies of known length streamed block by block. Every failure of the client library becomes a
`TransportFailure` that says how far the request had come; its text is redacted. Nothing here decides what a failure means.
"""

from __future__ import annotations

import asyncio
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
import anyio

from bulkup.errors import UsageProblem
from bulkup.secret import Token
from bulkup.stalls import GiveUp, RoundTrips, StallWatch, Tell, Wait, quiet_s

__all__ = [
    "WORDS",
    "Answer",
    "AnswerTooLong",
    "Body",
    "Phase",
    "Timeouts",
    "Transport",
    "TransportFailure",
    "check_base_url",
    "leads_to_loopback",
]

IDLE_S = 2.0
"""A connection idle for longer is dropped, before the server drops it under the next POST."""

ERROR_BYTES = 64 * 1024
"""How much of an answer that is not a success is read."""

QUOTA_PREFIX = "x-ratelimit-"

WORDS = 400
"""How many characters of a server's words are kept."""


class Body(Protocol):
    """A request's body: exactly *content_length* bytes, made anew by each call of `blocks`."""

    @property
    def content_length(self) -> int: ...
    @property
    def content_type(self) -> str: ...
    def blocks(self) -> AsyncIterator[bytes | bytearray]: ...


class Phase(StrEnum):
    """How far a request had come when it failed."""

    CONNECT = "before the first byte of the body"
    BODY = "while the body was being sent"
    ANSWER = "after the whole body was sent"


class TransportFailure(Exception):
    """A request without a whole answer. *phase* says what may have reached the server."""

    def __init__(self, phase: Phase, reason: str) -> None:
        super().__init__(f"{reason} ({phase})")
        self.phase = phase
        self.reason = reason


class AnswerTooLong(TransportFailure):
    """The answer is longer than the caller takes in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds for each phase. None of them cuts a transfer that moves."""

    connect_s: float = 30.0
    stall_s: float = 120.0
    """No block of the body taken, or no byte of the answer come, for this long or ten times the p99 of the round trips, is told;
    three times that ends the request."""
    answer_bytes_per_s: float = 128 * 1024
    """For the first byte of the answer both begin later, by the body's size at this speed: buffers in between drain."""


class Answer:
    """An answer whose head has come. The body is read by one of the two methods, within bounds."""

    def __init__(self, response: aiohttp.ClientResponse, progress: _Progress, token: Token) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._progress = progress
        self._token = token

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `TransportFailure` if it is cut short."""
        with _translated(self._progress, self._token):
            async for data in self._response.content.iter_any():
                self._progress.moved()
                yield data

    async def read(self, max_bytes: int) -> bytes:
        """The body, whole. Raises `TransportFailure` if it is cut short or longer than *max_bytes*."""
        parts, size = [], 0
        async for data in self.blocks():
            parts.append(data)
            size += len(data)
            if size > max_bytes:
                raise AnswerTooLong(Phase.ANSWER, f"an answer of more than {max_bytes:,} bytes")
        return b"".join(parts)

    async def error_body(self) -> bytes:
        """Up to `ERROR_BYTES` of the body, as far as it came. Never raises. Not redacted."""
        data = b""
        try:
            async for part in self.blocks():
                data += part
                if len(data) >= ERROR_BYTES:
                    break
        except TransportFailure:
            pass
        return data[:ERROR_BYTES]


class Transport:
    """A session against one base URL. Use it as an async context manager."""

    def __init__(
        self,
        base_url: str,
        *,
        user_agent: str,
        timeouts: Timeouts | None = None,
        on_stall: Callable[[str], None] = lambda _: None,
        on_quota: Callable[[Mapping[str, str]], None] = lambda _: None,
    ) -> None:
        """*on_stall* is told, in a line for a person, of a request that does not move, and what it waits for; *on_quota* of the
        `x-ratelimit-*` headers (names in lower case, no others) of every answer that has some."""
        self.base_url = check_base_url(base_url)
        self._on_stall = on_stall
        self._on_quota = on_quota
        self._trips = RoundTrips()
        self._timeouts = timeouts or Timeouts()
        self._user_agent = user_agent
        self._proxy = _proxy_for(self.base_url)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Transport:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect_s),
            headers={"User-Agent": self._user_agent, "Accept": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=256 * 1024,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        path: str,
        *,
        token: Token,
        body: Body | None = None,
        params: Mapping[str, str] | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> AsyncIterator[Answer]:
        """Send one request and yield its answer. Redirects are not followed.

        *on_bytes* is told of each piece of the body as it is handed to the connection. Raises `TransportFailure`; an
        exception that *body* raises while it is being read passes through, and the request is then never completed.
        """
        assert self._session is not None, "a Transport is used as an async context manager"
        progress = _Progress(self._timeouts, self._trips, body, on_bytes, partial(self._stalled, f"{method} {path}"))
        headers = {"Authorization": token.header()}
        if body is not None:
            headers |= {"Content-Type": body.content_type, "Content-Length": str(body.content_length)}
        with anyio.CancelScope() as scope, ExitStack() as stack:
            progress.watch(scope)
            stack.callback(progress.close)
            with _translated(progress, token):
                response = await self._session.request(
                    method,
                    self.base_url + path,
                    headers=headers,
                    params=params,
                    data=progress.blocks() if body is not None else None,
                    allow_redirects=False,
                    proxy=self._proxy,
                )
            progress.answered()
            self._tell_quota(response.headers)
            try:
                yield Answer(response, progress, token)
            finally:
                if progress.is_complete:
                    response.release()
                else:
                    response.close()
        if scope.cancelled_caught:
            raise TransportFailure(progress.phase, f"nothing moved for {progress.waited_s:.0f} s")

    def _tell_quota(self, headers: Mapping[str, str]) -> None:
        found = {name.lower(): value for name, value in headers.items() if name.lower().startswith(QUOTA_PREFIX)}
        if found:
            self._on_quota(found)

    def _stalled(self, request: str, what: str, tell: Tell) -> None:
        self._on_stall(
            f"{request}: nothing has moved for {tell.waited_s:.0f} s, waiting for {what}; it is given up in {tell.left_s:.0f} s"
        )


class _Progress:
    """Follows one request through its phases; its one timer ends it when nothing has moved for too long."""

    def __init__(
        self,
        timeouts: Timeouts,
        trips: RoundTrips,
        body: Body | None,
        on_bytes: Callable[[int], None] | None,
        on_stall: Callable[[str, Tell], None],
    ) -> None:
        self._timeouts = timeouts
        self._trips = trips
        self._quiet_s = quiet_s(timeouts.stall_s, trips)
        self._body = body
        self._on_bytes = on_bytes
        self._on_stall = on_stall
        self._loop = asyncio.get_running_loop()
        self._watch = StallWatch(self._loop.time(), give_up_s=timeouts.connect_s * 2)
        self._timer: asyncio.TimerHandle | None = None
        self._sent = 0
        self._body_ended_at: float | None = None
        self._is_answered = False
        self._scope: anyio.CancelScope | None = None
        self.phase = Phase.CONNECT
        self.failure: BaseException | None = None
        self.waited_s = 0.0

    def watch(self, scope: anyio.CancelScope) -> None:
        self._scope = scope
        self._look()

    def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        assert self._scope is not None
        match self._watch.check(self._loop.time()):
            case Wait(seconds):
                self._timer = self._loop.call_later(seconds, self._look)
            case Tell(left_s=left_s) as tell:
                self._on_stall(self._what(), tell)
                self._timer = self._loop.call_later(left_s, self._look)
            case GiveUp(waited_s):
                self.waited_s = waited_s
                self._scope.cancel()

    def _what(self) -> str:
        size = self._body.content_length if self._body is not None else 0
        if self.phase is Phase.BODY:
            return f"the service to take more of the body ({self._sent:,} of {size:,} bytes are sent)"
        of_body = f" to a body of {size:,} bytes" if self._body is not None else ""
        return ("the rest of the answer" if self._is_answered else "an answer") + of_body

    @property
    def is_complete(self) -> bool:
        return self._body is None or self.phase is Phase.ANSWER

    def moved(self) -> None:
        self._expect(0.0)

    def answered(self) -> None:
        """The answer's head is there."""
        self._is_answered = True
        if self._body_ended_at is not None:
            self._trips.add(self._loop.time() - self._body_ended_at)
        self.moved()

    async def blocks(self) -> AsyncIterator[memoryview]:
        assert self._body is not None
        try:
            async for block in self._body.blocks():
                self.phase = Phase.BODY
                self.moved()
                self._sent += len(block)
                if self._on_bytes is not None:
                    self._on_bytes(len(block))
                yield memoryview(block)  # what the socket doesn't take at once is cut off without a copy
        except Exception as error:
            self.failure = error
            raise
        self.phase = Phase.ANSWER
        self._body_ended_at = self._loop.time()
        drain_s = self._body.content_length / self._timeouts.answer_bytes_per_s
        self._expect(drain_s)

    def _expect(self, extra_s: float) -> None:
        now = self._loop.time()
        self._watch.expect(now, quiet_s=self._quiet_s, extra_s=extra_s)
        if self._timer is not None and self._timer.when() > now + self._quiet_s + extra_s:  # else it looks soon enough
            self._timer.cancel()
            self._look()


class _translated:  # noqa: N801 - reads as a statement
    """Turns the client library's exceptions into `TransportFailure`, without a chain that could carry a header."""

    def __init__(self, progress: _Progress, token: Token) -> None:
        self._progress = progress
        self._token = token

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if not isinstance(error, aiohttp.ClientError | OSError | ValueError | TimeoutError):
            return
        if self._progress.failure is not None:
            raise self._progress.failure from None
        phase = Phase.CONNECT if isinstance(error, aiohttp.ClientConnectorError) else self._progress.phase
        raise TransportFailure(phase, _describe(error, self._token)) from None


def _describe(error: BaseException, token: Token) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return token.redact(f"the server's certificate does not verify: {error}")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection without an answer"
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return _one_line(token.redact(said))[:WORDS]


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def check_base_url(url: str) -> str:
    """*url* without a trailing slash, if bulkup may send a token there: https, or http to loopback.

    Raises `UsageProblem`.
    """
    if "@" in url:
        raise UsageProblem(
            "a base URL must not hold a user name or a password; tokens come from the environment or a file"
        )
    if "?" in url or "#" in url:  # not repeated: there may be a secret in it
        raise UsageProblem("a base URL has no query and no fragment")
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise UsageProblem(f"{url!r} is not a base URL; give one such as https://api.example.com")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise UsageProblem(f"{url!r}: plain http would show the token to everyone on the way; use https")
    return url.rstrip("/")


def leads_to_loopback(base_url: str) -> bool:
    """Whether *base_url* is on this machine."""
    return _is_loopback(urlsplit(base_url).hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _proxy_for(base_url: str) -> str | None:
    """The proxy that the environment names for *base_url*. Loopback is never proxied: that would carry a token in clear."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if _is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
