"""Which fault a request meets: scripted first, then drawn from a seeded die."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from .settings import SERVICES, FaultName, ServiceName, Settings

__all__ = ["PLAIN_STATUS", "STORED_STATUS", "Dice", "stores"]

PLAIN_STATUS: Final[Mapping[FaultName, int]] = {
    "not_stored_500": 500,
    "not_stored_502": 502,
    "not_stored_503": 503,
    "not_stored_504": 504,
    "not_stored_408": 408,
    "not_stored_520": 520,
    "503_retry_after": 503,
    "503_plain": 503,
    "429": 429,
    "redirect_307": 307,
    "unauthorized_401": 401,
    "payment_402": 402,
    "forbidden_403": 403,
}
"""Faults that read the body, store nothing and answer so."""

STORED_STATUS: Final[Mapping[FaultName, int]] = {"stored_then_500": 500, "stored_then_502": 502, "stored_then_504": 504}
"""Faults that store the body and answer so."""

_NEVER_STORE: Final = frozenset({"reset_before_body", "reset_in_body", "reset_after_body", *PLAIN_STATUS})


def stores(fault: FaultName, settings: Settings) -> bool:
    """Whether an upload of good rows that meets *fault* is stored (for `stored_late`: later)."""
    match fault:
        case "hang":
            return settings.hang_body == "stored"
        case "accepted_202" | "204":
            return settings.accepted_body == "stored"
        case "conflict_409":
            return settings.conflict_body == "stored"
        case _:
            return fault not in _NEVER_STORE


class Dice:
    """Decides once for each request, in their order of arrival: equal seeds and orders give equal faults."""

    def __init__(self, settings: Settings) -> None:
        self.chance = random.Random(settings.seed)  # noqa: S311 - faults, not secrets
        self._scripts: dict[str, deque[FaultName]] = {}
        self._dice: dict[str, random.Random] = {}
        self.restart(settings)

    def restart(self, settings: Settings) -> None:
        """Throw from the seed's beginning, with the settings' scripts in full."""
        for service in SERVICES:
            for use in ("", "readback_"):
                self._dice[use + service] = random.Random(f"{settings.seed}:{use}{service}")  # noqa: S311
            self.rewrite(service, settings.script.get(service, ()))
            self.rewrite(service, settings.readback_script.get(service, ()), readback=True)

    def rewrite(self, service: ServiceName, script: Iterable[FaultName], *, readback: bool = False) -> None:
        """Let *script* be what comes next."""
        self._scripts[("readback_" if readback else "") + service] = deque(script)

    def left(self, service: ServiceName) -> list[FaultName]:
        """What of the upload script has not been used."""
        return list(self._scripts[service])

    def upload(self, service: ServiceName, settings: Settings) -> FaultName:
        """The fault of the next upload."""
        return self._draw(service, settings.faults.get(service, {}))

    def readback(self, service: ServiceName, settings: Settings) -> FaultName:
        """The fault of the next read-back request."""
        return self._draw("readback_" + service, settings.readback_faults.get(service, {}))

    def _draw(self, key: str, table: Mapping[FaultName, float]) -> FaultName:
        throw = self._dice[key].random()
        if self._scripts[key]:
            return self._scripts[key].popleft()
        for fault, share in sorted(table.items()):
            if throw < share:
                return fault
            throw -= share
        return "ok"
