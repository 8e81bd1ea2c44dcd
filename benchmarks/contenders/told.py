"""What a contender tells: one JSON line, the last of its standard output."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable

__all__ = ["NotAvailable", "Stopwatch", "tell"]


class NotAvailable(Exception):
    """What is to be measured does not exist here. Its text says what is missing."""


class Stopwatch:
    """Seconds and CPU seconds (of this process and of those it has waited for) since it was made."""

    def __init__(self) -> None:
        self._began, self._cpu = time.perf_counter(), _cpu_s()

    def read(self) -> dict[str, float]:
        """`seconds` and `cpu_s`."""
        return {"seconds": time.perf_counter() - self._began, "cpu_s": _cpu_s() - self._cpu}


def tell(work: Callable[[], dict[str, object]]) -> None:
    """Print what *work* returns, or that it is not available."""
    try:
        found = work()
    except (NotAvailable, ImportError) as missing:
        found = {"not_available": str(missing)}
    print(json.dumps(found), flush=True)


def _cpu_s() -> float:
    both = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)
