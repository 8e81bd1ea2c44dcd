"""Rows that are sent as their own bytes, once a typed decoder has taken them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bulkup.encoding.language import Form
from bulkup.encoding.row_types import RowType, line_decoder
from bulkup.encoding.shortcuts import Shortcut, as_they_are
from bulkup.encoding.target import Irregular

__all__ = ["TrustingCodec", "VerbatimCodec"]


def _any(_rows: list[Any]) -> bool:
    return True


class VerbatimCodec:
    """Takes rows that decode as *row_type* (which must forbid unknown fields: what msgspec skips it does not check) and
    that *well_formed* finds good as a whole. *usual* is the form that most of them have, if it is a regular one."""

    def __init__(self, row_type: RowType, usual: Form | None, well_formed: Callable[[list[Any]], bool] = _any) -> None:
        self._decode = line_decoder(row_type)
        self._well_formed = well_formed
        self.shortcuts = () if usual is None else (as_they_are(usual),)

    is_verbatim = True

    def body(self, data: bytes, rows: int) -> bytes:
        """As `Codec.body`; the bytes are those of *data*, with commas for breaks."""
        decoded = self._decode(data)
        if len(decoded) != rows or not self._well_formed(decoded):
            raise Irregular
        del decoded
        return data.replace(b"\n", b",")


class TrustingCodec:
    """Takes every line that begins with `{` and ends with `}`, unread."""

    is_verbatim = True
    shortcuts: Sequence[Shortcut] = ()

    def body(self, data: bytes, rows: int) -> bytes:
        """As `Codec.body`; of several lines the caller knows that each is such a line."""
        if not (data.startswith(b"{") and data.endswith(b"}")):
            raise Irregular
        return data.replace(b"\n", b",")
