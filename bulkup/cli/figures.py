"""Figures and foreign text as a person reads them."""

from __future__ import annotations

from bulkup.path_text import readable

__all__ = ["changed", "plural", "printable", "size_text", "time_text"]

CHANGED = {"parsed": "turns in a string, parsed", "joined": "content parts, joined", "1.0 -> 1": "1.0 made 1"}
"""Kinds of change that do not speak for themselves."""


def printable(text: str) -> str:
    """*text* on one line, without anything that a terminal would obey: servers and files may say what they like."""
    return " ".join("".join(c if c.isprintable() else " " for c in readable(text)).split())


def size_text(count: float) -> str:
    """Bytes in steps of 1000: `812 B`, `4.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def time_text(seconds: float, *, whole: bool = False) -> str:
    """`0.3 s`, `42 s`, `3 min 05 s`, `2 h 10 min`. *whole*: no parts of seconds."""
    if seconds < 9.95 and not whole:
        return f"{seconds:.1f} s"
    count = round(seconds)
    if count < 60:
        return f"{count} s"
    if count < 3600:
        return f"{count // 60} min {count % 60:02} s"
    return f"{count // 3600:,} h {count % 3600 // 60:02} min"


def plural(count: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def changed(kind: str) -> str:
    """A kind of change, as it stands before the number of rows in which it was made."""
    return CHANGED.get(kind, kind)
