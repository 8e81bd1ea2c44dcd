"""JSON read and written with nothing lost, for comparing rows: numbers by their exact values, both values of a key that stands
twice, halves of surrogate pairs, any depth.

`canonical` is the same for two texts exactly where they mean the same: the order of keys, white space, escapes and the spelling of
a number (`bulkup.rows.numerals`) make no difference. msgspec does what it can, Python's decoder takes odder texts, and slow steps
without recursion do the rest, all with the same result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import msgspec

from bulkup.rows.numerals import PLAIN_DIGITS
from bulkup.rows.numerals import canonical as canonical_number

__all__ = ["NotJsonError", "Pairs", "canonical", "read", "written"]

_SPACE = " \t\r\n"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BLANK = re.compile(r"[ \t\r\n]*+")
_LITERALS = {"t": ("true", True), "f": ("false", False), "n": ("null", None)}


class NotJsonError(ValueError):
    """The text is not one JSON value."""


class Pairs:
    """An object in which a key stands twice: all of its members, in their order."""

    def __init__(self, members: Sequence[tuple[str, Any]]) -> None:
        self.members = members


def canonical(text: bytes) -> bytes:
    """The one way to write what *text* means. Raises `NotJsonError`."""
    return written(read(text))


def read(text: bytes) -> Any:
    """The value of *text*: as `json` has it, but for `Pairs`, and `Raw` for numbers that are written with a point or an exponent.

    Raises `NotJsonError`.
    """
    try:
        value = _DECODE(text)
        if b"\\u003" not in text and text.count(b":") == _ENCODE(value).count(b":"):  # so no key stood twice
            return value
    except (ValueError, TypeError, RecursionError, msgspec.MsgspecError):
        pass
    try:
        given = text.decode()
    except UnicodeDecodeError as error:
        raise NotJsonError(str(error)) from None
    given = given.strip(_SPACE)
    try:
        return _DECODER.decode(given)
    except RecursionError:
        return _Reader(given).whole()
    except json.JSONDecodeError as error:
        raise NotJsonError(str(error)) from None


def written(value: Any) -> bytes:
    """*value*, as `read` gives it, in the one way."""
    try:
        return _ENCODE_SORTED(value)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        return b"".join(_pieces(value))


# --- reading --------------------------------------------------------------------------------------------------------


def _constant(name: str) -> NoReturn:
    raise NotJsonError(f"{name} is not a JSON value")


def _float(text: str) -> msgspec.Raw:
    return msgspec.Raw(canonical_number(text))


def _integer(text: str) -> int | msgspec.Raw:
    return int(text) if len(text) <= PLAIN_DIGITS else _float(text)


def _object(members: list[tuple[str, Any]]) -> dict[str, Any] | Pairs:
    made = dict(members)
    return made if len(made) == len(members) else Pairs(members)


_DECODE = msgspec.json.Decoder(float_hook=_float).decode
_ENCODE = msgspec.json.Encoder().encode
_DECODER = json.JSONDecoder(parse_float=_float, parse_int=_integer, parse_constant=_constant, object_pairs_hook=_object)


class _Reader:
    """Reads without recursion: what is open stands in a list."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> Any:
        value = self._value()
        if self._at < len(self._text):
            raise NotJsonError(f"something follows the value at character {self._at}")
        return value

    def _value(self) -> Any:
        open_: list[tuple[list[Any], bool]] = []
        keys: list[str] = []
        while True:
            value = self._begun(open_, keys)
            while value is not _BEGUN:
                if not open_:
                    return value
                items, is_object = open_[-1]
                items.append((keys.pop(), value) if is_object else value)
                mark = self._next()
                if mark == ",":
                    if is_object:
                        keys.append(self._key())
                    break
                if mark != ("}" if is_object else "]"):
                    raise NotJsonError(f"a comma or an end is missing at character {self._at}")
                open_.pop()
                value = _object(items) if is_object else items

    def _begun(self, open_: list[tuple[list[Any], bool]], keys: list[str]) -> Any:
        """The scalar or the empty container that stands here; `_BEGUN` where one that is not empty was opened."""
        self._skip()
        mark = self._text[self._at : self._at + 1]
        if mark in ("[", "{") and mark:
            self._at += 1
            self._skip()
            if self._text[self._at : self._at + 1] == ("]" if mark == "[" else "}"):
                self._at += 1
                return [] if mark == "[" else {}
            open_.append(([], mark == "{"))
            if mark == "{":
                keys.append(self._key())
            return _BEGUN
        return self._scalar(mark)

    def _scalar(self, mark: str) -> Any:
        if mark == '"':
            return self._string()
        word, value = _LITERALS.get(mark, ("", None))
        if word and self._text.startswith(word, self._at):
            self._at += len(word)
            return value
        found = _NUMBER.match(self._text, self._at)
        if found is None:
            raise NotJsonError(f"no value at character {self._at}")
        self._at = found.end()
        return _float(found[0]) if set(found[0]) & set(".eE") else _integer(found[0])

    def _key(self) -> str:
        self._skip()
        if self._text[self._at : self._at + 1] != '"':
            raise NotJsonError(f"no key at character {self._at}")
        key = self._string()
        if self._next() != ":":
            raise NotJsonError(f"no colon behind the key before character {self._at}")
        return key

    def _string(self) -> str:
        try:
            text, self._at = json.decoder.scanstring(self._text, self._at + 1, True)  # type: ignore[attr-defined]
        except json.JSONDecodeError as error:
            raise NotJsonError(str(error)) from None
        return str(text)

    def _next(self) -> str:
        self._skip()
        self._at += 1
        return self._text[self._at - 1 : self._at]

    def _skip(self) -> None:
        found = _BLANK.match(self._text, self._at)
        assert found is not None
        self._at = found.end()


_BEGUN = object()

# --- writing --------------------------------------------------------------------------------------------------------

_ENCODE_SORTED = msgspec.json.Encoder(order="sorted").encode


def _pieces(value: Any) -> Iterator[bytes]:
    """As msgspec writes it, and what it does not write: halves of surrogate pairs, `Pairs`, any depth."""
    left: list[Any] = [value]
    while left:
        part = left.pop()
        match part:
            case _Piece():
                yield part.text
            case dict() | Pairs():
                members = part.members if isinstance(part, Pairs) else part.items()
                left.append(_Piece(b"}"))
                ordered = sorted(members, key=lambda member: member[0].encode("utf-8", "surrogatepass"))
                for i, (key, item) in reversed(list(enumerate(ordered))):
                    left += (item, _Piece((b"," if i else b"") + _string(key) + b":"))
                left.append(_Piece(b"{"))
            case list() | tuple():
                left.append(_Piece(b"]"))
                for i, item in reversed(list(enumerate(part))):
                    left.append(item)
                    if i:
                        left.append(_Piece(b","))
                left.append(_Piece(b"["))
            case str():
                yield _string(part)
            case _:
                yield _ENCODE(part)


class _Piece:
    """Bytes among values."""

    def __init__(self, text: bytes) -> None:
        self.text = text


def _string(text: str) -> bytes:
    try:
        return _ENCODE(text)
    except UnicodeEncodeError:
        pieces = re.split("([\ud800-\udfff])", text)
        return (
            b'"'
            + b"".join(_ENCODE(p)[1:-1] if i % 2 == 0 else b"\\u%04x" % ord(p) for i, p in enumerate(pieces))
            + b'"'
        )
