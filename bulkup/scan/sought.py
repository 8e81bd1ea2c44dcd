"""Keys that options name, and whether any row has them: with a typo `--rename` and `--drop` would leave all rows as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import msgspec

from bulkup.encoding import RowOptions
from bulkup.encoding.drop import has_place, is_nested
from bulkup.encoding.faults import one_line
from bulkup.encoding.lines import lines_of
from bulkup.light_dataclass import dataclass
from bulkup.model import Block, LongRow
from bulkup.refusal import Refusal, attempt
from bulkup.scan.counting import Check, FileRows
from bulkup.scan.found import Found, Unmet
from bulkup.scan.judging import Judge, Stage, Way
from bulkup.scan.learned import Learned
from bulkup.scan.seen import Place
from bulkup.settings.near import did_you_mean

__all__ = ["Sought", "SoughtKeys", "dropped_keys", "renamed_keys", "unmet_in"]

_KEYS_SAID = 12
_ROWS_SAID = 100
_MOST_FRUITLESS = 64
"""Blocks of a part in which the key's text stands, but not as the key. Behind so many nothing is said of it."""

_NEVER_ESCAPED = re.compile(r"[A-Za-z0-9_ .:@$-]*")
_row = msgspec.json.Decoder(dict[str, Any], float_hook=msgspec.Raw).decode


@dataclass(frozen=True, slots=True)
class Sought:
    """*key*, as the *option* names it, stands in rows as *here*: rows come under their new keys. *is_place*: it may stand within
    a row, as `--drop` has it."""

    option: str
    key: str
    here: str
    is_place: bool = False

    def is_in(self, row: dict[str, Any]) -> bool:
        """Whether *row* has it."""
        return self.here in row or (self.is_place and has_place(row, self.here))

    @property
    def word(self) -> str:
        """The last key, which stands in the bytes of a row that has it."""
        names = [name for name in self.here.replace("[]", "").split(".") if name] if self.is_nested else []
        return names[-1] if names else self.here

    @property
    def is_nested(self) -> bool:
        """Whether it may be a place within a row."""
        return self.is_place and is_nested(self.here)


def renamed_keys(renames: Iterable[tuple[str, str]]) -> tuple[Sought, ...]:
    """Of `--rename`."""
    return tuple(Sought(f"--rename {old}={new}", old, new) for old, new in renames)


def dropped_keys(options: RowOptions) -> tuple[Sought, ...]:
    """Of `--drop`."""
    return tuple(Sought(f"--drop {key}", key, key, is_place=True) for key in dict.fromkeys(options.drop))


def unmet_in(block: Block, sought: Sequence[Sought]) -> tuple[Unmet, ...]:
    """What of *sought* no row of *block* has."""
    search = _Search(sought)
    search.look(block)
    return _unmet(sought, search.met, (block,))


class SoughtKeys:
    """A way: *way*, and which of the *sought* keys its rows have."""

    def __init__(self, way: Way, sought: Sequence[Sought]) -> None:
        self._way = way
        self._sought = sought

    @property
    def stage(self) -> Stage:
        """As `Way.stage`."""
        return self._way.stage

    def judge(self, check: Check, counted_every: int) -> Judge:
        """As `Way.judge`."""
        return _SeekingJudge(self._way.judge(check, counted_every), _Search(self._sought))

    def next(self, learned: Learned) -> SoughtKeys | None:
        """As `Way.next`."""
        following = self._way.next(learned)
        return None if following is None else SoughtKeys(following, self._sought)

    def found(self, learned: Learned) -> Found:
        """As `Way.found`."""
        found = self._way.found(learned)
        return replace(found, unmet=(*found.unmet, *_unmet(self._sought, learned.met, learned.sample)))


class _SeekingJudge:
    def __init__(self, judge: Judge, search: _Search) -> None:
        self._judge = judge
        self._search = search

    def take(self, item: Block | LongRow, place: Place) -> int:
        self._search.look(item)
        return self._judge.take(item, place)

    def take_together(self, block: Block, files: Sequence[FileRows], place: Place) -> bool:
        is_taken = self._judge.take_together(block, files, place)
        if is_taken:
            self._search.look(block)
        return is_taken

    def learned(self) -> Learned:
        learned = self._judge.learned()
        return replace(learned, met=learned.met | self._search.met)


class _Search:
    """Looks for keys in the bytes of blocks, and at rows only where these are: so it costs next to nothing."""

    def __init__(self, sought: Iterable[Sought]) -> None:
        self.met: frozenset[str] = frozenset()
        self._left = {one: _tokens(one.word) for one in sought}
        self._fruitless = dict.fromkeys(self._left, 0)

    def look(self, item: Block | LongRow) -> None:
        """At the rows of *item*. Of one that is too long, and of one that cannot be read, nobody knows: it may have all keys."""
        for one, tokens in list(self._left.items()):
            if isinstance(item, LongRow) or self._is_in(item, one, tokens):
                self.met |= {one.option}
                del self._left[one]

    def _is_in(self, block: Block, one: Sought, tokens: Sequence[bytes]) -> bool:
        if not any(token in block.data for token in tokens):
            return False
        for line in lines_of(block):
            if any(token in line.row for token in tokens):
                row = attempt(_row, line.row)
                if isinstance(row, Refusal) or one.is_in(row):
                    return True
        self._fruitless[one] += 1
        return self._fruitless[one] >= _MOST_FRUITLESS


def _tokens(key: str) -> tuple[bytes, ...]:
    """What stands in the bytes of each row that has *key*; all rows with an escape may have a key that can be written with some."""
    if _NEVER_ESCAPED.fullmatch(key):
        return (f'"{key}"'.encode(),)
    return json.dumps(key, ensure_ascii=False).encode("utf-8", "surrogatepass"), b"\\"


def _unmet(sought: Sequence[Sought], met: frozenset[str], sample: Iterable[Block]) -> tuple[Unmet, ...]:
    left = [one for one in sought if one.option not in met]
    rows = list(islice(_rows(sample), _ROWS_SAID)) if left else []
    keys = list(dict.fromkeys(key for row in rows for key in row))
    if not keys:
        return ()
    there = f"{', '.join(keys[:_KEYS_SAID])}{' …' * (len(keys) > _KEYS_SAID)}"
    places = list(dict.fromkeys(place for row in rows for place in _places(row, ""))) if left else []
    return tuple(
        Unmet(
            one_line(one.option),
            one_line(f"{did_you_mean(one.key, places if one.is_nested else keys)}; the rows have {there}"),
        )
        for one in left
    )


def _rows(sample: Iterable[Block]) -> Iterator[dict[str, Any]]:
    for block in sample:
        for line in lines_of(block):
            row = attempt(_row, line.row) if line.row else None
            if isinstance(row, dict):
                yield row


def _places(value: Any, before: str) -> Iterator[str]:
    """The keys in *value*, and in what it holds, as `--drop` has them."""
    if isinstance(value, list):
        for item in value[:1]:
            yield from _places(item, f"{before.removesuffix('.')}[].")
    elif isinstance(value, dict) and before.count(".") < 4:
        for key, inner in value.items():
            yield before + key
            yield from _places(inner, f"{before}{key}.")
