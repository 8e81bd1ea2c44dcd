"""One upload of what does not stand in one local file: a folder of many small files, or an object in a bucket.

The bucket is `benchmarks.objects`, in a process of its own whose CPU time counts for nobody. `--source` is the file that holds all
rows; a folder of its pieces is made beside it, once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contenders.told import Stopwatch, tell
from benchmarks.contenders.upload import SPACE_ID
from bulkup import Collinear, upload

__all__ = ["main"]

PIECE_BYTES = 20_000
_KEYS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark-of-a-bucket", "AWS_REGION": "us-east-1"}


def pieces_of(source: Path) -> Path:
    """A folder with the rows of *source* in files of 20 KB."""
    folder = source.with_suffix(".pieces")
    if folder.exists():
        for piece in folder.iterdir():
            piece.read_bytes()  # into the page cache, as every other file
        return folder
    part = folder.with_suffix(".part")
    part.mkdir()
    with source.open("rb") as stream:
        number = 0
        while lines := stream.readlines(PIECE_BYTES):
            (part / f"{number}.jsonl").write_bytes(b"".join(lines))
            number += 1
    part.rename(folder)
    return folder


@contextmanager
def _bucket(source: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.objects", "--file", str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


async def _upload(wanted: argparse.Namespace, source: str, endpoint: str | None) -> dict[str, object]:
    destination = Collinear(url=wanted.url, space_id=SPACE_ID)
    settings = {"state_dir": wanted.state_dir, "workers": wanted.workers, "endpoint_url": endpoint}
    clock = Stopwatch()
    receipt = await upload(source, destinations=[destination], name="bench", **settings)
    used = clock.read()
    (lane,) = receipt.destinations.values()
    return {
        **used,
        "exit_code": receipt.exit_code,
        "reason": lane.reason,
        "rows": lane.rows_landed,
        "requests": lane.this_invocation.requests,
        "body_bytes": lane.this_invocation.bytes_sent,
    }


def main() -> None:
    """Upload what the arguments say, and tell what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--place", choices=("file", "folder", "bucket"), required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--workers", type=lambda text: text if text == "auto" else int(text), default=1)
    wanted = parser.parse_args()

    def work() -> dict[str, object]:
        if wanted.place == "bucket":
            os.environ |= _KEYS
            with _bucket(wanted.source) as endpoint:
                return asyncio.run(_upload(wanted, "s3://rows/rows.jsonl", endpoint))
        source = wanted.source if wanted.place == "file" else pieces_of(wanted.source)
        return asyncio.run(_upload(wanted, str(source), None))

    tell(work)


if __name__ == "__main__":
    main()
