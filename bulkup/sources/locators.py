"""Locators as a person gives them, made into the frozen list of files."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

from bulkup.errors import UsageProblem
from bulkup.sources.files import STDIN

__all__ = ["resolve"]


def resolve(locators: Sequence[str]) -> tuple[str, ...]:
    """The files that *locators* mean: in the order given, each glob's matches sorted.

    A path that exists is that path, whatever its characters would mean in a glob. `**` goes into directories.
    Raises `UsageProblem` for nothing at all, a missing file, a glob without a match, a directory, a file that is
    named twice, and `-` beside anything else.
    """
    if not locators:
        raise UsageProblem("no source: name one or more files, a glob, or - for standard input")
    if STDIN in locators:
        if len(locators) > 1:
            raise UsageProblem("- (standard input) stands alone: it cannot be read together with files")
        return (STDIN,)
    uris = [uri for locator in locators for uri in _expand(locator)]
    _refuse_doubles(uris)
    return tuple(uris)


def _expand(locator: str) -> list[str]:
    if os.path.lexists(locator):
        if os.path.isdir(locator):  # noqa: PTH112 - a glob speaks in strings, and so do the messages
            hint = os.path.join(glob.escape(locator), "**", "*.jsonl")  # noqa: PTH118
            raise UsageProblem(f"{locator}: is a directory; name its files, for example '{hint}'")
        return [locator]
    if "://" in locator:
        raise UsageProblem(f"{locator}: only local files are read yet; fetch it first, or pipe it in with -")
    if not glob.has_magic(locator):
        raise UsageProblem(f"{locator}: there is no such file")
    matches = glob.glob(locator, recursive=True)  # noqa: PTH207
    uris = sorted({os.path.normpath(match) for match in matches if not os.path.isdir(match)})  # noqa: PTH112
    if not uris:
        raise UsageProblem(f"{locator}: no file matches")
    return uris


def _refuse_doubles(uris: list[str]) -> None:
    seen: dict[str, str] = {}
    for uri in uris:
        real = os.path.realpath(uri)
        if real in seen:
            other = f" (as {seen[real]})" if seen[real] != uri else ""
            raise UsageProblem(f"{uri}: is named twice{other}; each file is read once")
        seen[real] = uri
