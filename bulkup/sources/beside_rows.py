"""JSON files that stand among rows, describe them, and are no rows themselves: one object each, of quite other keys."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from bulkup.refusal import Refusal, attempt
from bulkup.sources.archive_stream import FileInputs
from bulkup.sources.decompress import Compression
from bulkup.sources.format import SourceFile
from bulkup.sources.head import BOM, SPACE
from bulkup.sources.named_places import partition_keys
from bulkup.sources.selection import some_of

__all__ = ["beside_rows", "partition_note"]

_MOST = 8
"""In a folder with more of them each may be a row in a file of its own."""

_MOST_BYTES = 256 * 1024
_BEGINNING_BYTES = 128 * 1024
_RAW_BYTES = 64 * 1024
_LOOKED_AT = 8
_MOST_PACKED_BYTES = 64 * 1024 * 1024
_MOST_REMOTE = 64
"""More small JSON files of another place are not fetched just to be looked at."""

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_KEYS = re.compile(rb'"((?:[^"\\]|\\.){0,200})"\s*:')


def beside_rows(files: Sequence[SourceFile], row_keys: Sequence[frozenset[str]]) -> frozenset[str]:
    """The names of those of *files* that hold one object, none of whose keys stands anywhere in the beginnings of the others.

    Where that is not certain there are none. An object that has one of the sets of *row_keys* is a row. Blocks.
    """
    named = [file for file in files if file.uri.lower().endswith(".json")]
    if not named or sum(file.remote is not None for file in named) > _MOST_REMOTE:
        return frozenset()
    if any(_is_far_within(file) for file in files):
        return frozenset()
    inputs = FileInputs()
    try:
        return _beside(files, row_keys, inputs)
    finally:
        inputs.close()


def partition_note(files: Sequence[SourceFile]) -> str | None:
    """That keys stand in the names of folders and not in the rows, as Spark, polars and DuckDB write partitions. Blocks."""
    may_be = (file for file in files if "=" in file.uri)
    first, keys = next(((file, keys) for file in may_be if (keys := partition_keys(_path_of(file)))), (None, []))
    if first is None or _is_far_within(first):
        return None
    inputs = FileInputs()
    try:
        there = _keys_in(first, inputs)
    finally:
        inputs.close()
    missing = [key for key in keys if key not in there]
    if not missing or not there:
        return None
    *_, last = _path_of(first).split("/")
    example = "/".join(_path_of(first).split("/")[-len(keys) - 1 : -1])
    way = "; polars.scan_parquet(FOLDER, hive_partitioning=True).sink_parquet(NEW) makes columns of them"
    return (
        f"{some_of(missing)}: in the names of folders alone ({example}/{last}), so the rows are sent without"
        f"{way if first.format.name == 'parquet' else ''}"
    )


def _path_of(file: SourceFile) -> str:
    return file.uri.replace("::", "/")


def _is_far_within(file: SourceFile) -> bool:
    """Whether to come to it a large archive must be unpacked."""
    member = file.member
    if member is None or member.outer is Compression.NONE:
        return False
    return (member.archive_bytes or 0) > _MOST_PACKED_BYTES


def _beside(files: Sequence[SourceFile], row_keys: Sequence[frozenset[str]], inputs: FileInputs) -> frozenset[str]:
    alone: dict[str, frozenset[str]] = {}
    others: list[SourceFile] = []
    for file in files:
        if not file.size and file.remote is None:
            continue  # an empty shard says nothing
        keys = _keys_of_one(file, inputs)
        if keys is None or any(keys >= wanted for wanted in row_keys):
            others.append(file)
        else:
            alone[file.uri] = keys
        if len(alone) > _MOST:
            return frozenset()
    if not alone or not others:
        return frozenset()
    there = [_keys_in(file, inputs) for file in others[:_LOOKED_AT]]
    if not all(there):
        return frozenset()
    known = frozenset().union(*there)
    return frozenset(uri for uri, keys in alone.items() if keys.isdisjoint(known))


def _keys_of_one(file: SourceFile, inputs: FileInputs) -> frozenset[str] | None:
    """The keys of the only object in *file*, None where it holds something else."""
    if (
        file.compression is not Compression.NONE
        or file.encoding is not None
        or (file.size or 0) > _MOST_BYTES
        or not file.uri.lower().endswith(".json")
    ):
        return None
    data = attempt(_beginning, file, inputs, _MOST_BYTES + 1)
    found = attempt(_OBJECT, b"" if isinstance(data, Refusal) else data.removeprefix(BOM).strip(SPACE))
    return None if isinstance(found, Refusal) else frozenset(found)


def _keys_in(file: SourceFile, inputs: FileInputs) -> frozenset[str]:
    """All that is a key in the beginning of *file*, however deep it stands; nothing where that cannot be known."""
    if file.format.columns is not None:
        return frozenset(file.format.columns(file))
    text = attempt(_beginning, file, inputs, _BEGINNING_BYTES)
    keys = _KEYS.findall(b"" if isinstance(text, Refusal) else text)
    found = (attempt(msgspec.json.decode, b'"' + key + b'"') for key in keys)
    return frozenset(key for key in found if isinstance(key, str))


def _beginning(file: SourceFile, inputs: FileInputs, most: int) -> bytes:
    """At most *most* bytes of *file*, unpacked. Raises what its place raises where it cannot be read."""
    source, decoder, made = inputs.open(file), file.decoder(), b""
    try:
        while len(made) < most:
            piece = decoder.pull(most - len(made))
            made += piece
            if piece:
                continue
            raw = source.read(_RAW_BYTES)
            if raw:
                decoder.push(raw)
            elif raw is not None:
                break
        return made
    finally:
        source.close()
