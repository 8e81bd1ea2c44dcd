"""One session against one base URL: HTTP/1.1, bodies of known length streamed block by block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import anyio

from bulkup.authority import UNENDING, Authority
from bulkup.tokens.secret import Token
from bulkup.transport.answer import Answer
from bulkup.transport.base_url import check_base_url
from bulkup.transport.classify import counts_early
from bulkup.transport.coding import ACCEPTED
from bulkup.transport.failure import Phase, TransportFailure, Unreachable
from bulkup.transport.heads import MAX_FIELD_BYTES, MAX_HEADERS, bound_heads
from bulkup.transport.progress import Body, Progress, Timeouts
from bulkup.transport.proxy import proxy_for
from bulkup.transport.sockets import Connector
from bulkup.transport.stalls import RoundTrips, Tell
from bulkup.transport.translate import translated
from bulkup.transport.trust import trusting

__all__ = ["Transport"]

IDLE_S = 0.3
"""A connection idle for longer is dropped, before the server drops it under the next POST: that would be a doubt."""

QUOTA_PREFIX = "x-ratelimit-"
QUOTA_FIELDS = frozenset(("ratelimit", "ratelimit-policy", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"))
"""As services tell their quotas: what stands in them is `bulkup.pacing`'s matter."""


class Transport:
    """A session against one base URL. Use it as an async context manager."""

    def __init__(
        self,
        base_url: str,
        *,
        user_agent: str,
        timeouts: Timeouts | None = None,
        ca_file: Path | None = None,
        on_stall: Callable[[str], None] = lambda _: None,
        on_quota: Callable[[Mapping[str, str]], None] = lambda _: None,
        authority: Authority = UNENDING,
    ) -> None:
        """*ca_file*: as `trusting` has it. *on_stall* is told, in a line for a person, of a request that does not move, and what it
        waits for; *on_quota* of the headers that tell a quota (names in lower case, and `date`) of every answer that has some.
        *authority*: without it no body comes to its end.

        Raises `UsageProblem` for a base URL, a proxy or a file of authorities that cannot be used."""
        self.base_url = check_base_url(base_url)
        self._on_stall = on_stall
        self._on_quota = on_quota
        self._authority = authority
        self._trips = RoundTrips()
        self._timeouts = timeouts or Timeouts()
        self._user_agent = user_agent
        self._proxy = proxy_for(self.base_url)
        self._tls = trusting(ca_file) if urlsplit(self.base_url).scheme == "https" else True
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Transport:
        self._session = aiohttp.ClientSession(
            connector=bound_heads(Connector(limit=0, keepalive_timeout=IDLE_S, ssl=self._tls)),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect_s),
            headers={"User-Agent": self._user_agent, "Accept": "application/json", "Accept-Encoding": ACCEPTED},
            auto_decompress=False,  # `Answer` undoes codings, within bounds
            max_line_size=MAX_FIELD_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_HEADERS,
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
        An answer that came before the whole body was sent ends the sending. It is yielded if it means the same as after the whole
        body (`counts_early`), else it is a failure in the body. Whatever is not a whole answer to a whole body ends in a reset.
        """
        assert self._session is not None, "a Transport is used as an async context manager"
        on_stall = partial(self._stalled, f"{method} {path}")
        progress = Progress(self._timeouts, self._trips, body, on_bytes, on_stall, self._authority)
        headers = {"Authorization": token.header()}
        if body is not None:
            headers |= {"Content-Type": body.content_type, "Content-Length": str(body.content_length)}
        with anyio.CancelScope() as scope, ExitStack() as stack:
            progress.watch(scope)
            stack.callback(progress.close)
            stack.callback(progress.line.reset)
            with translated(progress, self.base_url, self._proxy), Connector.telling(progress.line):
                response = await self._session.request(
                    method,
                    self.base_url + path,
                    headers=headers,
                    params=params,
                    data=progress.blocks() if body is not None else None,
                    allow_redirects=False,
                    proxy=self._proxy.url if self._proxy is not None else None,
                    proxy_headers=self._proxy.headers if self._proxy is not None else None,
                )
            progress.answered()
            self._tell_quota(response.headers)
            try:
                if progress.is_early and not counts_early(response.status, response.headers):
                    raise TransportFailure(
                        Phase.BODY, f"the service answered HTTP {response.status} before the whole body was sent"
                    )
                yield Answer(response, progress)
            finally:
                response.close()
        if scope.cancelled_caught:
            if progress.phase is Phase.CONNECT:
                raise Unreachable(f"cannot reach {self.base_url} (no answer for {progress.waited_s:.0f} s)")
            raise TransportFailure(progress.phase, f"nothing moved for {progress.waited_s:.0f} s")

    def _tell_quota(self, headers: Mapping[str, str]) -> None:
        found: dict[str, str] = {}
        for name, value in headers.items():
            name = name.lower()
            if name.startswith(QUOTA_PREFIX) or name in QUOTA_FIELDS:  # a repeated field is one list [RFC 9110 5.3]
                found[name] = f"{found[name]}, {value}" if name in found else value
        if found:
            self._on_quota(found | ({"date": headers["Date"]} if "Date" in headers else {}))

    def _stalled(self, request: str, what: str, tell: Tell) -> None:
        self._on_stall(
            f"{request}: nothing has moved for {tell.waited_s:.0f} s, waiting for {what}; bulkup gives it up in {tell.left_s:.0f} s"
        )
