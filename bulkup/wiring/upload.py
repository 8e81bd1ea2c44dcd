"""What a user asks for, as one value, and the name of the run that it makes."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from bulkup.config import Collinear, Nebius, RunSettings
from bulkup.errors import JournalUnusable, UsageProblem
from bulkup.journal.facts import UploadRecord
from bulkup.path_text import as_text, is_unicode, local, portable

__all__ = ["Upload", "default_name", "run_id"]

STDIN = "-"
PATHS = ("state_dir", "token_file", "ca_file")
"""Settings that are paths."""

_COMPRESSED = {".gz", ".gzip", ".zst", ".zstd"}


@dataclass(frozen=True, slots=True)
class Upload:
    """Sources as given, where they go, and how."""

    sources: tuple[str, ...]
    destinations: tuple[Nebius | Collinear, ...]
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
                lane_name(d): _with_paths(d.model_dump(mode="json", by_alias=True), portable) for d in self.destinations
            },
            settings=_with_paths(self.settings.model_dump(mode="json"), portable),
        )

    @classmethod
    def of_record(cls, record: UploadRecord) -> Upload:
        """From the journal. Raises `JournalUnusable` where its options make no sense."""
        models: dict[str, type[Nebius | Collinear]] = {"nebius": Nebius, "collinear": Collinear}
        try:
            return cls(
                tuple(map(local, record.sources)),
                tuple(
                    models[name].model_validate(_with_paths(values, local))
                    for name, values in record.destinations.items()
                ),
                RunSettings.model_validate(_with_paths(record.settings, local)),
            )
        except (KeyError, TypeError, ValueError) as error:
            said = " ".join(str(error).split())
            raise JournalUnusable(
                f"the options in the run's journal make no sense ({said}); restore the run's folder from a copy"
            ) from error


def _with_paths(values: dict[str, Any], turned: Callable[[str], str]) -> dict[str, Any]:
    return values | {key: turned(values[key]) for key in PATHS if values.get(key) is not None}


def lane_name(destination: Nebius | Collinear) -> str:
    """The lane's name: the service's."""
    return type(destination).__name__.lower()


def default_name(sources: tuple[str, ...]) -> str:
    """The dataset's name where none is given: the only file's stem. Raises `UsageProblem`."""
    if len(sources) != 1 or sources[0] == STDIN or any(c in sources[0] for c in "*?["):
        raise UsageProblem("several files, a glob or standard input need --name NAME")
    if Path(sources[0]).is_dir():
        raise UsageProblem(
            f"{sources[0]} is a directory; name its files, or a glob such as {sources[0].rstrip('/')}/*.jsonl"
        )
    path = PurePath(sources[0])
    if path.suffix.lower() in _COMPRESSED:
        path = path.with_suffix("")
    stem = as_text(path.stem)
    if not is_unicode(stem):
        raise UsageProblem(f"{sources[0]}: its name is not UTF-8, and a dataset's name must be: give --name NAME")
    return stem


def run_id(upload: Upload) -> str:
    """The run's name: the same for the same sources as given, row options and destinations, so the same command goes on.

    Neither a token nor the content is part of it, nor is what only concerns the pace. Standard input makes a new run each time.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", upload.settings.name).strip("-.")[:60] or "run"
    if not upload.is_resumable:
        return f"{slug}-{secrets.token_hex(4)}"
    rows = ("url", "folder", "ai_project_id", "space_id", "preset", "drop", "mapping", "schema", "columns", "nested")
    lanes = {}
    for destination in upload.destinations:
        values = destination.model_dump(mode="json", by_alias=True)
        lanes[lane_name(destination)] = {key: values[key] for key in rows if key in values}
    key = {"sources": list(map(portable, upload.sources)), "name": upload.settings.name, "lanes": lanes}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return f"{slug}-{digest[:8]}"
