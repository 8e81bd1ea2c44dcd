"""What stands for a value in a message between machines: plain values, checked as they are read.

Where a value may be of several kinds, what stands for it here has a field for each of them, of which one is set.
"""

from __future__ import annotations

from typing import Any, ClassVar, get_args

import msgspec
from msgspec import Raw, Struct

from bulkup import errors
from bulkup.model import Block
from bulkup.sources import SourceFile
from bulkup.sources.decompress import Compression
from bulkup.sources.format import Member
from bulkup.sources.places.address import Hidden, PlaceAt, Remote, hidden
from bulkup.sources.registry import format_named

__all__ = ["BlockForm", "FileForm", "Form", "OneOf"]


class OneOf(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One of several kinds of values; each field is one kind, or what stands for it."""

    @classmethod
    def of(cls, value: Any) -> Any:
        """What stands for *value*. Raises `TypeError` where it is of none of the kinds."""
        field, form = _fields_of(cls).get(type(value), ("", None))
        if not field:
            raise TypeError(f"{type(value).__name__} does not go between machines")
        return cls(**{field: value if form is None else form.of(value)})

    @property
    def value(self) -> Any:
        """The value. Raises `ValueError` unless there is exactly one."""
        found = [one for name in self.__struct_fields__ if (one := getattr(self, name)) is not None]
        if len(found) != 1:
            raise ValueError("a message has none or several of what it may have one of")
        return found[0].back() if isinstance(found[0], Form) else found[0]


class Form(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What stands for a value of *STANDS_FOR*, whose fields it has, but for those that need a form of their own."""

    STANDS_FOR: ClassVar[type[Any]]

    @classmethod
    def of(cls, value: Any) -> Any:
        """What stands for *value*."""
        return cls(**{name: getattr(value, name) for name in cls.__struct_fields__})

    def back(self) -> Any:
        """The value."""
        return self.STANDS_FOR(**{name: getattr(self, name) for name in self.__struct_fields__})


_known_fields: dict[type[OneOf], dict[type[Any], tuple[str, type[Form] | None]]] = {}


def _fields_of(kind: type[OneOf]) -> dict[type[Any], tuple[str, type[Form] | None]]:
    if kind not in _known_fields:
        made: dict[type[Any], tuple[str, type[Form] | None]] = {}
        for field in msgspec.structs.fields(kind):
            (one,) = (arg for arg in get_args(field.type) if arg is not type(None))
            is_form = isinstance(one, type) and issubclass(one, Form)
            made[one.STANDS_FOR if is_form else one] = (field.name, one if is_form else None)
        _known_fields[kind] = made
    return _known_fields[kind]


class BlockForm(Form, frozen=True):
    STANDS_FOR = Block
    data: bytes
    start: int
    end: int
    offsets: list[int] | None

    @classmethod
    def of(cls, value: Block) -> BlockForm:
        return cls(value.data, value.start, value.end, None if value.offsets is None else list(value.offsets))


class _Remote(Struct, frozen=True, array_like=True):
    at: PlaceAt
    key: str
    version: str | None
    ranges: bool


class FileForm(Struct, frozen=True, array_like=True):
    """A file of the source. *detail* is of the kind that its format says."""

    uri: str
    size: int | None
    mtime_ns: int | None
    compression: Compression
    format: str
    bom: bool
    length: int | None
    inner: Compression
    encoding: str | None
    rows_at: tuple[str, ...] | None
    zstd_window: int
    member: Member | None
    detail: Raw | None
    remote: _Remote | None
    renames: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, file: SourceFile) -> FileForm:
        remote = file.remote
        given = {name: getattr(file, name) for name in cls.__struct_fields__}
        return cls(
            **{
                **given,
                "format": file.format.name,
                "detail": None if file.detail is None else Raw(msgspec.msgpack.encode(file.detail)),
                "remote": remote and _Remote(remote.at, remote.key.text, remote.version, remote.ranges),
            }
        )

    def back(self) -> SourceFile:
        try:
            found = format_named(self.format)
        except KeyError:
            raise errors.UsageProblem(f"{self.uri}: its format {self.format!r} is not known on this machine") from None
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        detail, remote = None, None
        if self.detail is not None:
            if found.detail is None:
                raise errors.UsageProblem(f"{self.uri}: files of the format {found.name} do not go to other machines")
            detail = msgspec.msgpack.decode(self.detail, type=found.detail())
        if self.remote is not None:
            key: Hidden = hidden(self.remote.key)
            remote = Remote(self.remote.at, key, self.remote.version, self.remote.ranges)
        return SourceFile(**{**given, "format": found, "detail": detail, "remote": remote}, inode=None)
