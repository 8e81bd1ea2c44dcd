"""Where an exception of a codec ends: at what the codec was given (a row, a block, an answer), never at the lane.

msgspec, orjson, simdjson, hyperscan, isal, zstandard and Python's own json, tomllib and re raise what they like: for a deep nesting
alone it is `RecursionError`, `RuntimeError` or an error of their own, by the codec. Whatever it is, it says one thing: this data
is not taken. So nobody lists their exceptions; every call goes through `attempt`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from bulkup.errors import BulkupError
from bulkup.light_dataclass import dataclass

__all__ = ["Irregular", "Refusal", "attempt"]

P = ParamSpec("P")
T = TypeVar("T")


class Irregular(Exception):
    """A batch holds a row that this way of encoding does not take. Which one is not known."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A codec did not take what it was given."""

    why: Exception

    def __str__(self) -> str:
        return f"{type(self.why).__name__}: {self.why}".removesuffix(": ")


def attempt(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | Refusal:
    """What *work* gives, or its refusal. A `BulkupError` is no codec's, and goes on; so does a cancellation."""
    try:
        return work(*args, **kwargs)
    except BulkupError:
        raise
    except Exception as why:  # noqa: BLE001 - whatever a codec raises
        return Refusal(why.with_traceback(None))
