"""Blocks of `ray.data` as JSON lines. Arrow's own types become what `docs/values.md` says; here is what only Ray has beside them:
tensors, and Python objects, which Ray keeps as pickles. Ray itself is not needed: its types are told by their names."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from datetime import date, time
from decimal import Decimal
from functools import partial, reduce
from typing import Any
from uuid import UUID

from bulkup.errors import UsageProblem
from bulkup.refusal import Refusal, attempt
from bulkup.sources.columnar.loading import pyarrow, tried
from bulkup.sources.columnar.marks import BEFORE, BEHIND, unmarked
from bulkup.sources.columnar.plain import LineMaker, without_form

__all__ = ["lines_of"]

_TENSORS = frozenset({"ray.data.arrow_tensor", "ray.data.arrow_tensor_v2", "arrow.fixed_shape_tensor"})
_SHAPED = "ray.data.arrow_variable_shaped_tensor"
_OBJECTS = "ray.data.arrow_pickled_object"

_AT_ONCE_BYTES = 8 * 1024 * 1024
"""So much of a block is made JSON at once, about."""


def lines_of(table: Any) -> Iterator[bytes]:
    """The rows of an Arrow *table* as JSON lines, in bounded pieces. Raises `UsageProblem`, which names the column, where a value
    has no form in JSON."""
    a_row = max(1, table.nbytes // max(1, table.num_rows))
    for batch in table.to_batches(max_chunksize=max(1, _AT_ONCE_BYTES // a_row)):
        yield _lines(batch)


def _lines(batch: Any) -> bytes:
    pa = pyarrow()
    names, arrays, objects = [], [], {}
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        kind = _extension(array)
        if kind == _OBJECTS:
            objects[name] = [_text(name, value) for value in array.to_pylist()]
            continue
        plain = _nested(array) if kind in _TENSORS or kind == _SHAPED else array
        if (fault := without_form(plain.type)) is not None:
            raise _no_form(name, fault)
        names.append(name)
        arrays.append(plain)
    if names:
        made = pa.RecordBatch.from_arrays(arrays, names=names)
        lines = tried(LineMaker(made.schema, names).lines, made)
        if isinstance(lines, Refusal):
            raise UsageProblem(
                f"rows cannot be written as JSON: {str(lines.why).strip().partition(chr(10))[0]}"
            ) from lines.why
    else:
        lines = b"{}\n" * int(batch.num_rows)
    return unmarked(b"".join(_with(lines, objects))) if objects else bytes(lines)


def _extension(array: Any) -> str | None:
    return array.type.extension_name if isinstance(array.type, pyarrow().BaseExtensionType) else None


def _no_form(name: str, fault: str) -> UsageProblem:
    return UsageProblem(
        f"column {name}: {fault}; leave the column out (Dataset.drop_columns), or make it text before it is written"
    )


# --- tensors ----------------------------------------------------------------------------------------------------------


def _nested(array: Any) -> Any:
    """Tensors as lists of lists: Ray stores the values of each in one list."""
    pa, storage = pyarrow(), array.storage
    if array.type.extension_name == _SHAPED:
        kind, depth = storage.type.field("data").type.value_type, array.type.ndim
        rows = [None if row is None else _folded(row["data"], row["shape"]) for row in storage.to_pylist()]
    else:
        shape, kind = tuple(array.type.shape), storage.type.value_type
        depth = len(shape)
        if depth == 1:
            return storage  # most often: an embedding
        rows = [None if row is None else _folded(row, shape) for row in storage.to_pylist()]
    lists = reduce(lambda inner, _: pa.list_(inner), range(depth), kind)
    return pa.array(rows if depth else [None if row is None else row[0] for row in rows], lists)


def _folded(values: Sequence[Any], shape: Sequence[int]) -> list[Any]:
    """*values*, the last dimension first, as lists of that *shape*."""
    if len(shape) <= 1:
        return list(values)
    step = len(values) // shape[0] if shape[0] else 0
    return [_folded(values[place * step : (place + 1) * step], shape[1:]) for place in range(shape[0])]


# --- Python objects ---------------------------------------------------------------------------------------------------


def _with(lines: bytes, objects: dict[str, list[str]]) -> Iterator[bytes]:
    """Each line with the values of *objects* at its end."""
    keys = [json.dumps(name, ensure_ascii=False) for name in objects]
    for line, values in zip(lines.split(b"\n"), zip(*objects.values(), strict=True), strict=False):
        more = ",".join(f"{key}:{value}" for key, value in zip(keys, values, strict=True))
        yield line[:-1] + (b"" if line == b"{}" else b",") + more.encode("utf-8", "backslashreplace") + b"}\n"


def _text(name: str, value: Any) -> str:
    write = partial(json.dumps, default=_plain, ensure_ascii=False, separators=(",", ":"))
    found = attempt(write, value)
    if isinstance(found, Refusal):
        raise _no_form(name, str(found.why) or type(found.why).__name__)
    return found


def _plain(value: Any) -> Any:
    """What `json` does not know, by the rules for columns. NaN and infinity stay these words, so that their rows are found."""
    match value:
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
        case Decimal():
            return f"{BEFORE}{value}{BEHIND}"
        case date() | time():
            return _unless_missing(value.isoformat())
        case UUID():
            return str(value)
    kind = getattr(getattr(value, "dtype", None), "kind", "")  # of numpy
    if kind and getattr(value, "shape", ()) != ():
        return list(value)
    if kind in tuple("biu"):
        return value.item()
    if kind == "f":
        return float(str(value))  # the shortest that reads back as the same in its size
    if kind == "M":
        return _unless_missing(str(value))
    if type(value).__name__ == "NAType":  # of pandas
        return None
    raise TypeError(f"a {type(value).__name__} has no form in JSON")


def _unless_missing(moment: str) -> str | None:
    return None if moment == "NaT" else moment
