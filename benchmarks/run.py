"""One measured run: a sink and an upload, each in a fresh process, checked against each other."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import Case

__all__ = ["BrokenRun", "Source", "measured", "running_sink"]

_TOKENS = {"NEBIUS_API_KEY": "benchmark-nebius", "COLLINEAR_API_KEY": "benchmark-collinear"}
_START_TIMEOUT_S = 10.0
_PIECE_BYTES = 1024 * 1024
_SINK_SAYS = b"sink on "
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


class BrokenRun(Exception):
    """An upload that did not land every row, once. Its text says what was found."""


@dataclass(frozen=True, slots=True)
class Source:
    """A generated file."""

    path: Path
    bytes: int
    rows: int

    @classmethod
    def of(cls, path: Path) -> Source:
        """The file at *path*, its rows counted."""
        return cls(path, path.stat().st_size, sum(piece.count(b"\n") for piece in _pieces(path)))

    def warm(self) -> None:
        """Bring the whole file into the page cache: what is measured is not the disk, and some machines drop idle pages."""
        for _ in _pieces(self.path):
            pass


@contextmanager
def running_sink(*, check: bool) -> Iterator[str]:
    """The URL of a sink in a process of its own, which ends with this block and with this process, however that ends."""
    command = [sys.executable, "-m", "benchmarks.sink", "--until-stdin-closes", *(["--check"] if check else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.startswith(_SINK_SAYS):
                raise BrokenRun("the sink did not start")
            yield line.removeprefix(_SINK_SAYS).decode().strip()
        finally:
            process.stdin.close()
            process.wait(_START_TIMEOUT_S)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as stream:
        while piece := stream.read(_PIECE_BYTES):
            yield piece


def summary(url: str) -> dict[str, Any]:
    """What the sink at *url* has taken."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=_START_TIMEOUT_S)
    try:
        connection.request("GET", "/_sink/summary")
        return dict(json.loads(connection.getresponse().read()))
    finally:
        connection.close()


def measured(case: Case, source: Source, *, check: bool, max_chunk_bytes: int | None = None) -> dict[str, object]:
    """Upload *source* as *case* has it, and say what it took. Raises `BrokenRun`.

    MB are 10^6 bytes of the source, GB 10^9; seconds and CPU seconds are those of the upload without the interpreter's start and
    the imports, `process_…` those of the whole process; the peak is the whole process's.
    """
    source.warm()
    with running_sink(check=check) as url, tempfile.TemporaryDirectory(dir=source.path.parent) as state:
        told, used = _uploaded(case, source, url, Path(state), max_chunk_bytes)
        sink = summary(url)
    _compare(source, told, sink)
    return {
        "case": case.name,
        "source_bytes": source.bytes,
        "rows": source.rows,
        "mb_per_s": round(source.bytes / 1e6 / told["seconds"], 1),
        "cpu_s_per_gb": round(told["cpu_s"] / (source.bytes / 1e9), 2),
        "peak_rss_mib": round(used.ru_maxrss * _RSS_UNIT_BYTES / 2**20, 1),
        "seconds": round(told["seconds"], 3),
        "cpu_s": round(told["cpu_s"], 3),
        "process_cpu_s": round(used.ru_utime + used.ru_stime, 3),
        "requests": told["requests"],
        "body_bytes": told["body_bytes"],
        "max_body_bytes": told["max_body_bytes"],
        "sink_cpu_s": sink["cpu_s"],
        "sink_checked": sink["checked"],
    }


def _uploaded(
    case: Case, source: Source, url: str, state: Path, max_chunk_bytes: int | None
) -> tuple[dict[str, Any], Any]:
    """What the upload says of itself, and what the system says of its process."""
    command = [sys.executable, "-m", "benchmarks.upload", "--case", case.name, "--url", url]
    command += ["--source", str(source.path), "--state-dir", str(state)]
    if max_chunk_bytes is not None:
        command += ["--max-chunk-bytes", str(max_chunk_bytes)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **_TOKENS})
    assert process.stdout is not None
    with process.stdout:
        said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BrokenRun(f"{case.name}: the upload's process ended with {process.returncode}")
    return dict(json.loads(said)), used


def _compare(source: Source, told: dict[str, Any], sink: dict[str, Any]) -> None:
    if told["exit_code"]:
        raise BrokenRun(f"the upload ended with exit code {told['exit_code']}: {told['reason']}")
    found = {"the receipt": told["rows"], "the sink": sink["rows"]}
    for where, rows in found.items():
        if rows != source.rows:
            raise BrokenRun(f"{source.rows:,} rows were to be sent, {where} has {rows:,}")
    for what, mine, its in (
        ("requests", told["requests"], sink["requests"]),
        ("bytes of bodies", told["body_bytes"], sink["bytes"]),
    ):
        if mine != its:
            raise BrokenRun(f"{what}: the receipt has {mine:,}, the sink {its:,}")
