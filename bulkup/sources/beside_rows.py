"""JSON files of a folder that describe its data and are no rows of it: one object each, of quite other keys than the rows have."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bulkup.refusal import Refusal, attempt
from bulkup.sources.decompress import Compression
from bulkup.sources.format import SourceFile
from bulkup.sources.head import SPACE, Head

__all__ = ["beside_rows"]

_MOST = 8
"""In a folder with more of them each may be a row in a file of its own."""

_MOST_BYTES = 256 * 1024
_LOOKED_AT = 8
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_KEYS = re.compile(rb'"((?:[^"\\]|\\.){0,200})"\s*:')


def beside_rows(files: Sequence[SourceFile], row_keys: Sequence[frozenset[str]]) -> frozenset[str]:
    """The names of those of *files* that hold one object, none of whose keys stands anywhere in the beginnings of the others.

    Where that is not certain there are none. An object that has one of the sets of *row_keys* is a row. Blocks.
    """
    alone: dict[str, frozenset[str]] = {}
    others: list[SourceFile] = []
    for file in files:
        if not file.size and file.remote is None:
            continue  # an empty shard says nothing
        keys = _keys_of_one(file)
        if keys is None or any(keys >= wanted for wanted in row_keys):
            others.append(file)
        else:
            alone[file.uri] = keys
        if len(alone) > _MOST:
            return frozenset()
    if not alone or not others:
        return frozenset()
    there = [_keys_in(file) for file in others[:_LOOKED_AT]]
    if not all(there):
        return frozenset()
    known = frozenset().union(*there)
    return frozenset(uri for uri, keys in alone.items() if keys.isdisjoint(known))


def _keys_of_one(file: SourceFile) -> frozenset[str] | None:
    """The keys of the only object in *file*, None where it holds something else."""
    if (
        file.remote is not None
        or file.member is not None
        or file.compression is not Compression.NONE
        or file.encoding is not None
        or (file.size or 0) > _MOST_BYTES
        or not file.uri.lower().endswith(".json")
    ):
        return None
    data = attempt(Path(file.uri).read_bytes)
    found = attempt(_OBJECT, b"" if isinstance(data, Refusal) else data.removeprefix(b"\xef\xbb\xbf").strip(SPACE))
    return None if isinstance(found, Refusal) else frozenset(found)


def _keys_in(file: SourceFile) -> frozenset[str]:
    """All that is a key in the beginning of *file*, however deep it stands; nothing where that cannot be known."""
    if file.format.columns is not None:
        return frozenset(file.format.columns(file))
    if file.remote is not None or file.member is not None:
        return frozenset()
    fd = attempt(os.open, file.uri, os.O_RDONLY | os.O_CLOEXEC)
    if isinstance(fd, Refusal):
        return frozenset()
    try:
        head = attempt(lambda: Head(lambda count: os.read(fd, count), encoding=file.encoding).whole())
    finally:
        os.close(fd)
    text = b"" if isinstance(head, Refusal) else head
    found = (attempt(msgspec.json.decode, b'"' + key + b'"') for key in _KEYS.findall(text))
    return frozenset(key for key in found if isinstance(key, str))
