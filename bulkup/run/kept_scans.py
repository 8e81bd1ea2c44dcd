"""What earlier commands have found in the same files: a `check` and then an `upload` read a large source once for both.

Kept in the state directory, beside the runs. A scan holds for files with the same names, sizes, times, inodes and versions, which
are read and made into rows in the same way by the same version of bulkup.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from bulkup.encoding import RowOptions
from bulkup.errors import BulkupError
from bulkup.flow.context import LaneContext
from bulkup.journal.facts import ScanRecord
from bulkup.journal.state_files import make_folder, read_in
from bulkup.refusal import Refusal, attempt
from bulkup.run.folder import write_private
from bulkup.scan.spread import Part
from bulkup.sources import SourceFile
from bulkup.version import VERSION

__all__ = ["LEAST_BYTES", "KeptScans", "key_of"]

LEAST_BYTES = 64 * 1024 * 1024
"""A smaller source is read again before anybody notices."""

_FOLDER = "scans"
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
            kept = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
            for path in kept[_MOST:]:
                path.unlink()


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
    read_as = (
        f"{file.format.name} {file.packing} {file.bom} {file.length} {file.encoding} {file.rows_at} {file.zstd_window}"
    )
    return f"{on_disk} {read_as} {file.detail} {file.member}\n".encode("utf-8", "surrogateescape")
