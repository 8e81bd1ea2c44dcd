"""The datasets that a look shows, however many they are: a run of a terabyte and more has hundreds of thousands of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from bulkup.destinations.scratch import scratch
from bulkup.doubt.settlement import Seen

__all__ = ["Sightings"]

_SCHEMA = """
CREATE TABLE seen (place INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL, rows INTEGER);
CREATE INDEX by_name ON seen (name);
"""

_COLUMNS = "SELECT id, name, status, rows FROM seen"


class Sightings(Sequence[Seen]):
    """Datasets in the order in which they were seen first, found by id and by name. Memory does not grow with their number."""

    def __init__(self, seen: Iterable[Seen] = ()) -> None:
        self._db = scratch(_SCHEMA, self)
        self._count = 0
        self.add(seen)

    def add(self, seen: Iterable[Seen]) -> None:
        """Of a dataset that was seen before, what is seen now counts."""
        self._db.executemany(
            "INSERT INTO seen (id, name, status, rows) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name, status = excluded.status, rows = excluded.rows",
            ((one.id, one.name, one.status, one.rows) for one in seen),
        )
        (self._count,) = self._db.execute("SELECT coalesce(max(place), 0) FROM seen").fetchone()  # none is ever deleted

    def of_id(self, id_: str) -> Seen | None:
        """The dataset of that id."""
        found = self._db.execute(f"{_COLUMNS} WHERE id = ?", (id_,)).fetchone()
        return None if found is None else Seen(*found)

    def of_name(self, name: str) -> list[Seen]:
        """The datasets of that name."""
        return [Seen(*found) for found in self._db.execute(f"{_COLUMNS} WHERE name = ? ORDER BY place", (name,))]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Seen]:
        for found in self._db.execute(f"{_COLUMNS} ORDER BY place"):
            yield Seen(*found)

    @overload
    def __getitem__(self, place: int) -> Seen: ...
    @overload
    def __getitem__(self, place: slice) -> list[Seen]: ...
    def __getitem__(self, place: int | slice) -> Seen | list[Seen]:
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(self._count))]
        at = place + self._count if place < 0 else place
        found = self._db.execute(f"{_COLUMNS} ORDER BY place LIMIT 1 OFFSET ?", (at,)).fetchone() if at >= 0 else None
        if found is None:
            raise IndexError(place)
        return Seen(*found)
