"""The arithmetic of cutting: T, even parts, how many lines fit, and a block cut in two."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.chunk import ChunkId
from bulkup.doubt.naming import family_name
from bulkup.flow.tiling import Limits, Portion, cut, even_part, lines_that_fit, tile_bytes
from bulkup.model import Block, EncodedLine, EncodedRow, Reject, Stage

limits_ = st.builds(Limits, st.integers(1, 10_000), st.none() | st.integers(1, 500))
kinds = st.lists(st.integers(2, 300) | st.sampled_from(["blank", "reject"]), max_size=40)


def lines(of: list[int | str]) -> list[EncodedLine]:
    made = []
    for at, kind in enumerate(of):
        reject = Reject(at, at, Stage.READ, None, "why", b"", 0) if kind == "reject" else None
        row = EncodedRow(at, b"x" * kind if isinstance(kind, int) else None, reject)
        made.append(EncodedLine(at, (row,) if row.body is not None or row.reject else ()))
    return made


@given(
    limits_, st.integers(1, 10**6), st.integers(1, 10**7), st.integers(1, 10**5), st.integers(1, 10**5), st.booleans()
)
def test_a_tile_is_at_least_a_byte_and_within_what_was_measured(
    limits: Limits, raw: int, body: int, rows: int, largest: int, is_held: bool
) -> None:
    """(limit − what is left free) ÷ growth, at least half the limit, and not over `max_chunk_rows` × mean row."""
    size = tile_bytes(limits, raw_bytes=raw, body_bytes=body, rows=rows, largest_row=largest, is_held=is_held)
    assert size >= 1
    assert size <= max(1, limits.body_bytes * raw / body)
    if limits.rows is not None:
        assert size <= max(1, limits.rows * raw / rows)
    if is_held:
        assert size <= limits.body_bytes
    whole = size == 1 or limits.rows is not None or is_held
    assert whole or size * body / raw >= limits.body_bytes // 2 - body / raw - 1


def test_the_tile_of_a_plain_case() -> None:
    """16 MiB, sent as they are: a 64th stays free, or the largest row where that is more."""
    for largest, free in ((1024, 262_144), (1 << 20, 1 << 20)):
        size = tile_bytes(
            Limits(16 << 20), raw_bytes=131_072, body_bytes=131_072, rows=200, largest_row=largest, is_held=False
        )
        assert size == (16 << 20) - free


@pytest.mark.parametrize("measured", [129, 1900])
def test_a_tile_of_so_many_rows_mostly_fits_though_few_were_measured(measured: int) -> None:
    """Where positions count rows a tile's bytes are as uncertain as the mean of the rows that were measured. A tile that passes the
    limit is read twice, and goes as two half-filled requests."""
    limits = Limits(4 << 20)
    fits: dict[bool, int] = {True: 0, False: 0}
    for seed in range(20):
        dice = random.Random(seed)
        rows = [int(dice.lognormvariate(6.5, 0.7)) + 2 for _ in range(20_000)]
        sample, others = rows[:measured], rows[measured:]
        for counts_rows in fits:
            size = tile_bytes(
                limits,
                raw_bytes=measured * 100,
                body_bytes=sum(sample),
                rows=measured,
                largest_row=max(sample),
                is_held=False,
                counts_rows=counts_rows,
            )
            body_bytes = sum(others[: size // 100])
            assert body_bytes > limits.body_bytes // 2
            fits[counts_rows] += body_bytes <= limits.body_bytes
    assert fits[True] >= 19
    assert fits[False] <= 16, "a test that shows nothing"


def test_nothing_to_measure() -> None:
    assert tile_bytes(Limits(1000), raw_bytes=0, body_bytes=0, rows=0, largest_row=0, is_held=False) == 1000


@given(limits_, st.integers(0, 10**6), st.integers(1, 10**5))
def test_even_parts_are_the_fewest_that_may_do(limits: Limits, body: int, rows: int) -> None:
    part = even_part(limits, body_bytes=body, rows=rows)
    assert 1 <= part.body_bytes <= max(1, limits.body_bytes)
    assert limits.rows is None or 1 <= part.rows <= limits.rows
    fewest = max(-(-body // limits.body_bytes), -(-rows // limits.rows) if limits.rows else 1, 1)
    assert part.body_bytes * fewest >= body
    assert part.rows * fewest >= rows


@given(kinds, limits_, st.integers(1, 4000), st.integers(1, 50), st.integers(0, 3000), st.integers(0, 30))
def test_as_many_lines_as_fit_and_no_more(
    of: list[int | str], limits: Limits, part_bytes: int, part_rows: int, body: int, rows: int
) -> None:
    """Rows are taken until the part is reached and never past the limits; an empty chunk takes one whatever its size."""
    rows = rows if body else 0
    body = body if rows else 0
    made, part = lines(of), Portion(part_bytes, part_rows)
    count = lines_that_fit(made, part, limits, body_bytes=body, rows=rows)
    for line in made[:count]:
        for good in line.bodies:
            assert rows == 0 or (body < part.body_bytes and rows < part.rows), "it was full before"
            body, rows = body + len(good) + (1 if rows else 0), rows + 1
            assert limits.allow(body_bytes=body, rows=rows) or rows == 1
    if count < len(made):
        assert made[count].bodies, "a blank or rejected line weighs nothing"
        (next_,) = made[count].bodies
        full = rows > 0 and (body >= part.body_bytes or rows >= part.rows)
        assert full or not limits.allow(body_bytes=body + len(next_) + 1, rows=rows + 1)


def test_the_comma_between_two_rows_counts() -> None:
    two = lines([10, 10])
    assert lines_that_fit(two, Portion(100, 100), Limits(20), body_bytes=0, rows=0) == 1
    assert lines_that_fit(two, Portion(100, 100), Limits(21), body_bytes=0, rows=0) == 2


def test_one_row_always_fits_alone() -> None:
    assert Limits(10, 1).allow(body_bytes=10**9, rows=1)
    assert not Limits(10, 1).allow(body_bytes=2, rows=2)
    assert not Limits(10).allow(body_bytes=11, rows=2)
    assert Limits(10).allow(body_bytes=10, rows=10**6)


@given(st.lists(st.binary(max_size=8).map(lambda b: b.replace(b"\n", b"")), min_size=2, max_size=9), st.data())
def test_a_block_cut_in_two_is_the_block(texts: list[bytes], data: st.DataObject) -> None:
    """Bytes, positions and lines, with the source's own bytes and with offsets of their own."""
    count = data.draw(st.integers(1, len(texts) - 1))
    last_break = data.draw(st.sampled_from([b"", b"\n"])) if texts[-1] else b"\n"
    body = b"\n".join(texts) + last_break
    starts = [1000 + sum(len(text) + 1 for text in texts[:at]) for at in range(len(texts))]
    made = [EncodedLine(at, ()) for at in starts]
    first, second = cut(Block(body, 1000, 1000 + len(body)), made, count)
    assert first.data + second.data == body
    assert (first.start, first.end, second.start, second.end) == (1000, starts[count], starts[count], 1000 + len(body))

    offsets = [at * 3 for at in starts]
    made = [EncodedLine(at, ()) for at in offsets]
    joined = b"\n".join(texts)
    first, second = cut(Block(joined, offsets[0], offsets[-1] + 5, offsets), made, count)
    assert first.data + second.data == joined
    assert [*(first.offsets or ()), *(second.offsets or ())] == offsets
    assert (first.start, second.start, second.end) == (offsets[0], offsets[count], offsets[-1] + 5)


def test_names_of_a_family() -> None:
    """Place and content; a tile past 99,999 has six digits."""
    rows_hash = bytes.fromhex("0123abcd" + "00" * 12)
    assert family_name("n", ChunkId("nebius", 42, 0), rows_hash) == "n-00042-0123abcd"
    assert family_name("n", ChunkId("nebius", 42, 3), rows_hash) == "n-00042-003-0123abcd"
    assert family_name("n", ChunkId("nebius", 123_456, 0), rows_hash) == "n-123456-0123abcd"
