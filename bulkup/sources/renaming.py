"""`--rename`: rows under other keys, before anything else sees them. Values keep their bytes.

A row in which a key stands twice, or that holds what is no JSON (NaN), is renamed by its tokens: `--repair` may take it later.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import cast

import msgspec

from bulkup.encoding.doubled_keys import DoubledKeys, doubled_key
from bulkup.encoding.lines import lines_of, whole_lines
from bulkup.errors import UsageProblem
from bulkup.model import Block, LongRow
from bulkup.refusal import Refusal, attempt
from bulkup.sources.format import Cutter, Item, Reader, RemoteReader

__all__ = ["Renamer", "Renames", "RenamingCutter", "RenamingReader", "is_one_object", "parse_renames"]

Renames = Sequence[tuple[str, str]]
"""Keys of rows, each with its new name."""

_Row = dict[str, msgspec.Raw]

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],]')


def parse_renames(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """From `OLD=NEW`; the last `=` counts. Raises `UsageProblem`."""
    found: dict[str, str] = {}
    for text in texts:
        old, _, new = text.rpartition("=")
        if not old or not new:
            raise UsageProblem(f"--rename {text!r}: give OLD=NEW, such as 'Model answer=answer'")
        if old in found or new in found.values():
            raise UsageProblem(f"--rename {text!r}: {old if old in found else new!r} stands in another --rename too")
        found[old] = new
    return tuple(found.items())


def is_one_object(line: bytes) -> bool:
    """Whether *line* is one object by its brackets. Only the keys of such a line are renamed: what is no row stays as it is."""
    depth = 0
    for found in _TOKEN.finditer(line):
        if found[0] in b"{[":
            depth += 1
        elif found[0] in b"}]":
            depth -= 1
            if not depth and line[found.end() :].strip():
                return False
    return line.startswith(b"{") and not depth


class Renamer:
    """Gives rows other keys. For one thread at a time."""

    def __init__(self, renames: Renames) -> None:
        self._names = dict(renames)
        self._doubled = DoubledKeys()
        self._rows = msgspec.json.Decoder(list[_Row]).decode
        self._decode = msgspec.json.Decoder(_Row).decode
        self._encoder = msgspec.json.Encoder()

    def item(self, item: Item) -> Item:
        """*item* under the new keys; what is no row stays as it is."""
        if isinstance(item, LongRow):
            return item
        lines = list(lines_of(item))
        made = attempt(self._whole, item.data)
        if isinstance(made, Refusal) or made is None:
            made = b"".join(self.line(line.row) + b"\n" for line in lines)
        return Block(made, item.start, item.end, [line.position for line in lines])

    def _whole(self, data: bytes) -> bytes | None:
        whole = whole_lines(data)
        if whole is None or self._doubled.may_be_in(whole.data):
            return None
        rows = self._rows(b"[" + whole.data.replace(b"\n", b",") + b"]")
        if len(rows) != whole.count:
            return None
        return b"".join(self._renamed(row) + b"\n" for row in rows)

    def line(self, line: bytes) -> bytes:
        """The row on *line* under the new keys."""
        row = attempt(self._decode, line) if line and doubled_key(line) is None else None
        return self._renamed(row) if isinstance(row, dict) else self._by_tokens(line)

    def _by_tokens(self, line: bytes) -> bytes:
        """*line* with its own keys renamed, all else as it is."""
        if not is_one_object(line):
            return line
        made, done, depth, is_key = bytearray(), 0, 0, False
        for found in _TOKEN.finditer(line):
            token = found[0]
            if token in b"{[":
                depth += 1
            elif token in b"}]":
                depth -= 1
            elif is_key and token != b",":
                name = attempt(msgspec.json.decode, token)
                if isinstance(name, str) and name in self._names:
                    made += line[done : found.start()] + self._encoder.encode(self._names[name])
                    done = found.end()
            is_key = depth == 1 and token in b"{,"
        return bytes(made + line[done:])

    def _renamed(self, row: _Row) -> bytes:
        if self._names.keys().isdisjoint(row):
            return self._encoder.encode(row)
        names = [self._names.get(key, key) for key in row]
        if len(set(names)) == len(names):
            return self._encoder.encode(dict(zip(names, row.values(), strict=True)))
        fields = (
            self._encoder.encode(name) + b":" + bytes(value) for name, value in zip(names, row.values(), strict=True)
        )
        return b"{" + b",".join(fields) + b"}"  # the new key was there: it stands twice now, and so the row is rejected


class RenamingCutter:
    """A cutter that gives what *cutter* gives, under the new keys."""

    def __init__(self, cutter: Cutter, renames: Renames) -> None:
        self._cutter = cutter
        self._renamer = Renamer(renames)

    @property
    def trouble(self) -> str | None:
        return self._cutter.trouble

    def feed(self, piece: bytes) -> list[Item]:
        return list(map(self._renamer.item, self._cutter.feed(piece)))

    def finish(self) -> list[Item]:
        return list(map(self._renamer.item, self._cutter.finish()))


class RenamingReader:
    """A reader that gives what *reader* gives, under the new keys."""

    def __init__(self, reader: Reader, renames: Renames) -> None:
        self._reader = reader
        self._renamer = Renamer(renames)

    async def rows(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        async with aclosing(self._reader.rows(start, stop)) as items:
            async for item in items:
                yield self._renamer.item(item)

    def raw(self, start: int, stop: int) -> AsyncGenerator[bytes | bytearray, None]:
        raise ValueError("its bytes are not its rows")

    def prepare(self, start: int, stop: int) -> None:
        """As `RemoteReader.prepare`."""
        cast("RemoteReader", self._reader).prepare(start, stop)

    def close(self) -> None:
        self._reader.close()
