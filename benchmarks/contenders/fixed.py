"""As many connections as told, each posting a pre-built body as soon as the last was answered, for some seconds: the goodput of a
fixed concurrency, which an adaptive one is compared with."""

from __future__ import annotations

import argparse
import http.client
import threading
import time
from urllib.parse import urlsplit

from benchmarks.contenders.told import Stopwatch, tell


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contenders.fixed")
    parser.add_argument("--url", required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--body-bytes", type=int, default=65_536)
    wanted = parser.parse_args()
    tell(lambda: _posted(wanted))


def _posted(wanted: argparse.Namespace) -> dict[str, object]:
    clock, ends_at = Stopwatch(), time.monotonic() + wanted.seconds
    body = b'{"name":"bench","rows":[]}'.ljust(wanted.body_bytes)
    faults: list[Exception] = []

    def post() -> None:
        connection = http.client.HTTPConnection(urlsplit(wanted.url).netloc, timeout=60)
        try:
            while time.monotonic() < ends_at:
                connection.request("POST", "/v1/datasets", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"the sink answered {answer.status}")
        except Exception as fault:  # noqa: BLE001 - told by the thread that waits
            faults.append(fault)
        finally:
            connection.close()

    threads = [threading.Thread(target=post) for _ in range(wanted.concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return {**clock.read()}


if __name__ == "__main__":
    main()
