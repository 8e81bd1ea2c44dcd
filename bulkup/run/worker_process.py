"""Worker processes: `python -m bulkup.run.worker_process FD…`. Only a run starts them, and they end when its process does."""

from __future__ import annotations

import logging
import sys

from bulkup.run.worker import Worker
from bulkup.tokens.logs import log_to_stderr
from bulkup.workers import serve

__all__ = ["main"]


def main() -> None:
    """The command."""
    log_to_stderr(logging.WARNING, "%(message)s")
    serve(list(map(int, sys.argv[1:])), Worker)


if __name__ == "__main__":
    main()
