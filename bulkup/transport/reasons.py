"""Why a request got no whole answer, in words for a person."""

from __future__ import annotations

import errno
import socket
import ssl

import aiohttp

from bulkup.transport.proxy import Proxy

__all__ = ["why_lost", "why_unreachable"]

_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.ECONNABORTED: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ETIMEDOUT: "no answer",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "no route to the network",
    errno.ENETDOWN: "the network is down",
    errno.EADDRNOTAVAIL: "this machine has no free port or address",
    errno.EMFILE: "too many open files; raise the limit: ulimit -n",
    errno.ENFILE: "too many open files on this machine",
    errno.EACCES: "this machine does not allow the connection",
    errno.EPERM: "this machine does not allow the connection",
}

_DNS = {socket.EAI_NONAME: "DNS knows no such host", socket.EAI_AGAIN: "DNS does not answer"}


def why_unreachable(error: BaseException, base_url: str, proxy: Proxy | None) -> str:
    """Why no connection came about: `cannot reach https://… (connection refused)`."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        name = proxy.variable if proxy is not None else "the environment"
        return f"cannot reach {base_url} (the proxy in {name} answered HTTP {error.status})"
    place = base_url
    if isinstance(error, aiohttp.ClientProxyConnectionError) and proxy is not None:
        place = f"the proxy in {proxy.variable}, {proxy.url}"
    return f"cannot reach {place} ({_cause(error)})"


def why_lost(error: BaseException) -> str:
    """Why a request that had begun got no whole answer."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection without an answer"
    if isinstance(error, TimeoutError):
        return "no answer came in time"
    if (word := _word(error)) is not None:
        return f"the connection was lost: {word}"
    if isinstance(error, aiohttp.ClientPayloadError):
        return f"the connection was lost in the middle of the answer ({error})"
    return _as_it_is(error)


def _cause(error: BaseException) -> str:
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection"
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(inner, socket.gaierror):
        return _DNS.get(inner.errno or 0) or f"DNS: {inner.strerror or inner}"
    if isinstance(inner, ssl.SSLError):
        return f"TLS: {inner.reason or inner}"
    return _word(inner) or _as_it_is(inner)


def _word(error: BaseException) -> str | None:
    """What a system error means; several addresses that were tried for one host are one error without a number of its own."""
    if not isinstance(error, OSError):
        return None
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if error.errno in _WORDS:
        return _WORDS[error.errno]
    return next((word for word in _WORDS.values() if word in str(error).lower()), None)


def _as_it_is(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
