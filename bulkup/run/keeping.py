"""What a worker keeps for its run: answers of the service of which it does not know whether the run's journal has them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from typing import IO

import msgspec

from bulkup.flow.orders import KeptAnswer, SendChunk, Sent
from bulkup.outcome import Accepted, RemoteStatus
from bulkup.workers import Attempt

__all__ = ["Kept", "hand_over_to", "handed_over"]

MOST_BYTES = 32 * 1024 * 1024
"""So much is kept: what was answered longest ago is let go of first, since the journal has that for sure, or looks for it."""

_ABOUT = 200
"""Bytes of an answer beside its rows' ids, roughly."""

_DECODER = msgspec.msgpack.Decoder(list[KeptAnswer])


class Kept:
    """The answers that one worker process keeps for the run with the token *run*. *given*: what processes before it have kept, of
    which those of other runs are let go of."""

    def __init__(self, run: str, given: Iterable[KeptAnswer] = ()) -> None:
        self._run = run
        self._answers = {answer.key: answer for answer in given if answer.run == run}
        self._bytes = sum(map(_size, self._answers.values()))

    @property
    def answers(self) -> list[KeptAnswer]:
        """All of them, the oldest first."""
        return list(self._answers.values())

    def keep(self, order: SendChunk, sent: Sent) -> None:
        """What came of *order*. Only that a chunk was taken is kept: all else says what is to be done next, and that is over."""
        outcome = sent.outcome
        if not isinstance(outcome, Accepted) or outcome.status is RemoteStatus.FAILED:
            return
        id_ = order.chunk.id
        answer = KeptAnswer(
            self._run,
            id_.lane,
            id_.tile,
            id_.child,
            order.attempt,
            order.chunk.rows_hash,
            outcome.remote_id,
            sent.ids,
            is_ready=outcome.status is RemoteStatus.READY,
        )
        self.let_go(answer.key)
        self._answers[answer.key] = answer
        self._bytes += _size(answer)
        while self._bytes > MOST_BYTES:
            self.let_go(next(iter(self._answers)))

    def let_go(self, attempt: Attempt) -> None:
        """The journal knows of that *attempt*."""
        if (answer := self._answers.pop(attempt, None)) is not None:
            self._bytes -= _size(answer)

    def hand_over(self, file: IO[bytes]) -> None:
        """Leave them in *file*, for the process that this one was forked from."""
        file.write(msgspec.msgpack.encode(self.answers))
        file.flush()


def hand_over_to() -> IO[bytes]:
    """A file without a name: a worker writes nothing on its machine's disk, where the system has such in memory."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("kept"), "w+b")
    return tempfile.TemporaryFile()


def handed_over(file: IO[bytes]) -> list[KeptAnswer] | None:
    """What a process has left in *file*; None where it left nothing, or not all of it."""
    file.seek(0)
    try:
        return _DECODER.decode(file.read())
    except msgspec.MsgspecError:
        return None


def _size(answer: KeptAnswer) -> int:
    return len(answer.ids) + _ABOUT
