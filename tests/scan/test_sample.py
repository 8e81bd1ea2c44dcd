"""A sample of blocks is spread evenly, and bounded."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.model import Block
from bulkup.scan import sample as module
from bulkup.scan.sample import Sample


@given(st.integers(1, 500))
def test_it_is_spread_evenly(count: int) -> None:
    sample = Sample()
    for n in range(count):
        sample.add(Block(b"x", n, n + 1))
    at = [block.start for block in sample.blocks]
    steps = {after - before for before, after in pairwise(at)}
    assert at[0] == 0
    assert len(steps) <= 1
    assert min(count, 8) <= len(at) <= 16
    assert count - at[-1] <= max(steps, default=1)


def test_large_rows_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 100)
    sample = Sample()
    for n in range(50):
        sample.add(Block(b"x" * 60, n, n + 1))
        assert len(sample.blocks) == 1
