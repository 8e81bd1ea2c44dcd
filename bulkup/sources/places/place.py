"""What every place promises, and the one table of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Protocol
from urllib.request import getproxies

from bulkup.errors import BulkupError, ExitCode, UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.sources.places.address import BUCKETS, HUB, WEB, PlaceAt, Remote, remember_userinfo
from bulkup.tokens.secret import redact

__all__ = ["Entry", "OutOfReach", "Place", "Unreachable", "close_all", "opened"]

Buffer = bytes | memoryview

_OPENED: dict[PlaceAt, Place] = {}
_OPENING = threading.Lock()


class OutOfReach(BulkupError):
    """A place could not be reached for long enough. The same command goes on."""

    exit_code = ExitCode.TRY_LATER


class Unreachable(Exception):
    """One attempt failed, and the next may not. *wait_s*: the place asks for so much time."""

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        super().__init__(redact(text))  # what a server or a library says may hold a secret
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Entry:
    """An object that was found. *uri* is what is shown of it, *size* its length in bytes, None where the server does not say."""

    uri: str
    size: int | None
    remote: Remote


class Place(Protocol):
    """A bucket, the web or the hub. Everything blocks, and may be called by several threads at once.

    Raises `Unreachable` where another attempt may do; `TokenRefused` where credentials do not; `SourceChanged` where an object is
    gone, or another one stands in its place.
    """

    def below(self, uri: str, prefix: str) -> list[Entry]:
        """The objects whose keys begin with *prefix*. *uri* is what the person gave."""

    def look(self, uri: str, key: str) -> Entry:
        """The object *key*. Raises `UsageProblem` where there is none."""

    def read(self, uri: str, remote: Remote, start: int, stop: int) -> Buffer:
        """The bytes [start, stop), all of them."""

    def stream(self, uri: str, remote: Remote) -> Iterator[bytes]:
        """All bytes, from the first on."""

    def close(self) -> None:
        """Close what waits for another read. What is being read goes on."""


def close_all() -> None:
    """Close every place that this process has opened. Who reads on opens it again."""
    while _OPENED:
        _OPENED.popitem()[1].close()


def opened(at: PlaceAt) -> Place:
    """The place, opened once in each process. Raises `UsageProblem` for an unknown kind, and where its library is not installed."""
    with _OPENING:
        if at not in _OPENED:
            _remember_proxies()
            _OPENED[at] = _open(at)
        return _OPENED[at]


def _remember_proxies() -> None:
    """Libraries read through the proxies that the environment names, and may repeat their addresses."""
    for url in getproxies().values():
        remember_userinfo(url)


def _open(at: PlaceAt) -> Place:
    if at.scheme in WEB:
        from bulkup.sources.places.web import Web

        return Web(at)
    if at.scheme in BUCKETS:
        from bulkup.sources.places.buckets import Bucket

        return Bucket(at)
    if at.scheme == HUB:
        from bulkup.sources.places.hub import Hub

        return Hub(at)
    raise UsageProblem(
        f"{at.scheme}://: is not read; give a path, an address with https://, s3://, gs://, az:// or hf://datasets/, or pipe it in "
        "with -"
    )
