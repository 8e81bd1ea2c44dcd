"""The proxy that the environment names."""

from __future__ import annotations

import base64
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import field
from urllib.parse import SplitResult, unquote, urlsplit

from bulkup.errors import UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.tokens.secret import remember_secret
from bulkup.transport.base_url import is_loopback

__all__ = ["Proxy", "parse_proxy", "proxy_for"]

_HOW = "give such as http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT"
_SOCKS = ("socks", "socks4", "socks4a", "socks5", "socks5h")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. *url* holds no credentials; those are in *headers*, for the proxy alone. *variable* is what named it."""

    url: str
    variable: str
    headers: Mapping[str, str] = field(repr=False)


def proxy_for(base_url: str) -> Proxy | None:
    """The proxy that the environment names for *base_url*. Loopback is never proxied: that would carry a token in clear.

    Raises `UsageProblem` for one that cannot be used.
    """
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    for scheme in (parts.scheme, "all"):
        if url := proxies.get(scheme):
            return parse_proxy(url, _variable(scheme, url))
    return None


def _variable(scheme: str, url: str) -> str:
    """The name of the variable that says *url*."""
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper(), *os.environ)
    return next(
        (name for name in names if name.lower() == f"{scheme}_proxy" and os.environ.get(name) == url),
        f"the system's {scheme} proxy",
    )


def parse_proxy(url: str, variable: str) -> Proxy:
    """*url*, as *variable* has it, with its credentials apart. Raises `UsageProblem`, which repeats nothing of it but a known
    scheme.

    From here on its password is known as a secret, and without a password its user name is.
    """
    _remember(url)
    parts = _split(url)
    if parts is not None and parts.scheme in _SOCKS:
        raise UsageProblem(
            f"{variable}: bulkup does not speak {parts.scheme}://; name an HTTP proxy, such as http://HOST:PORT"
        )
    if parts is None or parts.scheme not in ("http", "https"):
        raise UsageProblem(f"{variable}: it is not the URL of a proxy; {_HOW}")
    if "#" in url or "?" in url or parts.path not in ("", "/"):
        raise UsageProblem(
            f"{variable}: nothing may follow the port of a proxy; "
            "in its user name or password write # as %23, / as %2F, ? as %3F"
        )
    try:
        host, port = parts.hostname, parts.port
    except ValueError:  # its text repeats what stands there, which may be a part of the password
        host, port = None, None
    if not host or port == 0 or not _is_plain(parts.netloc):
        raise UsageProblem(f"{variable}: its host or port is not valid; {_HOW}")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if ":" in user:
        raise UsageProblem(f"{variable}: a proxy's user name cannot hold a colon")
    place = f"[{host}]" if ":" in host else host
    where = f"{parts.scheme}://{place}" + ("" if port is None else f":{port}")
    if not (user or password):
        return Proxy(where, variable, {})
    return Proxy(
        where, variable, {"Proxy-Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    )


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _is_plain(netloc: str) -> bool:
    return netloc.isprintable() and not any(char in netloc for char in " \\<>\"'`")


def _remember(url: str) -> None:
    """Know the credentials in *url* as secrets, however broken it is: what stands before its last `@`."""
    before, at, _ = url.rpartition("@")
    if not at:
        return
    _, _, credentials = before.rpartition("//")
    user, _, password = credentials.partition(":")
    for text in (password or user, credentials) if password else (user,):
        remember_secret(text)
        remember_secret(unquote(text))
