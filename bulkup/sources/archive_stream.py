"""Members of an archive that is packed as a whole: it is unpacked once, from one member to the next."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from bulkup.errors import SourceChanged, SourceUnreadable
from bulkup.sources.decoder import Decoder
from bulkup.sources.decompress import Compression, DamagedError, decoder_for
from bulkup.sources.format import SourceFile
from bulkup.sources.inputs import FileInput, Input, open_file
from bulkup.sources.places.reading import RemoteInput, StreamedInput, input_of, whole_pieces

__all__ = ["SOON", "FileInputs", "Unpacked"]

_RAW_BYTES = 64 * 1024
_PIECE_BYTES = 256 * 1024
SOON = 4
"""So many files in other places are on their way before they are read."""

_PASSED_BYTES = 8 * 1024 * 1024
"""How much of other members is passed over at a time: whoever waits can be interrupted in between."""


class Unpacked:
    """What *read* gives, unpacked. *position* counts the bytes that were given or passed over. *close* closes what is read from."""

    def __init__(self, read: Callable[[int], bytes], close: Callable[[], None], decoder: Decoder) -> None:
        self.position = 0
        self.close = close
        self._read = read
        self._decoder = decoder
        self._held = b""
        self._ended = False

    def read(self, count: int) -> bytes:
        """At most *count* of the next bytes; empty at the end. Raises `DamagedError`, `OSError`."""
        while not self._held and not self._ended:
            self._held = self._decoder.pull(_PIECE_BYTES)
            if self._held:
                break
            raw = self._read(_RAW_BYTES)
            if not raw:
                self._ended = True
                if not self._decoder.whole:
                    raise DamagedError("cut off")
            self._decoder.push(raw)
        data, self._held = self._held[:count], self._held[count:]
        self.position += len(data)
        return data


class FileInputs:
    """What one cursor reads its files from. Not for several at once."""

    def __init__(self) -> None:
        self._archive: tuple[str, Unpacked] | None = None
        self._prepared: dict[str, Input] = {}

    def prepare(self, file: SourceFile) -> None:
        """Have the beginning of *file* fetched, if it is remote: it will be opened soon."""
        if file.remote is not None and file.uri not in self._prepared and not _is_in_packed(file):
            made = _fetched(file)
            made.begin()
            self._prepared[file.uri] = made

    def open(self, file: SourceFile) -> Input:
        """The raw bytes of *file*. The one before has been closed."""
        if _is_in_packed(file):
            return _MemberInput(file, self)
        if file.remote is not None:
            return self._prepared.pop(file.uri, None) or _fetched(file)
        return FileInput(file)

    def archive_at(self, file: SourceFile) -> Unpacked:
        """The archive that *file* is a member of, unpacked to no farther than where that begins."""
        member = file.member
        assert member is not None
        if self._archive is not None:
            path, archive = self._archive
            if path == member.archive and archive.position <= member.offset:
                return archive
            self.close()
        decoder = decoder_for(member.outer, member.outer_inner, zstd_window=file.zstd_window)
        if file.remote is not None:
            source = input_of(member.archive, file.remote, member.archive_bytes)
            archive = Unpacked(whole_pieces(source), source.close, decoder)
        else:
            fd = open_file(file)
            archive = Unpacked(partial(os.read, fd), partial(os.close, fd), decoder)
        self._archive = member.archive, archive
        return archive

    def forget(self) -> None:
        """What was prepared is not going to be read. An archive stays where it is: a later member may be wanted."""
        for one in self._prepared.values():
            one.close()
        self._prepared.clear()

    def close(self) -> None:
        """Let go of the archive, and of what was prepared."""
        self.forget()
        if self._archive is not None:
            self._archive[1].close()
            self._archive = None


def _is_in_packed(file: SourceFile) -> bool:
    """Whether *file* is a member of an archive that is packed as a whole."""
    return file.member is not None and file.member.outer is not Compression.NONE


def _fetched(file: SourceFile) -> RemoteInput | StreamedInput:
    assert file.remote is not None
    start = 0 if file.member is None else file.member.offset
    return input_of(file.uri, file.remote, file.size, start=start)


class _MemberInput:
    """One member, up to its size."""

    def __init__(self, file: SourceFile, inputs: FileInputs) -> None:
        self.consumed = 0
        self._file = file
        self._inputs = inputs
        self._archive: Unpacked | None = None

    def read(self, count: int) -> bytes | None:
        try:
            return self._read(count)
        except DamagedError as error:
            raise SourceUnreadable(f"{self._file.path}: {error}; what came before has been read") from error
        except OSError as error:
            raise SourceUnreadable(f"{self._file.path}: cannot be read: {error.strerror}") from error

    def _read(self, count: int) -> bytes | None:
        if self._archive is None:
            self._archive = self._inputs.archive_at(self._file)
        archive, member, size = self._archive, self._file.member, self._file.size
        assert member is not None
        assert size is not None
        passed = 0
        while archive.position < member.offset:
            data = archive.read(min(member.offset - archive.position, _PIECE_BYTES))
            passed += len(data)
            if not data:
                raise SourceChanged(f"{self._file.path}: has become shorter")
            if passed >= _PASSED_BYTES:
                return None
        count = min(count, size - self.consumed)
        data = archive.read(count) if count else b""
        if count and not data:
            raise SourceChanged(f"{self._file.path}: has become shorter")
        self.consumed += len(data)
        return data

    def ready(self) -> bool:
        return True

    async def wait(self) -> None:
        """A file never keeps anyone waiting for a writer."""

    def close(self) -> None:
        """The archive stays open for the next member."""
