"""How many processors this process may use: those that it is bound to, and no more than its container's quota pays for.

Sources: sched_getaffinity(2); Documentation/admin-guide/cgroup-v2.rst (`cpu.max`: quota and period in microseconds) and
Documentation/scheduler/sched-bwc.rst (`cpu.cfs_quota_us`, `cpu.cfs_period_us`; -1 is no quota) of the Linux kernel.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["cpu_quota", "usable_cpus"]


def usable_cpus(proc: Path = Path("/proc/self")) -> int:
    """Whole processors, at least 1."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(proc)
    return bound if quota is None else max(1, min(bound, int(quota)))


def cpu_quota(proc: Path = Path("/proc/self")) -> float | None:
    """How many processors' time the control groups of the process at *proc* leave it, None where they set no bound."""
    quotas = [quota for folder in _groups(proc) if (quota := _quota_in(folder)) is not None]
    return min(quotas, default=None)


def _groups(proc: Path) -> Iterator[Path]:
    """The folders of the control groups that bound the process's CPU time: its own and all above it, as far as they are mounted."""
    try:
        mounts = (proc / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        groups = (proc / "cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return
    for line in groups:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root, mount in _mounts(mounts, "cgroup" if controllers else "cgroup2"):
            # Where the group is not below what is mounted here, the mount is the container's own group.
            inside = PurePosixPath(group).relative_to(root) if PurePosixPath(group).is_relative_to(root) else ""
            folder = mount / inside
            yield from (above for above in (folder, *folder.parents) if above.is_relative_to(mount))


def _mounts(lines: list[str], kind: str) -> Iterator[tuple[str, Path]]:
    """Which group stands at which folder, of the mounts of *kind* that have the CPU controller. [proc_pid_mountinfo(5)]"""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3 or kinds[0] != kind:
            continue
        if kind == "cgroup2" or "cpu" in kinds[2].split(","):
            yield _plain(fields[3]), Path(_plain(fields[4]))


def _plain(field: str) -> str:
    return field.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _quota_in(folder: Path) -> float | None:
    try:
        if (unified := folder / "cpu.max").exists():
            quota, period = unified.read_text(encoding="ascii").split()[:2]
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        return int(quota) / int(period) if quota != "max" and int(quota) > 0 and int(period) > 0 else None
    except (OSError, ValueError):
        return None
