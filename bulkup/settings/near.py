"""What somebody who wrote one word may have meant."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path

__all__ = ["did_you_mean", "nearest", "similar_file"]

CLOSE, VERY_CLOSE = 0.7, 0.8
MOST_FILES = 1000


def nearest(word: str, known: Iterable[str], cutoff: float = CLOSE) -> str | None:
    """The one of the *known* words that is most like *word*; None where none is much like it."""
    from difflib import get_close_matches  # not for a command that makes no mistake

    by_lower = {one.lower().lstrip("-"): one for one in known}
    found = get_close_matches(word.lower().lstrip("-"), by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean NAME?)` with a space before it, or nothing."""
    found = nearest(word, known)
    return f" (did you mean {found}?)" if found is not None else ""


def similar_file(path: Path) -> str:
    """The same for a file that is not there: of those beside it."""
    with suppress(OSError, ValueError), os.scandir(path.parent) as entries:
        found = nearest(path.name, (entry.name for entry in islice(entries, MOST_FILES)), VERY_CLOSE)
        if found is not None:
            return f" (did you mean {path.parent / found}?)"
    return ""
