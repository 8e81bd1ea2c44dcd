"""The command line. Importing it loads nothing; `main` does."""

from __future__ import annotations

import gc

__all__ = ["COLLECT_AFTER", "main"]

COLLECT_AFTER = gc.get_threshold()[0]
"""After so many new objects Python looks for garbage. Importing makes a hundred times as many, and no garbage: looking takes a
tenth of its time. So it is put off until all is imported."""


def main() -> int:
    """Run the command that the process was started with; its exit code."""
    gc.set_threshold(100 * COLLECT_AFTER)
    from bulkup.cli.streams import finish_streams, open_streams

    open_streams()  # before anything opens a file
    from bulkup.cli.app import main as run
    from bulkup.cli.outcome import leave_if_stuck

    code = run()
    finish_streams()
    leave_if_stuck(code)
    return code
