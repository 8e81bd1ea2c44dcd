"""Texts that are written without quotes: marked before polars writes them, and unmarked in what it wrote."""

from __future__ import annotations

import secrets

__all__ = ["BEFORE", "BEHIND", "unmarked"]

_WORD = secrets.token_hex(8)
"""No file can know it, so no text of a file looks like a mark."""

BEFORE, BEHIND = f"\x01{_WORD}", f"{_WORD}\x01"
_WRITTEN = f'"\\u0001{_WORD}'.encode(), f'{_WORD}\\u0001"'.encode()


def unmarked(lines: bytes) -> bytes:
    """JSON *lines* with every marked string as what stands between its marks."""
    before, behind = _WRITTEN
    return lines.replace(before, b"").replace(behind, b"")
