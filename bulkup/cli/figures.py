"""Figures and foreign text as a person reads them, and as a person writes them."""

from __future__ import annotations

import re
from math import isfinite

from bulkup.path_text import readable

__all__ = ["parse_seconds", "parse_size", "plural", "printable", "size_text", "time_text"]

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)}
_UNITS |= {f"{letter}IB": 1024**power for power, letter in enumerate("KMGT", 1)}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]*)")
_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|)")
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


def printable(text: str) -> str:
    """*text* on one line, without anything that a terminal would obey: servers and files may say what they like."""
    return " ".join("".join(c if c.isprintable() else " " for c in readable(text)).split())


def parse_size(text: str) -> int:
    """Bytes, from `8388608`, `8MiB` (times 1024) or `8MB` (times 1000). Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or found[2].upper() not in _UNITS:
        raise ValueError("a size is a number of bytes, or such as 8MiB or 16MB")
    size = float(found[1]) * _UNITS[found[2].upper()]
    if size >= 2**63:
        raise ValueError("a size must be less than 8 EiB")
    return round(size)


def parse_seconds(text: str) -> float:
    """Seconds, from `30`, `30s`, `10m`, `2h` or `500ms`. Raises ValueError."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError("a time is a number of seconds, or such as 30s, 10m or 2h")
    seconds = float(found[1]) * _SECONDS[found[2]]
    if not isfinite(seconds):
        raise ValueError("a time must be less than that")
    return seconds


def size_text(count: float) -> str:
    """Bytes in steps of 1000: `812 B`, `4.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def time_text(seconds: float) -> str:
    """`0.3 s`, `42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"


def plural(count: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
