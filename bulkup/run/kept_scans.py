"""What earlier commands have found in the same files: a `check` and then an `upload` read a large source once for both. A scan that
was killed goes on with the parts that it had not ended.

Kept in the state directory, beside the runs. A scan holds for files with the same names, sizes, times, inodes and versions, which
are read and made into rows in the same way by the same version of bulkup.
"""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec

from bulkup.encoding import RowOptions
from bulkup.errors import BulkupError
from bulkup.flow.context import LaneContext
from bulkup.journal.facts import ScanRecord
from bulkup.journal.state_files import make_folder, open_in, read_in
from bulkup.refusal import Refusal, attempt
from bulkup.run.folder import write_private
from bulkup.scan.judging import Stage
from bulkup.scan.learned import Learned
from bulkup.scan.spread import Part
from bulkup.sources import SourceFile
from bulkup.version import VERSION

__all__ = ["LEAST_BYTES", "KeptParts", "KeptScans", "key_of"]

LEAST_BYTES = 64 * 1024 * 1024
"""A smaller source is read again before anybody notices."""

_FOLDER = "scans"
_PARTS = ".parts"
_MOST = 50


class KeptScans:
    """The scans in the state directory at *state*."""

    def __init__(self, state: Path) -> None:
        self._folder = state / _FOLDER

    def find(self, key: str) -> ScanRecord | None:
        """What is kept under *key*; None where that is nothing that can be used."""
        try:
            data = read_in(self._folder, _name(key))
        except BulkupError:
            return None
        found = None if data is None else attempt(msgspec.json.decode, data, type=ScanRecord)
        return found if isinstance(found, ScanRecord) else None

    def keep(self, key: str, record: ScanRecord) -> None:
        """Keep *record*, and no more than fifty. Where that cannot be written, the files are read again the next time."""
        data = attempt(msgspec.json.encode, record)
        if isinstance(data, Refusal):
            return
        with suppress(BulkupError, OSError):
            make_folder(self._folder.parent)
            make_folder(self._folder)
            write_private(self._folder / _name(key), data)
            for path in self._folder.glob(f"{key}*{_PARTS}"):
                path.unlink()
            for suffix in (".json", _PARTS):
                kept = sorted(self._folder.glob(f"*{suffix}"), key=lambda path: path.stat().st_mtime, reverse=True)
                for path in kept[_MOST:]:
                    path.unlink()

    def parts(self, keys: Mapping[str, str]) -> KeptParts:
        """The parts of scans that were not ended, by lanes and their *keys*."""
        return KeptParts(self._folder, keys)


class KeptParts:
    """What was learned of the parts of a source, for lanes whose scans have *keys*. Each process appends to files of its own, and
    reads those of all: half of what a killed one was writing is passed over. Where nothing can be written, it begins anew."""

    def __init__(self, folder: Path, keys: Mapping[str, str]) -> None:
        self._folder = folder
        self._names = {lane: f"{key}-{secrets.token_hex(4)}{_PARTS}" for lane, key in keys.items()}
        self._kept = {
            (lane, stage, part): learned
            for lane, key in keys.items()
            for path in sorted(folder.glob(f"{key}-*{_PARTS}"))
            for stage, part, learned in _parts_in(folder, path.name)
        }

    def of(self, lane: str, stage: Stage, part: Part) -> Learned | None:
        """As `Kept.of`."""
        return self._kept.get((lane, _written(stage), part))

    async def keep(self, lane: str, stage: Stage, part: Part, learned: Learned) -> None:
        """As `Kept.keep`."""
        if lane in self._names:
            await anyio.to_thread.run_sync(self._append, self._names[lane], (_written(stage), part, learned))

    def _append(self, name: str, entry: tuple[str, Part, Learned]) -> None:
        data = attempt(_encode, entry)
        if isinstance(data, Refusal):
            return
        with suppress(BulkupError, OSError):
            make_folder(self._folder.parent)
            make_folder(self._folder)
            fd = open_in(self._folder, name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                os.write(fd, len(data).to_bytes(8, "big") + zlib.crc32(data).to_bytes(4, "big") + data)
            finally:
                os.close(fd)


def _parts_in(folder: Path, name: str) -> Iterator[tuple[str, Part, Learned]]:
    try:
        data = read_in(folder, name) or b""
    except BulkupError:
        return
    at = 0
    while at + _HEAD_BYTES <= len(data):
        length, checksum = int.from_bytes(data[at : at + 8], "big"), int.from_bytes(data[at + 8 : at + 12], "big")
        entry = data[at + _HEAD_BYTES : at + _HEAD_BYTES + length]
        found = attempt(_decode, entry) if len(entry) == length and zlib.crc32(entry) == checksum else None
        if not isinstance(found, tuple):
            return
        yield found
        at += _HEAD_BYTES + length


def _plain(value: Any) -> Any:
    """Of what is not a list, and is read as one."""
    return list(value)


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
_decode = msgspec.msgpack.Decoder(tuple[str, Part, Learned]).decode
_HEAD_BYTES = 12


def _written(stage: Stage) -> str:
    return stage if isinstance(stage, str) else "" if stage is None else f"{stage.preset} {stage.fit}"


def _name(key: str) -> str:
    return f"{key}.json"


def key_of(lane: LaneContext, parts: Sequence[Part] | None) -> str | None:
    """What a scan of *parts* for *lane* depends on, as a name; None where nothing tells whether it still holds."""
    files = lane.source.files
    if any(file.size is None or (file.remote is not None and file.remote.version is None) for file in files):
        return None
    hasher = hashlib.sha256(f"{VERSION} {lane.destination.target.name} {parts}".encode())
    hasher.update(_of_options(lane.chosen.rows))
    for file in files:
        hasher.update(_of_file(file))
    return hasher.hexdigest()[:32]


def _of_options(options: RowOptions) -> bytes:
    mapping = "" if options.mapping is None else options.mapping.source
    return f"{options} {mapping}\n".encode("utf-8", "surrogatepass")


def _of_file(file: SourceFile) -> bytes:
    version = "" if file.remote is None else file.remote.version
    on_disk = f"{file.uri} {file.size} {file.mtime_ns} {file.inode} {version}"
    read_as = _read_as(
        file.format.name, file.compression, file.inner, file.bom, file.encoding, file.rows_at, file.zstd_window
    )
    return f"{on_disk} {file.length} {read_as} {file.detail} {file.member} {file.renames}\n".encode(
        "utf-8", "surrogateescape"
    )


@functools.lru_cache(maxsize=16)
def _read_as(*how: object) -> str:
    """Of very many files most are read alike."""
    return " ".join(map(str, how))
