"""The in-memory destination passes the contract: what is tested with it is tested with a destination."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import RowOptions, RowPlan, decide
from bulkup.errors import ExitCode
from bulkup.model import Block
from bulkup.outcome import CloseGate, InDoubt, Outcome, StopLane, TokenRejected, TryAgain
from bulkup.tokens.token_source import TokenSource
from tests.destinations import contract
from tests.destinations.memory import MemoryDestination, Stored

OUTCOMES: dict[str, Callable[[], Outcome | str]] = {
    "401": lambda: TokenRejected("HTTP 401"),
    "402": lambda: StopLane("HTTP 402", ExitCode.NO_PERMISSION),
    "403": lambda: StopLane("HTTP 403", ExitCode.NO_PERMISSION),
    "307": lambda: StopLane("HTTP 307", ExitCode.USAGE),
    "429": lambda: CloseGate("HTTP 429", 1.0),
    "503 with Retry-After": lambda: CloseGate("HTTP 503", 1.0),
    "closed port": lambda: TryAgain("refused"),
    "stored_then_reset": lambda: "stored",
    "reset_in_body": lambda: InDoubt("reset"),
    "pending then READY": lambda: "pending",
    "pending then FAILED": lambda: "failed",
}


def plan(sample: bytes = b'{"text":"a"}\n') -> RowPlan:
    return decide(Block(sample, 0, len(sample)), NEBIUS, RowOptions(preset="identity"))


@dataclass
class MemoryBench:
    destination: MemoryDestination
    plan: RowPlan = field(default_factory=plan)
    names_bad_rows: bool = True

    def row(self, number: int) -> dict[str, Any]:
        return {"text": f"row {number}"}

    def bad_row(self) -> dict[str, Any]:
        return {"text": 7}

    async def fail(self, how: str) -> bool:
        if how == "413":
            self.destination.max_body_bytes = 1000
        elif how == "readback off":
            self.destination.look_unavailable = "HTTP 404"
        elif how in OUTCOMES:
            self.destination.script.append(OUTCOMES[how]())
        else:
            return False
        return True

    async def stored(self) -> list[Any]:
        return self.destination.rows()

    async def foreign(self, name: str) -> None:
        id_ = f"foreign-{len(self.destination.datasets)}"
        self.destination.datasets[id_] = Stored(id_, name, [])

    async def answers(self) -> None:
        """It always does."""


class TestMemory(contract.Contract):
    @pytest.fixture
    def bench(self) -> MemoryBench:
        token = TokenSource(variable="T", file=None, environment={"T": contract.SECRET})
        return MemoryBench(
            MemoryDestination(contract.NAME, token, refuse=lambda row: not isinstance(row.get("text"), str))
        )
