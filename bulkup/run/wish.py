"""What a user asks for, as one value, and the name of the run that it makes."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import unquote

from bulkup.destinations.registry import find_service
from bulkup.destinations.settings import DestinationSettings
from bulkup.errors import JournalUnusable, UsageProblem
from bulkup.journal.facts import UploadRecord
from bulkup.light_dataclass import dataclass
from bulkup.path_text import as_text, is_unicode, local, portable
from bulkup.run.folder import slug_of
from bulkup.settings.config import LONGEST_NAME, RunSettings, may_be_name
from bulkup.sources.places import is_many, is_remote

__all__ = ["Upload", "default_name", "full_name", "known_run_id", "run_id"]

STDIN = "-"
PATHS = ("state_dir", "token_file", "ca_file")
"""Settings that are paths."""

_COMPRESSED = {".gz", ".gzip", ".zst", ".zstd", ".xz", ".bz2", ".bzip2"}
_ROW_SETTINGS = (
    "rows_at",
    "encoding",
    "lines",
    "include",
    "exclude",
    "endpoint_url",
    "rename",
    "delimiter",
    "header",
    "header_row",
    "sheet",
)
"""The run's settings that change what the rows are, or which files hold them, where they are given."""


@dataclass(frozen=True, slots=True)
class Upload:
    """Sources as given, where they go, and how."""

    sources: tuple[str, ...]
    destinations: tuple[DestinationSettings, ...]
    settings: RunSettings

    @property
    def is_resumable(self) -> bool:
        """Standard input cannot be read again."""
        return STDIN not in self.sources

    def to_record(self) -> UploadRecord:
        """For the journal. It holds no token: those are never among the settings."""
        return UploadRecord(
            sources=list(map(portable, self.sources)),
            destinations={
                d.service: _with_paths(d.model_dump(mode="json", by_alias=True), portable) for d in self.destinations
            },
            settings=_with_paths(self.settings.model_dump(mode="json"), portable),
        )

    @classmethod
    def of_record(cls, record: UploadRecord) -> Upload:
        """From the journal. Raises `JournalUnusable` where it is no such record that can be used here."""
        try:
            return cls(
                tuple(map(local, record.sources)),
                tuple(
                    _model(name).model_validate(_with_paths(values, local))
                    for name, values in record.destinations.items()
                ),
                RunSettings.model_validate(_with_paths(record.settings, local)),
            )
        except (KeyError, TypeError, ValueError) as error:
            said = " ".join(str(error).split())
            raise JournalUnusable(
                f"the options in the run's journal make no sense ({said}); restore the run's folder from a copy"
            ) from error


def _model(name: str) -> type[DestinationSettings]:
    service = find_service(name)
    if service is None:
        raise JournalUnusable(
            f"the run uploads to {name!r}, and no such destination is installed here: install the package that registers it"
        )
    return service.settings


def _with_paths(values: dict[str, Any], turned: Callable[[str], str]) -> dict[str, Any]:
    return values | {key: turned(values[key]) for key in PATHS if values.get(key) is not None}


def default_name(sources: tuple[str, ...]) -> str:
    """The dataset's name where none is given: the only file's stem. Raises `UsageProblem`."""
    is_glob = len(sources) == 1 and any(c in sources[0] for c in "*?[") and not os.path.lexists(sources[0])
    is_url = len(sources) == 1 and is_remote(sources[0]) and not os.path.lexists(sources[0])
    if is_url and is_many(sources[0]):
        raise UsageProblem("a prefix, a glob or a whole dataset needs --name NAME")
    if len(sources) != 1 or sources[0] == STDIN or (is_glob and not is_url) or Path(sources[0]).is_dir():
        raise UsageProblem("several files, a folder, a glob or standard input need --name NAME")
    path = PurePath(unquote(sources[0]) if is_url else sources[0])
    while path.suffix.lower() in _COMPRESSED:
        path = path.with_suffix("")
    stem = as_text(path.stem)
    if not is_unicode(stem):
        raise UsageProblem(f"{sources[0]}: its name is not UTF-8, and a dataset's name must be: give --name NAME")
    if not may_be_name(stem):
        raise UsageProblem(
            f"{sources[0]!r}: a dataset's name has 1 to {LONGEST_NAME} printable characters: give --name NAME"
        )
    return stem


def known_run_id(upload: Upload, called: Callable[[str], str | None]) -> str:
    """The name of the run that *upload* is, if one is *called* so under any spelling of its paths; else the name of a new run.

    Earlier versions of bulkup made a run of its own of each spelling.
    """
    if not upload.is_resumable:
        return run_id(upload)
    return next((known for known in map(called, _names(upload)) if known is not None), run_id(upload))


def full_name(upload: Upload) -> str | None:
    """The name by which a new run is known too: with its paths from the root, for the case that the state directory alone moves.

    None where it has no other.
    """
    full = _run_id(upload, tuple(map(_absolute, upload.sources)))
    return full if upload.is_resumable and full != run_id(upload) else None


def _names(upload: Upload) -> Iterator[str]:
    """As given, as a new run would be called, and as other spellings of the same paths were called before they were one run."""
    full, here = tuple(map(_absolute, upload.sources)), tuple(map(_from_here, upload.sources))
    near = _from_state(upload, full)
    dotted = tuple(s if _is_elsewhere(s) or s.startswith("/") else f"./{s}" for s in near)
    for sources in dict.fromkeys((tuple(upload.sources), near, dotted, here, full)):
        yield _run_id(upload, sources)


def _is_elsewhere(source: str) -> bool:
    return "://" in source


def _absolute(source: str) -> str:
    """*source* from the root, the links in its folder followed. A link to the file itself stays one."""
    if _is_elsewhere(source):
        return source
    try:
        folder, name = os.path.split(os.path.normpath(os.path.abspath(source)))  # noqa: PTH100 - text, not a file
        return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118
    except (OSError, ValueError):
        return source


def _from_here(source: str) -> str:
    return source if _is_elsewhere(source) else os.path.normpath(source)


def _from_state(upload: Upload, full: Sequence[str]) -> tuple[str, ...]:
    """Each source, in *full* from the root, as seen from the folder in which the state directory lies, where it is below that."""
    base = os.path.join(os.path.dirname(_absolute(str(upload.settings.state_dir))), "")  # noqa: PTH118, PTH120
    return tuple(source if _is_elsewhere(source) else source.removeprefix(base) for source in full)


def run_id(upload: Upload) -> str:
    """The run's name: the same for the same sources, row options and destinations, so the same command goes on.

    However a file's path is written, from wherever, it is the same file.

    Neither a token nor the content is part of it, nor is what only concerns the pace. Standard input makes a new run each time.
    """
    if not upload.is_resumable:
        return f"{slug_of(upload.settings.name)}-{secrets.token_hex(4)}"
    return _run_id(upload, _from_state(upload, tuple(map(_absolute, upload.sources))))


def _run_id(upload: Upload, sources: Sequence[str]) -> str:
    """The name of a run with *sources* spelled so."""
    slug = slug_of(upload.settings.name)
    lanes = {destination.service: destination.identity() for destination in upload.destinations}
    key = {"sources": list(map(portable, sources)), "name": upload.settings.name, "lanes": lanes}
    chosen = upload.settings.model_dump(mode="json", include=set(_ROW_SETTINGS), exclude_defaults=True)
    if chosen:
        key["rows"] = chosen
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return f"{slug}-{digest[:8]}"
