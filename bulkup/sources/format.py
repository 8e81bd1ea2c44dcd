"""What a file format says of itself: how it is told, how its rows are found, what a position in it counts. And a file of one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, Protocol, assert_never

from msgspec import Struct, structs

from bulkup.light_dataclass import dataclass
from bulkup.model import Block, LongRow
from bulkup.sources.decoder import Chain, Decoder
from bulkup.sources.decompress import Compression, decoder_for
from bulkup.sources.head import Head
from bulkup.sources.places.address import Remote
from bulkup.sources.places.extent import Extent
from bulkup.sources.places.place import Entry
from bulkup.sources.reading import Reading
from bulkup.sources.zstd import DEFAULT_WINDOW_BYTES

__all__ = ["Access", "Cutter", "Format", "Item", "Member", "Reader", "RemoteReader", "Sign", "SourceFile", "Unit"]

Item = Block | LongRow
"""What is handed out: whole lines, or one line that is too long."""


class Unit(StrEnum):
    """What a place in a file of the format is counted in."""

    BYTE = "byte"
    """Positions are byte offsets after decompression."""

    ROW = "row"
    """Each row takes as many positions as an average one has bytes, so equal spans are about equal work in every format."""

    PAGE = "page"
    """As `ROW`, for rows that come a page at a time."""


class Access(StrEnum):
    """In which order a file of the format can be read."""

    ANY_RANGE = "any range"
    """Any range at any time, by several readers at once."""

    FORWARD = "forward only"


_ANY_RANGE, _UNPACKED = Access.ANY_RANGE, Compression.NONE  # each of very many files is asked several times


class Sign(StrEnum):
    """By what a file's format is told, the surest first."""

    MAGIC = "magic"
    SUFFIX = "suffix"
    ROWS = "rows"


class Cutter(Protocol):
    """Takes a file's decoded bytes piece by piece and gives its rows as blocks of JSON lines.

    Positions are byte offsets. Where blocks are cut depends on the content and `block_bytes` alone, never on the pieces. A block
    whose lines are not the file's own bytes has `offsets`.
    """

    @property
    def trouble(self) -> str | None:
        """What is wrong with the file as a whole, once that is known: nothing comes after it."""

    def feed(self, piece: bytes) -> list[Item]:
        """Take *piece*; what is complete now."""

    def finish(self) -> list[Item]:
        """The rest: the input ends here."""


class MakeCutter(Protocol):
    """Makes a `Cutter`. *start* is the position of the first byte that it will be fed. It gets the file's *detail* besides, where
    the format examines files."""

    def __call__(self, start: int, *, block_bytes: int, max_row_bytes: int) -> Cutter: ...


class Reader(Protocol):
    """One open file. Its rows are found by ranges of offsets in it, counted in positions; the items carry positions.

    Where the format's access is any range, several ranges may be read at once.
    """

    def rows(self, start: int, stop: int) -> AsyncGenerator[Item, None]:
        """The rows that begin in [start, stop), where 0 <= start < stop <= the file's length. Never blocks the event loop."""

    def raw(self, start: int, stop: int) -> AsyncGenerator[bytes | bytearray, None]:
        """As `Cursor.raw`, within the file. Asked only where the format is verbatim."""

    def close(self) -> None:
        """Let go of the file."""


class RemoteReader(Reader, Protocol):
    """One that reads files in other places too."""

    def prepare(self, start: int, stop: int) -> None:
        """Have the beginning of a range fetched that will be read soon."""


class MakeReader(Protocol):
    """Opens a file as a `Reader`. *base* is the position at which the file begins. Raises `SourceChanged`, `SourceUnreadable`."""

    def __call__(self, file: SourceFile, base: int, *, block_bytes: int, max_row_bytes: int) -> Reader: ...


class Agree(Protocol):
    """Gives files of one format with what they agree on. *known* is what they agreed on when their run began; None: look."""

    def __call__(
        self, files: Sequence[SourceFile], known: Mapping[str, str] | None
    ) -> tuple[Sequence[SourceFile], Mapping[str, str]]: ...


@dataclass(frozen=True, slots=True)
class Format:
    """One format. *name* stands in journals and must never change; *title* is for people.

    A file is of the format if its decoded bytes begin with one of *magic* or its name ends in one of *suffixes* (either, where
    both are given; any file, where neither is), and *recognise*, where given, agrees.

    *cutter* makes rows of decoded bytes in order: of packed files and of standard input too. *reader* finds the rows of a
    regular file that is not packed, with the *access* that is stated. At least one is given. *length* is how many positions a
    file takes, where these are not its bytes; it is asked once, in a thread, when the file is frozen. *starts* are the offsets from
    which on it is read without passing over what stands before; none: it can be from any.

    *examine* looks at a file's beginning (and its place, where that is no local disk); what it finds is the file's detail, of the
    class that *detail* gives: a dataclass of plain values, which can go to other machines. *agree* sees all files of the format
    together, before any is read, may look through them, and gives them with other details, and what they agree on in a few words; a
    run that goes on gives it these again. *note* says what a person should know of a file.

    *verbatim*: the bytes of a range are its rows as JSON lines, so they may be sent from the file as they are. *takes_path*: the
    cutter is told where the rows stand, as *rows_at*. *reads_remote*: the reader is a `RemoteReader`. *is_unpacked*: where there is
    no cutter, what is packed, or comes through a pipe, is unpacked onto the disk first; reader and *examine* find it by its `path`.

    *columns* are the keys of all rows, where a file has columns: then its rows come under the keys that a person wants.
    """

    name: str
    title: str
    unit: Unit = Unit.BYTE
    access: Access = Access.FORWARD
    verbatim: bool = False
    magic: tuple[bytes, ...] = ()
    suffixes: tuple[str, ...] = ()
    recognise: Callable[[Head], bool] | None = None
    cutter: MakeCutter | None = None
    reader: MakeReader | None = None
    length: Callable[[SourceFile], int] | None = None
    starts: Callable[[SourceFile], Sequence[int]] = lambda _: ()
    takes_path: bool = False
    reads_remote: bool = False
    is_unpacked: bool = False
    examine: Callable[[Head, str, Reading, Entry | Extent | None], Any] | None = None
    agree: Agree | None = None
    note: Callable[[SourceFile], str | None] = lambda _: None
    columns: Callable[[SourceFile], Sequence[str]] | None = None
    detail: Callable[[], type[Any]] | None = None

    def __post_init__(self) -> None:
        if self.cutter is None and self.reader is None:
            raise ValueError(f"format {self.name}: needs a cutter or a reader")
        if self.access is Access.ANY_RANGE and self.reader is None:
            raise ValueError(f"format {self.name}: any range needs a reader")
        if self.verbatim and (self.access is not Access.ANY_RANGE or self.unit is not Unit.BYTE):
            raise ValueError(f"format {self.name}: verbatim needs any range, by bytes")
        if self.unit is not Unit.BYTE and (self.cutter is not None or self.length is None):
            raise ValueError(f"format {self.name}: positions that are not bytes need a length, and no cutter")

    def is_meant_by(self, sign: Sign, name: str, head: Head) -> bool:
        """Whether *sign* points to the format, for the file of that *name* (as it would be unpacked) that begins with *head*."""
        match sign:
            case Sign.MAGIC:
                points = any(map(head.starts_with, self.magic))
            case Sign.SUFFIX:
                points = name.lower().endswith(self.suffixes)
            case Sign.ROWS:
                points = not self.magic and not self.suffixes
            case _:
                assert_never(sign)
        return points and (self.recognise is None or self.recognise(head))


@dataclass(frozen=True, slots=True)
class Member:
    """Where in the file *archive* a member's bytes stand: from *offset* on, in what *outer* and then *outer_inner* unpack to.

    *method* is how the archive itself packs them, and *crc* and *unpacked* are the checksum and the length of what it packs; None
    where it says nothing of that. *archive_bytes* is the archive's size.
    """

    archive: str
    offset: int
    outer: Compression = Compression.NONE
    outer_inner: Compression = Compression.NONE
    method: Compression = Compression.NONE
    crc: int | None = None
    unpacked: int | None = None
    archive_bytes: int | None = None

    @property
    def is_bare(self) -> bool:
        """Whether its own bytes stand in the archive."""
        return self.outer is self.method is Compression.NONE


class SourceFile(Struct, frozen=True, gc=False):
    """One file, frozen: *size*, *mtime_ns* and *inode* are those on disk when it was inspected (None for stdin).

    *uri* is the path as it was given or as the glob gave it, `-` for stdin. *bom* says that the decoded bytes begin
    with a UTF-8 byte order mark, which is no part of the first row. *length* is how many positions it takes where it can be
    read by ranges.

    What is packed twice has an *inner* compression. Text in another *encoding* than UTF-8 is made UTF-8; positions count that.
    *rows_at* are the keys under which the rows stand, where the format has such. A *member* of an archive has the size that it
    takes there, and the uri `ARCHIVE::NAME`. *detail* is what its format has found out.
    *part*: where its bytes stand as they are, if that is no file of its own. *remote*: where it stands, if that is no local disk;
    *mtime_ns* and *inode* are None then. *renames* are keys of its rows that get other names.
    """

    uri: str
    size: int | None
    mtime_ns: int | None
    inode: int | None
    compression: Compression
    format: Format
    bom: bool
    length: int | None
    inner: Compression = Compression.NONE
    encoding: str | None = None
    rows_at: tuple[str, ...] | None = None
    zstd_window: int = DEFAULT_WINDOW_BYTES
    member: Member | None = None
    detail: Any = None
    remote: Remote | None = None
    renames: tuple[tuple[str, str], ...] = ()
    part: Extent | None = None

    def having(self, **fields: Any) -> SourceFile:
        """The same file with other *fields*."""
        return structs.replace(self, **fields)

    @property
    def path(self) -> str:
        """The file on disk."""
        if self.part is not None:
            return self.part.path
        return self.uri if self.member is None else self.member.archive

    @property
    def where(self) -> Remote | Extent | None:
        """Where its bytes stand, if that is no local file of its own."""
        return self.remote if self.part is None else self.part

    @property
    def packing(self) -> str:
        """How it is packed, in one word, as journals have it."""
        return self.compression if self.inner is Compression.NONE else f"{self.compression}+{self.inner}"

    def decoder(self) -> Decoder:
        """From its bytes on disk to UTF-8."""
        decoder = decoder_for(self.compression, self.inner, zstd_window=self.zstd_window)
        if self.member is not None and self.member.crc is not None:
            from bulkup.sources.stdlib_streams import Checked

            packed = decoder_for(self.member.method, zstd_window=self.zstd_window)
            decoder = Chain(Checked(packed, self.member.crc, self.member.unpacked or 0), decoder)
        if self.encoding is not None:
            from bulkup.sources.transcode import Transcoder

            decoder = Chain(decoder, Transcoder(self.encoding))
        return decoder

    def cutter(self, start: int, *, block_bytes: int, max_row_bytes: int) -> Cutter:
        """What cuts its decoded bytes, of which the first has the position *start*."""
        make = self.format.cutter
        assert make is not None, "what has no cutter is refused before it is decoded"
        if self.format.takes_path:
            make = partial(make, rows_at=self.rows_at or ())  # type: ignore[call-arg]
        if self.format.examine is not None:
            make = partial(make, detail=self.detail)  # type: ignore[call-arg]
        cutter = make(start, block_bytes=block_bytes, max_row_bytes=max_row_bytes)
        if self.has_other_keys:
            from bulkup.sources.renaming import RenamingCutter

            return RenamingCutter(cutter, self.renames)
        return cutter

    def reader(self, base: int, *, block_bytes: int, max_row_bytes: int) -> Reader:
        """What finds its rows by ranges; it begins at *base*."""
        assert self.format.reader is not None, "a format has a cutter or a reader"
        reader = self.format.reader(self, base, block_bytes=block_bytes, max_row_bytes=max_row_bytes)
        if self.has_other_keys:
            from bulkup.sources.renaming import RenamingReader

            return RenamingReader(reader, self.renames)
        return reader

    @property
    def has_other_keys(self) -> bool:
        """Whether its rows get their new keys only once they are JSON lines."""
        return bool(self.renames) and self.format.columns is None

    @property
    def any_range(self) -> bool:
        """Whether its rows can be read in any order: the format allows it, in a regular file that is not packed."""
        if self.size is None or self.format.access is not _ANY_RANGE or self.compression is not _UNPACKED:
            return False
        if self.remote is not None and not (self.remote.ranges and self.format.reads_remote):
            return False
        return self.encoding is None and self.part is None and self.member is None

    @property
    def verbatim(self) -> bool:
        """Whether the bytes of a range may be sent as they are. Those of a remote file would be fetched a second time for that."""
        return self.any_range and self.format.verbatim and self.remote is None and not self.renames

    def byte_offset(self, offset: int) -> int | None:
        """The byte that *offset* positions from the file's beginning mean, after decompression; None where they count no bytes."""
        return offset if self.format.unit is Unit.BYTE else None
