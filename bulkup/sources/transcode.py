"""Text in another encoding than UTF-8, made UTF-8 as it comes."""

from __future__ import annotations

import codecs

from bulkup.errors import UsageProblem
from bulkup.refusal import Refusal, attempt
from bulkup.sources.decoder import DamagedError

__all__ = ["Transcoder", "encoding_named"]

_MARK = "\ufeff"
_KEPT = "bulkup.undecodable"
_NOT_TEXT = {"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "unicode_escape", "mbcs", "oem"}


def _undecodable(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error(_KEPT, _undecodable)  # a half of a pair: no UTF-8 has it, so the row that holds it is rejected


def encoding_named(name: str) -> str | None:
    """The encoding by its one name; None where it is UTF-8, of which nothing has to be made. Raises `UsageProblem`."""
    found = attempt(codecs.lookup, name)
    if isinstance(found, Refusal) or found.name in _NOT_TEXT or not getattr(found, "_is_text_encoding", True):
        raise UsageProblem(
            f"--encoding {name!r}: there is no such encoding; give a name such as utf-16, windows-1252, shift_jis or gb18030"
        )
    return None if found.name in ("utf-8", "utf-8-sig") else str(found.name)


class Transcoder:
    """A decoder from *encoding* to UTF-8, without a byte order mark.

    Bytes that are none of the encoding's become bytes that are no UTF-8: the row they stand in is rejected, and no other.
    """

    def __init__(self, encoding: str) -> None:
        self._name = encoding
        self._text = codecs.getincrementaldecoder(encoding)(_KEPT)
        self._raw = b""
        self._begun = False

    @property
    def whole(self) -> bool:
        return not self._raw and not self._text.getstate()[0]

    def push(self, raw: bytes) -> None:
        self._raw = raw

    def pull(self, limit: int) -> bytes:
        while self._raw:
            piece, self._raw = self._raw[:limit], self._raw[limit:]
            text = attempt(self._text.decode, piece)
            if isinstance(text, Refusal):  # of what is in the text nothing is refused: it is how it begins
                raise DamagedError(
                    f"it does not begin with a byte order mark, as {self._name} does; say --encoding {self._name}-le or "
                    f"{self._name}-be, or no --encoding if it is UTF-8"
                )
            if text and not self._begun:
                self._begun = True
                text = text.removeprefix(_MARK)
            if text:
                return text.encode("utf-8", "surrogatepass")
        return b""
