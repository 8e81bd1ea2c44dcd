"""Where a destination's token comes from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import anyio
import anyio.to_thread

from bulkup.errors import TokenRefused
from bulkup.tokens.secret import Token

__all__ = ["TokenSource"]

MAX_TOKEN_BYTES = 16 * 1024

REWRITTEN_S = 0.2
"""A token file without a token is read again after so long: whoever renews it may have emptied it to write the new one."""

READINGS = 10
"""How often such a file is read before it holds no token."""


class TokenSource:
    """Where a destination's token comes from: a file, which may be renewed while a run lasts, or the environment."""

    def __init__(self, *, variable: str, file: Path | None, environment: Mapping[str, str] = os.environ) -> None:
        """Read the token. Raises `TokenRefused` where there is none."""
        self._file = file
        self.place = f"the token in {file}" if file is not None else variable
        """Where the token comes from, in words."""
        self._renewing = anyio.Lock()
        self._refused: set[Token] = set()
        if file is not None:
            self.current = _read(file)
            return
        text = environment.get(variable, "").strip()
        if not text:
            raise TokenRefused(f"no token: set {variable} in the environment, or name a token_file in the config")
        self.current = _checked(text, variable)

    @classmethod
    def of(cls, token: Token) -> TokenSource:
        """A token that somebody else keeps and renews: *current* is set by them."""
        source = cls.__new__(cls)
        source._file, source._renewing, source._refused, source.current = None, anyio.Lock(), set(), token
        source.place = "the token"
        return source

    async def renew(self, rejected: Token) -> bool:
        """Whether there is another token than the one *rejected*: the file is read anew, once per token, by one task."""
        async with self._renewing:
            if self.current != rejected:
                return True
            if self._file is None or rejected in self._refused:
                return False
            self._refused.add(rejected)
            self.current = await _read_again(self._file)
            return self.current not in self._refused


async def _read_again(file: Path) -> Token:
    """The token in *file*, which somebody may be writing just now. Raises `TokenRefused`."""
    for _ in range(READINGS - 1):
        try:
            return await anyio.to_thread.run_sync(_read, file)
        except TokenRefused:
            await anyio.sleep(REWRITTEN_S)
    return await anyio.to_thread.run_sync(_read, file)


def _read(file: Path) -> Token:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_TOKEN_BYTES + 1)
    except OSError as error:
        raise TokenRefused(f"token file {file}: {error.strerror}") from None
    text = data.decode("utf-8-sig", "replace").strip()
    if not text or len(data) > MAX_TOKEN_BYTES:
        raise TokenRefused(f"token file {file}: it holds no token")
    return _checked(text, f"token file {file}")


def _checked(text: str, where: str) -> Token:
    if (why := _unlike_a_token(text)) is not None:
        raise TokenRefused(f"{where}: {why}")
    return Token(text)


_QUOTES = "\"'`\u2018\u2019\u201c\u201d"


def _unlike_a_token(text: str) -> str | None:
    """What keeps *text* from being a token, and what to do about it; None where nothing does. Nothing of it is repeated."""
    if text[0] in _QUOTES or text[-1] in _QUOTES:
        return "the token stands in quotes; give it without them"
    if "bearer" in text.lower() and re.match(r"(authorization\s*:\s*)?bearer(\s|$)", text, re.IGNORECASE):
        return "it begins with the word Bearer; give the token alone, bulkup adds the word"
    if "=" in text and re.match(r"(export\s+)?[A-Z][A-Z0-9_]*(API_KEY|TOKEN)\s*=", text):
        return "it holds NAME=TOKEN; give the token alone"
    if text[0] == "{":
        return "it holds JSON; give the token alone"
    if not text.isascii() or not text.isprintable() or " " in text:
        return "a token is one line of printable ASCII without spaces"
    return None
