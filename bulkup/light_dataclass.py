"""Dataclasses with slots whose `__init__` is compiled once there are some instances, and whose other methods all classes share.

Python's `dataclass` writes and compiles six methods for each class while its module is imported. For the 270 classes of an upload
that was a quarter of the instructions of its start, and few of these methods are ever called. All else is Python's own: the
fields, the slots, `replace`, `asdict`, `fields`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import MISSING, FrozenInstanceError
from itertools import count, repeat
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["as_dict", "dataclass", "replace"]

_AS_THEY_ARE = (str, int, float, bool, type(None))
_set = object.__setattr__
_NAMES: dict[type, tuple[str, ...]] = {}

if TYPE_CHECKING:
    from dataclasses import dataclass, replace
else:

    def dataclass(*, slots: bool, frozen: bool = False, kw_only: bool = False) -> Callable[[type], type]:
        """As `dataclasses.dataclass`. *slots* must be True: a class without them has nothing to gain here."""
        assert slots, "a class without slots is for Python's own dataclass"
        return lambda plain: _with_methods(plain, frozen, kw_only)

    def replace(value: Any, /, **changes: Any) -> Any:
        """As `dataclasses.replace`, of a class made here, in a third of its steps."""
        kind = value.__class__
        if kind not in _NAMES:
            _NAMES[kind] = tuple(item.name for item in dataclasses.fields(kind))
        names = _NAMES[kind]
        return kind(**(dict(zip(names, map(getattr, repeat(value), names), strict=True)) | changes))


def as_dict(value: Any) -> dict[str, Any]:
    """As `dataclasses.asdict`, for what is going to be written down: values that hold no dataclass are not copied."""
    return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}


def _plain(value: Any) -> Any:
    if value.__class__ in _AS_THEY_ARE:
        return value
    match value:
        case str() | int() | float() | None:
            return value
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)([_plain(item) for item in value])
        case _:
            return as_dict(value) if hasattr(type(value), "__dataclass_fields__") else value


def _with_methods(plain: type, frozen: bool, kw_only: bool) -> Any:
    documented, plain.__doc__ = plain.__doc__, plain.__doc__ or plain.__name__  # else a signature is made for it
    its_own = plain.__dict__
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only, slots=True)(plain)
    made.__doc__ = documented
    methods: dict[str, Any] = {"__init__": _first_init(made), "__repr__": _repr, "__eq__": _eq, "__hash__": None}
    if frozen:
        methods |= {"__hash__": _hash, "__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
        methods |= {"__getstate__": _state, "__setstate__": _set_state}
    for name, method in methods.items():
        if name not in its_own:
            setattr(made, name, method)
    return made


_FEW = 150
"""Most classes have fewer instances than that: to bind so many times here costs about as much as to compile what does it."""


def _first_init(made: Any) -> Callable[..., None]:
    first = count()
    fields: _Fields | None = None

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal fields
        if fields is None:
            fields = _Fields(made)
        if next(first) >= _FEW or not fields.are_set(self, args, kwargs):
            made.__init__ = _compiled_init(made)  # which says what is wrong with the arguments, if anything is
            made.__init__(self, *args, **kwargs)
        elif fields.has_more_to_do:
            self.__post_init__()

    return init


class _Fields:
    """The fields of a class, and what sets them with as few steps of the interpreter as can be: these are first steps."""

    def __init__(self, made: Any) -> None:
        self.has_more_to_do = hasattr(made, "__post_init__")
        self._in_order = made.__match_args__
        self._defaults: dict[str, Any] = {}
        self._factories: dict[str, Callable[[], Any]] = {}
        items = dataclasses.fields(made)
        for item in items:
            if item.default is not MISSING:
                self._defaults[item.name] = item.default
            elif item.default_factory is not MISSING:
                self._factories[item.name] = item.default_factory
        self._names = {item.name: None for item in items}.keys()
        by_place = len(self._in_order) == len(items) and not self._factories
        self._last = tuple(self._defaults.values())
        self._most = len(items) if by_place else -1  # so many arguments by place set all
        self._least = self._most - len(self._last)

    def are_set(self, of: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether the arguments are as they should be. Then each field *of* an instance has its value."""
        if not kwargs and self._least <= len(args) <= self._most:
            _set_all(of, self._in_order, args + self._last[len(args) - self._least :])
            return True
        given = dict(zip(self._in_order, args, strict=False)) | kwargs if args else kwargs
        values = self._defaults | given
        for name, make in self._factories.items():
            if name not in values:
                values[name] = make()
        # Else there is one too many, twice, unknown or missing.
        if len(given) < len(args) + len(kwargs) or values.keys() != self._names:
            return False
        _set_all(of, values, values.values())
        return True


def _set_all(of: Any, names: Iterable[str], values: Iterable[Any]) -> None:
    """Past the class's own `__setattr__`."""
    any(map(_set, repeat(of), names, values))  # which is None each time


def _compiled_init(made: Any) -> Any:
    """What Python's dataclass compiles. Every field is set past the class's own `__setattr__`."""
    known: dict[str, Any] = {"_set": _set, "_missing": MISSING}
    positional, by_keyword, body = ["self"], list[str](), list[str]()
    for item in dataclasses.fields(made):
        name = item.name
        parameter, value = name, name
        if item.default is not MISSING:
            known[f"_default_{name}"] = item.default
            parameter = f"{name}=_default_{name}"
        elif item.default_factory is not MISSING:
            known[f"_make_{name}"] = item.default_factory
            parameter, value = f"{name}=_missing", f"_make_{name}() if {name} is _missing else {name}"
        (by_keyword if item.kw_only else positional).append(parameter)
        body.append(f" _set(self, {name!r}, {value})")
    if hasattr(made, "__post_init__"):
        body.append(" self.__post_init__()")
    parameters = ", ".join([*positional, *(["*", *by_keyword] if by_keyword else ())])
    exec(f"def __init__({parameters}):\n" + "\n".join(body or [" pass"]), known)  # noqa: S102 - of names alone, as Python's does
    init = known["__init__"]
    init.__qualname__ = f"{made.__qualname__}.__init__"
    return init


_KEYS: dict[Any, Callable[[Any], Any]] = {}


def _key(value: Any) -> Any:
    """What *value* is compared by."""
    kind = value.__class__
    if kind not in _KEYS:
        names = [item.name for item in dataclasses.fields(kind) if item.compare]
        _KEYS[kind] = attrgetter(*names) if names else lambda _: ()
    return _KEYS[kind](value)


@recursive_repr()
def _repr(self: Any) -> str:
    shown = ", ".join(f"{item.name}={getattr(self, item.name)!r}" for item in dataclasses.fields(self) if item.repr)
    return f"{self.__class__.__qualname__}({shown})"


def _eq(self: Any, other: object) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return _key(self) == _key(other)


def _hash(self: Any) -> int:
    return hash(_key(self))


def _refuse_to_set(_self: object, name: str, _value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, item.name) for item in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for item, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, item.name, value)
