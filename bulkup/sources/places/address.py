"""Addresses of places: what is shown of them, what is secret, and what opens them again in another process."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

from bulkup.errors import UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.tokens.secret import remember_secret

__all__ = [
    "BUCKETS",
    "HUB",
    "WEB",
    "Access",
    "Hidden",
    "PlaceAt",
    "Remote",
    "full",
    "hidden",
    "hide",
    "is_many",
    "is_remote",
    "scheme_of",
]

WEB = ("https", "http")
BUCKETS = ("s3", "gs", "az")
HUB = "hf"
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_MAGIC = re.compile(r"[*?\[]")
_WORD = 16
"""A part of a URL with fewer characters may be an ordinary word: it is not looked for in what others say."""

_FULL: dict[str, Hidden] = {}
"""The whole of each URL that this process was given, by what is shown of it."""


class Hidden:
    """A text that shows nowhere by accident. Only a run's own workers get it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return "Hidden(***)"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return hidden, (self.text,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def hidden(text: str) -> Hidden:
    """A hidden text that another process has handed over: what in it is secret is kept out of what others say."""
    _remember(text)
    return Hidden(text)


@dataclass(frozen=True, slots=True)
class Access:
    """How a person wants places opened: without credentials (*anonymous*), and at which address the buckets are."""

    anonymous: bool = False
    endpoint_url: str | None = None


@dataclass(frozen=True, slots=True)
class PlaceAt:
    """A bucket (*scheme*, *name*), the web or the hub, and how it is opened."""

    scheme: str
    name: str
    access: Access


@dataclass(frozen=True, slots=True)
class Remote:
    """One object as it was when it was frozen. *key* is its name in the place: for the web its whole URL.

    *version* is what tells it from another one of its name (an ETag, a commit): every later read is conditional on it. None: the
    server tells none. *ranges*: any range of it can be read; else it is read from its beginning on.
    """

    at: PlaceAt
    key: Hidden
    version: str | None
    ranges: bool


def scheme_of(locator: str) -> str | None:
    """The scheme of a URL, None for a path."""
    found = _SCHEME.match(locator)
    return found[1].lower() if found else None


def is_remote(locator: str) -> bool:
    """Whether *locator* has the form of a URL."""
    return scheme_of(locator) is not None


def hide(locator: str) -> str:
    """What may be shown and written down of *locator*: a URL without user, password, query and fragment. The whole is kept here.

    Raises `UsageProblem` where it is no URL.
    """
    scheme = scheme_of(locator)
    if scheme is None:
        return locator
    if scheme not in WEB:
        if "@" in locator.split("/")[2]:
            raise UsageProblem(f"{scheme}://…: a bucket's address holds no user and no password")
        return locator
    try:
        parts = urlsplit(locator)
        is_url = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise UsageProblem(f"{scheme}://…: is no URL that can be read")
    _remember(locator)
    shown = urlunsplit((scheme, parts.netloc.rpartition("@")[2].lower(), parts.path or "/", "", ""))
    whole = urlunsplit((scheme, parts.netloc, parts.path or "/", parts.query, ""))
    _FULL[shown] = Hidden(whole)
    return shown


def full(shown: str) -> Hidden:
    """The URL of which *shown* is what may be shown; itself where this process was given no more."""
    return _FULL.get(shown) or Hidden(shown)


def is_many(locator: str) -> bool:
    """Whether a remote *locator* may come to several objects: a prefix, a glob, a whole dataset of the hub."""
    scheme = scheme_of(locator)
    if scheme in WEB:
        return False
    path = locator.split("://", 1)[1]
    least = 4 if scheme == HUB else 2  # datasets/OWNER/NAME/path, bucket/key
    return locator.endswith("/") or bool(_MAGIC.search(path)) or len(path.split("/")) < least


def _remember(url: str) -> None:
    remember_userinfo(url)
    remember_query(urlsplit(url).query)


def remember_userinfo(url: str) -> None:
    """The password in *url*, or a long user without one, is kept out of what others say."""
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
    except ValueError:
        return
    secret = parts.password or (parts.username if len(parts.username or "") >= _WORD else None)
    if secret:
        remember_secret(secret)
        remember_secret(unquote(secret))


def remember_query(query: str) -> None:
    """So are long words of a URL's *query*."""
    for word in (query, *(field.partition("=")[2] for field in query.split("&"))):
        if len(word) >= _WORD:
            remember_secret(word)
            remember_secret(unquote(word))
