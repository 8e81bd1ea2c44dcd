"""Where a token may be sent."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from bulkup.errors import UsageProblem

__all__ = ["check_base_url", "is_loopback", "leads_to_loopback"]


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
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise UsageProblem(f"{url!r}: plain http would show the token to everyone on the way; use https")
    return url.rstrip("/")


def leads_to_loopback(base_url: str) -> bool:
    """Whether *base_url* is on this machine."""
    return is_loopback(urlsplit(base_url).hostname or "")


def is_loopback(host: str) -> bool:
    """Whether *host*, a name or an address, is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
