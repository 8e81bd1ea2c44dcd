"""What a run has found so far: written down after every case, and summed up as medians."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["FAILED", "MISSING", "OK", "Figure", "Line", "Record", "Results", "read_records"]

OK, FAILED, MISSING = "ok", "failed", "not available"

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure over the rounds."""

    middle: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Line:
    """One case over the rounds. *status* is the worst that happened to it, *why* the last words of that."""

    suite: str
    name: str
    labels: dict[str, str]
    share: float
    records: tuple[Record, ...]
    status: str
    why: str

    def figure(self, key: str) -> Figure | None:
        """The median of *key* with its least and greatest; None where no round has it."""
        found = [r["figures"][key] for r in self.records if r["status"] == OK and _is_number(r["figures"].get(key))]
        return Figure(median(found), min(found), max(found), len(found)) if found else None

    def value(self, key: str) -> float | None:
        """The median of *key*."""
        figure = self.figure(key)
        return None if figure is None else figure.middle


class Results:
    """The records of a run, by case in the order in which they came."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records: list[Record] = list(records)

    def add(self, record: Record, file: Path) -> None:
        """Take *record* in, and append it to *file*."""
        self._records.append(record)
        with file.open("a") as lines:
            lines.write(json.dumps(record) + "\n")

    @property
    def grounds(self) -> Record:
        """What the run stood on: versions, machine, sizes. Empty where nothing was recorded."""
        return dict(self._records[0]["grounds"]) if self._records else {}

    @property
    def times(self) -> tuple[str, str]:
        """When the first record and the last were made."""
        return (self._records[0]["at"], self._records[-1]["at"]) if self._records else ("", "")

    def lines(self, suite: str | None = None) -> list[Line]:
        """All cases, or those of one suite."""
        by_name: dict[str, list[Record]] = {}
        for record in self._records:
            if suite in (None, record["suite"]):
                by_name.setdefault(record["case"], []).append(record)
        return [_line(name, records) for name, records in by_name.items()]

    def find(self, **labels: str) -> Line | None:
        """The case that has all of *labels*; None where there is none, or where no round of it went well."""
        for line in self.lines():
            if labels.items() <= line.labels.items() and any(r["status"] == OK for r in line.records):
                return line
        return None

    @property
    def is_smoke(self) -> bool:
        """These records say only that everything works."""
        return bool(self.grounds.get("smoke"))

    def is_broken(self) -> bool:
        """Some case has failed."""
        return any(record["status"] == FAILED for record in self._records)


def read_records(file: Path) -> Results:
    """What was written down there."""
    return Results(json.loads(line) for line in file.read_text().splitlines())


def _line(name: str, records: list[Record]) -> Line:
    statuses = [record["status"] for record in records]
    status = FAILED if FAILED in statuses else MISSING if MISSING in statuses else OK
    why = next((r["why"] for r in reversed(records) if r["status"] == status), "")
    first = records[0]
    return Line(first["suite"], name, first["labels"], first["share"], tuple(records), status, why)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
