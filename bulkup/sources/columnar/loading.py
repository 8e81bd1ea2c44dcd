"""polars and pyarrow, imported when a file needs them: that takes a quarter of a second and 80 MB."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from bulkup.refusal import Refusal, attempt

__all__ = ["compute", "polars", "pyarrow", "tried"]

P = ParamSpec("P")
T = TypeVar("T")


class PolarsPanic(Exception):
    """A bug in polars, which it raises as something that is no `Exception`."""


def polars() -> ModuleType:
    """The library, with one thread: a run has processes of its own."""
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    import polars as pl

    return pl


def tried(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | Refusal:
    """As `attempt`, for what calls polars."""
    try:
        return attempt(work, *args, **kwargs)
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return Refusal(PolarsPanic(str(error)))


def pyarrow() -> Any:
    """The library, with what bulkup uses of it."""
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet

    pa.set_memory_pool(pa.system_memory_pool())  # the other ones keep some 40 MB that they do not use
    return pa


def compute() -> Any:
    """pyarrow's functions on arrays, which take 10 MB: many files need none."""
    import pyarrow.compute as found

    return found
