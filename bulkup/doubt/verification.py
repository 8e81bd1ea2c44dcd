"""Comparing what is stored with what was sent: pure decisions, and what they come to.

Rows are compared by keys (`Destination.row_key`): hashes of their content, 16 bytes each, laid end to end in the order of the
rows. So a chunk of any number of rows is one short string of bytes, and the usual case is one comparison of two of them.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import field
from enum import StrEnum
from functools import cached_property
from html import escape
from typing import Any

import xxhash

from bulkup.errors import ExitCode, worst
from bulkup.light_dataclass import as_dict, dataclass

__all__ = [
    "KEY_BYTES",
    "SHOWN_ROWS",
    "Comparison",
    "DatasetDifference",
    "Kind",
    "LaneVerification",
    "Mismatch",
    "RowDifference",
    "Sample",
    "Verification",
    "compare_in_order",
    "compare_unordered",
    "excluded_share",
    "split_keys",
]

KEY_BYTES = 16

SHOWN_ROWS = 100
"""How many differing rows are named in each destination; the others are counted."""

WINDOW = 256
"""How many rows a comparison in order looks ahead to find its place again."""

RANK_BITS = 64

FIRST_BITS = 12
"""A sample counts ranks by so many of their bits, and holds only those whose first bits are where the line is drawn."""

DOUBT_ALLOWED = 0.05
"""One minus the confidence with which a sample excludes a share of defects."""


class Kind(StrEnum):
    """How a row differs."""

    MISSING = "missing"
    ALTERED = "altered"
    EXTRA = "extra"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """*sent* is the row's number in its chunk, *stored* its number in the dataset (both from 0, None where there is none)."""

    kind: Kind
    sent: int | None
    stored: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many rows differ, and the first of them."""

    count: int = 0
    first: tuple[Mismatch, ...] = ()


class _Found:
    """Mismatches as they come: all are counted, the first are kept."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Mismatch] = []

    def add(self, kind: Kind, rows: int, sent: int | None, stored: int | None) -> None:
        self.count += rows
        for place in range(min(rows, SHOWN_ROWS - len(self.first))):
            self.first.append(
                Mismatch(kind, None if sent is None else sent + place, None if stored is None else stored + place)
            )

    @property
    def comparison(self) -> Comparison:
        return Comparison(self.count, tuple(self.first))


def compare_in_order(sent: bytes, stored: bytes) -> Comparison:
    """Where *stored* is not *sent*, row by row. A row that is missing or extra does not make all behind it differ."""
    if sent == stored:
        return Comparison()
    a, b = split_keys(sent), split_keys(stored)
    found = _Found()
    i = j = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            i, j = i + 1, j + 1
            continue
        kind, rows = _step(a, b, i, j)
        found.add(kind, rows, None if kind is Kind.EXTRA else i, None if kind is Kind.MISSING else j)
        i += 0 if kind is Kind.EXTRA else rows
        j += 0 if kind is Kind.MISSING else rows
    found.add(Kind.MISSING, len(a) - i, i, None)
    found.add(Kind.EXTRA, len(b) - j, None, j)
    return found.comparison


def _step(a: list[bytes], b: list[bytes], i: int, j: int) -> tuple[Kind, int]:
    """How many rows to pass, and as what, until both sides agree again; as altered where they do not within the window."""
    for rows in range(1, WINDOW):
        if i + rows < len(a) and j + rows < len(b) and a[i + rows] == b[j + rows]:
            return Kind.ALTERED, rows
        if i + rows < len(a) and a[i + rows] == b[j]:
            return Kind.MISSING, rows
        if j + rows < len(b) and a[i] == b[j + rows]:
            return Kind.EXTRA, rows
    return Kind.ALTERED, min(WINDOW, len(a) - i, len(b) - j)


def compare_unordered(sent: bytes, stored: bytes) -> Comparison:
    """Where *stored* is not *sent*, as multisets: a row that was sent counts as altered where as many rows that were not sent
    are there, as missing where fewer are."""
    if sent == stored:
        return Comparison()
    surplus = Counter(split_keys(stored))
    absent = []
    for number, key in enumerate(split_keys(sent)):
        if surplus[key] > 0:
            surplus[key] -= 1
        else:
            absent.append(number)
    extra = surplus.total()
    found = _Found()
    for number in absent:
        found.add(Kind.ALTERED if extra >= len(absent) else Kind.MISSING, 1, number, None)
    if extra > len(absent):
        found.add(Kind.EXTRA, extra - len(absent), None, None)
    return found.comparison


def split_keys(packed: bytes) -> list[bytes]:
    """The keys that *packed* is made of."""
    return [packed[at : at + KEY_BYTES] for at in range(0, len(packed), KEY_BYTES)]


class Sample:
    """A share of a lane's chunks, chosen at random, by the positions at which they start. Memory does not grow with their number.

    Each position has a rank by chance, and the lowest ranks are chosen. How low that is comes out when the sample is shown every
    position twice (`show`, `count_up`, `show_again`). The same *seed* chooses the same of the same chunks.
    """

    def __init__(self, share: float, seed: int) -> None:
        """That *share* of the chunks is chosen, rounded up."""
        self.total = self.count = 0
        self._share = share
        self._seed = seed % (1 << RANK_BITS)
        self._by_first_bits = array("Q", bytes(8 << FIRST_BITS))
        self._cut = self._wanted_at_cut = 0
        self._at_cut: list[int] = []

    def show(self, position: int) -> None:
        """The first time: a chunk starts at *position*."""
        self.total += 1
        self._by_first_bits[self._rank(position) >> RANK_BITS - FIRST_BITS] += 1

    def count_up(self) -> None:
        """All have been shown once: how many are chosen, and with which first bits of a rank it is decided which."""
        self.count = self._wanted_at_cut = min(self.total, math.ceil(self.total * self._share - 1e-9))
        for bits, ranks in enumerate(self._by_first_bits):
            self._cut = bits
            if ranks >= self._wanted_at_cut:
                break
            self._wanted_at_cut -= ranks

    @property
    def is_all(self) -> bool:
        """All are chosen, so that nothing need be shown again."""
        return self.count == self.total

    def show_again(self, position: int) -> None:
        """The second time: a chunk starts at *position*."""
        rank = self._rank(position)
        if rank >> RANK_BITS - FIRST_BITS == self._cut:
            self._at_cut.append(rank)

    @cached_property
    def _limit(self) -> int:
        """Ranks below this one are chosen."""
        return sorted(self._at_cut)[self._wanted_at_cut - 1] + 1 if self.count else 0

    def __contains__(self, position: int) -> bool:
        """Whether the chunk that starts there is chosen."""
        return self.is_all or self._rank(position) < self._limit

    def _rank(self, position: int) -> int:
        return xxhash.xxh3_64_intdigest(position.to_bytes(8, "little"), self._seed)


def excluded_share(compared: int, total: int) -> float | None:
    """The share of defective chunks that *compared* good ones of *total*, chosen at random, exclude at 95 % confidence: a larger
    one would have shown with a probability of over 95 %. The exact binomial bound 1 - 0.05^(1/n), about 3/n ("rule of three"),
    which does not count in that the chunks are finite. None where nothing was compared."""
    if compared == 0:
        return None
    return 0.0 if compared >= total else float(1 - DOUBT_ALLOWED ** (1 / compared))


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDifference:
    """A row that differs. *file*, *row_number* (from 1, blank lines counted) and *byte_offset* are the source's, None for a row
    that the source does not have; *dataset_row* is its number in the dataset (from 1), where there is one."""

    kind: Kind
    chunk: str
    file: str | None
    row_number: int | None
    byte_offset: int | None
    dataset_id: str
    dataset_row: int | None = None


@dataclass(frozen=True, slots=True)
class DatasetDifference:
    """A dataset that is not as it should be, in one line."""

    dataset_id: str
    what: str


@dataclass(slots=True)
class LaneVerification:
    """What the comparison of one destination found. *unverifiable* says why something could not be looked at."""

    datasets: int = 0
    rows_landed: int = 0
    rows_in_doubt: int = 0
    rows_rejected: int = 0
    rows_left: int = 0
    rows_of_others: int = 0
    """Rows in the same dataset that other runs known here have put there since this one began."""
    read_whole: bool = True
    """Whether the run has come to the source's end."""
    chunks_landed: int = 0
    chunks_compared: int = 0
    rows_compared: int = 0
    rows_differing: int = 0
    row_differences: list[RowDifference] = field(default_factory=list)
    dataset_differences: list[DatasetDifference] = field(default_factory=list)
    unverifiable: list[str] = field(default_factory=list)
    stopped: tuple[str, ExitCode] | None = None
    """Why the comparison broke off, and with which code."""

    @property
    def differs(self) -> bool:
        """Something is not as it should be."""
        return bool(self.rows_differing or self.row_differences or self.dataset_differences)

    @property
    def excluded(self) -> float | None:
        """See `excluded_share`; None where that says nothing: something differs, or the comparison broke off."""
        if self.differs or self.stopped or self.unverifiable:
            return None
        return excluded_share(self.chunks_compared, self.chunks_landed)

    @property
    def exit_code(self) -> ExitCode:
        """5 where something differs; else 4 where something could not be looked at or is in doubt; else 75 where the run is not at
        its end; 0 where all is equal."""
        if self.differs:
            return ExitCode.DIFFERS
        if self.stopped is not None:
            return self.stopped[1]
        if self.unverifiable or self.rows_in_doubt:
            return ExitCode.IN_DOUBT
        return ExitCode.TRY_LATER if self.rows_left or not self.read_whole else ExitCode.ALL_LANDED

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        record = as_dict(self)
        del record["stopped"]
        return {
            "exit_code": int(self.exit_code),
            "equal": self.exit_code == ExitCode.ALL_LANDED,
            "reason": None if self.stopped is None else self.stopped[0],
            **record,
            "excluded_share_of_chunks": self.excluded,
        }


@dataclass(frozen=True, slots=True)
class Verification:
    """What the comparison of a run found, by destination. *seed* chose the sample of *sample* of the chunks."""

    run_id: str
    sample: float
    seed: int
    lanes: dict[str, LaneVerification]

    @property
    def exit_code(self) -> ExitCode:
        """A difference anywhere is what counts; else the gravest of the lanes'."""
        codes = [lane.exit_code for lane in self.lanes.values()]
        return ExitCode.DIFFERS if ExitCode.DIFFERS in codes else worst(codes)

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "run_id": self.run_id,
            "exit_code": int(self.exit_code),
            "sample": self.sample,
            "seed": self.seed,
            "confidence": 1 - DOUBT_ALLOWED,
            "destinations": {name: lane.to_json() for name, lane in self.lanes.items()},
        }

    def _repr_html_(self) -> str:
        """As a notebook shows it: a line for each destination."""
        titles = ("", "exit code", "chunks compared", "of", "rows compared", "rows differing", "stopped")
        rows = [
            (
                name,
                str(int(lane.exit_code)),
                *(f"{count:,}" for count in _counts(lane)),
                lane.stopped[0] if lane.stopped else "",
            )
            for name, lane in self.lanes.items()
        ]
        head = "".join(f"<th>{title}</th>" for title in titles)
        body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
        return f"<table><caption>verify {escape(self.run_id)}</caption><tr>{head}</tr>{body}</table>"


def _counts(lane: LaneVerification) -> tuple[int, ...]:
    return lane.chunks_compared, lane.chunks_landed, lane.rows_compared, lane.rows_differing
