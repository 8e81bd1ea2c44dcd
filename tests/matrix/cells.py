"""The cells of the crash matrix: lane × fault × point of death × read-back, with what each must come to."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.matrix.failpoints import POINTS

__all__ = ["FAULTS", "LANES", "QUIET_S", "Cell", "cells", "of_another", "smoke"]

LANES = ("nebius", "collinear")
QUIET_S = 0.4
LATE_S = 0.15

UPLOAD_FAULTS = (
    "reset_before_body", "reset_in_body", "reset_after_body", "stored_then_reset", "stored_then_500", "stored_then_502",
    "stored_then_504", "stored_late", "503_retry_after", "503_plain", "429", "hang", "garbled_200", "cut_200",
    "wrong_id_count", "repeated_ids", "slow_drip",
)  # fmt: skip
"""Faults of the emulator's that one upload meets."""

OTHER_FAULTS = (
    "ok", "429 by date", "closed port", "port closed at the start", "token expiring", "lagging", "lagging long",
    "another writer", "old dataset", "old dataset, lagging", "pending", "failing looks", "everything", "list not whole",
)  # fmt: skip

RELAY_FAULTS = ("held by the kernel", "early 200")
"""One upload meets a relay that reads no further before the run has ended, or that answers success when a body has hardly begun."""

ROW_BYTES = {"held by the kernel": 30_000, "early 200": 100_000}
"""Bodies larger than the relay's end takes in unread, so that this machine still holds some of them. All other rows are short."""

FAULTS = (*UPLOAD_FAULTS, *OTHER_FAULTS, *RELAY_FAULTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of the matrix. *kills* holds a point and a count for each invocation that may die, the first one first."""

    number: int
    seed: int
    lane: str
    fault: str
    kills: tuple[tuple[str, int], ...]
    reads_back: bool
    rows: int
    chunk_rows: int
    emulator: dict[str, Any] = field(default_factory=dict)
    row_bytes: int = 20
    stopped_at: int = 0
    """The number of the upload (from 1) that a relay does not pass on; 0 where there is none."""

    @property
    def is_provable(self) -> bool:
        """Everything must land exactly once, and no doubt remain."""
        return self.reads_back and self.fault not in ("another writer", "list not whole")

    def __str__(self) -> str:
        kills = " then ".join(f"{point}@{number}" for point, number in self.kills) or "none"
        readback = "on" if self.reads_back else "off"
        return (
            f"#{self.number} {self.lane}, {self.fault}, killed: {kills}, read-back {readback}, "
            f"{self.rows} rows by {self.chunk_rows}"
        )


def cells(count: int, seed: int) -> list[Cell]:
    """*count* cells that go round every lane, fault, point and read-back; the rest is drawn from *seed*."""
    dice = random.Random(seed)
    grid = [(lane, fault, point) for lane in LANES for fault in FAULTS for point in POINTS if _has(lane, fault, point)]
    dice.shuffle(grid)
    made = []
    for number in range(count):
        lane, fault, point = grid[number % len(grid)]
        made.append(_cell(number, lane, fault, point, dice.random() < 0.75, dice))
    return made


def smoke(count: int = 40, seed: int = 7) -> list[Cell]:
    """Few cells in which each fault and each point of death comes up on one lane or the other at least once."""
    dice = random.Random(seed)
    points = [point for point in POINTS if point != "none"]
    dice.shuffle(points)
    made: list[Cell] = []
    for number in range(count):
        fault = FAULTS[number % len(FAULTS)]
        lane = LANES[number % 2] if number < len(FAULTS) else LANES[(number + 1) % 2]
        point = points[number % len(points)]
        if not _has("nebius", fault, point):
            lane = "collinear"
        elif not _has("collinear", fault, point):
            lane = "nebius"
        made.append(_cell(number, lane, fault, point, number % 7 != 6, dice))
    return made


def of_another(lane: str, faults: Sequence[str], count: int, seed: int = 7) -> list[Cell]:
    """*count* cells for a service of others, which has *faults*: each comes up, and as many points of death as there can."""
    dice = random.Random(seed)
    points = [point for point in POINTS if point not in ("none", "answered")]
    dice.shuffle(points)
    return [
        _cell(number, lane, faults[number % len(faults)], points[number % len(points)], number % 7 != 6, dice)
        for number in range(count)
    ]


def _has(lane: str, fault: str, point: str) -> bool:
    if lane == "nebius":
        return fault not in ("wrong_id_count", "repeated_ids")
    return fault not in ("pending", "list not whole") and point != "answered"


def _cell(number: int, lane: str, fault: str, point: str, reads_back: bool, dice: random.Random) -> Cell:
    if fault in ("lagging", "lagging long", "old dataset, lagging", "failing looks"):
        reads_back = True
    is_single = dice.random() < 0.15
    rows = dice.randint(16, 24) if fault in RELAY_FAULTS else dice.randint(60, 200)
    chunk_rows = (
        rows if is_single else -(-rows // (dice.randint(4, 6) if fault in RELAY_FAULTS else dice.randint(6, 12)))
    )
    settling = point in ("looking", "looked", "before a verdict", "after a verdict", "before the audit")
    kills: list[tuple[str, int]] = []
    if settling and dice.random() < 0.5:  # a doubt that a crash has left is what is being settled
        kills.append((dice.choice(["sending", "rows sent", "body sent"]), dice.randint(1, 4)))
    if point != "none":
        kills.append((point, 1 if is_single or settling or point == "surveyed" else dice.randint(1, 8)))
    if point != "none" and dice.random() < 0.25:
        kills.append((dice.choice([p for p in POINTS if p != "none"]), dice.randint(1, 3)))
    return Cell(
        number=number,
        seed=dice.randrange(1 << 30),
        lane=lane,
        fault=fault,
        kills=tuple(kills),
        reads_back=reads_back,
        rows=rows,
        chunk_rows=chunk_rows,
        emulator=_emulator(lane, fault, reads_back, dice),
        row_bytes=ROW_BYTES.get(fault, 20),
        stopped_at=dice.randint(1, 1 if is_single else 4) if fault in RELAY_FAULTS else 0,
    )


def _emulator(lane: str, fault: str, reads_back: bool, dice: random.Random) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "seed": dice.randrange(1 << 30),
        "latency_ms": dice.choice([0, 5, 20]),
        "store_delay_ms": dice.choice([0, 10]),
        "late_s": LATE_S,
        "retry_after_s": 1,
        "drip_s": 0.2,
        "hang_body": dice.choice(["stored", "dropped"]),
    }
    if not reads_back:
        settings["readback"] = {lane: dice.choice(["off", "forbidden"])}
    match fault:
        case "ok" | "closed port" | "port closed at the start" | "held by the kernel" | "early 200":
            pass
        case "429 by date":
            settings |= {"retry_after": "date", "script": {lane: _script("429", dice)}}
        case "token expiring":
            settings["token_requests"] = dice.randint(4, 9)
        case "lagging" | "old dataset, lagging":
            settings |= {"readback": {lane: "lagging"}, "readback_lag_s": dice.choice([0.1, 0.25])}
            settings |= {"late_s": 0.05, "script": {lane: _script(_lost(dice), dice)}}
        case "lagging long":
            settings |= {
                "readback": {lane: "lagging"},
                "readback_lag_s": 1.0,
                "script": {lane: _script(_lost(dice), dice)},
            }
        case "list not whole":
            settings |= {"list_stuck_at": 2, "script": {lane: _script(_lost(dice), dice)}}
        case "another writer" | "old dataset":
            settings["script"] = {lane: _script(_lost(dice), dice)}
        case "pending":
            settings |= {"pending_polls": 1, "script": {lane: _script(_lost(dice), dice)}}
        case "failing looks":
            settings["script"] = {lane: _script(_lost(dice), dice)}
            settings["readback_script"] = {
                lane: ["ok", *_script("stored_then_reset", dice), *_script("503_plain", dice)]
            }
        case "everything":
            settings["faults"] = {
                lane: {"stored_then_reset": 0.12, "reset_in_body": 0.08, "stored_late": 0.08, "429": 0.02}
            }
        case _:
            settings["script"] = {lane: _script(fault, dice)}
    return settings


def _lost(dice: random.Random) -> str:
    return dice.choice(["stored_then_reset", "reset_in_body", "stored_late", "reset_after_body", "garbled_200"])


def _script(fault: str, dice: random.Random) -> list[str]:
    """One to four uploads of the first dozen meet *fault*."""
    places: Sequence[int] = dice.sample(range(10), dice.randint(1, 4))
    return [fault if place in places else "ok" for place in range(max(places) + 1)]
