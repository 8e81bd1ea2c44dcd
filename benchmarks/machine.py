"""What a number was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

__all__ = ["machine", "versions"]

_PACKAGES = ("aiohttp", "anyio", "msgspec", "orjson", "xxhash")


def versions() -> dict[str, str]:
    """Of bulkup (and the commit, where there is a clone), Python and what the hot path is made of."""
    from bulkup.version import VERSION

    found = {"bulkup": VERSION, "python": platform.python_version()}
    found |= {package: metadata.version(package) for package in _PACKAGES}
    commit = _said("git", "rev-parse", "--short", "HEAD")
    return found | ({"commit": commit} if commit else {})


def machine() -> dict[str, object]:
    """The processor, how many of it this process may use, and how busy it was just now."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cpus": cpus,
        "load_1m": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, timeout=10)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
