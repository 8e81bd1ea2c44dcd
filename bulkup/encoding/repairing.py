"""`--repair`: rows mended before anything is made of them. Numbers keep their characters."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection
from typing import Any

import msgspec

from bulkup.encoding.depth import room_to_recurse
from bulkup.refusal import Refusal, attempt
from bulkup.settings.repair import Repair

__all__ = ["Mended", "Mender"]

_HALF = re.compile("[\ud800-\udfff]")
_SPACE = " \t\r\n"


class Mended:
    """A row that was mended, and what was mended in it."""

    def __init__(self, row: bytes, changes: Counter[str]) -> None:
        self.row = row
        self.changes = changes


class _NotAsked(Exception):
    def __init__(self, repair: Repair) -> None:
        super().__init__(str(repair))
        self.repair = repair


class Mender:
    """Mends rows, each by itself. For one thread at a time."""

    def __init__(self, repairs: Collection[Repair]) -> None:
        self._repairs = repairs
        self._found: set[Repair] = set()
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_int=msgspec.Raw,
            parse_float=msgspec.Raw,
            parse_constant=self._constant,
            strict=True,
        )

    def mended(self, row: bytes) -> Mended | Repair | None:
        """*row* with what the repairs mend; the repair that it needs besides, where that was not asked for; None where none
        helps."""
        self._found.clear()
        with room_to_recurse():
            made = attempt(self._made, row)
        if isinstance(made, Refusal):
            return made.why.repair if isinstance(made.why, _NotAsked) and self._found else None
        return Mended(made, Counter(dict.fromkeys(map(str, self._found), 1))) if self._found else None

    def _made(self, row: bytes) -> bytes:
        return msgspec.json.encode(self._whole(self._decoder.decode(row.decode().strip(_SPACE))))

    def _mends(self, repair: Repair) -> None:
        if repair not in self._repairs:
            raise _NotAsked(repair)
        self._found.add(repair)

    def _constant(self, _name: str) -> None:
        self._mends(Repair.NAN)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = {self._text(key): self._whole(value) for key, value in pairs}
        if len(made) < len(pairs):
            self._mends(Repair.DUPLICATE_KEYS)
        return made

    def _whole(self, value: Any) -> Any:
        """*value*, whose objects are whole already."""
        if isinstance(value, list):
            return list(map(self._whole, value))
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        if _HALF.search(text) is None:
            return text
        self._mends(Repair.SURROGATES)
        return _HALF.sub("\N{REPLACEMENT CHARACTER}", text)
