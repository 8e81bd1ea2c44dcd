"""Messages between a run and a worker that came to it over TCP, maybe from another machine.

What comes over it is made by a `Codec` from a closed set of plain values, never by pickle: whoever holds the key may send anything,
and gets no further than these values. The worker asks each second whether its run still may send (`Ping`), and the run answers as
long as it may (`Pong`); so both ends see within seconds that the other is gone.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from bulkup.light_dataclass import dataclass
from bulkup.machine import machine_clock
from bulkup.workers.channel import Ask, Attempt, Cancel, Leaving, Message, News, Raised, Returned, Told
from bulkup.workers.lease import LEASE_S, LOST_S, Lease

__all__ = [
    "Bye",
    "Codec",
    "End",
    "FarRun",
    "FarWorker",
    "Frames",
    "FromRun",
    "FromWorker",
    "Holder",
    "Ping",
    "Pong",
    "TooLong",
]

_LENGTH = struct.Struct("!I")

STREAM_BYTES = 256 * 1024
"""How much of what comes is read ahead."""


@dataclass(frozen=True, slots=True)
class Ping:
    """From a worker each second, with its own clock's time, s: may it still send?"""

    at: float


@dataclass(frozen=True, slots=True)
class Pong:
    """To a worker: what its run says to the `Ping` of that time: it may send for so long from then on, s, and no longer than the
    run itself may. It is not answered where the run may not send at all. *recorded*: attempts of which the journal has since then
    got to know what came."""

    at: float
    epoch: int
    for_s: float
    recorded: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """To a worker: it is not needed any more. *reason*: why it is of no use; empty where the run is over."""

    reason: str


@dataclass(frozen=True, slots=True)
class Bye:
    """From a worker, last of all: nothing more will come of it, neither here nor at a service."""


FromRun = Ask | Cancel | Pong | End
FromWorker = Returned | Raised | Told | News | Ping | Leaving | Bye

Out_contra = TypeVar("Out_contra", contravariant=True)
In_co = TypeVar("In_co", covariant=True)
Out = TypeVar("Out")
In = TypeVar("In")


class Codec(Protocol[Out_contra, In_co]):
    """Messages as bytes."""

    def encode(self, message: Out_contra, /) -> bytes:
        """*message* as bytes."""

    def decode(self, data: bytes, /) -> In_co:
        """What the other end has encoded. Raises `ValueError` for anything else."""


class Holder(Protocol):
    """What an authority says of itself (`bulkup.authority`)."""

    @property
    def epoch(self) -> int: ...

    @property
    def left_s(self) -> float: ...


class TooLong(ValueError):
    """A message is longer than the other end takes."""


class Frames:
    """Whole pieces of bytes over a stream, each of at most *max_bytes*."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_bytes: int) -> None:
        self._reader = reader
        self._writer = writer
        self.max_bytes = max_bytes

    async def drain(self) -> None:
        """Wait while the other end reads slowly. Raises `OSError` where that is gone."""
        await self._writer.drain()

    def put(self, data: bytes) -> None:
        """Hand *data* over without waiting; it is lost where the other end is gone. Raises `TooLong`."""
        if len(data) > self.max_bytes:
            raise TooLong(f"a message of {len(data):,} bytes; {self.max_bytes:,} is the most")
        if self._writer.is_closing():
            return
        self._writer.write(_LENGTH.pack(len(data)) + data)  # each write is a TLS record by itself

    async def get(self) -> bytes | None:
        """The next piece; None once the other end is gone. Raises `TooLong`."""
        try:
            (size,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if size > self.max_bytes:
                raise TooLong(f"a message of {size:,} bytes; {self.max_bytes:,} is the most")
            return await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError):
            return None

    def abort(self) -> None:
        """End it now, and throw away what was not sent."""
        self._writer.transport.abort()

    async def finish(self) -> None:
        """Send what was handed over, and close."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


class _End(Generic[Out, In]):
    def __init__(self, frames: Frames, codec: Codec[Out, In]) -> None:
        self._frames = frames
        self._codec = codec

    def say(self, message: Out) -> None:
        self._frames.put(self._codec.encode(message))

    async def hear(self) -> In | None:
        data = await self._frames.get()
        return None if data is None else self._codec.decode(data)


class FarWorker:
    """The run's end (`Link`). A worker that is silent for `LOST_S` is taken for gone."""

    def __init__(
        self,
        frames: Frames,
        codec: Codec[FromRun, FromWorker],
        authority: Holder,
        *,
        lease_s: float = LEASE_S,
        lost_s: float = LOST_S,
        clock: Callable[[], float] = machine_clock,
    ) -> None:
        self._end = _End(frames, codec)
        self._frames = frames
        self._authority = authority
        self._lease_s = lease_s
        self._grace_s = lease_s + (lost_s - lease_s) / 2
        self._lost_s = lost_s
        self._clock = clock
        self._heard_at = clock()
        self._recorded: list[Attempt] = []
        self.said_bye = False
        """It has gone of its own will, with nothing under way."""
        self.reason = ""
        """Why it was sent away, where it was."""

    async def send(self, message: Message) -> None:
        """As a link's."""
        self.post(message)
        await self._frames.drain()

    def post(self, message: Message) -> None:
        """As a link's."""
        assert isinstance(message, Ask | Cancel), "nothing else is said to a worker"
        self._end.say(message)

    async def receive(self) -> Message | None:
        """As a link's. Raises `ValueError` for what is no message."""
        while True:
            try:
                async with asyncio.timeout(self._lost_s):
                    message = await self._end.hear()
            except TimeoutError:
                self._frames.abort()
                return None
            match message:
                case None:
                    return None
                case Ping(at):
                    self._heard_at = self._clock()
                    if (left_s := self._authority.left_s) > 0:
                        recorded, self._recorded = tuple(self._recorded), []
                        self._end.say(Pong(at, self._authority.epoch, min(left_s, self._lease_s), recorded))
                case Bye():
                    self.said_bye = True
                case _:
                    return message

    def end(self) -> None:
        """As a link's."""
        self._end.say(End(""))

    def dismiss(self, reason: str) -> None:
        """As a link's."""
        self.reason = reason
        self._end.say(End(reason))

    def close(self) -> None:
        """As a link's: at once."""
        self._frames.abort()

    def recorded(self, attempt: Attempt) -> None:
        """As a link's: it is told with the next answer."""
        self._recorded.append(attempt)

    async def silence(self) -> None:
        """As a link's: until the lease has run out that the last answer gave at the most, unless the worker has said goodbye."""
        if not self.said_bye:
            await asyncio.sleep(max(0.0, self._heard_at + self._grace_s - self._clock()))


class FarRun:
    """A worker's end: its run, with the *lease* that the run's answers renew."""

    def __init__(self, frames: Frames, codec: Codec[FromWorker, FromRun], lease: Lease) -> None:
        self._end = _End(frames, codec)
        self._frames = frames
        self._lease = lease
        self.end: End | None = None
        """What the run has said last, where it has."""
        self.is_another = False
        """Who answers is another process than the one that has given the lease."""
        self.on_recorded: Callable[[Attempt], None] = lambda _: None
        """Told of each attempt of which the run's journal knows what came."""

    async def send(self, message: FromWorker) -> None:
        """Hand *message* over; it waits while the run reads slowly. Raises `OSError` where that is gone, `TooLong`."""
        self.post(message)
        await self._frames.drain()

    def post(self, message: FromWorker) -> None:
        """As `send` for a small message, without waiting."""
        self._end.say(message)

    async def receive(self) -> Ask | Cancel | None:
        """The next that is asked; None once the run is gone, is over, or is not the one any more that it was."""
        while True:
            match await self._end.hear():
                case None:
                    return None
                case End() as end:
                    self.end = end
                    return None
                case Pong(at, epoch, for_s, recorded):
                    if epoch != self._lease.epoch:
                        self.is_another = True
                        return None
                    self._lease.renew(at, for_s)
                    for attempt in recorded:
                        self.on_recorded(attempt)
                case Ask() | Cancel() as message:
                    return message

    async def finish(self) -> None:
        """Say goodbye: nothing is under way any more."""
        with suppress(OSError):
            self.post(Bye())
            await self._frames.finish()

    def abort(self) -> None:
        """Let go of the run at once."""
        self._frames.abort()
