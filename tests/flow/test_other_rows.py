"""A planned range that comes to other rows: the source is blamed only where its bytes are others."""

from __future__ import annotations

import pytest

from bulkup.chunk import Chunk, ChunkId
from bulkup.errors import ExitCode
from bulkup.flow.prepared import changed

CHUNK = Chunk(
    id=ChunkId("nebius", 3, 0),
    start=1000,
    stop=2000,
    file=0,
    byte_offset=1000,
    rows=10,
    blank=0,
    rejected=0,
    lines=((0, 10),),
    body_bytes=900,
    raw_hash=b"r" * 16,
    rows_hash=b"e" * 16,
    name="rows-00003",
    verbatim=False,
)


def test_the_same_bytes_are_no_changed_source() -> None:
    """A run that an older bulkup began, with numbers that it made doubles of."""
    error = changed(CHUNK, CHUNK.raw_hash)
    assert "bytes 1,000 to 2,000 are what they were" in str(error)
    assert "with the version that began the run" in str(error)
    assert "restore" not in str(error)
    assert error.exit_code == ExitCode.SOURCE_CHANGED


@pytest.mark.parametrize("raw_hash", [None, b"x" * 16])
def test_other_bytes_are(raw_hash: bytes | None) -> None:
    assert "the source changed while it was being read: bytes 1,000 to 2,000" in str(changed(CHUNK, raw_hash))
