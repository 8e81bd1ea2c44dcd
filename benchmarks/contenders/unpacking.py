"""Unpacking alone: the file is unpacked piece by piece by the library that bulkup takes, and nothing is done with it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.contenders.told import Stopwatch, tell

__all__ = ["main"]

_PIECE_BYTES = 1024 * 1024


def _gz(path: Path) -> Iterator[bytes]:
    from isal import igzip

    with igzip.open(path, "rb") as stream:  # type: ignore[no-untyped-call]
        while piece := stream.read(_PIECE_BYTES):
            yield piece


def _zst(path: Path) -> Iterator[bytes]:
    import zstandard

    with path.open("rb") as packed, zstandard.ZstdDecompressor().stream_reader(packed) as stream:
        while piece := stream.read(_PIECE_BYTES):
            yield piece


_WAYS = {".gz": _gz, ".zst": _zst}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contenders.unpacking")
    parser.add_argument("--source", type=Path, required=True)
    wanted = parser.parse_args()

    def work() -> dict[str, object]:
        clock = Stopwatch()
        size = sum(map(len, _WAYS[wanted.source.suffix](wanted.source)))
        return {**clock.read(), "source_bytes": size}

    tell(work)


if __name__ == "__main__":
    main()
