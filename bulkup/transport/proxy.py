"""The proxy that the environment names."""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit

from bulkup.transport.base_url import is_loopback

__all__ = ["proxy_for"]


def proxy_for(base_url: str) -> str | None:
    """The proxy that the environment names for *base_url*. Loopback is never proxied: that would carry a token in clear."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
