"""Buckets on disk: every record comes back, once, in its key's part."""

from __future__ import annotations

from pathlib import Path

import pytest
import xxhash

from bulkup.flow.buckets import FILES, Buckets


@pytest.mark.parametrize("parts", [1, 5, FILES, FILES + 1, 7 * FILES + 3])
def test_every_record_comes_back_in_its_part(tmp_path: Path, parts: int) -> None:
    keys = [xxhash.xxh3_128_digest(str(n).encode()) for n in range(5000)]
    with Buckets(tmp_path, parts, "I") as buckets:
        for number, key in enumerate(keys):
            buckets.add(key, number)
            buckets.add(key, number + 10_000)
        found = [list(buckets.read(part)) for part in range(buckets.parts)]
    assert buckets.parts >= parts
    assert sorted(n for part in found for _, n in part) == [*range(5000), *range(10_000, 15_000)]
    places = {key: number for number, part in enumerate(found) for key, _ in part}
    assert all(places[key] == number for number, part in enumerate(found) for key, _ in part)
    assert max(map(len, found)) < 4 * 10_000 / parts + 100
    assert list(tmp_path.iterdir()) == []
