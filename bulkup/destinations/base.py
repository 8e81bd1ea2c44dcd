"""What the flow needs of a destination, and the values that pass between them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar, runtime_checkable

from bulkup.doubt.policy import Policy
from bulkup.doubt.settlement import Look, Match
from bulkup.encoding import RowPlan, Target
from bulkup.light_dataclass import dataclass
from bulkup.outcome import CloseGate, Outcome, RemoteStatus, StopLane, TokenRejected, TryAgain
from bulkup.tokens.token_source import TokenSource

__all__ = [
    "PAGE_ROWS",
    "AnswerTooLarge",
    "Asking",
    "Capabilities",
    "Destination",
    "Envelope",
    "ListsDatasets",
    "LookFailed",
    "NotThere",
    "Payload",
    "ReadBackUnavailable",
    "StoredRow",
]


T = TypeVar("T")

PAGE_ROWS = 1000
"""The most rows in a page that is read back. [openapi]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a destination can do, as a value. *max_chunk_bytes* and *max_chunk_rows* are defaults a user may change."""

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
    row_blocks: Callable[[], AsyncIterator[bytes | bytearray]]

    @property
    def content_length(self) -> int:
        """Bytes of the whole body."""
        return self.body_bytes + self.envelope.size

    @property
    def content_type(self) -> str:
        """The body's media type."""
        return self.envelope.content_type

    async def blocks(self) -> AsyncIterator[bytes | bytearray]:
        """The whole body."""
        yield self.envelope.prefix
        async for block in self.row_blocks():
            yield block
        yield self.envelope.suffix


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row read back: its id where the service gives one, and a hash of its content."""

    id: str | int | None
    key: bytes


class ReadBackUnavailable(Exception):
    """The service does not let us look (404, 403, not JSON). Its text says what it answered."""


class NotThere(ReadBackUnavailable):
    """404: either that dataset is not there, or the service does not let us look at all."""


class AnswerTooLarge(ReadBackUnavailable):
    """The answer passes what is taken in at once; a smaller page may do."""


class LookFailed(Exception):
    """A request of a look did not go through this time; *outcome* says why (`StopLane` for 402, a gateway's
    page, and what a certificate or a proxy refuses)."""

    def __init__(self, outcome: TryAgain | CloseGate | TokenRejected | StopLane) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class Asking(Protocol):
    """How a destination makes a request that stores nothing: when it may go, and how often it is made, is not the destination's
    matter. Each of its requests is handed over by itself, and may be made several times."""

    async def __call__(self, request: Callable[[], Awaitable[T]], /) -> T:
        """What *request* returns in the end. Raises what it raises."""
        ...


@runtime_checkable
class ListsDatasets(Protocol):
    """A destination whose look reads a list in pages."""

    known_datasets: int
    """How many datasets the run knows of: those that its first look listed, and those that it may have made since. A list is read
    to its end or is no look; one that goes far beyond these is taken for one without end."""


@runtime_checkable
class KnowsItsPath(Protocol):
    """A destination that can be asked whether it is where its base URL says."""

    async def is_there(self, asking: Asking) -> bool:
        """Whether the service knows the path to which uploads go. Stores nothing. Raises `LookFailed`."""
        ...


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
    def policy(self) -> Policy:
        """How chunks become datasets here, and what shows whether one was stored."""
        ...

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

    async def poll(self, asking: Asking, remote_id: str) -> RemoteStatus:
        """How the dataset that the service has taken is doing. Raises `LookFailed`, `ReadBackUnavailable`."""
        ...

    async def look(self, asking: Asking) -> Look:
        """What the destination holds under our names, the whole of it: a list that was not read to its end makes a look that is
        *unavailable*, whatever it has shown. Raises `LookFailed`."""
        ...

    async def match(self, asking: Asking, dataset_id: str, *, rows: int, plan: RowPlan) -> Match:
        """Whether a dataset of our name has the plan's schema and exactly *rows* rows. Raises `LookFailed`."""
        ...

    async def read_rows(
        self, asking: Asking, dataset_id: str, page: int, *, page_rows: int = PAGE_ROWS
    ) -> list[StoredRow]:
        """One page of a dataset's rows, numbered from 0, in the order in which the service gives them; empty behind the last.

        *page_rows* (at most `PAGE_ROWS`) is the same for all pages of one reading. Raises `LookFailed`, `ReadBackUnavailable`.
        """
        ...

    def row_key(self, row: bytes) -> bytes:
        """What identifies the content of a row that is sent, as `StoredRow.key` does for one that is read back."""
        ...
