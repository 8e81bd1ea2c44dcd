"""What undoes a packing or an encoding: bytes in, bytes out, piece by piece, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from bulkup.refusal import Refusal, attempt

__all__ = ["Chain", "DamagedError", "Decoder", "TooWideError", "decoded"]


class DamagedError(Exception):
    """The bytes cannot be decoded from here on."""


class TooWideError(DamagedError):
    """They could be, with more memory than is allowed, or with a dictionary that is not here."""


class Decoder(Protocol):
    """Raw bytes in, decoded bytes out. It is pushed bytes and pulled until it gives nothing more; then it wants the next."""

    def push(self, raw: bytes) -> None:
        """Take the next raw bytes. Only when `pull` has given nothing more."""

    def pull(self, limit: int) -> bytes:
        """The next decoded bytes, about *limit* at most; empty where more raw bytes are wanted.

        Raises `DamagedError`.
        """

    @property
    def whole(self) -> bool:
        """Whether the input may end here."""


def decoded(kind: str, decompress: Callable[..., bytes], *args: Any) -> bytes:
    """What a library makes of *args*. Raises `DamagedError`."""
    found = attempt(decompress, *args)
    if isinstance(found, Refusal):
        raise DamagedError(f"damaged {kind} ({found.why})") from found.why
    return found


class Chain:
    """Two decoders: *second* decodes what *first* gives."""

    def __init__(self, first: Decoder, second: Decoder) -> None:
        self._first = first
        self._second = second

    @property
    def whole(self) -> bool:
        return self._first.whole and self._second.whole

    def push(self, raw: bytes) -> None:
        self._first.push(raw)

    def pull(self, limit: int) -> bytes:
        while not (data := self._second.pull(limit)):
            piece = self._first.pull(limit)
            if not piece:
                return b""
            self._second.push(piece)
        return data
