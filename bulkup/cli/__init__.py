"""The command line. Importing it loads nothing; `main` does."""

from __future__ import annotations

__all__ = ["main"]


def main() -> int:
    """Run the command that the process was started with; its exit code."""
    from bulkup.cli.streams import finish_streams, open_streams

    open_streams()  # before anything opens a file
    from bulkup.cli.app import main as run
    from bulkup.cli.outcome import leave_if_stuck

    code = run()
    finish_streams()
    leave_if_stuck(code)
    return code
