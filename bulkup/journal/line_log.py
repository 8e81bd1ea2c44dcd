"""Lines that are put into a file by a thread of their own, so that the event loop never waits for a disk. They may be lost: what a
run must know stands in its journal."""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path

from bulkup.errors import BulkupError
from bulkup.journal.state_files import open_in
from bulkup.tokens.secret import redact

__all__ = ["LineLog"]

MOST_HELD = 20_000
"""So many lines wait at most; more of them are counted and left out."""

WRITE_EVERY_S = 0.2
CLOSE_WITHIN_S = 5.0


class LineLog:
    """Appends lines to the file *name* in *folder* (mode 0600), and replaces other files there whole. Never raises for a disk that
    does not take them: `trouble` says what it said. A file that has grown to *max_bytes* becomes `NAME.1`, in the place of an
    older one."""

    def __init__(self, folder: Path, name: str, *, max_bytes: int | None = None, is_the_user_s: bool = False) -> None:
        """*is_the_user_s*: the file lies where the user wants it, and may be anything that takes lines."""
        self._folder, self._name, self._max_bytes = folder, name, max_bytes
        self._is_the_user_s = is_the_user_s
        self._lines: deque[str] = deque()
        self._lost = 0
        self._files: dict[str, str] = {}
        self._wake = threading.Event()
        self._is_closing = False
        self._thread: threading.Thread | None = None
        self.trouble: str | None = None

    def start(self) -> None:
        """Begin to write what was put so far, and what will be."""
        self._thread = threading.Thread(target=self._run, name=f"bulkup {self._name}", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Append *line*, soon."""
        if len(self._lines) >= MOST_HELD:
            self._lost += 1
        else:
            self._lines.append(line)

    def replace(self, name: str, text: str) -> None:
        """Let *text* be the whole of the file *name*, soon; of several in short order the last."""
        self._files[name] = text

    def close(self) -> None:
        """Write what waits. To be called once, from a thread that may block."""
        self._is_closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(CLOSE_WITHIN_S)

    def _run(self) -> None:
        while not self._is_closing:
            self._wake.wait(WRITE_EVERY_S)
            self._write()
        self._write()

    def _write(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if self._lost:
            lines.append(f'{{"event":"lost","lines":{self._lost}}}')
            self._lost = 0
        try:
            if lines:
                self._append(redact("".join(line + "\n" for line in lines)).encode("utf-8", "replace"))
            for name in list(self._files):
                self._put_file(name, redact(self._files.pop(name)).encode("utf-8", "replace"))
        except (OSError, BulkupError) as error:
            self.trouble = str(error)

    def _append(self, data: bytes) -> None:
        descriptor = self._opened()
        try:
            if self._max_bytes is not None and os.fstat(descriptor).st_size + len(data) > self._max_bytes:
                os.close(descriptor)
                with suppress(FileNotFoundError):
                    (self._folder / self._name).replace(self._folder / f"{self._name}.1")
                descriptor = self._opened()
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)

    def _opened(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        if self._is_the_user_s:
            return os.open(self._folder / self._name, flags | os.O_CLOEXEC, 0o600)
        return open_in(self._folder, self._name, flags)

    def _put_file(self, name: str, data: bytes) -> None:
        """Not synced: it is replaced every second, and says nothing that the journal does not know."""
        draft = f"{name}.new"
        with suppress(FileNotFoundError):
            (self._folder / draft).unlink()
        descriptor = open_in(self._folder, draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
        (self._folder / draft).replace(self._folder / name)
