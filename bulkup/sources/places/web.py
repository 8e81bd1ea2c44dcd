"""Files on web servers, by the standard library's client: it connects where it is told to, and follows no redirect by itself.

Each request is one for a range, conditional on the version that was found. At most `MOST_REDIRECTS` redirects are followed: to
https only (to plain http only from this machine to itself), never from a public host to an inner address. Credentials go to no host
but the first.
"""

from __future__ import annotations

import base64
import http.client
import re
import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import field
from email.utils import parsedate_to_datetime
from functools import cached_property
from time import monotonic, time
from traceback import clear_frames
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from bulkup.errors import BulkupError, SourceChanged, TokenRefused, UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.sources.places.address import Hidden, PlaceAt, Remote
from bulkup.sources.places.hosts import Host, is_loopback, looked_up
from bulkup.sources.places.place import Entry, Unreachable
from bulkup.tokens.secret import redact, remember_secret
from bulkup.version import USER_AGENT

__all__ = ["MOST_REDIRECTS", "Web"]

MOST_REDIRECTS = 5
STALL_S = 30.0
"""A connection on which nothing comes for so long is broken."""

FREE_S = 30.0
LEAST_BYTES_PER_S = 4096
"""A read that takes longer than `FREE_S` seconds and what it brings at this speed is given up, and tried again."""

CONNECT_S = 15.0
_IDLE = 8
_MOST_PASSED_BYTES = 8 * 1024 * 1024
_PIECE_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(slots=True)
class _Answer:
    """A response whose body is still to be read."""

    response: http.client.HTTPResponse
    connection: http.client.HTTPConnection
    origin: str

    def close(self) -> None:
        """A response that ends with its connection has taken that over."""
        self.response.close()
        self.connection.close()

    def header(self, name: str) -> str | None:
        return self.response.getheader(name)

    @property
    def version(self) -> str | None:
        return self.header("ETag") or self.header("Last-Modified")

    @property
    def total(self) -> int | None:
        """The whole file's length."""
        found = _RANGE.fullmatch(self.header("Content-Range") or "")
        if found:
            return int(found[3]) if found[3].isdigit() else None
        length = self.header("Content-Length") or ""
        return int(length) if length.isdigit() and self.response.status == 200 else None


@dataclass(slots=True)
class _Pool:
    """Connections that wait for their next request, by their origin."""

    idle: dict[str, list[http.client.HTTPConnection]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_closed: bool = False

    def close(self) -> None:
        with self.lock:
            self.is_closed = True
            for waiting in self.idle.values():
                for connection in waiting:
                    connection.close()
            self.idle.clear()

    def take(self, origin: str) -> http.client.HTTPConnection | None:
        with self.lock:
            waiting = self.idle.get(origin)
            return waiting.pop() if waiting else None

    def give(self, origin: str, connection: http.client.HTTPConnection) -> None:
        with self.lock:
            waiting = self.idle.setdefault(origin, [])
            if len(waiting) < _IDLE and not self.is_closed:
                waiting.append(connection)
                return
        connection.close()


class Web:
    """As `Place` promises. A key is a whole URL."""

    def __init__(self, at: PlaceAt) -> None:
        self._at = at
        self._pool = _Pool()
        self._hosts: dict[tuple[str, int], Host] = {}
        self._ends: dict[str, tuple[SplitResult, bool]] = {}
        """Where a URL's redirects led last, and whether over a public host."""

    def below(self, uri: str, prefix: str) -> list[Entry]:
        raise AssertionError("a web server lists nothing")

    def look(self, uri: str, key: str) -> Entry:
        with self._asked(uri, key, {"Range": "bytes=0-0"}) as answer:
            if answer.response.status == 416 and answer.total == 0:
                return Entry(uri, 0, Remote(self._at, Hidden(key), answer.version, ranges=True))
            self._refuse(uri, key, answer, UsageProblem)
            if answer.response.status == 206:
                _body(answer, 1)
            ranges = answer.response.status == 206 and answer.total is not None
            return Entry(uri, answer.total, Remote(self._at, Hidden(key), answer.version, ranges))

    def read(self, uri: str, remote: Remote, start: int, stop: int) -> bytes:
        headers = {"Range": f"bytes={start}-{stop - 1}", **_condition(remote.version)}
        with self._asked(uri, remote.key.text, headers) as answer:
            self._refuse(uri, remote.key.text, answer, SourceChanged)
            _check_version(uri, remote, answer)
            if answer.response.status == 200 and stop <= _MOST_PASSED_BYTES:  # ranges are not kept to: all of it comes
                return _body(answer, stop)[start:]
            found = _RANGE.fullmatch(answer.header("Content-Range") or "")
            if answer.response.status != 206 or found is None or found[1] is None or int(found[1]) != start:
                raise Unreachable("the server gave another range than it was asked for")
            data = _body(answer, stop - start)
            if len(data) < stop - start:
                raise Unreachable(f"the connection ended after {len(data):,} of {stop - start:,} bytes")
            return data

    def stream(self, uri: str, remote: Remote) -> Iterator[bytes]:
        with self._asked(uri, remote.key.text, _condition(remote.version)) as answer:
            self._refuse(uri, remote.key.text, answer, SourceChanged)
            _check_version(uri, remote, answer)
            left = answer.total
            for piece in _pieces(answer):
                left = None if left is None else left - len(piece)
                yield piece
            if left:
                raise Unreachable(f"the connection ended {left:,} bytes before the end")

    def close(self) -> None:
        self._pool.close()

    def headers_for(self, url: SplitResult) -> Mapping[str, str]:
        """The credentials for the first host of a request."""
        if url.username is None and url.password is None:
            return {}
        pair = f"{unquote(url.username or '')}:{unquote(url.password or '')}"
        word = base64.b64encode(pair.encode()).decode()
        remember_secret(word)
        return {"Authorization": f"Basic {word}"}

    def credential_for(self, url: SplitResult) -> str:
        """Which credentials these are, for a person."""
        if url.password is not None:
            return "the user and password in the URL"
        return "the query of the URL (perhaps it has expired)" if url.query else "no credentials"

    # --- requests -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _asked(self, uri: str, key: str, headers: Mapping[str, str]) -> Iterator[_Answer]:
        """The answer to a GET for *key*, behind all redirects; the connection is kept if the body was read to its end."""
        answer = self._follow(uri, key, headers)
        try:
            yield answer
        finally:
            if answer.response.isclosed() and not answer.response.will_close:
                self._pool.give(answer.origin, answer.connection)
            else:
                answer.close()

    def _follow(self, uri: str, key: str, headers: Mapping[str, str]) -> _Answer:
        known = self._ends.get(key)
        if known is not None:
            end, was_public = known
            host = self._host(end)
            if host.is_public or not was_public:
                answer = self._get(uri, end, headers, host)
                if answer.response.status in (200, 206, 412, 416):
                    return answer
                answer.close()  # the address to which we were sent has expired, perhaps
            self._ends.pop(key, None)
        url, seen_public = urlsplit(key), False
        first = url
        for hop in range(MOST_REDIRECTS + 1):
            _check_scheme(uri, first, url, is_redirect=hop > 0)
            host = self._host(url)
            if seen_public and not host.is_public:
                raise UsageProblem(
                    f"{uri}: a public server redirects to {_printable(host.name)}, an address inside a private network; that "
                    "is not followed"
                )
            seen_public |= host.is_public
            own = self.headers_for(first) if _origin(url) == _origin(first) else {}
            answer = self._get(uri, url, {**headers, **own}, host)
            if answer.response.status not in _REDIRECTS:
                if hop and _origin(url) != _origin(first):
                    self._ends[key] = url, seen_public
                return answer
            where = answer.header("Location") or ""
            answer.close()
            url = urlsplit(urljoin(url.geturl(), where))
            if not url.hostname:
                raise UsageProblem(f"{uri}: the server redirects to what is no address")
        raise UsageProblem(f"{uri}: the server redirects more than {MOST_REDIRECTS} times")

    def _get(self, uri: str, url: SplitResult, headers: Mapping[str, str], host: Host) -> _Answer:
        origin = _origin(url)
        path = _asked_for(url.path or "/") + (f"?{_asked_for(url.query)}" if url.query else "")
        sent = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity", **headers}
        reused = self._pool.take(origin)
        for connection in (reused, None) if reused else (None,):
            try:
                opened = connection or self._connected(url, host)
                try:
                    opened.request("GET", path, headers=sent)
                    return _Answer(opened.getresponse(), opened, origin)
                except BaseException as error:
                    opened.close()
                    clear_frames(
                        error.__traceback__
                    )  # before Python 3.12 one holds a proxy's refusal, and that its socket
                    raise
            except ssl.SSLCertVerificationError as error:
                raise UsageProblem(
                    f"{uri}: the server's certificate is not trusted ({_printable(error.verify_message)})"
                ) from error
            except (OSError, http.client.HTTPException) as error:
                if connection is None:  # one that had waited may have been closed meanwhile
                    raise Unreachable(_why(error)) from error
            except ValueError as error:
                raise UsageProblem(f"{uri}: is no URL that can be asked for") from error
        raise AssertionError("the last connection is a new one")

    def _host(self, url: SplitResult) -> Host:
        name = url.hostname or ""
        if _proxy_for(url) is not None:
            return Host(name, ())
        port = _port(url)
        if (name, port) not in self._hosts:
            self._hosts[name, port] = looked_up(name, port)
        return self._hosts[name, port]

    def _connected(self, url: SplitResult, host: Host) -> http.client.HTTPConnection:
        """A connection to *host*, which was looked up, and checked, before: what its name means now may be another address."""
        name, port, proxy = url.hostname or "", _port(url), _proxy_for(url)
        is_tls = url.scheme == "https"
        if proxy is not None:
            return self._through(proxy, name, port, is_tls=is_tls)
        connection = http.client.HTTPConnection(name, port, timeout=STALL_S)
        failed: OSError | None = None
        for address in host.addresses:
            try:
                connection.sock = socket.create_connection((address, port), CONNECT_S)
                break
            except OSError as error:
                failed = error
        else:
            self._hosts.pop((name, port), None)
            raise failed or OSError("no address")
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if is_tls:
            connection.sock = self._tls.wrap_socket(connection.sock, server_hostname=name)
        connection.sock.settimeout(STALL_S)
        return connection

    def _through(self, proxy: SplitResult, name: str, port: int, *, is_tls: bool) -> http.client.HTTPConnection:
        at, at_port = proxy.hostname or "", proxy.port or (443 if proxy.scheme == "https" else 80)
        connection = (
            http.client.HTTPSConnection(at, at_port, timeout=STALL_S, context=self._tls)
            if is_tls
            else http.client.HTTPConnection(at, at_port, timeout=STALL_S)
        )
        connection.set_tunnel(name, port, headers=dict(self._proxy_headers(proxy)))
        return connection

    def _proxy_headers(self, proxy: SplitResult) -> Mapping[str, str]:
        if proxy.password:
            remember_secret(unquote(proxy.password))
        own = Web.headers_for(self, proxy)
        return {"Proxy-Authorization": own["Authorization"]} if own else {}

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def _refuse(self, uri: str, key: str, answer: _Answer, gone: type[BulkupError]) -> None:
        """Raise for an answer that is no success. *gone* is raised where there is no such file."""
        status = answer.response.status
        if status in (200, 206):
            return
        if status in (401, 403, 407):
            which = self.credential_for(urlsplit(key))
            raise TokenRefused(f"{uri}: the server refused to give it ({status}); it was asked with {which}")
        if status in (404, 410):
            raise gone(
                f"{uri}: there is no such file ({status})" if gone is UsageProblem else f"{uri}: is gone ({status})"
            )
        if status == 412 or (status == 416 and gone is SourceChanged):
            raise SourceChanged(f"{uri}: has changed since this run looked at it")
        if status in (408, 425, 429) or status >= 500:
            raise Unreachable(f"the server answered {status}", _retry_after_s(answer.header("Retry-After")))
        raise UsageProblem(f"{uri}: the server answered {status} {_printable(answer.response.reason)}")


def _check_scheme(uri: str, first: SplitResult, url: SplitResult, *, is_redirect: bool) -> None:
    """Raise `UsageProblem` where *url* is not https; plain http is for this machine alone."""
    inner = is_loopback(url.hostname or "") and is_loopback(first.hostname or "")
    if url.scheme == "https" or (url.scheme == "http" and inner):
        return
    if is_redirect:
        raise UsageProblem(
            f"{uri}: the server redirects to {_printable(f'{url.scheme}://{url.hostname}')}, and only https is followed"
        )
    raise UsageProblem(
        f"{uri}: plain http shows the rows to everyone on the way; only https is read, or http from this machine"
    )


def _check_version(uri: str, remote: Remote, answer: _Answer) -> None:
    if remote.version is not None and answer.version != remote.version:
        raise SourceChanged(f"{uri}: has changed since this run looked at it")


def _condition(version: str | None) -> Mapping[str, str]:
    return {"If-Match": version} if version is not None and version.startswith('"') else {}


def _body(answer: _Answer, size: int) -> bytes:
    return b"".join(_pieces(answer, size)) if size else b""


def _pieces(answer: _Answer, size: int | None = None) -> Iterator[bytes]:
    """What comes, up to *size* bytes. Raises `Unreachable` where that is too little for too long: a server may drip for ever."""
    took_s, count = 0.0, 0  # without the time that whoever takes them needs
    try:
        while size is None or count < size:
            began = monotonic()
            piece = answer.response.read1(_PIECE_BYTES if size is None else min(_PIECE_BYTES, size - count))
            if not piece:
                return
            count, took_s = count + len(piece), took_s + monotonic() - began
            yield piece
            if took_s > FREE_S + count / LEAST_BYTES_PER_S and count != size:
                raise Unreachable(f"only {count:,} bytes came in {took_s:.0f} s")
        answer.response.read(0)  # with the last byte it is done, and its connection free
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(_why(error)) from error


def _printable(text: str) -> str:
    """What a server says, on one line and without secrets."""
    return redact("".join(char if char.isprintable() else " " for char in text))


def _origin(url: SplitResult) -> str:
    return f"{url.scheme}://{url.hostname}:{_port(url)}"


def _asked_for(text: str) -> str:
    """As a browser sends it: spaces and letters that are not ASCII are escaped, everything else stays."""
    return quote(text, safe="%/:=&?~#+!$,;'@()*[]{}|^`\\\"<>")


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _proxy_for(url: SplitResult) -> SplitResult | None:
    """The proxy that the environment names for *url*."""
    name = url.hostname or ""
    found = urllib.request.getproxies().get(url.scheme)
    if found is None or is_loopback(name) or urllib.request.proxy_bypass(f"{name}:{_port(url)}"):
        return None
    return urlsplit(found if "://" in found else f"http://{found}")


def _retry_after_s(value: str | None) -> float:
    if value is None:
        return 0.0
    if value.strip().isdigit():
        return float(value)
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    return 0.0


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "nothing came for too long"
    if isinstance(error, ConnectionResetError | http.client.RemoteDisconnected | BrokenPipeError):
        return "the connection broke"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
