"""What a file is, told from its content; its name is not asked."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable

import msgspec

from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.model import BLOCK_BYTES
from bulkup.refusal import Refusal, attempt
from bulkup.sources.decompress import DamagedError, decoder_for
from bulkup.sources.files import BOM, STDIN, Compression, Format, SourceFile

__all__ = ["Sniffed", "inspect", "sniff"]

_SPACE = b" \t\r\n"
_JSON_STARTS = (b"{", b"[", b" ", b"\t", b"\r", b"\n")
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "Parquet"),
    (b"ARROW1", "Arrow IPC"),
    (b"Obj\x01", "Avro"),
    (b"ORC", "ORC"),
    (b"SQLite format 3\0", "SQLite"),
    (b"\x89HDF", "HDF5"),
    (b"PK\x03\x04", "zip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_JSON_LINE = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_ARRAY_LINE = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Sniffed(msgspec.Struct, frozen=True):
    """What the first bytes say."""

    compression: Compression
    format: Format
    bom: bool


def inspect(uri: str) -> SourceFile:
    """Freeze the file at *uri* as it is now.

    Raises `UsageProblem` where it is missing, may not be read, is no regular file, or is of a kind that is not read
    yet; `SourceUnreadable` where it is neither JSON lines nor a JSON array.
    """
    try:
        fd = os.open(uri, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe without a writer must not hang
    except OSError as error:
        raise UsageProblem(f"{uri}: cannot be read: {error.strerror}") from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise UsageProblem(f"{uri}: is not a regular file; pipe it in, with - as the source")
        told = sniff(uri, lambda count: os.read(fd, count))
    except OSError as error:
        raise SourceUnreadable(f"{uri}: cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)
    return SourceFile(uri, found.st_size, found.st_mtime_ns, found.st_ino, told.compression, told.format, told.bom)


def sniff(uri: str, read: Callable[[int], bytes]) -> Sniffed:
    """Tell the kind of file from as few calls of *read* as needed (each gives what there is, empty at the end)."""
    head = _Head(read)
    compression = _compression(head.raw_start())
    if compression is Compression.NONE:
        _refuse_others(uri, head.raw_start())
    head.decode_as(compression)
    bom = head.starts_with(BOM)
    while not (text := head.text(bom=bom).lstrip(_SPACE)) and head.grow():
        pass
    return Sniffed(compression, _format(uri, head, text, bom=bom), bom)


class _Head:
    """The first bytes, read and decoded only as far as they are asked for."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._raw = b""
        self._decoded = b""
        self._decoder = decoder_for(Compression.NONE)
        self.ended = False

    def raw_start(self) -> bytes:
        """Of the first bytes on disk enough to tell: one, where it could begin JSON (a slow pipe gives no more)."""
        while len(self._raw) < 16 and self._raw[:1] not in _JSON_STARTS and (more := self._read(BLOCK_BYTES)):
            self._raw += more
        return self._raw

    def decode_as(self, compression: Compression) -> None:
        self._decoder = decoder_for(compression)
        self._decoder.push(self._raw)

    def starts_with(self, prefix: bytes) -> bool:
        while len(self._decoded) < len(prefix) and prefix.startswith(self._decoded) and self.grow():
            pass
        return self._decoded.startswith(prefix)

    def text(self, *, bom: bool) -> bytes:
        return self._decoded[len(BOM) :] if bom else self._decoded

    def grow(self) -> bool:
        """Decode some more; False at the end, where it is broken (reading will say so), or where it is enough."""
        try:
            while not self.ended and len(self._decoded) < BLOCK_BYTES:
                if piece := self._decoder.pull(BLOCK_BYTES):
                    self._decoded += piece
                    return True
                raw = self._read(BLOCK_BYTES)
                self.ended = not raw
                self._decoder.push(raw)
        except DamagedError:
            self.ended = True
        return False


def _compression(start: bytes) -> Compression:
    if start.startswith(b"\x1f\x8b\x08"):
        return Compression.GZIP
    if start.startswith(b"\x28\xb5\x2f\xfd") or re.match(rb"[\x50-\x5f]\x2a\x4d\x18", start):
        return Compression.ZSTD
    return Compression.NONE


def _refuse_others(uri: str, start: bytes) -> None:
    for magic, name in _OTHERS:
        if start.startswith(magic):
            raise UsageProblem(f"{uri}: {name} is not read yet; convert it to JSON lines")


def _format(uri: str, head: _Head, text: bytes, *, bom: bool) -> Format:
    if not text or text.startswith(b"{"):
        return Format.JSONL
    if text.startswith(b"["):
        while b"\n" not in text and head.grow():
            text = head.text(bom=bom).lstrip(_SPACE)
        return _lines_or_array(text, head, bom=bom)
    while head.grow():
        pass
    lines = head.text(bom=bom).split(b"\n")
    if not any(_decodes(_JSON_LINE, line) for line in lines):
        name = "standard input" if uri == STDIN else uri
        raise SourceUnreadable(f"{name}: is neither JSON lines nor a JSON array; convert it to JSON lines")
    return Format.JSONL


def _lines_or_array(text: bytes, head: _Head, *, bom: bool) -> Format:
    """An array, unless its first line is a whole array with a JSON object somewhere among the lines behind it."""
    line, _, _ = text.partition(b"\n")
    if not _decodes(_ARRAY_LINE, line):
        return Format.ARRAY
    while head.grow():
        pass
    rest = head.text(bom=bom).lstrip(_SPACE).split(b"\n")[1:]
    return Format.JSONL if any(_decodes(_JSON_LINE, line) for line in rest) else Format.ARRAY


def _decodes(decode: Callable[[bytes], object], line: bytes) -> bool:
    return not isinstance(attempt(decode, line), Refusal)
