"""A file that is one JSON object: a row, or what holds the rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from bulkup.errors import UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.refusal import Refusal, attempt
from bulkup.sources.json_path import path_text
from bulkup.sources.not_rows import NotRows

__all__ = ["fault_of_lone"]

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_LIST = msgspec.json.Decoder(list[msgspec.Raw]).decode
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\],]', re.DOTALL)
_CLOSING = {b"{": b"}", b"[": b"]"}

_DEEPEST = 4
_MOST_OFFERED = 8
_MANY = 10
"""So many objects under keys of their own, all with the same keys, are rows."""

_ERROR = frozenset({"error", "errors", "detail", "message"})
_OF_ERRORS = _ERROR | {
    *("code", "status", "status_code", "statusCode", "type", "title", "documentation_url", "request_id", "requestId"),
    *("timestamp", "path", "instance", "success", "ok", "reason", "msg", "error_description", "traceId"),
}

Fields = Mapping[str, bytes]


def fault_of_lone(text: bytes, row_keys: Sequence[frozenset[str]], *, is_whole: bool) -> NotRows | None:
    """What keeps the object that *text* is, or begins with, from being taken for a row by itself.

    It is one if it has one of the sets of *row_keys* and is not columnar, or if nothing in it looks like rows.
    """
    found = attempt(_OBJECT, text if is_whole else _closed(text))
    if isinstance(found, Refusal) or not found:
        return None
    fields = {key: bytes(raw) for key, raw in found.items()}
    columnar = _columnar(fields)
    if columnar is None and any(keys <= fields.keys() for keys in row_keys):
        return None
    if columnar is not None:
        return NotRows(f"{columnar}; if the object itself is a row, give --rows-at .", UsageProblem)
    if is_whole and (said := _error(fields)):
        return NotRows(
            f"is an error document ({said}), not data; fetch the file again. If it is a row, give --rows-at ."
        )
    holders = list(_holders(fields, ()))
    if not holders:
        return None
    listed = ", ".join(
        f"{path_text(one.path)} ({_count(one.number, is_whole=is_whole)})" for one in holders[:_MOST_OFFERED]
    )
    more = f" and {len(holders) - _MOST_OFFERED:,} more" if len(holders) > _MOST_OFFERED else ""
    best = path_text(_best(holders, row_keys).path)
    return NotRows(
        f"is one object that holds rows under a key: {listed}{more}. Say which with --rows-at, such as --rows-at {_quoted(best)}; "
        "or --rows-at . if the object itself is a row",
        UsageProblem,
    )


@dataclass(frozen=True, slots=True)
class _Holder:
    """The arrays at *path* hold *number* objects, the first of which has *keys*."""

    path: tuple[str, ...]
    number: int
    keys: frozenset[str]

    def has_one_of(self, row_keys: Sequence[frozenset[str]]) -> bool:
        """Whether the first is in the shape of a row."""
        return any(keys <= self.keys for keys in row_keys)


def _best(holders: Sequence[_Holder], row_keys: Sequence[frozenset[str]]) -> _Holder:
    """The one to offer: in the shape of a row; else the longest of those that stand within no other, for what stands beside the
    inner ones would be lost. A text alone makes no row of an answer, or of a label."""
    strong = [keys for keys in row_keys if keys != {"text"}]
    outermost = [
        one
        for one in holders
        if not any(one.path[: len(other.path)] == other.path for other in holders if other is not one)
    ]
    rows = [one for one in holders if one.has_one_of(strong)]
    return max(rows or outermost, key=lambda one: one.number)


def _quoted(path: str) -> str:
    return path if re.fullmatch(r"[\w.@:-]+", path) else "'" + path.replace("'", "'\\''") + "'"


def _count(number: int, *, is_whole: bool) -> str:
    return f"{'' if is_whole else 'at least '}{number:,} object{'' if number == 1 else 's'}"


def _holders(fields: Fields, path: tuple[str, ...]) -> Iterator[_Holder]:
    """The arrays of objects in *fields*, all arrays at one path together."""
    level: dict[str, list[bytes]] = {}
    for key, value in fields.items():
        level.setdefault(key, []).append(value)
    yield from _in_level(level, path)


def _in_level(level: Mapping[str, Sequence[bytes]], path: tuple[str, ...]) -> Iterator[_Holder]:
    for key, values in level.items():
        objects: list[Fields] = []
        number = 0
        for value in values:
            if value.startswith(b"["):
                members = [_fields(raw) for raw in _listed(value)]
                objects += [member for member in members if member is not None]
                number += sum(member is not None for member in members)
            elif value.startswith(b"{") and (member := _fields(value)) is not None:
                objects.append(member)
        here = (*path, key)
        if number:
            yield _Holder(here, number, frozenset(objects[0]))
        if objects and len(here) < _DEEPEST:
            below: dict[str, list[bytes]] = {}
            for one in objects:
                for name, inner in one.items():
                    if inner[:1] in (b"[", b"{"):
                        below.setdefault(name, []).append(inner)
            yield from _in_level(below, here)


def _listed(value: bytes) -> list[bytes]:
    found = attempt(_LIST, value)
    return [] if isinstance(found, Refusal) else [bytes(raw) for raw in found]


def _fields(value: bytes) -> dict[str, bytes] | None:
    found = attempt(_OBJECT, value) if value.startswith(b"{") else None
    return {key: bytes(raw) for key, raw in found.items()} if isinstance(found, dict) else None


def _columnar(fields: Fields) -> str | None:
    """How *fields* are a table by columns, in words; None where they are none."""
    way = "make rows of it: pandas.read_json(FILE{}).to_json(NEW, orient='records', lines=True)"
    if {"columns", "data"} <= fields.keys() and fields["columns"].startswith(b"["):
        rows = _listed(fields["data"])
        if rows and all(row.startswith(b"[") for row in rows):
            orient = ", orient='split'"
            return f"is columnar, as pandas writes it with orient='split' ({len(rows):,} rows); {way.format(orient)}"
    return _by_lists(fields, way) or _by_index(fields, way)


def _by_lists(fields: Fields, way: str) -> str | None:
    """How lists under several keys are columns: those of objects are rows under a key, and none."""
    lists = {key: _listed(value) for key, value in fields.items() if value.startswith(b"[")}
    lengths = {key: len(column) for key, column in lists.items() if not _are_objects(column)}
    different = set(lengths.values()) - {0}
    if not different or len(lengths) < len(lists):
        return None
    longest = max(different)
    if len(lists) == len(fields) and len(different) == 1 and min(lengths.values()) == longest:
        return f"is columnar: each key holds a list of {longest:,} values; {way.format('')}"
    if len(lists) < 2 or longest < 2:
        return None
    if len(lists) == len(fields):
        named = ", ".join(f"{key} {number:,}" for key, number in list(lengths.items())[:_MOST_OFFERED])
        return f"is columnar, with lists that are not equally long ({named}), so they make no rows"
    if len(different) == 1 and min(lengths.values()) == longest:
        named = ", ".join(list(lengths)[:_MOST_OFFERED])
        return (
            f"is columnar: the keys {named} hold lists of {longest:,} values each; make rows of these alone: "
            f"pandas.DataFrame({{k: json.load(open(FILE))[k] for k in {list(lengths)[:_MOST_OFFERED]}}})"
            ".to_json(NEW, orient='records', lines=True)"
        )
    return None


def _are_objects(column: Sequence[bytes]) -> bool:
    return bool(column) and all(value.startswith(b"{") for value in column)


def _by_index(fields: Fields, way: str) -> str | None:
    members = [_fields(value) for value in fields.values()]
    if not members or any(not member for member in members):
        return None
    keys = {frozenset(member) for member in members if member}
    if len(keys) != 1:
        return None
    inner = keys.pop()
    if all(key.isdecimal() for key in inner):
        return f"is columnar: each key holds {len(inner):,} values by their number; {way.format('')}"
    if all(key.isdecimal() for key in fields) or len(fields) >= _MANY:
        orient = ", orient='index'"
        return f"is one object that holds {len(fields):,} rows, each under a key of its own; {way.format(orient)}"
    return None


def _error(fields: Fields) -> str | None:
    """What the error says, where *fields* are a service's answer that tells of one."""
    told = _ERROR & fields.keys()
    if not told or not fields.keys() <= _OF_ERRORS or (told == {"message"} and len(fields) == 1):
        return None
    first = next(fields[key] for key in ("error", "errors", "detail", "message") if key in fields)
    return first[:120].decode("utf-8", "replace")


def _closed(text: bytes) -> bytes:
    """*text*, JSON that is cut somewhere, up to the last member that is there whole, with its brackets closed."""
    opened: list[bytes] = []
    end, closing = 0, b""
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token in _CLOSING:
            opened.append(_CLOSING[token])
        elif token in (b"}", b"]"):
            if not opened or opened.pop() != token:
                break
            end, closing = found.end(), b"".join(reversed(opened))
        elif token == b",":
            end, closing = found.start(), b"".join(reversed(opened))
    return text[:end] + closing
