"""One upload by bulkup's Python API, in a process of its own: what `benchmarks.run` starts and measures.

Prints one JSON line: the seconds and CPU seconds of `bulkup.upload` itself, and what its receipt says.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from pathlib import Path

from benchmarks.cases import CASES
from bulkup import Collinear, Nebius, upload

__all__ = ["main"]


def main() -> None:
    """The command. Tokens come from the environment, as ever."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upload")
    parser.add_argument("--case", choices=list(CASES), required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--max-chunk-bytes", type=int)
    wanted = parser.parse_args()
    destination = CASES[wanted.case].destination(wanted.url)
    if wanted.max_chunk_bytes is not None:
        destination = destination.model_copy(update={"max_chunk_bytes": wanted.max_chunk_bytes})
    print(json.dumps(asyncio.run(_upload(wanted.source, destination, wanted.state_dir))))


async def _upload(source: str, destination: Collinear | Nebius, state_dir: Path) -> dict[str, object]:
    began, cpu_began = time.perf_counter(), _cpu_s()
    receipt = await upload(source, destinations=[destination], name="bench", state_dir=state_dir)
    seconds, cpu_s = time.perf_counter() - began, _cpu_s() - cpu_began
    (lane,) = receipt.destinations.values()
    return {
        "exit_code": receipt.exit_code,
        "reason": lane.reason,
        "seconds": seconds,
        "cpu_s": cpu_s,
        "rows": lane.rows_landed,
        "requests": lane.this_invocation.requests,
        "body_bytes": lane.this_invocation.bytes_sent,
        "max_body_bytes": lane.max_body_bytes,
    }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
