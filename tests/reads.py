"""`python -m tests.reads FILE ARGUMENT ...`: the `bulkup` command with these arguments. How many bytes it has read of each file
whose name ends in `.gz` is written into FILE, as JSON. (`strace` is not everywhere, and `/proc` counts what Python imports, too.)
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bulkup.cli.app import main

__all__ = ["counted"]


def counted(read: Callable[..., bytes], counts: Counter[str]) -> Callable[..., bytes]:
    """*read*, which counts what it gives, by files."""

    def count(fd: int, *arguments: int) -> bytes:
        data = read(fd, *arguments)
        name = str(Path(f"/proc/self/fd/{fd}").readlink())
        if name.endswith(".gz"):
            counts[name] += len(data)
        return data

    return count


if __name__ == "__main__":
    file, counts = Path(sys.argv.pop(1)), Counter[str]()
    os.read, os.pread = counted(os.read, counts), counted(os.pread, counts)
    try:
        sys.exit(main())
    finally:
        file.write_text(json.dumps(counts))
