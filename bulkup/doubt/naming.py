"""The names of chunks' datasets where each chunk becomes one."""

from __future__ import annotations

from bulkup.chunk import ChunkId

__all__ = ["family_name", "widest_name"]


def family_name(dataset_name: str, chunk: ChunkId, rows_hash: bytes) -> str:
    """`NAME-00042-<hash8>`, for a child `NAME-00042-003-<hash8>`: place and content, so an unanswered create can be checked."""
    return f"{dataset_name}-{chunk}-{rows_hash.hex()[:8]}"


def widest_name(dataset_name: str) -> str:
    """As long as any name that `family_name` gives for fewer than 10 million tiles of fewer than 10,000 children."""
    return f"{dataset_name}-0000000-0000-00000000"
