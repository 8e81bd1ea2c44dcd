"""`python -m bulkup.emulator`: the emulator as a program of its own."""

from __future__ import annotations

import argparse
from pathlib import Path

import orjson

from .server import serve
from .settings import Settings


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m bulkup.emulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one (default 8080)")
    parser.add_argument("--db", type=Path, help="the SQLite file (default: a temporary one)")
    parser.add_argument("--settings", default="{}", help="switches as JSON")
    parser.add_argument("--port-file", type=Path, help="write the port's number here")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when stdin ends")
    given = parser.parse_args()
    try:
        settings = Settings().patched(orjson.loads(given.settings))
    except (ValueError, AttributeError) as wrong:
        parser.error(f"--settings: {wrong}")
    serve(
        settings,
        host=given.host,
        port=given.port,
        db_path=given.db,
        port_file=given.port_file,
        until_stdin_closes=given.until_stdin_closes,
    )


if __name__ == "__main__":
    main()
