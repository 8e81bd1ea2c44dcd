"""Arrow's types as those that JSON has: what each value becomes stands in `docs/values.md`, and here alone.

polars writes null, true and false, whole numbers, finite floats, texts, lists, structs and maps of texts rightly. Everything else
is made one of these first: polars panics on bytes, writes NaN as null, and leaves the `T` out of a time. What a value becomes
depends on that value alone, never on its neighbours: a row is the same in whatever range it is read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bulkup.refusal import Refusal
from bulkup.sources.columnar.loading import compute, polars, pyarrow, tried
from bulkup.sources.columnar.marks import BEFORE, BEHIND, unmarked

__all__ = ["LineMaker", "without_form"]

_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_SECOND = "%Y-%m-%dT%H:%M:%S"
_MOMENT = f"{_SECOND}%.f"
_FIRST_DAY, _DAYS_END = -719_162, 2_932_897
"""From the year 1 to the end of 9999, in days from 1970 on: what ISO 8601 has four digits for."""

_DAY_S = 86_400
_LAST_ODD_OFFSET_S = 63_593_070
"""Until then, 1972-01-07, some zone's offset had seconds: Liberia's was the last."""

MOST_UNFOLDED_BYTES = 512 * 1024 * 1024
"""Of lists that share values, when each has values of its own: as much as a batch of a file may take."""

OUT_OF_RANGE = "date out of range"
"""Stands where a date of another year would, and makes the row one that is rejected."""


class TooLargeError(Exception):
    """Values take too much memory at once."""


class LineMaker:
    """Makes JSON lines of record batches. *names* are the keys of the columns. For one thread at a time."""

    def __init__(self, schema: Any, names: Sequence[str]) -> None:
        self._names = list(names)
        # of a part of nested values polars would look at the whole: these are taken apart, and put together of what is in the part
        self._is_plain = [not (_changes(field.type) or pyarrow().types.is_nested(field.type)) for field in schema]
        self._marked = False

    def lines(self, batch: Any) -> bytes:
        """Each row of *batch* as a line."""
        pa, pl = pyarrow(), polars()
        if not self._names:
            return b"{}\n" * int(batch.num_rows)
        self._marked = False
        columns = [
            column if is_plain else self._plain(column)
            for column, is_plain in zip(batch.columns, self._is_plain, strict=True)
        ]
        frame = pl.from_arrow(pa.RecordBatch.from_arrays(columns, names=self._names), rechunk=False)
        out = io.BytesIO()
        frame.write_ndjson(out)
        return unmarked(out.getvalue()) if self._marked else out.getvalue()

    def _plain(self, array: Any, *, is_key: bool = False) -> Any:
        pa = pyarrow()
        kind, types = array.type, pa.types
        if isinstance(kind, pa.BaseExtensionType):
            return self._extension(array, is_key=is_key)
        if types.is_dictionary(kind):
            return self._plain(_decoded(array), is_key=is_key)
        if types.is_run_end_encoded(kind):
            return self._plain(compute().run_end_decode(array), is_key=is_key)
        if types.is_floating(kind):
            return self._float(array)
        if types.is_decimal(kind):
            return array.cast(pa.string()) if is_key else self._marking(array.cast(pa.string()))
        if _is_bytes(kind):
            return polars().from_arrow(array).bin.encode("base64").to_arrow()
        if types.is_date(kind):
            days = array.cast(pa.date32(), safe=False)
            return self._dated(days, pa.int32(), 1, lambda found: found.cast(pa.string()))
        if types.is_timestamp(kind):
            return self._dated(array, pa.int64(), _DAY_S * _UNITS[kind.unit], _moments)
        if types.is_time(kind):
            return polars().from_arrow(array).dt.to_string("%H:%M:%S%.f").to_arrow()
        if types.is_duration(kind):
            return polars().from_arrow(array).dt.to_string("iso").to_arrow()
        if types.is_list_view(kind) or types.is_large_list_view(kind):
            return self._plain(_of_views(array))
        if types.is_fixed_size_list(kind):
            return self._plain(_of_any_size(array))
        if types.is_list(kind) or types.is_large_list(kind):
            offsets, (values,) = _compact(array, array.values)
            return type(array).from_arrays(offsets, self._plain(values), mask=_nulls(array))
        if types.is_map(kind):
            return self._map(array)
        if types.is_struct(kind) and kind.num_fields:
            return self._struct(array)
        return array

    def _extension(self, array: Any, *, is_key: bool) -> Any:
        storage = array.storage
        if array.type.extension_name == "arrow.uuid":
            hexes = polars().from_arrow(storage).bin.encode("hex")
            return hexes.str.replace("^(.{8})(.{4})(.{4})(.{4})(.{12})$", "$1-$2-$3-$4-$5").to_arrow()
        if array.type.extension_name == "arrow.bool8":
            return storage.cast(pyarrow().bool_())
        return self._plain(storage, is_key=is_key)

    def _float(self, array: Any) -> Any:
        """JSON has no NaN and no infinity: as these words they are found, and rejected or repaired, where rows are checked."""
        pa, pl = pyarrow(), polars()
        if pa.types.is_float16(array.type):
            array = array.cast(pa.float32())
        if compute().all(compute().is_finite(array)).as_py() is not False:
            return array
        self._marked = True
        series = pl.from_arrow(array)
        words = (
            pl.when(series.is_nan()).then(pl.lit("NaN"))
            .when(series == float("inf")).then(pl.lit("Infinity"))
            .when(series == float("-inf")).then(pl.lit("-Infinity"))
            .otherwise(series.cast(pl.String))
        )  # fmt: skip
        chosen = pl.when(series.is_not_null()).then(pl.concat_str(pl.lit(BEFORE), words, pl.lit(BEHIND)))
        return pl.select(chosen).to_series().to_arrow()

    def _dated(self, array: Any, whole: Any, in_a_day: int, as_text: Callable[[Any], Any]) -> Any:
        """*array* as texts, but for what lies outside of the years with four digits: libraries write that wrongly or not at all."""
        pa = pyarrow()
        least, end = max(_FIRST_DAY * in_a_day, -(2**63)), min(_DAYS_END * in_a_day, 2**63)
        lowest, highest = _ends(array.cast(whole))
        if lowest is None or highest is None or (least <= lowest and highest < end):
            return as_text(array)
        self._marked = True
        numbers = array.cast(whole)
        inside = compute().and_(
            compute().greater_equal(numbers, pa.scalar(least, whole)),
            compute().less_equal(numbers, pa.scalar(end - 1, whole)),
        )
        texts = as_text(compute().if_else(inside, array, pa.scalar(None, array.type))).cast(pa.string())
        return compute().if_else(inside, texts, pa.scalar(f"{BEFORE}{OUT_OF_RANGE}{BEHIND}", pa.string()))

    def _marking(self, texts: Any) -> Any:
        self._marked = True
        join = compute().binary_join_element_wise
        return join(BEFORE, texts, BEHIND, "")

    def _struct(self, array: Any) -> Any:
        pa = pyarrow()
        # what stands in the fields of a null may be anything: flattened it is null
        inner = array.flatten() if array.null_count else [array.field(n) for n in range(array.type.num_fields)]
        made = [self._plain(one) for one in inner]
        fields = [pa.field(old.name, new.type) for old, new in zip(array.type, made, strict=True)]
        return pa.StructArray.from_arrays(made, fields=fields, mask=_nulls(array))

    def _map(self, array: Any) -> Any:
        pa = pyarrow()
        offsets, (keys, values) = _compact(array, array.keys, array.items)
        names = self._plain(keys, is_key=True).cast(pa.string())
        return pa.MapArray.from_arrays(offsets, names, self._plain(values), mask=_nulls(array))


def _compact(array: Any, *children: Any) -> tuple[Any, list[Any]]:
    """The offsets of a list or a map that may be a slice, and of its children only what it refers to."""
    if not len(array):
        return pyarrow().array([0], array.offsets.type), [child.slice(0, 0) for child in children]
    first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
    offsets = compute().subtract(array.offsets, pyarrow().scalar(first, array.offsets.type))
    return offsets, [child.slice(first, last - first) for child in children]


def _decoded(array: Any) -> Any:
    """The values that *array*, of a dictionary, stands for. Out of views, which polars writes of categories, pyarrow takes none."""
    types, kind = pyarrow().types, array.type.value_type
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return polars().from_arrow(array.dictionary).gather(polars().from_arrow(array.indices)).to_arrow()
    return array.dictionary_decode()


def _of_views(array: Any) -> Any:
    """*array*, whose lists stand in any order and may share values, as lists that stand one after the other. pyarrow's cast takes
    the offsets as they are: it gives other lists, and ends the process that reads some of them."""
    pa = pyarrow()
    lengths = compute().fill_null(compute().list_value_length(array), 0).cast(pa.int64())
    _refuse_unfolded(array, compute().sum(lengths).as_py() or 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), compute().cumulative_sum(lengths)])
    return pa.LargeListArray.from_arrays(offsets, compute().list_flatten(array), mask=_nulls(array))


def _refuse_unfolded(array: Any, count: int) -> None:
    """Raise `TooLargeError` where the lists of *array*, each for itself, hold *count* values that take too much memory. Those that
    share none take no more than they take now."""
    values = array.values
    if count <= len(values):
        return
    size = count * max(values.nbytes // max(len(values), 1), 1)
    if size > MOST_UNFOLDED_BYTES:
        raise TooLargeError(
            f"its list views share values: each for itself they take {size / 2**20:,.1f} MiB, and at most "
            f"{MOST_UNFOLDED_BYTES / 2**20:,.1f} MiB are held at once; write it as lists, in smaller batches"
        )


def _of_any_size(array: Any) -> Any:
    """*array*, lists of a fixed size, without what stands behind those that are null: that may be anything. No cast: of a part of
    an array pyarrow makes values by that which contradict each other."""
    pa = pyarrow()
    lengths = compute().multiply(array.is_valid().cast(pa.int32()), array.type.list_size)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), compute().cumulative_sum(lengths).cast(pa.int32())])
    return pa.ListArray.from_arrays(offsets, array.flatten(), mask=_nulls(array))


def _ends(numbers: Any) -> tuple[int | None, int | None]:
    """The lowest and the highest of *numbers*; None where there is none."""
    found = compute().min_max(numbers)
    return found["min"].as_py(), found["max"].as_py()


def _nulls(array: Any) -> Any:
    return array.is_null() if array.null_count else None


def _moments(array: Any) -> Any:
    """ISO 8601 with a `T`, and with the offset of the zone, where there is one."""
    pa, zone = pyarrow(), _zone(array.type)
    array = array.cast(pa.timestamp(array.type.unit, zone))
    fixed = _OFFSET.fullmatch(zone or "")
    if fixed is not None:
        seconds = (int(fixed[2]) * 60 + int(fixed[3])) * (-60 if fixed[1] == "-" else 60)
        numbers, unit = array.cast(pa.int64()), array.type.unit
        # the local time of a moment in nanoseconds may not fit in 64 bits: its seconds do
        moved = (polars().from_arrow(numbers) // _UNITS[unit] + seconds) * 1000
        parts = polars().from_arrow(numbers.cast(pa.timestamp(unit))).dt.to_string("%.f")
        local = moved.cast(polars().Datetime("ms")).dt.to_string(_SECOND) + parts
        return (local + f"{fixed[1]}{fixed[2]}:{fixed[3]}").to_arrow()
    series = polars().from_arrow(array)
    lowest, _ = _ends(array.cast(pa.int64()))
    if zone and lowest is not None and lowest < _LAST_ODD_OFFSET_S * _UNITS[array.type.unit]:
        return _by_whole_minutes(series).to_arrow()
    return series.dt.to_string(_MOMENT + ("%:z" if zone else "")).to_arrow()


def _by_whole_minutes(series: Any) -> Any:
    """*series*, moments with a zone, as texts. Where an offset has seconds, which ISO 8601 cannot say, the local time is that of
    the offset without them: the moment is the same (RFC 3339, 5.8)."""
    pl = polars()
    offsets = series.dt.to_string("%::z")
    seconds = offsets.str.slice(-2).cast(pl.Int64)
    signed = pl.select(pl.when(offsets.str.starts_with("-")).then(-seconds).otherwise(seconds)).to_series()
    # by way of texts: the local time of a moment in nanoseconds may not fit in 64 bits
    local = series.dt.to_string(_SECOND).str.to_datetime(_SECOND, time_unit="ms")
    whole = (local - (signed * 1000).cast(pl.Duration("ms"))).dt.to_string(_SECOND)
    return whole + series.dt.to_string("%.f") + offsets.str.slice(0, 6)


def _zone(kind: Any) -> str | None:
    return "UTC" if kind.tz in ("Z", "z") else kind.tz or None


def _is_bytes(kind: Any) -> bool:
    types = pyarrow().types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def _is_known(kind: Any) -> bool:
    """Whether the zone of the timestamps is one."""
    moment = pyarrow().array([0], pyarrow().timestamp("s", kind.tz))
    return not isinstance(tried(_moments, moment), Refusal)


def _children(kind: Any) -> Iterator[Any]:
    pa = pyarrow()
    if isinstance(kind, pa.BaseExtensionType):
        yield kind.storage_type
    elif pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        yield kind.value_type
    elif pa.types.is_nested(kind):
        yield from (kind.field(number).type for number in range(kind.num_fields))


def _changes(kind: Any) -> bool:
    """Whether values of the type are not written as they are."""
    pa = pyarrow()
    types = pa.types
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_null(kind):
        return False
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return False
    if types.is_list(kind) or types.is_large_list(kind) or types.is_struct(kind):
        return any(map(_changes, _children(kind)))
    return True


def without_form(kind: Any) -> str | None:
    """What in *kind* has no form in JSON, in words, None where there is nothing."""
    pa = pyarrow()
    types = pa.types
    if types.is_union(kind) or types.is_interval(kind) or (types.is_map(kind) and types.is_nested(kind.key_type)):
        return f"{kind} has no form in JSON"
    if types.is_struct(kind):
        names = [kind.field(number).name for number in range(kind.num_fields)]
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            return f"two of its fields are called {double!r}"
    if types.is_timestamp(kind) and not _is_known(kind):
        return f"the time zone {kind.tz!r} is not known"
    return next((found for found in map(without_form, _children(kind)) if found is not None), None)
