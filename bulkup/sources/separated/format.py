"""The format: CSV, TSV, and text with any other separator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bulkup.sources.format import Format, Item, SourceFile
from bulkup.sources.head import Head
from bulkup.sources.reading import Reading
from bulkup.sources.separated.dialect import Dialect, dialect_of

__all__ = ["SEPARATED"]


class SeparatedCutter:
    """Rows of separated text as JSON lines. Holds a chunk and *max_row_bytes*."""

    trouble: None = None
    """What is wrong is wrong with single rows."""

    def __init__(self, start: int, *, block_bytes: int, max_row_bytes: int, detail: Dialect | None = None) -> None:
        from bulkup.sources.separated.conversion import JsonMaker
        from bulkup.sources.separated.deciding import record_cutter

        assert detail is not None, "every file was examined"
        self._skip = detail.data_at
        size = 8 * min(block_bytes, max_row_bytes)
        self._records = record_cutter(start + detail.data_at, detail, size, max_row_bytes=max_row_bytes)
        self._maker = JsonMaker(detail, block_bytes=min(block_bytes, max_row_bytes))
        self._records.ask(self._maker.forms)

    def feed(self, piece: bytes) -> list[Item]:
        """Take *piece*; what is complete now."""
        if self._skip:
            piece, self._skip = piece[self._skip :], self._skip - min(self._skip, len(piece))
        return [item for found in self._records.feed(piece) for item in self._maker.items(found)]

    def finish(self) -> list[Item]:
        """The rest: the input ends here."""
        return [item for found in self._records.finish() for item in self._maker.items(found)]


def _examined(head: Head, name: str, reading: Reading, _: object) -> Dialect:
    found = dialect_of(head.whole(), name, reading, is_all=head.is_all)
    assert isinstance(found, Dialect), "the file was told as separated text"
    return found


def _agreed(
    files: Sequence[SourceFile], known: Mapping[str, str] | None
) -> tuple[Sequence[SourceFile], Mapping[str, str]]:
    from bulkup.sources.separated.deciding import agreed

    return agreed(files, known)


SEPARATED = Format(
    name="separated",
    title="separated text",
    cutter=SeparatedCutter,
    examine=_examined,
    detail=lambda: Dialect,
    agree=_agreed,
    note=lambda file: file.detail.note,
    columns=lambda file: file.detail.names,
)
