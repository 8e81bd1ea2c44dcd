"""Words for chunks that were stored after they had been called absent and sent again."""

from __future__ import annotations

from collections.abc import Sequence

from bulkup.chunk import Chunk

__all__ = ["rows_sent", "stored_late"]

SHOWN_CHUNKS = 5


def rows_sent(chunk: Chunk) -> int:
    """How many rows of a chunk were sent, whatever has become of them since."""
    return chunk.rows or chunk.rejected


def stored_late(chunks: Sequence[Chunk], surplus: int | None = None) -> str:
    """What is wrong where *chunks* are there twice; *surplus* rows too many show it, where they are counted."""
    named = ", ".join(
        f"chunk {c.id} (file {c.file}, byte {c.byte_offset:,}, {rows_sent(c):,} rows)" for c in chunks[:SHOWN_CHUNKS]
    )
    more = f" and {len(chunks) - SHOWN_CHUNKS} more" if len(chunks) > SHOWN_CHUNKS else ""
    number = "" if surplus is None else f"{surplus:,} rows too many; unless somebody else wrote them, they were "
    return f"{number}stored late, after bulkup had sent them again, so these rows are there twice: {named}{more}"
