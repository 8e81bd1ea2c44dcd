"""The client library's exceptions in the words of this project, at one place."""

from __future__ import annotations

import aiohttp

from bulkup.tokens.secret import redact
from bulkup.transport.failure import Phase, TransportFailure, Unreachable
from bulkup.transport.faults import lasting_failure
from bulkup.transport.progress import Progress
from bulkup.transport.proxy import Proxy
from bulkup.transport.reasons import why_lost, why_unreachable

__all__ = ["WORDS", "translated"]

WORDS = 400
"""How many characters of a server's words are kept."""


class translated:  # noqa: N801 - reads as a statement
    """Turns the client library's exceptions into `TransportFailure`, without a chain that could carry a header."""

    def __init__(self, progress: Progress, base_url: str = "the service", proxy: Proxy | None = None) -> None:
        self._progress = progress
        self._base_url = base_url
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
        if phase is Phase.CONNECT:
            raise Unreachable(_short(why_unreachable(error, self._base_url, self._proxy))) from None
        raise TransportFailure(phase, _short(why_lost(error))) from None


def _short(said: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in redact(said)).split())[:WORDS]
