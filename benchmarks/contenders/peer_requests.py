"""requests with a pool of threads: a session each, `files=` for Collinear, `json=` for Nebius, `.json()` of the answer."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from benchmarks.contenders.peer_rows import arguments, batches, collinear_fields, nebius_body
from benchmarks.contenders.told import Stopwatch, tell

_LOCAL = threading.local()


def _session() -> requests.Session:
    if not hasattr(_LOCAL, "session"):
        _LOCAL.session = requests.Session()
    session: requests.Session = _LOCAL.session
    return session


def _send(url: str, to: str, rows: list[dict[str, Any]], number: int) -> int:
    headers = {"Authorization": "Bearer benchmark"}
    if to == "nebius":
        answer = _session().post(f"{url}/v1/datasets", json=nebius_body(rows, number), headers=headers)
    else:
        files = {"file": ("chunk.json", json.dumps(rows), "application/json")}
        answer = _session().post(f"{url}/api/v1/dataset/upload", data=collinear_fields(), files=files, headers=headers)
    answer.raise_for_status()
    answer.json()
    return len(rows)


def main() -> None:
    """The command. Batches are read as fast as they are sent: two a thread wait at most."""
    wanted = arguments("peer_requests")

    def work() -> dict[str, object]:
        clock, room = Stopwatch(), threading.Semaphore(wanted.workers * 2)
        with ThreadPoolExecutor(wanted.workers) as pool:
            sent = []
            for number, rows in enumerate(batches(wanted)):
                room.acquire()
                future = pool.submit(_send, wanted.url, wanted.to, rows, number)
                future.add_done_callback(lambda _: room.release())
                sent.append(future)
        return {"rows": sum(future.result() for future in sent), **clock.read()}

    tell(work)


if __name__ == "__main__":
    main()
