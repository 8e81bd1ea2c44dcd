"""What an earlier command has found the same files to hold, kept in the state directory beside the runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from bulkup.errors import BulkupError
from bulkup.journal.state_files import make_folder, read_in
from bulkup.light_dataclass import replace
from bulkup.refusal import Refusal, attempt
from bulkup.run.folder import write_private
from bulkup.sources import LookedInto, Reading, SourceFile, looked_into
from bulkup.version import VERSION

__all__ = ["LEAST_FILES", "KeptLooks"]

LEAST_FILES = 16
"""Fewer are looked into again before anybody notices."""

_FOLDER = "looks"
_MOST = 50


class KeptLooks:
    """The looks into the files of *sources*, read as *reading* says, in the state directory at *state*. Blocks."""

    def __init__(self, state: Path, sources: Sequence[str], reading: Reading) -> None:
        self._folder = state / _FOLDER
        keys = [sorted(some) for some in reading.row_keys]  # a set has another order in each process
        asked = f"{VERSION} {replace(reading, row_keys=())} {keys} {list(sources)}"
        self._name = hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()[:32] + ".json"
        self._known: Mapping[str, LookedInto] = {}

    def find(self) -> Mapping[str, LookedInto]:
        """What is known, by the files' names."""
        try:
            data = read_in(self._folder, self._name)
        except BulkupError:
            return {}
        found = None if data is None else attempt(msgspec.json.decode, data, type=list[LookedInto])
        if found is not None and not isinstance(found, Refusal):
            self._known = {one.uri: one for one in found}
        return self._known

    def keep(self, files: Sequence[SourceFile]) -> None:
        """Keep what *files* hold, where that is worth it and not known. Where it cannot be written, they are looked into again."""
        now = looked_into(files)
        if len(now) < LEAST_FILES or now == self._known:
            return
        with suppress(BulkupError, OSError):
            make_folder(self._folder.parent)
            make_folder(self._folder)
            write_private(self._folder / self._name, msgspec.json.encode(list(now.values())))
            for path in sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-_MOST]:
                path.unlink()
