"""A bucket that gives one file as fast as the machine can carry it, in the form of S3: HEAD, and GET with a range.

    python -m benchmarks.objects --file rows.jsonl

It prints its port. Plain sockets, one thread a connection, `sendfile`. It checks no signature.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import threading
from contextlib import suppress
from pathlib import Path

__all__ = ["main"]

_RANGE = re.compile(rb"range: *bytes=(\d+)-(\d+)", re.IGNORECASE)


def _serve(connection: socket.socket, fd: int, size: int) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, suppress(OSError):
        held = b""
        while True:
            while b"\r\n\r\n" not in held:
                more = connection.recv(65536)
                if not more:
                    return
                held += more
            head, _, held = held.partition(b"\r\n\r\n")
            found = _RANGE.search(head)
            start, stop = (int(found[1]), min(int(found[2]) + 1, size)) if found else (0, size)
            status = b"206 Partial Content" if found else b"200 OK"
            connection.sendall(
                b'HTTP/1.1 %s\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\nETag: "one"\r\n'
                b"Last-Modified: Sun, 29 Nov 2026 00:00:00 GMT\r\nAccept-Ranges: bytes\r\n\r\n"
                % (status, stop - start, start, stop - 1, size)
            )
            if head.startswith(b"GET"):
                while start < stop:
                    start += os.sendfile(connection.fileno(), fd, start, stop - start)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, required=True)
    given = parser.parse_args()
    fd = os.open(given.file, os.O_RDONLY)
    size = os.fstat(fd).st_size
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_serve, args=(connection, fd, size), daemon=True).start()


if __name__ == "__main__":
    main()
