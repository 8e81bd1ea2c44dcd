"""Tokens and passwords: they cannot be printed by accident, and what others say is freed of them.

A service, a proxy or a library may repeat a secret: an old one after a renewal, another lane's, or one written in another way.
So all secrets that this process has had are known here, and `redact` is called at the place where foreign text comes in.
"""

from __future__ import annotations

import base64
import re
import string
import sys
from collections.abc import Iterator, Sequence
from typing import cast

__all__ = ["LONG", "Token", "holds_secret", "known_secrets", "redact", "remember_secret"]

LONG = 16
"""A secret of fewer characters may be part of an ordinary word: it counts only where it stands as a word of its own."""

CUT = 8
"""So many characters of a long secret are taken for it where a text ends."""

MOST_LAYERS = 5
"""So many escapes around each other are undone, such as a percent-encoded JSON string."""

STARS = "***"


class Token:
    """A bearer token. Its text shows in `header()` and nowhere else."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text
        remember_secret(text)

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


def remember_secret(text: str) -> None:
    """From now on this process knows *text* as a secret. An empty text is none."""
    global _known
    if text and text not in known_secrets():
        _known = (*_known, _Secret(text))


def known_secrets() -> tuple[str, ...]:
    """All secrets of this process, for its workers. Never for a person."""
    return tuple(secret.text for secret in _known)


def redact(text: str) -> str:
    """*text* with `***` in the place of each known secret: in any letter case; as it is, percent-encoded, escaped as in JSON,
    Python or HTML (also several of these over each other), in hexadecimal, or in base64 with other text before and behind it.

    *text* may have been cut off in the midst of a long one: at its end `CUT` characters of the beginning are enough."""
    parts, end = [], 0
    for start, stop in sorted([*_spans(text, _known), *_cut_off(text)]):
        if start >= end:
            parts += [text[end:start], STARS]
        end = max(end, stop)
    return "".join([*parts, text[end:]])


def holds_secret(texts: Sequence[str | int]) -> bool:
    """Whether a known secret stands in one of *texts*, written in one of the ways that `redact` knows."""
    if not texts or not _known:
        return False
    # No way to write a secret makes it shorter than its `least`, and most ids are shorter than that.
    longest = _longest(texts)
    fitting = [secret for secret in _known if secret.least <= longest]
    return bool(fitting) and next(_spans(_lines(texts), fitting), None) is not None


def _longest(texts: Sequence[str | int]) -> int:
    """At least the length of the longest of *texts*; exactly, if the first of them is short."""
    if len(str(texts[0])) >= LONG:
        return sys.maxsize
    if set(map(type, texts)) == {int}:
        numbers = cast("Sequence[int]", texts)
        return max(len(str(min(numbers))), len(str(max(numbers))))
    return max(map(len, map(str, texts)))


def _lines(texts: Sequence[str | int]) -> str:
    try:
        return "\n".join(cast("Sequence[str]", texts))
    except TypeError:  # there is a number among them
        return "\n".join(map(str, texts))


class _Secret:
    """A secret, and what shows it in a text that `_folded` has been over."""

    __slots__ = ("is_long", "least", "most", "needles", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_long = len(text) >= LONG
        shown = {_folded(text)}
        for raw in (form.encode() for form in (text, text.lower(), text.upper())):
            shown |= {raw.hex(), *(_base64_cores(raw) if self.is_long else _base64_words(raw))}
        self.needles = {needle: sorted(set(needle), key=_SELDOM.find) for needle in map(_folded, shown)}
        self.least, self.most = min(map(len, self.needles)), max(map(len, self.needles))

    def possible_in(self, text: str) -> list[str]:
        """The needles of which all letters stand in *text*. A letter is found ten times as fast as a needle, and most texts lack
        one of each; then they need not be folded."""
        if len(text) < _SHORT:
            has = set(_folded(text)).issuperset
            return [needle for needle in self.needles if has(needle)]
        found = []
        present: set[str] = set()
        absent: set[str] = set()
        for needle, letters in self.needles.items():
            for letter in letters:
                if letter in present:
                    continue
                if letter in absent or not (letter in text or _UNFOLDED.get(letter, letter) in text):
                    absent.add(letter)
                    break
                present.add(letter)
            else:
                found.append(needle)
        return found

    def spans(self, text: str, folded: str, needles: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Where one of its *needles* stands in *text*, as (start, stop)."""
        for needle in needles:
            start = folded.find(needle)
            while start >= 0:
                stop = start + len(needle)
                if self.is_long or _is_whole_word(text, start, stop):
                    yield start, stop
                start = folded.find(needle, start + 1)


_SHORT = 2048
"""Of a text of fewer characters all letters are looked at, once."""

_known: tuple[_Secret, ...] = ()

_FOLDS = str.maketrans(string.ascii_uppercase + "-_", string.ascii_lowercase + "+/")
"""Letter case, and the two alphabets of base64. A text keeps its length."""

_UNFOLDED = {chr(to): chr(of) for of, to in _FOLDS.items()}
"""What becomes each letter, besides itself."""

_SELDOM = "zqxjkvwygpumhlnsriotb/+cfdea9876543210"
"""Letters, those first that ids and other texts have seldom."""

_ESCAPE = re.compile(
    r"%([0-9a-f]{2})|\\u\{?([0-9a-f]{4})\}?|\\x([0-9a-f]{2})|&#x([0-9a-f]{1,6});|&#([0-9]{1,7});"
    r"|&(amp|quot|apos|lt|gt);|\\([/\\\"'`bfnrtv0])",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_NAMED = {"amp": "&", "quot": '"', "apos": "'", "lt": "<", "gt": ">"}
_BLANKS = "bfnrtv0"
"""What makes a control character of it behind a backslash."""


def _spans(text: str, secrets: Sequence[_Secret]) -> Iterator[tuple[int, int]]:
    """Where *secrets* stand in *text*, in no order; they may overlap."""
    if not secrets:
        return
    layer = text
    starts: Sequence[int] = range(len(text) + 1)
    for _ in range(MOST_LAYERS):
        possible = [(secret, needles) for secret in secrets if (needles := secret.possible_in(layer))]
        folded = _folded(layer) if possible else ""
        for secret, needles in possible:
            for start, stop in secret.spans(layer, folded, needles):
                yield starts[start], starts[stop]
        undone = _unescaped(layer, starts)
        if undone is None:
            return
        layer, starts = undone


def _cut_off(text: str) -> Iterator[tuple[int, int]]:
    """Where at the end of *text* the beginning of a long secret stands."""
    for secret in _known:
        if not secret.is_long:
            continue
        end = _folded(text[-secret.most :])
        has = set(end).issuperset
        for needle in secret.needles:
            beginning = needle[:CUT]
            if not has(beginning):
                continue
            start = end.find(beginning, max(0, len(end) - len(needle) + 1))
            while start >= 0 and not needle.startswith(end[start:]):
                start = end.find(beginning, start + 1)
            if start >= 0:
                yield len(text) - len(end) + start, len(text)


def _folded(text: str) -> str:
    return text.translate(_FOLDS)


def _is_whole_word(text: str, start: int, stop: int) -> bool:
    def is_part(char: str) -> bool:
        return char.isalnum() or char == "_"

    return not (is_part(text[start - 1 : start]) or is_part(text[stop : stop + 1]))


def _unescaped(text: str, starts: Sequence[int]) -> tuple[str, Sequence[int]] | None:
    """*text* with one layer of escapes undone, and where in the original each of its characters and its end stand; None where there
    are none. *starts* says that of *text*."""
    if not any(sign in text for sign in "%\\&"):
        return None
    parts: list[str] = []
    places: list[int] = []
    end = 0
    for found in _ESCAPE.finditer(text):
        parts += [text[end : found.start()], _meant(found)]
        places += [*starts[end : found.start()], starts[found.start()]]
        end = found.end()
    if not parts:
        return None
    return "".join([*parts, text[end:]]), [*places, *starts[end:]]


def _meant(escape: re.Match[str]) -> str:
    *hexadecimal, decimal, named, literal = escape.groups()
    if named is not None:
        return _NAMED[named.lower()]
    if literal is not None:
        return " " if literal in _BLANKS else str(literal)
    code = int(decimal) if decimal is not None else int(next(digits for digits in hexadecimal if digits), 16)
    return chr(code) if code <= 0x10FFFF else " "


def _base64_cores(raw: bytes) -> set[str]:
    """The characters of base64 that depend on *raw* alone where other text stands around it, for each of the three positions."""
    return {
        base64.b64encode(bytes(before) + raw).decode()[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        for before in range(3)
    }


def _base64_words(raw: bytes) -> set[str]:
    """Base64 of *raw*, and of it as an Authorization header has it."""
    return {base64.b64encode(text).decode().rstrip("=") for text in (raw, b"Bearer " + raw)}
