"""Rows that must be in a shape besides fitting their columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bulkup.encoding.carried import CarryingDecoder
from bulkup.encoding.faults import Fault
from bulkup.encoding.shortcuts import Shortcut
from bulkup.encoding.target import Codec, Irregular

__all__ = ["CheckedCodec"]


class CheckedCodec:
    """Takes the rows of *codec* of which *quick* says at once, or *fault* of each, that they are in the shape."""

    shortcuts: Sequence[Shortcut] = ()

    def __init__(
        self,
        codec: Codec,
        quick: Callable[[bytes], bool] | None,
        fault: Callable[[dict[str, Any]], Fault | None],
    ) -> None:
        self.is_verbatim = codec.is_verbatim
        self._codec = codec
        self._quick = quick
        self._fault = fault
        self._decode = CarryingDecoder(dict[str, Any]).decode_lines

    def body(self, data: bytes, rows: int) -> bytes:
        """As `Codec.body`."""
        is_sure = self._quick is not None and self._quick(data)
        if not is_sure and any(self._fault(row) is not None for row in self._decode(data)):
            raise Irregular
        return self._codec.body(data, rows)
