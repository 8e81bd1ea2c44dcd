"""The client library's exceptions in the words of this project, at one place."""

from __future__ import annotations

import aiohttp

from bulkup.tokens.secret import redact
from bulkup.transport.failure import Phase, TransportFailure
from bulkup.transport.faults import lasting_failure
from bulkup.transport.progress import Progress
from bulkup.transport.proxy import Proxy

__all__ = ["WORDS", "translated"]

WORDS = 400
"""How many characters of a server's words are kept."""


class translated:  # noqa: N801 - reads as a statement
    """Turns the client library's exceptions into `TransportFailure`, without a chain that could carry a header."""

    def __init__(self, progress: Progress, proxy: Proxy | None = None) -> None:
        self._progress = progress
        self._proxy = proxy

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if not isinstance(error, aiohttp.ClientError | OSError | ValueError | TimeoutError):
            return
        if self._progress.failure is not None:
            raise self._progress.failure from None
        phase = Phase.CONNECT if isinstance(error, aiohttp.ClientConnectorError) else self._progress.phase
        if phase is Phase.CONNECT and (lasting := lasting_failure(error, self._proxy)) is not None:
            raise lasting from None
        raise TransportFailure(phase, _describe(error)) from None


def _describe(error: BaseException) -> str:
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection without an answer"
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return _one_line(redact(said))[:WORDS]


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
