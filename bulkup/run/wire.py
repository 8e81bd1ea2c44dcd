"""Orders and answers as bytes between machines: a closed set of plain values, each checked as it is read (`bulkup.run.forms`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from bulkup import errors
from bulkup.destinations.service import DatasetAt
from bulkup.errors import BulkupError
from bulkup.flow.draft import Drafted, Placed
from bulkup.flow.orders import (
    AddLines,
    CloseParts,
    CpuUsed,
    DraftAll,
    DraftClean,
    Forget,
    KeptAnswer,
    LastWord,
    NextPart,
    OpenLane,
    OpenParts,
    QuotaHeaders,
    SendChunk,
    Sent,
    Shipped,
    SourceRange,
    Stalled,
)
from bulkup.flow.tiling import Limits
from bulkup.journal.facts import PlanRecord
from bulkup.model import Changes, LongRow
from bulkup.outcome import (
    Accepted,
    CloseGate,
    InDoubt,
    RowsRefused,
    StopLane,
    TokenRejected,
    TooLarge,
    TryAgain,
)
from bulkup.rows.function import Function
from bulkup.run.forms import BlockForm, FileForm, Form, OneOf
from bulkup.run.scan_wire import LearnedForm, LookAtPartForm
from bulkup.run.scan_worker import Reached
from bulkup.run.worker import LaneOpening
from bulkup.transport import Timeouts
from bulkup.workers.channel import Ask, Cancel, Leaving, News, Raised, Returned, Told
from bulkup.workers.far import Bye, End, FromRun, FromWorker, Ping, Pong

__all__ = ["at_run", "at_worker"]


# --- what is read, and what became of it ----------------------------------------------------------------------------------------


class _Item(OneOf, frozen=True):
    block: BlockForm | None = None
    long: LongRow | None = None


class _Lines(OneOf, frozen=True):
    span: SourceRange | None = None
    shipped: Shipped | None = None


class _Outcome(OneOf, frozen=True):
    accepted: Accepted | None = None
    again: TryAgain | None = None
    gate: CloseGate | None = None
    doubt: InDoubt | None = None
    large: TooLarge | None = None
    refused: RowsRefused | None = None
    token: TokenRejected | None = None
    stop: StopLane | None = None


class _Sent(Form, frozen=True):
    STANDS_FOR = Sent
    outcome: _Outcome
    ids: bytes

    @classmethod
    def of(cls, value: Sent) -> _Sent:
        return cls(_Outcome.of(value.outcome), value.ids)

    def back(self) -> Sent:
        return Sent(self.outcome.value, self.ids)


class _Failure(Struct, frozen=True, array_like=True):
    """An error by its class and its text."""

    kind: str
    text: str

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        return cls(type(error).__name__, str(error))

    def back(self) -> Exception:
        return _ERRORS.get(self.kind, RuntimeError)(self.text)


_ERRORS: dict[str, type[Exception]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, BulkupError) and kind is not errors.Interrupted
}


class _Drafted(Form, frozen=True):
    """Its encoded rows are held where they were made, and lines as read stay where they were read."""

    STANDS_FOR = Drafted
    start: int
    stop: int
    file: int
    byte_offset: int
    rows: int
    blank: int
    rejected: int
    reject_bytes: int
    lines: tuple[tuple[int, int], ...]
    body_bytes: int
    raw_hash: bytes
    rows_hash: bytes
    verbatim: bool
    rejects: list[Placed]
    skipped: int
    made: int
    changes: Changes
    is_held: bool
    broke_off: _Failure | None

    @classmethod
    def of(cls, value: Drafted) -> _Drafted:
        if value.encoded or value.raw:
            raise TypeError("rows that are held do not go between machines")
        given = {name: getattr(value, name) for name in cls.__struct_fields__}
        broke_off = None if value.broke_off is None else _Failure.of(value.broke_off)
        return cls(**{**given, "broke_off": broke_off})

    def back(self) -> Drafted:
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        broke_off = None if self.broke_off is None else self.broke_off.back()
        if broke_off is not None and not isinstance(broke_off, errors.SourceUnreadable):
            raise ValueError("a draft breaks off where its source cannot be read, and nowhere else")
        return Drafted(**{**given, "broke_off": broke_off}, encoded=[], raw=[])


class _Answer(OneOf, frozen=True):
    drafted: _Drafted | None = None
    sent: _Sent | None = None
    learned: LearnedForm | None = None


class _Word(OneOf, frozen=True):
    count: int | None = None
    last: LastWord | None = None
    reached: Reached | None = None


class _News(OneOf, frozen=True):
    stalled: Stalled | None = None
    quota: QuotaHeaders | None = None
    cpu: CpuUsed | None = None
    kept: KeptAnswer | None = None


# --- what is asked --------------------------------------------------------------------------------------------------------------


class _Opening(Form, frozen=True):
    STANDS_FOR = LaneOpening
    dataset: DatasetAt
    timeouts: Timeouts
    max_row_bytes: int
    block_bytes: int
    ca_file: str | None
    function: Function | None

    @classmethod
    def of(cls, value: LaneOpening) -> _Opening:
        given = {name: getattr(value, name) for name in cls.__struct_fields__}
        return cls(**{**given, "ca_file": None if value.ca_file is None else str(value.ca_file)})

    def back(self) -> LaneOpening:
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        return LaneOpening(**{**given, "ca_file": None if self.ca_file is None else Path(self.ca_file)})


class _OpenLane(Form, frozen=True):
    STANDS_FOR = OpenLane
    lane: str
    opening: _Opening
    files: tuple[FileForm, ...]
    plan: PlanRecord

    @classmethod
    def of(cls, value: OpenLane) -> _OpenLane:
        assert isinstance(value.opening, LaneOpening)
        return cls(value.lane, _Opening.of(value.opening), tuple(map(FileForm.of, value.files)), value.plan)

    def back(self) -> OpenLane:
        return OpenLane(self.lane, self.opening.back(), tuple(file.back() for file in self.files), self.plan)


class _AddLines(Form, frozen=True):
    STANDS_FOR = AddLines
    lane: str
    key: int
    items: list[_Item]
    bases: tuple[int, ...]

    @classmethod
    def of(cls, value: AddLines) -> _AddLines:
        return cls(value.lane, value.key, list(map(_Item.of, value.items)), value.bases)

    def back(self) -> AddLines:
        return AddLines(self.lane, self.key, [item.value for item in self.items], self.bases)


class _DraftAll(Form, frozen=True):
    STANDS_FOR = DraftAll
    lane: str
    key: int
    lines: _Lines
    limits: Limits | None
    keep_raw: bool

    @classmethod
    def of(cls, value: DraftAll) -> _DraftAll:
        return cls(value.lane, value.key, _Lines.of(value.lines), value.limits, value.keep_raw)

    def back(self) -> DraftAll:
        return DraftAll(self.lane, self.key, self.lines.value, self.limits, self.keep_raw)


class _OpenParts(Form, frozen=True):
    STANDS_FOR = OpenParts
    lane: str
    key: int
    lines: _Lines
    limits: Limits
    body_bytes: int
    rows: int
    keep_raw: bool

    @classmethod
    def of(cls, value: OpenParts) -> _OpenParts:
        given = {name: getattr(value, name) for name in cls.__struct_fields__}
        return cls(**{**given, "lines": _Lines.of(value.lines)})

    def back(self) -> OpenParts:
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        return OpenParts(**{**given, "lines": self.lines.value})


class _Order(OneOf, frozen=True):
    open: _OpenLane | None = None
    lines: _AddLines | None = None
    clean: DraftClean | None = None
    all: _DraftAll | None = None
    open_parts: _OpenParts | None = None
    next_part: NextPart | None = None
    close_parts: CloseParts | None = None
    send: SendChunk | None = None
    forget: Forget | None = None
    look: LookAtPartForm | None = None


# --- messages -------------------------------------------------------------------------------------------------------------------


class _Ask(Form, frozen=True):
    STANDS_FOR = Ask
    number: int
    order: _Order

    @classmethod
    def of(cls, value: Ask) -> _Ask:
        return cls(value.number, _Order.of(value.order))

    def back(self) -> Ask:
        return Ask(self.number, self.order.value)


class _Returned(Form, frozen=True):
    STANDS_FOR = Returned
    number: int
    result: _Answer | None

    @classmethod
    def of(cls, value: Returned) -> _Returned:
        return cls(value.number, None if value.result is None else _Answer.of(value.result))

    def back(self) -> Returned:
        return Returned(self.number, None if self.result is None else self.result.value)


class _Raised(Form, frozen=True):
    STANDS_FOR = Raised
    number: int
    error: _Failure

    @classmethod
    def of(cls, value: Raised) -> _Raised:
        return cls(value.number, _Failure.of(value.error))

    def back(self) -> Raised:
        return Raised(self.number, self.error.back())


class _Told(Form, frozen=True):
    STANDS_FOR = Told
    number: int
    word: _Word

    @classmethod
    def of(cls, value: Told) -> _Told:
        return cls(value.number, _Word.of(value.word))

    def back(self) -> Told:
        return Told(self.number, self.word.value)


class _SaidNews(Form, frozen=True):
    STANDS_FOR = News
    word: _News

    @classmethod
    def of(cls, value: News) -> _SaidNews:
        return cls(_News.of(value.word))

    def back(self) -> News:
        return News(self.word.value)


class _FromRun(OneOf, frozen=True):
    ask: _Ask | None = None
    cancel: Cancel | None = None
    pong: Pong | None = None
    end: End | None = None


class _FromWorker(OneOf, frozen=True):
    returned: _Returned | None = None
    raised: _Raised | None = None
    told: _Told | None = None
    news: _SaidNews | None = None
    ping: Ping | None = None
    leaving: Leaving | None = None
    bye: Bye | None = None


Out = TypeVar("Out")
In = TypeVar("In")


class _Messages(Generic[Out, In]):
    """What one end says, to bytes, and what the other says, out of bytes (`Codec`)."""

    def __init__(self, out: type[OneOf], into: type[OneOf]) -> None:
        self._out = out
        self._decoder: Callable[[bytes], Any] = msgspec.msgpack.Decoder(into).decode
        self._encoder = msgspec.msgpack.Encoder().encode

    def encode(self, message: Out, /) -> bytes:
        """As a codec's."""
        return self._encoder(self._out.of(message))

    def decode(self, data: bytes, /) -> In:
        """As a codec's."""
        try:
            message: In = self._decoder(data).value
        except msgspec.MsgspecError as error:
            raise ValueError(f"no message: {error}") from None
        return message


at_run: _Messages[FromRun, FromWorker] = _Messages(_FromRun, _FromWorker)
at_worker: _Messages[FromWorker, FromRun] = _Messages(_FromWorker, _FromRun)
