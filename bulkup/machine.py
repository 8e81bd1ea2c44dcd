"""This machine's clock, and what tells its boot from those of all others."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

__all__ = ["machine_boot", "machine_clock"]

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def machine_clock() -> float:
    """Seconds that never go back, and go on while the machine sleeps, where the system tells them. One clock for all processes
    of a machine: until when they may send is counted by it."""
    return time.clock_gettime(_CLOCK)


def machine_boot() -> str | None:
    """What tells this boot, and this namespace's idea of its clock, from all others (Linux); None where nothing does."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        namespace = Path("/proc/self/ns/time")
        return f"{boot} {namespace.readlink() if namespace.is_symlink() else ''}".strip()
    return None
