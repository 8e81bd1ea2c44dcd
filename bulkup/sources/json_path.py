"""Where in a JSON value the rows stand: `data.paragraphs`, or `.` for the value itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["path_of", "path_text"]

_STEPS = re.compile(r"((?:[^.\\]|\\.)+)(?:\.|\Z)", re.DOTALL)


def path_of(text: str) -> tuple[str, ...]:
    """The keys that *text* names, none for `.`. A dot or a backslash in a key has a backslash before it. Raises `ValueError`."""
    if text == ".":
        return ()
    steps, at = [], 0
    while at < len(text):
        found = _STEPS.match(text, at)
        if found is None:
            break
        steps.append(re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL))
        at = found.end()
    if at < len(text) or not steps or (text.endswith(".") and not text.endswith("\\.")):
        raise ValueError("give the keys with dots between them, such as data.paragraphs, or . for the whole")
    return tuple(steps)


def path_text(keys: Sequence[str]) -> str:
    """*keys* as `path_of` reads them."""
    return ".".join(re.sub(r"([.\\])", r"\\\1", key) for key in keys) or "."
