"""As much of GraphQL as two queries need: fields with arguments and selections, one operation, no fragments.

A field that the known shape lacks is an error, as a real server has it: so a client cannot lean on what is not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

__all__ = ["Field", "GraphqlError", "fields", "select"]

Shape = Mapping[str, "Shape | None"]

_TOKEN: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[_A-Za-z]\w*|[{}()\[\]:!=$]')
_SKIPPED: Final = re.compile(r"(?:[\s,\ufeff]|#[^\n]*)+")


class GraphqlError(Exception):
    """The query is not one that this server answers."""


@dataclass(frozen=True, slots=True)
class Field:
    """One selected field. *key* is what the answer calls it: its alias or its name."""

    key: str
    name: str
    arguments: Mapping[str, Any]
    fields: tuple[Field, ...]


def fields(query: str, variables: Mapping[str, Any]) -> tuple[Field, ...]:
    """The top fields of the document's one query, variables put in. Raises `GraphqlError`."""
    parser = _Parser(_tokens(query), variables)
    return parser.document()


def select(value: Any, chosen: tuple[Field, ...], shape: Shape | None, where: str) -> Any:
    """What *chosen* asks of *value*, whose fields *shape* declares (None for a plain value). Raises `GraphqlError`."""
    if shape is None:
        if chosen:
            raise GraphqlError(f"Field '{where}' must not have a selection since it has no subfields.")
        return value
    if not chosen:
        raise GraphqlError(f"Field '{where}' must have a selection of subfields.")
    for field in chosen:
        if field.name not in shape or field.arguments:
            raise GraphqlError(f"Cannot query field '{field.name}' on '{where}'.")
    if isinstance(value, list):
        return [select(item, chosen, shape, where) for item in value]
    return {
        field.key: select((value or {}).get(field.name), field.fields, shape[field.name], field.name)
        for field in chosen
    }


def _tokens(query: str) -> list[str]:
    found: list[str] = []
    at = 0
    while at < len(query):
        if skipped := _SKIPPED.match(query, at):
            at = skipped.end()
        elif token := _TOKEN.match(query, at):
            found.append(token[0])
            at = token.end()
        else:
            raise GraphqlError(f"Syntax Error: Unexpected character {query[at]!r}.")
    return found


class _Parser:
    def __init__(self, tokens: list[str], variables: Mapping[str, Any]) -> None:
        self._tokens = [*tokens, ""]
        self._at = 0
        self._variables = dict(variables)

    def document(self) -> tuple[Field, ...]:
        if self._peek() != "{":
            self._take("query")
            if self._peek() not in "({":
                self._name()
            if self._peek() == "(":
                self._declarations()
        found = self._selection()
        self._take("")
        return found

    def _peek(self) -> str:
        return self._tokens[self._at]

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, token: str) -> None:
        if self._peek() != token:
            raise GraphqlError(f"Syntax Error: Expected {token or '<EOF>'!r}, found {self._peek() or '<EOF>'!r}.")
        self._at = min(self._at + 1, len(self._tokens) - 1)

    def _name(self) -> str:
        if not self._peek().isidentifier():
            raise GraphqlError(f"Syntax Error: Expected Name, found {self._peek() or '<EOF>'!r}.")
        return self._next()

    def _declarations(self) -> None:
        """`($a: T!, $b: [T] = 3)`: only the defaults matter."""
        self._take("(")
        while self._peek() == "$":
            self._take("$")
            name = self._name()
            self._take(":")
            while self._peek() in {"[", "]", "!"} or self._peek().isidentifier():
                self._next()
            if self._peek() == "=":
                self._take("=")
                self._variables.setdefault(name, self._value())
        self._take(")")

    def _selection(self) -> tuple[Field, ...]:
        self._take("{")
        found: list[Field] = []
        while self._peek() != "}":
            key = name = self._name()
            if self._peek() == ":":
                self._take(":")
                name = self._name()
            arguments = self._arguments() if self._peek() == "(" else {}
            found.append(Field(key, name, arguments, self._selection() if self._peek() == "{" else ()))
        self._take("}")
        return tuple(found)

    def _arguments(self) -> dict[str, Any]:
        self._take("(")
        found: dict[str, Any] = {}
        while self._peek() != ")":
            name = self._name()
            self._take(":")
            found[name] = self._value()
        self._take(")")
        return found

    def _value(self) -> Any:
        if self._peek() == "$":
            self._take("$")
            return self._variables.get(self._name())
        token = self._next()
        if token.isidentifier() and token not in {"true", "false", "null"}:
            return token
        try:
            return orjson.loads(token)
        except orjson.JSONDecodeError as broken:
            raise GraphqlError(f"Syntax Error: Unexpected {token or '<EOF>'!r}.") from broken
