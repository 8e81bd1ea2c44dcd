"""Sizes, times and other values as a person writes them. Each raises `ValueError` saying what to give instead."""

from __future__ import annotations

import re
from math import isfinite
from pathlib import Path

__all__ = [
    "host_and_port",
    "limit_of",
    "parse_address",
    "parse_number",
    "parse_path",
    "parse_scan",
    "parse_seconds",
    "parse_size",
    "parse_stop_after",
    "parse_truth",
    "parse_whole",
    "parse_workers",
]

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)}
_UNITS |= {f"{letter}IB": 1024**power for power, letter in enumerate("KMGT", 1)}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]*)")
_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|)")
_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>\d{1,5})")
_ROWS = re.compile(r"(\d+(?:\.\d+)?) ?([kKMG]?) ?rows?")
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_TRUTHS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def parse_size(text: str) -> int:
    """Bytes, from `8388608`, `8MiB` (times 1024) or `8MB` (times 1000)."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or found[2].upper() not in _UNITS:
        raise ValueError("a size is a number of bytes, or such as 8MiB or 16MB")
    size = float(found[1]) * _UNITS[found[2].upper()]
    if size >= 2**63:
        raise ValueError("a size must be less than 8 EiB")
    return round(size)


def parse_address(text: str) -> str:
    """`HOST:PORT` as it is; an IPv6 address stands in brackets."""
    host_and_port(text)
    return text


def host_and_port(text: str) -> tuple[str, int]:
    """The two parts of `HOST:PORT`. Raises `ValueError`."""
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or int(found["port"]) > 65_535:
        raise ValueError("give HOST:PORT, such as 10.0.0.5:7420, 0.0.0.0:7420 (all interfaces) or [::1]:7420")
    return found["v6"] or found["host"], int(found["port"])


def parse_seconds(text: str) -> float:
    """Seconds, from `30`, `30s`, `10m`, `2h` or `500ms`."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError("a time is a number of seconds, or such as 30s, 10m or 2h")
    seconds = float(found[1]) * _SECONDS[found[2]]
    if not isfinite(seconds):
        raise ValueError("a time must be less than that")
    return seconds


def limit_of(text: str) -> tuple[str, float]:
    """What `--stop-after` limits (`rows`, `seconds` or `bytes`), and how much of it. Raises `ValueError`."""
    if (rows := _ROWS.fullmatch(text.strip())) is not None:
        return "rows", float(rows[1]) * {"": 1, "K": 1000, "M": 1_000_000, "G": 1_000_000_000}[rows[2].upper()]
    words = text.strip()
    for what, parse in (("seconds", parse_seconds), ("bytes", parse_size)):
        if words[-1:].isalpha():  # a number alone may be anything
            try:
                return what, parse(words)
            except ValueError:
                continue
    raise ValueError("a limit is a time such as 2h, a size such as 10GB, or rows such as 1Mrows")


def parse_stop_after(text: str) -> str:
    """*text*, if it is a limit as `limit_of` reads it."""
    limit_of(text)
    return text.strip()


def parse_truth(text: str) -> bool:
    """Yes or no, from `1`, `true`, `yes`, `on` or their contraries."""
    if text.lower() not in _TRUTHS:
        raise ValueError("give 1 or 0")
    return _TRUTHS[text.lower()]


def parse_whole(text: str) -> int:
    """A whole number; `1_000` will do."""
    try:
        return int(text.replace("_", ""))
    except ValueError:
        raise ValueError("give a whole number") from None


def parse_number(text: str) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError:
        raise ValueError("give a number") from None


def parse_workers(text: str) -> int | str:
    """A number of processes, or `auto`."""
    try:
        return "auto" if text == "auto" else int(text)
    except ValueError:
        raise ValueError("give a number of processes, or auto") from None


def parse_scan(text: str) -> int | str:
    """`all`, `none`, or a size."""
    return text if text in ("all", "none") else parse_size(text)


def parse_path(text: str, base: Path = Path()) -> Path:
    """A path, made absolute from *base*."""
    try:
        return (base / Path(text).expanduser()).absolute()
    except (RuntimeError, OSError):  # no HOME and no entry for this user, or no current directory
        raise ValueError("cannot be found from here: give an absolute path") from None
