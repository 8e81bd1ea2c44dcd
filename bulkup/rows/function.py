"""`--map FILE.py:FUNCTION`: the user's own function for rows, named by its file, its name and the file's hash."""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from bulkup.errors import SourceChanged, UsageProblem
from bulkup.light_dataclass import dataclass

__all__ = ["Function", "RowFunction", "function_given", "function_of", "line_at_fault"]

RowFunction = Callable[[dict[str, Any]], object]
"""What the user wrote: from a row to a row, to a list of rows, or to None."""

_BEHIND_NAME = "#sha256="


@dataclass(frozen=True, slots=True)
class Function:
    """A function in the file at *path*, whose content has the hash *sha256*. Where the file lies does not matter: two that have the
    same name and hash are the same."""

    path: str
    name: str
    sha256: str

    @property
    def key(self) -> str:
        """What makes it another function."""
        return f"{self.name}{_BEHIND_NAME}{self.sha256}"

    def __str__(self) -> str:
        """As settings keep it."""
        return f"{self.path}:{self.key}"

    @property
    def title(self) -> str:
        """As the user gave it."""
        return f"{self.path}:{self.name}"

    def load(self) -> RowFunction:
        """The function itself: its file is run, once for a process. Raises `UsageProblem`, `SourceChanged`."""
        return _loaded(self)


def function_given(text: str) -> Function:
    """The function that `FILE.py:FUNCTION` names, its file read and hashed, not run. Raises `UsageProblem`."""
    path, colon, name = text.rpartition(":")
    if not colon or not path or not name.isidentifier():
        raise UsageProblem(f"--map {text!r}: give a file and a function in it, such as rows.py:fix")
    return Function(path, name, hashlib.sha256(_content(path)).hexdigest())


def function_of(text: str) -> Function:
    """The function that stands in settings (`Function.__str__`). Raises `ValueError`."""
    title, mark, digest = text.rpartition(_BEHIND_NAME)
    path, _, name = title.rpartition(":")
    if not mark or not path:
        raise ValueError(f"{text!r} is no function with its hash")
    return Function(path, name, digest)


def line_at_fault(function: Function, error: BaseException) -> str:
    """*error* in one line, with the last line of the user's file that was on the way to it."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"{error.filename or function.path}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    own = [frame for frame in frames if frame.filename == function.path]
    where = f"{function.path}, line {own[-1].lineno}, in {own[-1].name}" if own else function.title
    return f"{where}: {type(error).__name__}: {error}".removesuffix(": ")


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageProblem(f"--map {path}: {error.strerror}") from None


@cache
def _loaded(function: Function) -> RowFunction:
    data = _content(function.path)
    if hashlib.sha256(data).hexdigest() != function.sha256:  # what runs is what was hashed
        raise SourceChanged(f"--map {function.title}: the file has changed since the run began; restore it")
    module = ModuleType(f"bulkup_map_{function.sha256[:16]}")
    module.__file__ = function.path
    sys.modules[module.__name__] = module  # dataclasses and pickle look for it there
    folder = str(Path(function.path).absolute().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # what stands beside it may be imported, and hides nothing
    try:
        exec(compile(data, function.path, "exec"), module.__dict__)  # noqa: S102 - that is what was asked for
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's code raises
        raise UsageProblem(f"--map {function.title}: it cannot be loaded: {line_at_fault(function, error)}") from None
    found = module.__dict__.get(function.name)
    if not callable(found):
        what = "it holds no such function" if found is None else f"{function.name} is not a function"
        raise UsageProblem(f"--map {function.title}: {what}")
    made: RowFunction = found
    return made
