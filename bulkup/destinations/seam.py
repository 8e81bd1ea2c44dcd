"""What the flow needs of a destination, and the values that pass between them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from bulkup.encoding import RowPlan, Target
from bulkup.outcome import CloseGate, Outcome, RemoteStatus, StopLane, TokenRejected, TryAgain
from bulkup.token_source import TokenSource

__all__ = [
    "Capabilities",
    "Creates",
    "Destination",
    "Envelope",
    "Found",
    "LookFailed",
    "Payload",
    "ReadBackUnavailable",
    "Survey",
]


class Creates(StrEnum):
    """What makes a dataset at the destination."""

    EACH_CHUNK = "each chunk creates a dataset of its own"
    FIRST_CHUNK = "the first chunk creates the dataset, the others are appended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a destination can do, as a value. *max_chunk_bytes* and *max_chunk_rows* are defaults a user may change."""

    creates: Creates
    gives_row_ids: bool
    max_chunk_bytes: int
    max_chunk_rows: int | None


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands around a chunk's rows in a request's body."""

    prefix: bytes
    suffix: bytes
    content_type: str

    @property
    def size(self) -> int:
        """Bytes of it."""
        return len(self.prefix) + len(self.suffix)


@dataclass(frozen=True, slots=True)
class Payload:
    """An encoded chunk: *rows* rows, *body_bytes* bytes of JSON joined by commas, read block by block as often as needed."""

    name: str
    rows: int
    body_bytes: int
    envelope: Envelope
    row_blocks: Callable[[], AsyncIterator[bytes]]

    @property
    def content_length(self) -> int:
        """Bytes of the whole body."""
        return self.body_bytes + self.envelope.size

    @property
    def content_type(self) -> str:
        """The body's media type."""
        return self.envelope.content_type

    async def blocks(self) -> AsyncIterator[bytes]:
        """The whole body."""
        yield self.envelope.prefix
        async for block in self.row_blocks():
            yield block
        yield self.envelope.suffix


@dataclass(frozen=True, slots=True)
class Found:
    """A dataset that the destination already holds. *rows* is None where the destination does not say."""

    id: str
    name: str
    rows: int | None


@dataclass(frozen=True, slots=True)
class Survey:
    """What the destination held before the run: the datasets of our names. *unavailable* says why it could not be seen."""

    found: tuple[Found, ...] = ()
    unavailable: str | None = None


class ReadBackUnavailable(Exception):
    """The service does not let us look (404, 403, not JSON). Its text says what it answered."""


class LookFailed(Exception):
    """A look did not go through this time; *outcome* says what to do."""

    def __init__(self, outcome: TryAgain | CloseGate | TokenRejected | StopLane) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class Destination(Protocol):
    """One service, one dataset of it. `send` never raises for what the service or the wire does: it returns an outcome."""

    @property
    def name(self) -> str:
        """The service's name as the command line has it."""
        ...

    @property
    def identity(self) -> str:
        """The dataset this writes to, in words that are the same for every run that writes to it: what is keyed and locked."""
        ...

    @property
    def dataset_name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def target(self) -> Target: ...

    @property
    def token(self) -> TokenSource: ...

    def envelope(self, name: str, plan: RowPlan) -> Envelope:
        """What stands around the rows of a chunk that is to be called *name*."""
        ...

    async def send(self, payload: Payload, on_bytes: Callable[[int], None]) -> Outcome:
        """One attempt to store all of *payload*. Only the payload itself raises, and then it was not sent whole."""
        ...

    async def poll(self, remote_id: str) -> RemoteStatus:
        """How the dataset that the service has taken is doing. Raises `LookFailed`, `ReadBackUnavailable`."""
        ...

    async def survey(self) -> Survey:
        """What the destination holds under our names. Raises `LookFailed`."""
        ...
