"""The rows of a request that is held in memory: pieces joined by commas, the large ones as they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bulkup.flow.draft import with_commas
from tests.examples import examples

SMALL, LARGE = b'{"a":1}', b'{"a":"' + b"x" * 300_000 + b'"}'


@examples(50)
@given(st.lists(st.sampled_from([SMALL, LARGE]), max_size=8))
def test_pieces_are_joined_by_commas_and_large_ones_are_not_copied(pieces: list[bytes]) -> None:
    given_out = list(with_commas(pieces))
    assert b"".join(given_out) == b",".join(pieces)
    assert sum(piece is LARGE for piece in given_out) == pieces.count(LARGE)
    assert not given_out or len(given_out[-1]) > 1  # the last one is what is withheld
