"""Blocks of Ray as JSON lines, without Ray: its extension types are told by their names."""

from __future__ import annotations

import json
import pickle
from array import array as typed
from datetime import UTC, date, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from bulkup.errors import UsageProblem
from bulkup.ray_lines import lines_of


class Tensor(pa.ExtensionType):  # type: ignore[misc]
    """As `ray.data._internal.tensor_extensions.arrow.ArrowTensorTypeV2`."""

    def __init__(self, shape: tuple[int, ...], kind: pa.DataType) -> None:
        self.shape = shape
        super().__init__(pa.large_list(kind), "ray.data.arrow_tensor_v2")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""


class Shaped(pa.ExtensionType):  # type: ignore[misc]
    """As `ArrowVariableShapedTensorType`."""

    def __init__(self, ndim: int, kind: pa.DataType) -> None:
        self.ndim = ndim
        stored = pa.struct([("data", pa.large_list(kind)), ("shape", pa.list_(pa.int64()))])
        super().__init__(stored, "ray.data.arrow_variable_shaped_tensor")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""


class Unpickled(pa.ExtensionScalar):  # type: ignore[misc]
    def as_py(self, **_: Any) -> Any:
        return pickle.loads(self.value.as_py())


class Objects(pa.ExtensionType):  # type: ignore[misc]
    """As `ray.data._internal.object_extensions.arrow.ArrowPythonObjectType`."""

    def __init__(self) -> None:
        super().__init__(pa.large_binary(), "ray.data.arrow_pickled_object")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    def __arrow_ext_scalar_class__(self) -> type:
        return Unpickled


_KEPT: list[pa.ExtensionType] = []
"""Arrow itself keeps no type of Python alive."""


def stored(kind: pa.ExtensionType, values: list[Any]) -> Any:
    _KEPT.append(kind)
    return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))


def objects(*values: Any) -> Any:
    return stored(Objects(), [pickle.dumps(value) for value in values])


def lines(**columns: Any) -> bytes:
    return b"".join(lines_of(pa.table(columns)))


def test_tensors_are_lists_of_their_shape() -> None:
    assert lines(v=stored(Tensor((3,), pa.float32()), [[0.1, 1, 2.5], None])) == b'{"v":[0.1,1.0,2.5]}\n{"v":null}\n'
    assert (
        lines(v=stored(Tensor((2, 2), pa.int64()), [[1, 2, 3, 4], None, [5, 6, 7, 8]]))
        == b'{"v":[[1,2],[3,4]]}\n{"v":null}\n{"v":[[5,6],[7,8]]}\n'
    )
    assert lines(v=stored(Tensor((2, 0), pa.int64()), [[]])) == b'{"v":[[],[]]}\n'
    assert lines(v=stored(Tensor((), pa.int64()), [[7], [8]])) == b'{"v":7}\n{"v":8}\n'
    data = [{"data": [0.1, 2, 3, 4], "shape": [2, 2]}, None, {"data": [5, 6], "shape": [1, 2]}]
    assert lines(v=stored(Shaped(2, pa.float32()), data)) == (
        b'{"v":[[0.1,2.0],[3.0,4.0]]}\n{"v":null}\n{"v":[[5.0,6.0]]}\n'
    )


def test_arrow_s_own_tensors_are_too() -> None:
    kind = pa.fixed_shape_tensor(pa.int32(), (2, 2))
    made = pa.ExtensionArray.from_storage(kind, pa.array([[1, 2, 3, 4]], pa.list_(pa.int32(), 4)))
    assert lines(v=made) == b'{"v":[[1,2],[3,4]]}\n'


def test_a_slice_of_a_block_holds_its_own_rows() -> None:
    table = pa.table({"v": stored(Tensor((2, 1), pa.int64()), [[n, n] for n in range(9)]), "o": objects(*range(9))})
    assert b"".join(lines_of(table.slice(4, 2))) == b'{"v":[[4],[4]],"o":4}\n{"v":[[5],[5]],"o":5}\n'


def test_python_s_objects_are_json_and_not_pickles() -> None:
    values = [
        {"a": [1, "x", None, True], "é": 2**80},
        (1.5, Decimal("1.50"), b"\x00\xff"),
        [datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), date(2024, 1, 2), UUID(int=1)],
        "line\nbreak \ud800 \x01",
        None,
    ]
    made = lines(o=objects(*values), n=pa.array(range(5)))
    assert made.count(b"\n") == 5
    assert "é".encode() in made
    assert b"1.50" in made
    assert [json.loads(line) for line in made.splitlines()] == [
        {"n": 0, "o": {"a": [1, "x", None, True], "é": 2**80}},
        {"n": 1, "o": [1.5, 1.5, "AP8="]},
        {"n": 2, "o": ["2024-01-02T03:04:05+00:00", "2024-01-02", "00000000-0000-0000-0000-000000000001"]},
        {"n": 3, "o": "line\nbreak \ud800 \x01"},
        {"n": 4, "o": None},
    ]
    assert lines(o=objects(1, "a")) == b'{"o":1}\n{"o":"a"}\n', "a column of objects alone"


def test_nan_stays_a_word_whose_row_is_found() -> None:
    assert lines(o=objects([float("nan")], float("inf"))) == b'{"o":[NaN]}\n{"o":Infinity}\n'
    assert lines(f=pa.array([float("nan"), 1.5])) == b'{"f":NaN}\n{"f":1.5}\n'


class Scalar:
    """As numpy's and pandas'."""

    def __init__(self, kind: str, text: str, value: Any = None, shape: tuple[int, ...] = ()) -> None:
        self.dtype = SimpleNamespace(kind=kind)
        self.shape, self.text, self.value = shape, text, value

    def __str__(self) -> str:
        return self.text

    def __iter__(self) -> Any:
        return iter(self.value)

    def item(self) -> Any:
        return self.value


class NAType:
    """As pandas'."""


def test_values_of_numpy_and_pandas_in_objects() -> None:
    values = [
        Scalar("i", "7", 7), Scalar("f", "0.1", 0.10000000149011612), Scalar("b", "True", True), Scalar("M", "NaT"),
        Scalar("M", "2024-01-02T03:04:05"), NAType(), Scalar("f", "", [Scalar("f", "0.5"), 1.5], (2,)),
    ]  # fmt: skip
    import bulkup.ray_lines as module

    assert json.loads(module._text("x", values)) == [7, 0.1, True, None, "2024-01-02T03:04:05", None, [0.5, 1.5]]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1, 2}, "a set has no form"),
        (typed("d"), "an? array has no form"),
        (1j, "a complex"),
        ({(1,): 1}, "keys must be"),
    ],
)
def test_what_has_no_form_names_its_column(value: Any, said: str) -> None:
    with pytest.raises(UsageProblem, match=f"column image: .*{said}.*leave the column out"):
        lines(image=objects(value), n=pa.array([1]))


def test_arrow_s_types_without_a_form_name_their_column() -> None:
    with pytest.raises(UsageProblem, match="column d: the time zone"):
        lines(d=pa.array([0], pa.timestamp("s", "Nowhere/Land")))


def test_a_large_block_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkup.ray_lines._AT_ONCE_BYTES", 80)
    made = list(lines_of(pa.table({"n": pa.array(range(100), pa.int64())})))
    assert len(made) == 10
    assert [json.loads(line)["n"] for line in b"".join(made).splitlines()] == list(range(100))
    assert list(lines_of(pa.table({"n": pa.array([], pa.int64())}))) == []
