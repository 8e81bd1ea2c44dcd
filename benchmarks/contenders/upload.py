"""One upload by bulkup's Python API.

`--workers`, `--validation` and `--scan` are run settings; where this bulkup has none of that name, the contender is not available.
`--far N` has N workers come over TCP.
`--without` switches one thing off from outside the product, to see what it costs; `--watched` shows the progress display on a
terminal that leads nowhere, and tells the CPU seconds that it takes. `--only-import` loads all that an upload loads, and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.contenders.told import NotAvailable, Stopwatch, tell
from bulkup import Collinear, Nebius, Receipt, upload
from bulkup.settings.config import RunSettings

__all__ = ["SPACE_ID", "destination_at", "main"]

SPACE_ID = "3c90c3cc-0d44-4b50-8888-8dd25736052a"

_LOADED_LATER = (
    *("bulkup.destinations.{}.wire", "bulkup.destinations.{}.rows", "bulkup.destinations.{}.assumptions"),
    *("bulkup.doubt.by_name", "bulkup.doubt.by_count", "bulkup.doubt.late"),
)
"""What an upload imports once it knows its destination: imports are measured apart."""

T = TypeVar("T")

_KEY = "far.key"

MAPPING: dict[str, Any] = {
    "conv_prefix": [{"role": {"const": "user"}, "content": "question"}],
    "response": {"role": {"const": "assistant"}, "content": "answer"},
}
"""`small` rows made Collinear's by a declared mapping."""


def destination_at(url: str, wanted: argparse.Namespace) -> Collinear | Nebius:
    """The settings of the destination that the arguments ask for."""
    limits = {
        "max_chunk_bytes": wanted.max_chunk_bytes,
        "requests_per_minute": wanted.requests_per_minute,
        "concurrency": wanted.concurrency,
    }
    given = {key: value for key, value in limits.items() if value is not None}
    if wanted.to == "nebius":
        return Nebius(url=url, **given)
    if wanted.mapping:
        return Collinear(url=url, space_id=SPACE_ID, mapping=MAPPING, **given)
    return Collinear(url=url, space_id=SPACE_ID, preset=wanted.preset, drop=tuple(getattr(wanted, "drop", ())), **given)


async def _upload(wanted: argparse.Namespace) -> dict[str, object]:
    destination = destination_at(wanted.url, wanted)
    for name in _LOADED_LATER:
        with suppress(ImportError):  # an older bulkup has these loaded, under other names
            import_module(name.format(wanted.to))
    workers = await asyncio.to_thread(_far_workers, wanted) if wanted.far else None
    settings = _settings(wanted)
    clock = Stopwatch()
    watch = _Watch()
    if wanted.watched:
        receipt = await _watched(wanted, destination, settings, watch)
    else:
        receipt = await upload(wanted.source, destinations=[destination], name="bench", **settings)
    if workers is not None:
        workers.communicate(timeout=30)  # its CPU time counts, and that of its own
    used = clock.read()
    if wanted.without == "journal":  # then the receipt has nothing to count; the sink does
        return {**used}
    (lane,) = receipt.destinations.values()
    seen = {"progress_cpu_s": watch.cpu_s, "progress_start_cpu_s": watch.start_cpu_s} if wanted.watched else {}
    return {
        **used,
        **seen,
        "exit_code": receipt.exit_code,
        "reason": lane.reason,
        "rows": lane.rows_landed,
        "requests": lane.this_invocation.requests,
        "body_bytes": lane.this_invocation.bytes_sent,
        "max_body_bytes": lane.max_body_bytes,
        "throttled_s": lane.this_invocation.throttled_s,
    }


def _settings(wanted: argparse.Namespace) -> dict[str, Any]:
    chosen: dict[str, Any] = {"state_dir": wanted.state_dir}
    if wanted.far:
        if "listen" not in RunSettings.model_fields:
            raise NotAvailable("this bulkup has no workers on other machines")
        chosen |= {"listen": f"127.0.0.1:{wanted.far_port}"}
    for name, usual in (("workers", 1), ("validation", "full"), ("scan", "all")):
        value = getattr(wanted, name)
        if name in RunSettings.model_fields:
            chosen[name] = value
        elif value != usual:
            raise NotAvailable(f"this bulkup has no setting {name!r}")
    return chosen


def _far_workers(wanted: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Workers that wait for the run, as on other machines. Keys are made before there is a run, which takes them for its own."""
    from bulkup.run import far_workers
    from bulkup.workers.keys import make_keys

    with socket.create_server(("127.0.0.1", 0)) as free:
        wanted.far_port = free.getsockname()[1]
    keys = make_keys()
    setattr(far_workers, "_keys", lambda folder: keys)  # noqa: B010 - replaced from outside and on purpose
    path: Path = wanted.state_dir / _KEY
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(keys[1].to_json())
    arguments = ["--connect", f"127.0.0.1:{wanted.far_port}", "--key", str(path), "--processes", str(wanted.far)]
    arguments += ["--retry-for", "3s"]  # a small upload may be over before they come
    started = subprocess.Popen(
        [sys.executable, "-m", "bulkup", "worker", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert started.stderr is not None
    started.stderr.readline()  # it has tried for the first time
    return started


class _Watch:
    """CPU seconds of one thread inside calls of functions that await nothing: exact, however much else is running."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.start_cpu_s = 0.0

    def over(self, function: Callable[..., T]) -> Callable[..., T]:
        """*function*, watched. Its first call, which may import what it needs, is the start and counted apart."""
        is_first = True

        def watched(*arguments: Any) -> T:
            nonlocal is_first
            began = time.thread_time()
            try:
                return function(*arguments)
            finally:
                used = time.thread_time() - began
                if is_first:
                    self.start_cpu_s += used
                else:
                    self.cpu_s += used
                is_first = False

        return watched


async def _watched(
    wanted: argparse.Namespace, destination: Collinear | Nebius, settings: dict[str, Any], watch: _Watch
) -> Receipt:
    from bulkup import Finished, Note, Snapshot
    from bulkup.api import events
    from bulkup.cli.display import Screen
    from bulkup.run.snapshots import Snapshots

    for owner, names in ((Snapshots, ("_take_stock", "_snapshot")), (Screen, ("show", "note"))):
        for name in names:
            setattr(owner, name, watch.over(getattr(owner, name)))
    screen = Screen(_Terminal())
    receipt: Receipt | None = None
    async for event in events(wanted.source, destinations=[destination], name="bench", **settings):
        match event:
            case Note():
                screen.note(event)
            case Snapshot():
                screen.show(event)
            case Finished():
                receipt = event.receipt
    screen.close()
    assert receipt is not None
    return receipt


class _Terminal(io.StringIO):
    """Takes what a terminal would, and forgets it."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)


def without_journal() -> None:
    """The hot path's records are not kept: a chunk is planned, sent and landed unwritten. Facts still are."""
    from bulkup.journal.sqlite import SqliteLane

    def plan(*_: object, **__: object) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def nothing(*_: object, **__: object) -> None:
        return None

    for name, stand_in in (("plan", plan), ("sending", nothing), ("landed", nothing)):
        setattr(SqliteLane, name, stand_in)


def without_echo() -> None:
    """The answer's rows are not read: ids are made up. To be used with a sink that sends none."""
    from bulkup.destinations.collinear.echo import EchoReader

    def feed(_: EchoReader, data: bytes) -> None:
        return None

    def ids(_: EchoReader, rows: int) -> tuple[str | int, ...]:
        return tuple(range(rows))

    setattr(EchoReader, "feed", feed)  # noqa: B010 - a method is replaced, from outside and on purpose
    setattr(EchoReader, "ids", ids)  # noqa: B010


_WITHOUT = {"journal": without_journal, "echo": without_echo}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contenders.upload")
    parser.add_argument("--source", default="")
    parser.add_argument("--url", default="")
    parser.add_argument("--state-dir", type=Path)
    parser.add_argument("--to", choices=("collinear", "nebius"), default="collinear")
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--drop", action="append", default=[])
    parser.add_argument("--mapping", action="store_true")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--far", type=int, default=0)
    parser.add_argument("--validation", choices=("full", "trust"), default="full")
    parser.add_argument("--scan", choices=("all", "none"), default="all")
    parser.add_argument("--max-chunk-bytes", type=int)
    parser.add_argument("--requests-per-minute", type=float)
    parser.add_argument("--concurrency", type=int)
    parser.add_argument("--without", choices=tuple(_WITHOUT))
    parser.add_argument("--watched", action="store_true")
    parser.add_argument("--only-import", action="store_true")
    return parser.parse_args()


def main() -> None:
    """The command. Tokens come from the environment, as ever."""
    wanted = _arguments()
    if wanted.without:
        _WITHOUT[wanted.without]()
    if wanted.only_import:
        tell(_imported)
    else:
        os.environ.setdefault("TERM", "xterm")
        tell(lambda: asyncio.run(_upload(wanted)))


def _imported() -> dict[str, object]:
    """All modules that an upload loads are loaded by now; long enough for its memory to be looked at."""
    from bulkup.run import story

    clock = Stopwatch()
    assert story.execute is not None
    time.sleep(0.3)
    return {**clock.read()}


if __name__ == "__main__":
    main()
