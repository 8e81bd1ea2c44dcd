"""An upload's way: admitted, read, understood, stored, answered, with a fault at any of these points."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from aiohttp import web

from .answers import Answer, RefusedError, cut, drip, json_answer, problem, reset, send
from .body import BodyTooLargeError, ClientGoneError, read, read_half
from .faults import PLAIN_STATUS, stores
from .gate import Handler, admission, early, plain_fault
from .settings import FaultName, ServiceName, Settings
from .state import STATE, State
from .store import Dataset, Upload

__all__ = ["Endpoint", "refuse_marked", "upload"]


class Endpoint(Protocol):
    """One service's upload call."""

    service: ServiceName

    def read(self, body: bytearray, content_type: str, settings: Settings) -> Upload:
        """What the body says. Raises `RefusedError`. Called in a thread."""

    async def store(self, state: State, upload: Upload, begun: int) -> Dataset:
        """Store it. *begun* is the youngest dataset's number when the request came in."""

    async def answer(self, state: State, dataset: Dataset, upload: Upload, fault: FaultName) -> Answer:
        """The 200 for *upload*, with the ids that are wrong if *fault* asks for that."""


def upload(endpoint: Endpoint) -> Handler:
    """*endpoint* as a route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        state = request.app[STATE]
        tally = state.tallies[endpoint.service]
        tally.upload_began()
        try:
            let = admission(request, endpoint.service, upload=True)
            if let.refusal is not None:
                tally.by_status[str(let.refusal.status)] += 1
                return await early(request, let.refusal)
            return await _Attempt(request, state, endpoint, let.headers).run()
        finally:
            state.upload_ended(endpoint.service)

    return handle


class _Attempt:
    """One upload request that was let in."""

    def __init__(self, request: web.Request, state: State, endpoint: Endpoint, headers: Mapping[str, str]) -> None:
        self.request = request
        self.state = state
        self.endpoint = endpoint
        self.headers = headers
        self.settings = state.settings
        self.tally = state.tallies[endpoint.service]
        self.begun = state.store.last
        self.life = state.life
        self.fault: FaultName = "ok"
        self.body = bytearray()

    async def run(self) -> web.StreamResponse:
        limit = self.settings.body_limit_bytes.get(self.endpoint.service)
        size = self.request.content_length
        if size is not None and limit is not None and size > limit:
            return await self._too_large()
        self.fault = self.state.dice.upload(self.endpoint.service, self.settings)
        self.tally.by_fault[self.fault] += 1
        if self.fault == "reset_before_body":
            return self._reset()
        try:
            if self.fault == "reset_in_body":
                self.tally.body_came(len(await read_half(self.request)))
                return self._reset()
            self.body = await read(self.request, limit)
        except BodyTooLargeError:
            return await self._too_large()
        except ClientGoneError as gone:
            self.tally.body_came(gone.received)
            self.tally.by_status["gone"] += 1
            return reset(self.request)
        self.tally.body_came(len(self.body))
        return await self._whole()

    async def _whole(self) -> web.StreamResponse:
        """The body is here: all further faults."""
        if self.fault == "reset_after_body":
            return self._reset()
        if self.fault in PLAIN_STATUS:
            await self.state.latency()
            return await self._send(plain_fault(self.state, self.request, self.fault))
        if self.fault == "stored_late":
            self.tally.late_pending += 1
            self.state.later(self._store_late())
            return self._reset()
        async with self.state.capacities[self.endpoint.service].place():
            answer = await self._stored() if stores(self.fault, self.settings) else None
            await self.state.latency()
        return await self._reply(answer)

    async def _stored(self) -> Answer:
        """Understand the body and store it; the answer is what it would be without a fault."""
        await self.state.pause(self.settings.store_delay_ms / 1000)
        content_type = self.request.headers.get("Content-Type", "")
        try:
            meant = await self.state.read(lambda: self.endpoint.read(self.body, content_type, self.settings))
            self.body = bytearray()
            dataset = await self._keep(meant)
            return await self.endpoint.answer(self.state, dataset, meant, self.fault)
        except RefusedError as refused:
            if refused.kept is not None and self.settings.partial_400 == "rows_before":
                await self._keep(refused.kept)
            return problem(self.state, self.request, refused.status, refused.detail)

    async def _keep(self, meant: Upload) -> Dataset:
        if self.life != self.state.life:
            raise RefusedError(503, "The emulator was reset")
        if self.fault == "failed_status":
            meant = replace(meant, ends="FAILED")
        dataset = await self.endpoint.store(self.state, meant, self.begun)
        self.tally.stored(len(meant.rows))
        return dataset

    async def _store_late(self) -> None:
        try:
            await asyncio.sleep(self.settings.late_s)
            await self._stored()
        finally:
            self.tally.late_pending -= 1

    async def _reply(self, answer: Answer | None) -> web.StreamResponse:
        """Answer, as the fault has it. *answer* is None where the body was dropped."""
        match self.fault:
            case "stored_then_reset":
                return self._reset()
            case "stored_then_500" | "stored_then_502" | "stored_then_504":
                return await self._send(plain_fault(self.state, self.request, self.fault))
            case "conflict_409":
                return await self._send(problem(self.state, self.request, 409, "Emulated fault conflict_409"))
            case "hang":
                await self._hang()
                return self._reset() if answer is None else await self._send(answer)
        if answer is not None and answer.status != 200:
            return await self._send(answer)
        match self.fault:
            case "accepted_202":
                return await self._send(json_answer({"status": "accepted"}, 202))
            case "204":
                return await self._send(Answer(204))
            case "garbled_200":
                return await self._send(Answer(200, b"<html>It works!</html>", content_type="text/html"))
        assert answer is not None
        return await self._send(answer)

    async def _hang(self) -> None:
        """Stay silent for `hang_s`, or until the client leaves."""
        left = self.settings.hang_s
        while left > 0 and not self.state.stopping.is_set():
            transport = self.request.transport
            if transport is None or transport.is_closing():
                return
            await self.state.pause(min(left, 0.05))
            left -= 0.05

    async def _send(self, answer: Answer | None) -> web.StreamResponse:
        assert answer is not None
        self.tally.by_status[str(answer.status)] += 1
        answer = answer.bearing(self.headers)
        if answer.status == 200 and self.fault == "cut_200":
            return await cut(self.request, answer)
        if answer.status == 200 and self.fault == "slow_drip":
            return await drip(self.request, answer, self.state)
        return await send(self.request, answer)

    async def _too_large(self) -> web.StreamResponse:
        self.tally.by_status["413"] += 1
        answer = problem(self.state, self.request, 413, "Request Entity Too Large", self.headers)
        if not self.settings.close_on_413:
            return await early(self.request, answer)
        response = await send(self.request, answer)
        response.force_close()
        if self.request.transport is not None:
            self.request.transport.close()
        return response

    def _reset(self) -> web.StreamResponse:
        self.tally.by_status["aborted"] += 1
        return reset(self.request)


def refuse_marked(meant: Upload, settings: Settings, loc: list[str | int]) -> None:
    """Raise `RefusedError` where a row holds the marker that `refuse_rows` names. *loc* leads to the rows."""
    rule = settings.refuse_rows.get(meant.service)
    if rule is None:
        return
    marker = rule.marker.encode()
    marked = [number for number, row in enumerate(meant.rows) if marker in row]
    if not marked:
        return
    words = f"Value is not acceptable: rows must not hold {rule.marker!r}"
    if rule.status == 400:
        raise RefusedError(400, words, _before(meant, marked[0]))
    named: list[list[str | int]] = [[*loc, number] for number in marked]
    if rule.names != "all":
        named = named[:1] if rule.names == "first" else [loc]
    raise RefusedError(422, [{"loc": place, "msg": words, "type": "value_error"} for place in named])


def _before(meant: Upload, row: int) -> Upload:
    return replace(meant, rows=meant.rows[:row], ids=meant.ids[:row])
