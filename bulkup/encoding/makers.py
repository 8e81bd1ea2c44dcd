"""What makes several rows of one: the user's function, a preference that becomes a row a side, or one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from bulkup.encoding.by_function import ByFunction, Made, Number, as_json
from bulkup.encoding.carried import CarryingDecoder
from bulkup.encoding.drop import without
from bulkup.encoding.faults import Fault
from bulkup.rows.function import Function

__all__ = ["BothSides", "InTurn", "Maker", "maker_of"]

Sides = Callable[[dict[str, Any], Counter[str]], Sequence[dict[str, Any]] | Fault]


class Maker(Protocol):
    """Makes rows of a row."""

    def made(self, row: dict[str, Any]) -> Made | Fault:
        """The rows that come of *row*, or why none can. Numbers with a point or an exponent are `Number`s."""


class BothSides:
    """A row a side, without the keys *dropped*, as a destination makes them."""

    def __init__(self, sides: Sides, dropped: Sequence[str]) -> None:
        self._sides = sides
        self._dropped = tuple(dropped)

    def made(self, row: dict[str, Any]) -> Made | Fault:
        """As `Maker.made`."""
        top = tuple(key for key in self._dropped if key in row)
        nested = tuple(key for key in self._dropped if key not in top)
        changes: Counter[str] = Counter()
        found = self._sides(without(row, top, nested), changes)
        if isinstance(found, Fault):
            return found
        rows = [data for one in found if isinstance(data := as_json(one), bytes)]
        assert len(rows) == len(found), "a side is JSON, since the row was"
        return Made(tuple(rows), tuple(sorted((+changes).items())))


class InTurn:
    """What *second* makes of each row that *first* makes."""

    def __init__(self, first: Maker, second: Maker) -> None:
        self._first = first
        self._second = second
        self._decode = CarryingDecoder(dict[str, Any], Number).decode_lines

    def made(self, row: dict[str, Any]) -> Made | Fault:
        """As `Maker.made`."""
        between = self._first.made(row)
        if isinstance(between, Fault):
            return between
        rows: list[bytes] = []
        changes = Counter(dict(between.changes))
        for data in between.rows:
            found = self._second.made(self._decode(data)[0])
            if isinstance(found, Fault):
                return found
            rows += found.rows
            changes.update(dict(found.changes))
        return Made(tuple(rows), tuple(sorted(changes.items())))


def maker_of(function: Function | None, sides: BothSides | None, max_row_bytes: int) -> Maker | None:
    """What makes the rows, None where the source's are taken as they are. A function is loaded: raises `UsageProblem`,
    `SourceChanged`."""
    if function is None:
        return sides
    first = ByFunction(function, max_row_bytes)
    return first if sides is None else InTurn(first, sides)
