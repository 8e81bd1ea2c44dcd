"""The emulator in another process, for tests and demos that kill things."""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import orjson

from .settings import ServiceName, Settings

__all__ = ["Spawned", "spawned"]


class Spawned:
    """An emulator in another process, steered over HTTP. Its methods block; none needs an event loop."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.url = url
        self.port = int(url.rpartition(":")[2])

    def call(self, method: str, path: str, value: object = None) -> bytes:
        """One request to `/_emulator`; the answer's body. Raises RuntimeError unless it is a 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, None if value is None else orjson.dumps(value))
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{method} {path}: {answer.status} {body.decode(errors='replace')}")
            return body
        finally:
            connection.close()

    def patch(self, **patch: Any) -> None:
        """Change settings, in the shapes of their JSON."""
        self.call("POST", "/_emulator/settings", patch)

    def summary(self) -> dict[str, Any]:
        """What it holds and has counted, by service."""
        return dict(orjson.loads(self.call("GET", "/_emulator/summary")))

    def rows(self, service: ServiceName, dataset_id: str | None = None) -> list[Any]:
        """All rows of a service (FAILED datasets apart), or of one dataset, as parsed JSON."""
        query = f"service={service}" + (f"&dataset_id={dataset_id}" if dataset_id else "")
        return [orjson.loads(line) for line in self.call("GET", f"/_emulator/rows?{query}").splitlines()]

    def write(self, service: ServiceName, **given: Any) -> str:
        """Be another writer; the dataset's id."""
        return str(orjson.loads(self.call("POST", "/_emulator/rows", {"service": service, **given}))["dataset_id"])

    def shut(self, seconds: float) -> None:
        """Refuse connections for so long."""
        self.call("POST", "/_emulator/close", {"seconds": seconds})

    def idle(self, timeout_s: float = 10) -> None:
        """Wait until no upload is under way or still to be stored. Raises RuntimeError if that takes too long."""
        self.call("GET", f"/_emulator/idle?timeout_s={timeout_s}")

    def reset(self) -> None:
        """Forget rows and counters; settings stay."""
        self.call("POST", "/_emulator/reset")


@contextmanager
def spawned(
    settings: Settings | None = None, *, db_path: Path | None = None, port: int = 0, host: str = "127.0.0.1"
) -> Iterator[Spawned]:
    """An emulator in a process of its own, which ends with this block, and with this process however that ends."""
    command = [sys.executable, "-m", "bulkup.emulator", "--host", host, "--port", str(port), "--until-stdin-closes"]
    command += ["--settings", msgspec.json.encode(settings or Settings()).decode()]
    if db_path is not None:
        command += ["--db", str(db_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            words = process.stdout.readline().decode().split()
            if len(words) < 3:
                raise RuntimeError("the emulator did not start")
            yield Spawned(process, words[2])
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
