"""Memory of a process and all its descendants, as PSS: a page that several share is counted once, a part to each."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["can_measure", "pss_bytes", "tree"]

_PROC = Path("/proc")


def can_measure() -> bool:
    """Whether this system says what a process's share of memory is (Linux does)."""
    return (_PROC / "self" / "smaps_rollup").exists() and (_PROC / "self" / "task").exists()


def tree(pid: int) -> list[int]:
    """*pid* and its living descendants."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in (_PROC / str(parent) / "task").iterdir():
                with suppress(OSError):
                    found += map(int, (task / "children").read_text().split())
    return found


def pss_bytes(pid: int) -> int:
    """Of *pid* and its descendants, now. What has ended meanwhile counts nothing."""
    total = 0
    for member in tree(pid):
        with suppress(OSError):
            for line in (_PROC / str(member) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
                    break
    return total
