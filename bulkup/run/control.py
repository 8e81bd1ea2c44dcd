"""Commands from other processes to a running one, by a file in the run's folder. It works over a shared filesystem.

Who commands appends a line to `control.jsonl`, and waits for the line with the same id in `control-answers.jsonl`. Both are 0600.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bulkup.journal.state_files import open_in, read_in
from bulkup.light_dataclass import dataclass

__all__ = ["ANSWERS", "COMMANDS", "Command", "Inbox", "answer_to", "send_command"]

COMMANDS, ANSWERS = "control.jsonl", "control-answers.jsonl"


@dataclass(frozen=True, slots=True)
class Command:
    """What somebody wants: *verb* is pause, continue, stop or set; *values* are those of `set`."""

    id: str
    verb: str
    values: Mapping[str, Any]


class Inbox:
    """The commands to one process. What was there before it began is nobody's any more. Reads and writes files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read = self._size()

    def new(self) -> list[Command]:
        """The commands that have come since the last time, those that can be read."""
        if self._size() <= self._read:
            return []
        data = (read_in(self._folder, COMMANDS) or b"")[self._read :]
        whole, _, _ = data.rpartition(b"\n")
        self._read += len(whole) + 1 if whole else 0
        return [command for line in whole.splitlines() if (command := _command_in(line)) is not None]

    def answer(self, command: Command, text: str, *, is_done: bool = True) -> None:
        """Tell who commanded what became of it."""
        _append(self._folder, ANSWERS, {"id": command.id, "done": is_done, "text": text})

    def _size(self) -> int:
        try:
            return (self._folder / COMMANDS).stat(follow_symlinks=False).st_size
        except OSError:
            return 0


def send_command(folder: Path, verb: str, values: Mapping[str, Any]) -> str:
    """Put a command there for whoever works on the run in *folder*; its id. Raises as `open_in`, and `OSError`."""
    id_ = secrets.token_hex(8)
    _append(folder, COMMANDS, {"id": id_, "verb": verb, "values": dict(values)})
    return id_


def answer_to(folder: Path, id_: str) -> tuple[bool, str] | None:
    """Whether it was done, and in which words; None as long as there is no answer."""
    for line in (read_in(folder, ANSWERS) or b"").splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and found.get("id") == id_:
            return bool(found.get("done")), str(found.get("text", ""))
    return None


def _append(folder: Path, name: str, record: Mapping[str, Any]) -> None:
    descriptor = open_in(folder, name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, json.dumps(record).encode() + b"\n")
    finally:
        os.close(descriptor)


def _command_in(line: bytes) -> Command | None:
    try:
        found = json.loads(line)
        return Command(str(found["id"]), str(found["verb"]), dict(found.get("values") or {}))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
