"""A bench over the emulator, for both services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from bulkup.destinations.base import Destination
from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.collinear.wire import CollinearDestination
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.destinations.nebius.wire import NebiusDestination
from bulkup.emulator import Emulator, ServiceName, running
from bulkup.encoding import RowOptions, RowPlan, decide
from bulkup.model import Block
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import Timeouts, Transport
from tests.destinations import contract

SPACE = "3c90c3cc-0d44-4b50-8888-8dd25736052a"
SCRIPTED = {
    "401": "unauthorized_401",
    "402": "payment_402",
    "403": "forbidden_403",
    "307": "redirect_307",
    "503 with Retry-After": "503_retry_after",
}
READ_BACK = {
    "readback garbled": "garbled_200",
    "readback 429": "429",
    "readback 500": "not_stored_500",
    "readback reset": "reset_before_body",
}


class ServedBench:
    """A destination against an emulator that repeats the token in every error."""

    def __init__(
        self, service: ServiceName, emulator: Emulator, session: aiohttp.ClientSession, destination: Destination
    ) -> None:
        self.service = service
        self.emulator = emulator
        self.destination = destination
        self.names_bad_rows = True
        self._session = session
        sample = orjson.dumps(self.row(0)) + b"\n"
        target = NEBIUS if service == "nebius" else COLLINEAR
        self.plan: RowPlan = decide(Block(sample, 0, len(sample)), target, RowOptions(preset="identity"))

    def row(self, number: int) -> dict[str, Any]:
        if self.service == "nebius":
            return {"text": f"row {number}", "n": number}
        return {
            "conv_prefix": [{"role": "user", "content": f"row {number}"}],
            "response": {"role": "assistant", "content": "yes"},
            "ground_truth": number,
        }

    def bad_row(self) -> dict[str, Any]:
        if self.service == "nebius":
            return {**self.row(7), "n": "no integer"}
        return {**self.row(7), "response": {"role": "user", "content": "not the assistant's"}}

    async def fail(self, how: str) -> bool:
        patch: dict[str, Any]
        if how.startswith("pending then "):
            if self.service == "collinear":
                return False
            patch = {"pending_polls": 2, "pending_ends": how.rpartition(" ")[2]}
        elif how == "400 open":
            if self.service == "nebius":
                return False
            patch = {"refuse_rows": {self.service: {"marker": "row 1", "status": 400}}, "partial_400": "rows_before"}
        elif how == "413":
            patch = {"body_limit_bytes": {self.service: 4000}}
        elif how in ("readback off", "readback forbidden"):
            patch = {"readback": {self.service: how.split()[1]}}
        elif how in READ_BACK:
            patch = {"readback_script": {self.service: [READ_BACK[how]] * 2}}  # the client asks once more by itself
        elif how == "closed port":
            await self.emulator.shut()
            return True
        elif how == "repeated_ids" and self.service == "nebius":
            await self.destination.send(contract.payload(self, [self.row(0)]), lambda _: None)
            patch = {"script": {self.service: [how]}}
        else:
            patch = {"script": {self.service: [SCRIPTED.get(how, how)]}, "drip_s": 0.1}
        self.emulator.patch(**patch)
        return True

    async def answers(self) -> None:
        await self.emulator.open()

    async def stored(self) -> list[Any]:
        async with self._session.get(self.emulator.url + f"/_emulator/rows?service={self.service}") as answer:
            assert answer.status == 200
            return [orjson.loads(line) for line in (await answer.read()).splitlines()]

    async def foreign(self, name: str) -> None:
        place = {"folder": "/f"} if self.service == "nebius" else {"space_id": SPACE}
        given = {"service": self.service, "name": name, "rows": [self.row(0)], **place}
        if self.service == "nebius":
            types = [("text", "string"), ("n", "integer")]
            given["schema"] = [{"name": column, "type": {"name": kind}} for column, kind in types]
        async with self._session.post(self.emulator.url + "/_emulator/rows", json=given) as answer:
            assert answer.status == 200, await answer.text()


def nebius(transport: Transport, token: TokenSource) -> Destination:
    return NebiusDestination(transport, token, dataset_name=contract.NAME, folder="/f", ai_project_id=None)


def collinear(transport: Transport, token: TokenSource) -> Destination:
    return CollinearDestination(transport, token, dataset_name=contract.NAME, space_id=SPACE)


MAKERS: dict[ServiceName, Callable[[Transport, TokenSource], Destination]] = {"nebius": nebius, "collinear": collinear}


@asynccontextmanager
async def bench_of(service: ServiceName, tmp_path: Path) -> AsyncIterator[ServedBench]:
    token = TokenSource(variable="T", file=None, environment={"T": contract.SECRET})
    timeouts = Timeouts(connect_s=5, stall_s=1, answer_bytes_per_s=1e9)
    async with running(db_path=tmp_path / "rows.db") as emulator, aiohttp.ClientSession() as session:
        emulator.patch(echo_authorization=True)
        async with Transport(emulator.url, user_agent="bulkup/test", timeouts=timeouts) as transport:
            yield ServedBench(service, emulator, session, MAKERS[service](transport, token))
