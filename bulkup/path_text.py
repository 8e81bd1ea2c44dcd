"""Paths as text. A path is bytes that need not be UTF-8, and the locale says how this process turns them into `str`; what is kept
and shown must not depend on that."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["as_text", "is_unicode", "json_bytes", "local", "portable", "readable", "readable_values"]


def portable(path: str) -> str:
    """*path*, as this process has it, for the journal: its bytes as UTF-8, those that are not as lone surrogates (PEP 383)."""
    return path if _is_utf8() else os.fsencode(path).decode("utf-8", "surrogateescape")


def local(path: str) -> str:
    """What `portable` gave, as this process opens it. The two are the same where file names are UTF-8, as nearly everywhere."""
    return path if _is_utf8() else os.fsdecode(path.encode("utf-8", "surrogateescape"))


def as_text(given: str) -> str:
    """An argument that is no path. In the C locale its bytes that are not ASCII come as lone surrogates: they are read as UTF-8."""
    return given if is_unicode(given) else portable(given)


def is_unicode(text: str) -> bool:
    """Whether *text* can be written as UTF-8: it holds no lone surrogate, so no byte of a path that is not UTF-8."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def readable(text: str) -> str:
    r"""*text* for people and for other programs: a byte that is not UTF-8 stands as `\xff`. Everything else stays as it is."""
    if is_unicode(text):
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # surrogates that no path has
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def readable_values(value: Any) -> Any:
    """*value*, made of what JSON has, with every text in it `readable`."""
    match value:
        case str():
            return readable(value)
        case Mapping():
            return {readable_values(key): readable_values(inner) for key, inner in value.items()}
        case list() | tuple():
            return [readable_values(inner) for inner in value]
        case _:
            return value


def json_bytes(value: Any, *, indent: bool = False) -> bytes:
    """*value* as JSON that every reader takes; texts that are not Unicode are `readable`."""
    import orjson  # not for a command that only prints

    option = orjson.OPT_INDENT_2 if indent else 0
    try:
        return orjson.dumps(value, option=option)
    except orjson.JSONEncodeError:
        return orjson.dumps(readable_values(value), option=option)


def _is_utf8() -> bool:
    return sys.getfilesystemencoding() == "utf-8"
