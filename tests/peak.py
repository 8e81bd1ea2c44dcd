"""`python -m tests.peak FILE ARGUMENT ...`: the `bulkup` command with these arguments. Its peak memory is written into FILE.

The figure is the kernel's for the program's own memory (`VmHWM`), which begins at 0. `ru_maxrss` does not: it begins with the
peak of the process that started this one, where that was done by vfork, as `subprocess` does.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bulkup.cli.app import main  # which comes back, also where a thread is about to end

__all__ = ["peak_bytes"]


def peak_bytes() -> int:
    """The most that this process has held in memory so far (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


if __name__ == "__main__":
    file = Path(sys.argv.pop(1))
    try:
        sys.exit(main())
    finally:
        file.write_text(str(peak_bytes()))
