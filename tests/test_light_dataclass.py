"""`bulkup.light_dataclass.dataclass` does as Python's does."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import field
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.light_dataclass import as_dict, dataclass, replace

_MANY = 200
"""So many instances later `__init__` is a compiled one."""


def _both(make: Callable[[Any], Any]) -> tuple[Any, Any]:
    return make(dataclass), make(dataclasses.dataclass)


def _point(decorator: Any) -> Any:
    @decorator(frozen=True, slots=True)
    class Point:
        """A place."""

        kind: ClassVar[str] = "point"
        x: int
        y: int = 2
        tags: list[str] = field(default_factory=list, compare=False)
        secret: str = field(default="", repr=False)

        @property
        def both(self) -> int:
            return self.x + self.y

    return Point


def _box(decorator: Any) -> Any:
    @decorator(slots=True, kw_only=True)
    class Box:
        wide: int
        tall: int = 1

        def __post_init__(self) -> None:
            self.tall *= 2

    return Box


def _said(work: Callable[[], Any]) -> Any:
    """What *work* returns, or what it raises."""
    try:
        return work()
    except (TypeError, AttributeError) as error:
        return type(error), str(error)


def _made(kind: Any) -> list[Any]:
    one, same, other = kind(1), kind(1, 2, ["tag"]), kind(3, secret="x")

    def put(name: str) -> Any:
        return lambda: setattr(one, name, 5)

    return [
        [repr(each).replace("test_light_dataclass.", "") for each in (one, same, other)],
        [one == same, one == other, one != same, one == 1, hash(one) == hash(same), len({one, same, other})],
        [
            one.x,
            one.y,
            one.tags,
            other.secret,
            other.both,
            kind.kind,
            kind.__doc__,
            kind.__match_args__,
            kind.__slots__,
        ],
        [_said(put("x")), _said(lambda: delattr(one, "x")), hasattr(one, "__dict__")],
        [_said(kind), _said(lambda: kind(1, 2, [], "", 5)), _said(lambda: kind(x=1, z=2))],
        [
            repr(dataclasses.replace(one, y=7)),
            dataclasses.asdict(same),
            [each.name for each in dataclasses.fields(one)],
        ],
        [repr(copy.deepcopy(same)), one.tags is kind(1).tags],
    ]


def test_frozen_values_behave_as_pythons() -> None:
    """Made, shown, compared, hashed, refused, copied, replaced: all the same, with the first instances and with later ones."""
    mine, its = _both(_point)
    assert [_made(mine) for _ in range(3)] == [_made(its) for _ in range(3)]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1,), {}), ((1, 2, 3, 4, 5), {}), ((1,), {"x": 2}), ((), {"x": 1, "z": 2}), ((1, 2), {"secret": "s"})],
)
def test_the_first_instance_takes_what_later_ones_take(args: tuple[int, ...], kwargs: dict[str, Any]) -> None:
    """And says of what is wrong the same."""
    mine, its = _both(_point)
    first = _said(lambda: mine(*args, **kwargs).secret)
    for number in range(_MANY):
        mine(number)
    assert first == _said(lambda: mine(*args, **kwargs).secret) == _said(lambda: its(*args, **kwargs).secret)


@given(
    positional=st.lists(st.integers(), max_size=6),
    named=st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e", "f"]), st.integers(), max_size=6),
    defaults=st.integers(0, 4),
    kw_only=st.booleans(),
    as_found=st.sampled_from(["plain", "made", "by keyword"]),
)
def test_any_arguments_are_taken_as_python_takes_them(
    positional: list[int], named: dict[str, int], defaults: int, kw_only: bool, as_found: str
) -> None:
    """By place, by name, left out, too many, twice or unknown: by the first instances, by compiled ones and by Python's."""

    def kind(decorator: Any) -> Any:
        names = ["a", "b", "c", "d"]
        space: dict[str, Any] = {"__annotations__": dict.fromkeys(names, int), "__qualname__": "Kind"}
        space |= {name: number for number, name in enumerate(names) if number >= len(names) - defaults}
        if defaults and as_found == "made":
            space["d"] = field(default_factory=lambda: 7)
        if defaults and as_found == "by keyword":
            space["b" if defaults > 2 else "d"] = field(default=5, kw_only=True)
        return decorator(slots=True, frozen=True, kw_only=kw_only)(type("Kind", (), space))

    def made(kind: Any) -> Any:
        return _said(lambda: dataclasses.astuple(kind(*positional, **named)))

    mine, its = _both(kind)
    first, good = made(mine), {"a": 1, "b": 2, "c": 3, "d": 4}
    for _ in range(_MANY):
        mine(**good)
    assert first == made(mine) == made(its)


def test_values_that_change_behave_as_pythons() -> None:
    """They are set, and have no hash; what comes after `__init__` is called; keywords alone are taken."""

    def made(kind: Any) -> list[Any]:
        one = kind(wide=1)
        one.wide = 4
        tried = [_said(lambda: hash(one)), _said(lambda: kind(1)), _said(lambda: setattr(one, "deep", 1))]
        return [repr(one), one == kind(wide=4), one.tall, kind.__doc__ if kind.__doc__ is None else "", tried]

    mine, its = _both(_box)
    assert made(mine)[:3] == made(its)[:3]
    assert made(mine)[4] == made(its)[4]


@dataclass(frozen=True, slots=True)
class _Base:
    name: str


@dataclass(frozen=True, slots=True)
class _Below(_Base):
    size: int = 0


@pytest.mark.parametrize("value", [_Base("a"), _Below("a", 3)])
def test_values_come_back_from_a_pickle(value: Any) -> None:
    """A worker gets them so."""
    assert pickle.loads(pickle.dumps(value)) == value
    assert value != _Base("b")
    assert type(value)(**dataclasses.asdict(value)) == value


def test_a_value_with_others_in_it_is_written_as_python_writes_it() -> None:
    """In lists, tuples and tables."""

    @dataclass(slots=True)
    class Holder:
        one: Any
        many: Any

    value = Holder(_Below("a"), {"x": [_Base("b"), (1, None, "c")], "y": {"z": _Base("d")}})
    assert as_dict(value) == dataclasses.asdict(value)


def test_a_value_is_replaced_as_python_replaces_it() -> None:
    """By one of the same class, with what else it holds; not with a field that it has not."""
    mine, its = _both(_point)
    one, other = mine(1, tags=["a"], secret="s"), its(1, tags=["a"], secret="s")
    for changes in ({}, {"x": 5}, {"secret": "t", "y": 0}, {"z": 1}):

        def said(replace: Any, value: Any, changes: dict[str, Any] = changes) -> Any:
            return _said(lambda: dataclasses.astuple(replace(value, **changes)))

        assert said(replace, one) == said(dataclasses.replace, other)
    assert replace(_Below("a", 3), name="b") == _Below("b", 3)


def test_values_match_by_place() -> None:
    """In `case`, fields stand in their order."""
    match _Below("a", 3):
        case _Below(name, size):
            assert (name, size) == ("a", 3)
    assert _Below("a", 3) != _Base("a")
