"""`manifest.json`: which rows stand in which dataset, and how that is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import orjson

from bulkup.account.row_numbers import first_rows
from bulkup.chunk import Chunk, ChunkState
from bulkup.path_text import readable
from bulkup.run.folder import private_file

__all__ = ["write_manifest"]


def write_manifest(
    folder: Path, lanes: Sequence[str], files: Sequence[str], chunks: Callable[[str], Iterator[Chunk]]
) -> None:
    """Write the manifest of every lane into the run's *folder*, a chunk a line, in the source's order. *chunks* gives a lane's.

    Raises `LocalDisk`."""
    names = list(map(readable, files))
    with private_file(folder / "manifest.json") as out:
        out.write(b'{"files":%b,"lanes":{' % orjson.dumps(names))
        for place, lane in enumerate(lanes):
            out.write(b"%b\n%b:[" % (b"," if place else b"", orjson.dumps(lane)))
            first = True
            for chunk, rows in first_rows(chunks(lane)):
                record = {
                    "chunk": str(chunk.id),
                    "state": chunk.state,
                    "file": names[chunk.file],
                    "position": chunk.start,
                    "byte_offset": chunk.byte_offset,
                    "first_row": rows.get(chunk.file, 1),
                    "lines": chunk.line_count,
                    "rows": chunk.rows,
                    "rows_rejected": chunk.rejected,
                    "rows_skipped": chunk.skipped,
                    "rows_made": chunk.made,
                    "dataset_id": chunk.remote_id,
                    "dataset_name": chunk.name if chunk.rows else None,
                    "attempts": chunk.attempts,
                    "evidence": chunk.evidence if chunk.state is ChunkState.LANDED else None,
                    "reason": chunk.reason,
                    "raw_xxh3_128": chunk.raw_hash.hex(),
                    "rows_xxh3_128": chunk.rows_hash.hex(),
                }
                out.write((b"\n" if first else b",\n") + orjson.dumps(record))
                first = False
            out.write(b"\n]")
        out.write(b"}}\n")
