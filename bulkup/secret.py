"""A token that cannot be printed by accident."""

from __future__ import annotations

__all__ = ["Token"]


class Token:
    """A bearer token. Its text shows in `header()` and nowhere else."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def of_header(cls, value: str) -> Token:
        """The token that *value*, an Authorization header's, shows."""
        return cls(value.removeprefix("Bearer "))

    def __repr__(self) -> str:
        return "Token(***)"

    def __reduce__(self) -> str:
        raise TypeError("a token is not pickled")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def header(self) -> str:
        """The value of the Authorization header."""
        return f"Bearer {self._text}"

    def redact(self, text: str) -> str:
        """*text* with the token, wherever it stands, replaced by `***`."""
        return text.replace(self._text, "***") if self._text else text
