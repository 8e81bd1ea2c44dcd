"""How many members rows have, those that stand twice among them: what no decoder tells, since it keeps one of two.

simdjson knows it once it has parsed the rows, which it does at 3 GB/s, and it has checked their UTF-8 and their JSON then.
"""

from __future__ import annotations

from typing import Any

from bulkup.encoding.utf8 import MOST_BYTES, reliable_parser
from bulkup.refusal import Refusal, attempt

__all__ = ["Members"]

_PROBES = (
    (b'{"a":1}', 1),
    (b'{"a":{"b":1,"c":2},"d":[{"e":1}]}\n{}', 2),
    (b'{"a":1,"a":2}\n{"b":1,"\\u0062":2,"c":3}', 5),
)
"""Lines, and how many members their rows have."""


class Members:
    """Counts the members of rows. For one thread at a time."""

    def __init__(self) -> None:
        self._parser: Any = None
        self._is_ready = False

    def of(self, lines: bytes) -> int | None:
        """How many members the objects of *lines*, a row each, have in all, those of objects in them left out. None where that is
        not known; else *lines* is UTF-8."""
        if not self._is_ready:
            self._parser, self._is_ready = _parser(), True
        return None if self._parser is None or len(lines) > MOST_BYTES else _counted(self._parser, lines)


def _parser() -> Any:
    parser = reliable_parser()
    return parser if parser is not None and all(_counted(parser, lines) == said for lines, said in _PROBES) else None


def _counted(parser: Any, lines: bytes) -> int | None:
    found = attempt(_count, parser, lines)
    return None if isinstance(found, Refusal) else found


def _count(parser: Any, lines: bytes) -> int:
    return sum(map(len, parser.parse(b"[%b]" % lines.replace(b"\n", b","))))
