"""What the codec does alone, without any I/O: blocks of 128 KiB that lie in memory, again and again.

`bare` is a codec written by hand for the rows (`benchmarks.bare`): decode, map, encode; for rows as they are it is msgspec's typed
decoder. `encode` is bulkup's encoder with the plan that an upload makes of the same rows. `--processes 2` shares the work between
two.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

from benchmarks import bare
from benchmarks.contenders.told import Stopwatch, tell
from bulkup import Nebius
from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.destinations.nebius.rows import TARGET as NEBIUS
from bulkup.encoding import decide
from bulkup.model import BLOCK_BYTES, Block
from bulkup.run.build import row_options
from bulkup.settings.config import RunSettings

__all__ = ["main"]

HELD_BYTES = 16_000_000
_BARE = {"identity": bare.identity, "chat": bare.chat, "text": bare.text, "question-answer": bare.question_answer}


def _blocks(path: Path) -> list[bytes]:
    """Whole lines of *path*, about `BLOCK_BYTES` at a time, `HELD_BYTES` in all."""
    blocks = []
    with path.open("rb") as rows:
        data = rows.read(HELD_BYTES)
    start = 0
    while start < len(data):
        stop = data.rfind(b"\n", start, start + BLOCK_BYTES) + 1
        if stop <= start:
            break
        blocks.append(data[start:stop])
        start = stop
    return blocks


def _bare(wanted: argparse.Namespace) -> Callable[[bytes], object]:
    if wanted.codec == "wide":
        return bare.wide(_blocks(wanted.source)[0].partition(b"\n")[0])
    return _BARE[wanted.codec]


def _encode(wanted: argparse.Namespace) -> Callable[[bytes], object]:
    from benchmarks.contenders.upload import destination_at

    settings = destination_at("http://127.0.0.1:1", wanted)
    target = NEBIUS if isinstance(settings, Nebius) else COLLINEAR
    data = _blocks(wanted.source)[0]
    encoder = decide(Block(data, 0, len(data)), target, row_options(settings, RunSettings(name="bench"))).encoder()

    def encode(data: bytes) -> object:
        encoded = encoder.encode(Block(data, 0, len(data)))
        if encoded.rejects:
            raise RuntimeError(f"the encoder refuses rows: {encoded.rejects[0].reason}")
        return encoded

    return encode


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contenders.codec")
    parser.add_argument("--work", choices=("bare", "encode"), required=True)
    parser.add_argument("--codec", choices=(*_BARE, "wide"), help="which one is bare")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--wait", action="store_true", help="begin when standard input says so")
    for name in ("--to", "--preset"):
        parser.add_argument(name, default="collinear" if name == "--to" else "auto")
    parser.add_argument("--mapping", action="store_true")
    parser.set_defaults(max_chunk_bytes=None, requests_per_minute=None, concurrency=None)
    wanted = parser.parse_args()
    if wanted.work == "bare" and wanted.codec is None:
        parser.error("--work bare needs --codec")
    tell(lambda: _alone(wanted) if wanted.processes == 1 else _shared(wanted))


def _alone(wanted: argparse.Namespace) -> dict[str, object]:
    work = (_bare if wanted.work == "bare" else _encode)(wanted)
    blocks, size = _blocks(wanted.source), wanted.source.stat().st_size
    for block in blocks[:8]:
        work(block)
    if wanted.wait:
        print("ready", flush=True)
        sys.stdin.readline()
    done = 0
    clock = Stopwatch()
    for block in cycle(blocks):
        work(block)
        done += len(block)
        if done >= size:
            break
    return {**clock.read(), "source_bytes": done}


def _shared(wanted: argparse.Namespace) -> dict[str, object]:
    """Each process does all of the work, from the same moment on; together they have done it as many times."""
    command = [sys.executable, "-m", "benchmarks.contenders.codec", *_given(sys.argv[1:]), "--wait"]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(wanted.processes)
    ]
    for process in running:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("a process did not start")
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [json.loads(process.communicate()[0]) for process in running]
    return {
        "seconds": max(found["seconds"] for found in told),
        "cpu_s": sum(found["cpu_s"] for found in told),
        "source_bytes": sum(found["source_bytes"] for found in told),
    }


def _given(arguments: list[str]) -> list[str]:
    place = arguments.index("--processes")
    return [*arguments[:place], *arguments[place + 2 :]]


if __name__ == "__main__":
    main()
