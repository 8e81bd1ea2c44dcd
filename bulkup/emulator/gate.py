"""What stands before every endpoint: the token, the quota, and for reading the read-back switch and its faults."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from .answers import Answer, RefusedError, cut, drip, problem, reset, send
from .body import BodyTooLargeError, ClientGoneError, discard
from .faults import PLAIN_STATUS, STORED_STATUS
from .limits import retry_after
from .settings import FaultName, ServiceName
from .state import STATE, State

__all__ = ["Handler", "Reader", "admission", "early", "plain_fault", "readback", "write"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Reader = Callable[[web.Request, State], Awaitable[Answer]]


async def early(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Send an answer that did not need the body: which is read and forgotten before, or left to the server after."""
    settings = request.app[STATE].settings
    if settings.early_answers == "after_body":
        await discard(request, settings.drain_s)
    return await send(request, answer)


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a request may go on: *refusal* is its answer where it may not, *headers* go with any answer to it."""

    refusal: Answer | None
    headers: Mapping[str, str] = field(default_factory=dict)


def admission(request: web.Request, service: ServiceName, *, upload: bool) -> Admission:
    """Ask token and quota, and count what the request uses of them."""
    state = request.app[STATE]
    state.tallies[service].requests += 1
    if not state.limits.admits(request.headers.get("Authorization", ""), state.settings):
        return Admission(problem(state, request, 401, "Invalid or missing token", {"WWW-Authenticate": "Bearer"}))
    rate = state.settings.rate.get(service)
    if rate is None or (rate.counts == "uploads" and not upload):
        return Admission(None)
    quota = state.limits.take(service, rate)
    headers = quota.headers(state.clock())
    return Admission(None if quota.allowed else problem(state, request, 429, "Too many requests", headers), headers)


def plain_fault(state: State, request: web.Request, fault: FaultName) -> Answer | None:
    """The error that *fault* answers by itself, or None where it is of another kind."""
    status = PLAIN_STATUS.get(fault) or STORED_STATUS.get(fault)
    if status is None:
        return None
    settings = state.settings
    if fault in {"429", "503_retry_after"}:
        wait = retry_after(settings.retry_after, settings.retry_after_s, state.clock()) or ""
        return problem(state, request, status, f"Emulated fault {fault}", {"Retry-After": wait})
    headers = {"Location": f"/_emulator/trap{request.path}"} if fault == "redirect_307" else {}
    return problem(state, request, status, f"Emulated fault {fault}", headers)


def readback(service: ServiceName, reader: Reader) -> Handler:
    """*reader* as a route that answers what the read-back switch and faults let through."""

    async def handle(request: web.Request) -> web.StreamResponse:
        state = request.app[STATE]
        state.tallies[service].readback_requests += 1
        let = admission(request, service, upload=False)
        if let.refusal is not None:
            _count(state, service, str(let.refusal.status))
            return await early(request, let.refusal)
        fault = state.dice.readback(service, state.settings)
        mode = state.settings.readback.get(service, "on")
        if mode in {"off", "forbidden"}:
            status, words = (404, "Not Found") if mode == "off" else (403, "Forbidden")
            _count(state, service, str(status))
            return await early(request, problem(state, request, status, words, let.headers))
        if fault.startswith("reset_") or fault in {"stored_then_reset", "stored_late"}:
            _count(state, service, "aborted")
            return reset(request)
        answer = plain_fault(state, request, fault) or await _read(reader, request, state)
        await (state.pause(state.settings.hang_s) if fault == "hang" else state.latency())
        _count(state, service, str(answer.status))
        if fault == "garbled_200":
            answer = Answer(200, b"<html>It works!</html>", content_type="text/html")
        answer = answer.bearing(let.headers)
        if fault == "cut_200":
            return await cut(request, answer)
        return await (drip(request, answer, state) if fault == "slow_drip" else send(request, answer))

    return handle


def write(service: ServiceName, writer: Reader) -> Handler:
    """*writer*, which is no upload, as a route behind token and quota."""

    async def handle(request: web.Request) -> web.StreamResponse:
        state = request.app[STATE]
        let = admission(request, service, upload=False)
        if let.refusal is not None:
            return await early(request, let.refusal)
        answer = await _read(writer, request, state)
        await state.latency()
        return await send(request, answer.bearing(let.headers))

    return handle


async def _read(reader: Reader, request: web.Request, state: State) -> Answer:
    try:
        return await reader(request, state)
    except RefusedError as refused:
        return problem(state, request, refused.status, refused.detail)
    except BodyTooLargeError:
        return problem(state, request, 413, "Request Entity Too Large")
    except ClientGoneError:
        return Answer(400)


def _count(state: State, service: ServiceName, status: str) -> None:
    state.tallies[service].readback_by_status[status] += 1
