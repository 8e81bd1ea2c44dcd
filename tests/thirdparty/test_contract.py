"""A destination in one file passes the contract that the built-in ones pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from bulkup.destinations.base import Destination
from bulkup.destinations.service import DatasetAt
from bulkup.encoding import RowOptions, RowPlan, decide
from bulkup.model import Block
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import Timeouts, Transport
from tests.destinations import contract
from tests.thirdparty.bulkup_thirdparty import THIRDPARTY
from tests.thirdparty.server import ANSWERS, REFUSED, Server, serving

UPLOADS = {
    "503 with Retry-After": "503_retry_after", **{how: how for how in ANSWERS},
    **{how: how for how in ("reset_before_body", "reset_in_body", "reset_after_body", "stored_then_reset",
       "stored_then_500", "garbled_200", "cut_200", "wrong_id_count", "hang")},
}  # fmt: skip
READS = {
    "readback garbled": "garbled_200", "readback 429": "429", "readback 500": "not_stored_500",
    "readback reset": "reset_before_body",
}  # fmt: skip


class ThirdPartyBench:
    names_bad_rows = True

    def __init__(self, server: Server, destination: Destination) -> None:
        self.server = server
        self.destination = destination
        sample = orjson.dumps(self.row(0)) + b"\n"
        self.plan: RowPlan = decide(Block(sample, 0, len(sample)), destination.target, RowOptions(preset="identity"))

    def row(self, number: int) -> dict[str, Any]:
        return {"text": f"row {number}", "n": number}

    def bad_row(self) -> dict[str, Any]:
        return {"text": REFUSED, "n": 0}

    async def fail(self, how: str) -> bool:
        if how in ("readback off", "readback forbidden"):
            self.server.settings["readback"] = {"thirdparty": how.split()[1]}
        elif how in READS:
            self.server.settings["readback_script"] = {"thirdparty": [READS[how]] * 2}
        elif how == "closed port":
            await self.server.shut()
        elif how == "413":
            self.server.settings["max_body_bytes"] = 1000
        elif how in UPLOADS:
            self.server.settings["script"] = {"thirdparty": [UPLOADS[how]]}
        else:
            return False
        return True

    async def stored(self) -> list[Any]:
        return [row for row in self.server.stored() if row != {"foreign": True}]

    async def foreign(self, name: str) -> None:
        self.server.store({"box": "b", "set": name, "rows": [{"foreign": True}]})

    async def answers(self) -> None:
        """What is asked of the server here needs no connection."""


class TestThirdParty(contract.Contract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[ThirdPartyBench]:
        token = TokenSource(variable="T", file=None, environment={"T": contract.SECRET})
        timeouts = Timeouts(connect_s=5, stall_s=1, answer_bytes_per_s=1e9)
        async with serving() as server, Transport(server.url, user_agent="bulkup/test", timeouts=timeouts) as transport:
            dataset = DatasetAt("thirdparty", server.url, contract.NAME, {"box": "b"})
            yield ThirdPartyBench(server, THIRDPARTY.destination(dataset, transport, token))
