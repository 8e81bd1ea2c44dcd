"""What is wrong with a setting, in words: its name, the value that was given, and what may be given instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bulkup.settings.near import did_you_mean
from bulkup.settings.option import Bounds
from bulkup.tokens.secret import redact

__all__ = ["faults_of"]

LONGEST_VALUE = 60

_OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_KINDS = {
    "string_type": "give a text",
    "path_type": "give a path",
    "bool_type": "give true or false",
    "bool_parsing": "give true or false",
    "tuple_type": 'give a list, such as ["a", "b"]',
    "list_type": 'give a list, such as ["a", "b"]',
    "dict_type": "give a table",
}


def faults_of(
    model: type[BaseModel], error: ValidationError, called: Callable[[str], str] = str, *, with_missing: bool = True
) -> dict[str, str]:
    """Each fault of *error* as text, by the field's name in *model*. *called* says what the user calls a field."""
    found: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        field = str(detail["loc"][0]) if detail["loc"] else ""
        if detail["type"] != "missing" or with_missing:
            found.setdefault(field, _fault(model, detail, called))
    return found


def _fault(model: type[BaseModel], detail: ErrorDetails, called: Callable[[str], str]) -> str:
    field, *inner = map(str, detail["loc"] or ("",))
    said = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if not field:
        return said
    name = ".".join((called(field), *(part for part in inner if not part.startswith(("function-", "constrained-")))))
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        known = [info.alias or key for key, info in model.model_fields.items()]
        return f"{name}: there is no such setting{did_you_mean(field, known)}"
    if kind == "missing":
        return f"{name} is needed"
    if kind == "value_error":
        shown = _value(value)
        return f"{name}: {said}" if not shown or shown in said else f"{name} {shown}: {said}"
    return f"{name} {_value(value)}".rstrip() + f": {_instead(model, field, kind, detail.get('ctx', {}), value, said)}"


def _instead(
    model: type[BaseModel], field: str, kind: str, context: Mapping[str, Any], value: object, said: str
) -> str:
    if kind in _OUT_OF_RANGE:
        return _number(model, field, is_whole=_is_whole(model, field))
    if kind.startswith("int_"):
        return _number(model, field, is_whole=True)
    if kind.startswith("float_") or kind == "finite_number":
        return _number(model, field, is_whole=False)
    if kind in ("literal_error", "enum"):
        expected = str(context.get("expected", ""))
        words = [word.strip("'") for part in expected.split(" or ") for word in part.split(", ")]
        return f"give {', '.join(words[:-1])} or {words[-1]}" + did_you_mean(str(value), words)
    return _KINDS.get(kind, said[:1].lower() + said[1:])


def _number(model: type[BaseModel], field: str, *, is_whole: bool) -> str:
    bounds = _bounds(model, field)
    what = (
        "a size"
        if "bytes" in field
        else "a time"
        if field.endswith("_s")
        else "a whole number"
        if is_whole
        else "a number"
    )
    unit = " bytes" if "bytes" in field else " seconds" if field.endswith("_s") else ""
    if bounds is None:
        return f"give {what}"
    return f"give {what}{bounds.text}{unit}"


def _bounds(model: type[BaseModel], field: str) -> Bounds | None:
    info = _info(model, field)
    return None if info is None else _in(info.metadata, info.annotation)


def _in(metadata: Any, annotation: Any) -> Bounds | None:
    """The bounds that stand in an annotation, however deep."""
    limits: dict[str, Any] = {}
    for one in (*metadata, *get_args(annotation)):
        if isinstance(one, Bounds):
            return one
        for key in ("ge", "gt", "le"):
            if (limit := getattr(one, key, None)) is not None:
                limits[key] = limit
        if get_args(one) and (found := _in((), one)) is not None:
            return found
    return Bounds(**limits) if limits else None


def _is_whole(model: type[BaseModel], field: str) -> bool:
    info = _info(model, field)
    return info is not None and "int" in str(info.annotation)


def _info(model: type[BaseModel], field: str) -> Any:
    fields = model.model_fields
    return fields.get(field) or next((info for info in fields.values() if info.alias == field), None)


def _value(value: object) -> str:
    """*value* as it was written, free of secrets; empty where it is none that can be shown in a few words."""
    if isinstance(value, str):
        text = redact(value)
        return repr(text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "...")
    if isinstance(value, bool):
        return str(value).lower()
    return _digits(value) if isinstance(value, int | float) else ""


def _digits(value: float) -> str:
    try:
        return f"{value:g}"
    except OverflowError:  # a whole number beyond a double
        return f"{str(value)[:LONGEST_VALUE]}..."
