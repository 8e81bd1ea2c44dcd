"""How a refused chunk is cut: in halves, around the rows at fault, and no further than the budget of requests goes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from bulkup.chunk import Chunk, ChunkState
from bulkup.doubt.by_count import BY_COUNT
from bulkup.doubt.naming import family_name, widest_name
from bulkup.errors import SourceChanged
from bulkup.flow.isolation import IsolationBudget
from bulkup.flow.prepared import Prepared
from bulkup.outcome import RowsRefused, TooLarge
from tests.flow.lane_alone import LaneAlone, lane_of
from tests.flow.several import MORE, lane_of_several

PLENTY = 1000
LARGE = 1 << 16


@pytest.fixture
async def lane() -> AsyncIterator[LaneAlone]:
    """Two chunks of ten rows, each of nine bytes, or ten from row 10 on."""
    async with lane_of(2, each=10) as made:
        yield made


async def rows_of(lane: LaneAlone, prepared: Prepared) -> list[int]:
    """The numbers of a piece's rows, as they would be sent; read as they were, they are the same."""
    assert prepared.hold is not None
    body = b",".join(lane.worker._held[prepared.hold.key])
    found = [int(part.split(b'"')[3]) for part in body.split(b",")]
    lines = [line async for item in prepared.items() for line in bytes(item.data).splitlines()]  # type: ignore[union-attr]
    assert [int(line.split(b'"')[3]) for line in lines] == found
    assert len(body) == prepared.chunk.body_bytes
    return found


async def cut(
    lane: LaneAlone,
    refusal: TooLarge | RowsRefused,
    *,
    number: int = 0,
    max_body_bytes: int = LARGE,
    budget: IsolationBudget | None = None,
) -> list[list[int]]:
    """The rows of each piece that is to be tried, in order. The journal has the pieces, and the totals agree with it."""
    prepared = await lane.prepared(number)
    given = budget or IsolationBudget(PLENTY)
    pieces = await lane.splitter().split(prepared, refusal, max_body_bytes, given)
    for piece in pieces:
        assert await lane.journal.chunk(piece.chunk.id.tile, piece.chunk.id.child) == piece.chunk
        assert piece.held_bytes == 0
    assert lane.tally.totals == await lane.journal.totals()
    return [await rows_of(lane, piece) for piece in pieces]


async def pieces_of(lane: LaneAlone) -> list[Chunk]:
    """All children that were made, whatever became of them."""
    found = [await lane.journal.chunk(0, child) for child in range(3, 30)]
    return [chunk for chunk in found if chunk is not None]


class TestBudget:
    @pytest.mark.parametrize(("rows", "requests"), [(1, 8), (2, 8), (3, 16), (1000, 80), (1024, 80), (1025, 88)])
    async def test_requests_for_four_bad_rows_where_each_piece_makes_a_dataset(
        self, lane: LaneAlone, rows: int, requests: int
    ) -> None:
        assert lane.splitter().budget(rows) == IsolationBudget(requests)

    async def test_and_for_eight_where_it_does_not(self) -> None:
        async with lane_of(2, each=10, policy=BY_COUNT) as lane:
            assert lane.splitter().budget(1000) == IsolationBudget(160)


class TestTooLarge:
    async def test_it_goes_in_halves(self, lane: LaneAlone) -> None:
        assert await cut(lane, TooLarge("HTTP 413")) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
        chunk = await lane.now(0)
        assert (chunk.state, chunk.reason) == (ChunkState.SPLIT, "HTTP 413")

    async def test_or_in_as_many_pieces_as_the_limit_asks_for(self, lane: LaneAlone) -> None:
        """Three rows and their commas, 29 bytes, fit in beside the envelope, whatever number a piece gets."""
        envelope = lane.to.envelope(widest_name("set"), lane.plan.rows).size
        pieces = await cut(lane, TooLarge("HTTP 413"), max_body_bytes=envelope + 29)
        assert pieces == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]

    async def test_no_piece_has_more_rows_than_a_request_may(self, lane: LaneAlone) -> None:
        lane.plan = replace(lane.plan, max_rows=4)
        assert await cut(lane, TooLarge("HTTP 413")) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]

    async def test_the_larger_half_of_an_odd_number_of_bytes_is_a_half(self) -> None:
        """41 bytes: two rows of nine bytes with their comma, two of ten with theirs, and a comma in between."""
        async with lane_of(3, each=4) as lane:
            assert await cut(lane, TooLarge("HTTP 413"), number=2) == [[8, 9], [10, 11]]

    async def test_it_costs_nothing_of_the_search_for_bad_rows(self, lane: LaneAlone) -> None:
        budget = IsolationBudget(7)
        await cut(lane, TooLarge("HTTP 413"), budget=budget)
        assert budget.requests == 7


class TestNamedRows:
    async def test_what_stands_between_them_is_tried(self, lane: LaneAlone) -> None:
        budget = IsolationBudget(PLENTY)
        assert await cut(lane, RowsRefused("HTTP 422: bad", (3, 4, 7)), budget=budget) == [[0, 1, 2], [5, 6], [8, 9]]
        assert budget.requests == PLENTY - 3
        assert [(p.rows, p.rejected, p.state.value) for p in await pieces_of(lane)] == [
            (3, 0, "planned"),
            (0, 2, "refused"),
            (2, 0, "planned"),
            (0, 1, "refused"),
            (2, 0, "planned"),
        ]
        rejects = await lane.rejects()
        assert [reject["line_in_chunk"] for reject in rejects] == [0, 1, 0]
        assert [(reject["byte_offset"], reject["row"]) for reject in rejects] == [
            (30, '{"t":"3"}'),
            (40, '{"t":"4"}'),
            (70, '{"t":"7"}'),
        ]
        assert {reject["reason"] for reject in rejects} == {"HTTP 422: bad"}
        assert not any("isolated" in reject for reject in rejects)

    @pytest.mark.parametrize(
        ("bad", "left"),
        [
            ((0,), [list(range(1, 10))]),
            ((9,), [list(range(9))]),
            ((0, 9), [list(range(1, 9))]),
            (tuple(range(10)), []),
            ((9, 10, 99), [list(range(9))]),
        ],
    )
    async def test_at_the_ends(self, lane: LaneAlone, bad: tuple[int, ...], left: list[list[int]]) -> None:
        """Numbers that the chunk does not have name nothing."""
        assert await cut(lane, RowsRefused("HTTP 422", bad)) == left
        assert len(await lane.rejects()) == len([row for row in bad if row < 10])
        pieces = await pieces_of(lane)
        assert min(piece.rows + piece.rejected for piece in pieces) > 0, "no piece is without rows"
        assert sum(piece.rows + piece.rejected for piece in pieces) == 10

    async def test_numbers_that_are_none_of_the_chunks_are_as_none(self, lane: LaneAlone) -> None:
        assert await cut(lane, RowsRefused("HTTP 422", (10, 11))) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]

    async def test_where_the_budget_ends_the_largest_are_tried_and_the_rest_is_said_not_to_have_been(
        self, lane: LaneAlone
    ) -> None:
        budget = IsolationBudget(2)
        assert await cut(lane, RowsRefused("HTTP 422", (1, 4)), budget=budget) == [[2, 3], [5, 6, 7, 8, 9]]
        assert budget.requests == 0
        rejects = await lane.rejects()
        assert [(reject["byte_offset"], reject.get("isolated", True)) for reject in rejects] == [
            (0, False),
            (10, True),
            (40, True),
        ]

    async def test_a_budget_that_is_not_used_up_is_left(self, lane: LaneAlone) -> None:
        budget = IsolationBudget(5)
        await cut(lane, RowsRefused("HTTP 422", (5,)), budget=budget)
        assert budget.requests == 3


class TestSearch:
    async def test_it_goes_by_halves_of_two_requests(self, lane: LaneAlone) -> None:
        budget = IsolationBudget(2)
        assert await cut(lane, RowsRefused("HTTP 422: bad"), budget=budget) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
        assert budget.requests == 0
        chunk = await lane.now(0)
        assert (chunk.state, chunk.reason) == (ChunkState.SPLIT, "HTTP 422: bad")

    async def test_without_a_budget_all_is_set_aside_together(self, lane: LaneAlone) -> None:
        assert await cut(lane, RowsRefused("HTTP 422: bad"), budget=IsolationBudget(1)) == []
        chunk = await lane.now(0)
        assert (chunk.state, chunk.rows, chunk.rejected, chunk.reason) == (ChunkState.REFUSED, 0, 10, "HTTP 422: bad")
        rejects = await lane.rejects()
        assert [reject["line_in_chunk"] for reject in rejects] == list(range(10))
        assert all(reject["isolated"] is False for reject in rejects)
        assert {(one["stage"], one["field"], one["length"]) for one in rejects} == {("server", None, 9)}

    @pytest.mark.parametrize(
        "refusal", [TooLarge("HTTP 413"), RowsRefused("HTTP 422: long"), RowsRefused("HTTP 422: long", (0,))]
    )
    async def test_one_row_that_is_refused_is_at_fault(self, refusal: TooLarge | RowsRefused) -> None:
        async with lane_of(2, each=1) as lane:
            assert await cut(lane, refusal, number=1, budget=IsolationBudget(0)) == []
            (reject,) = await lane.rejects()
            assert (reject["reason"], reject["row"], reject["byte_offset"]) == (refusal.reason, '{"t":"1"}', 10)
            assert "isolated" not in reject
            assert (await lane.now(1)).state is ChunkState.REFUSED


async def test_pieces_are_numbered_on_and_named_after_their_rows(lane: LaneAlone) -> None:
    pieces = await lane.splitter().split(await lane.prepared(0), TooLarge("413"), LARGE, IsolationBudget(0))
    assert [piece.chunk.id.child for piece in pieces] == [3, 4]
    assert [p.chunk.name for p in pieces] == [family_name("set", p.chunk.id, p.chunk.rows_hash) for p in pieces]


async def test_pieces_of_pieces_have_numbers_of_their_own(lane: LaneAlone) -> None:
    """And keep their lines: whoever holds their rows may be lost, and the source may only be read forwards."""
    splitter = lane.splitter()
    first, second = await splitter.split(await lane.prepared(0), TooLarge("413"), LARGE, IsolationBudget(0))
    pieces = [*(await splitter.split(first, TooLarge("413"), LARGE, IsolationBudget(0))), second]
    assert [piece.chunk.id.child for piece in pieces] == [5, 6, 7, 4]
    lines = [line for piece in pieces for item in piece.raw for line in bytes(item.data).splitlines()]  # type: ignore[union-attr]
    assert [int(line.split(b'"')[3]) for line in lines] == list(range(10))


async def test_lines_that_were_rejected_when_they_were_read_are_counted() -> None:
    """A rejected row's line is that of the file's lines in the chunk, blank, bad and long ones among them."""
    content = b'{"t":"0"}\n{"t":"%b"}\n\n{"t":"1"}\nno row\n{"t":"2"}\n' % (b"x" * 500)
    async with lane_of(1, each=3, content=content) as lane:
        before = len(await lane.rejects())
        assert await cut(lane, RowsRefused("HTTP 422"), budget=IsolationBudget(0)) == []
        rejects = (await lane.rejects())[before:]
    assert [(reject["line_in_chunk"], reject["row"]) for reject in rejects] == [
        (0, '{"t":"0"}'),
        (3, '{"t":"1"}'),
        (5, '{"t":"2"}'),
    ]


async def test_where_all_is_one_dataset_they_have_its_name() -> None:
    async with lane_of(2, each=10, policy=BY_COUNT) as lane:
        pieces = await lane.splitter().split(await lane.prepared(0), TooLarge("413"), LARGE, IsolationBudget(0))
        assert [piece.chunk.name for piece in pieces] == ["set", "set"]


async def test_rejected_rows_may_go_without_their_rows(lane: LaneAlone) -> None:
    splitter = lane.splitter(with_rejected_rows=False)
    await splitter.split(await lane.prepared(0), RowsRefused("422", (2,)), LARGE, IsolationBudget(9))
    (reject,) = await lane.rejects()
    assert "row" not in reject


Several = Callable[[Sequence[int]], AbstractAsyncContextManager[LaneAlone]]


class TestSeveralRowsOfOne:
    """What a function has made of one row stays together."""

    @pytest.fixture
    def several(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Several:
        return lambda counts: lane_of_several(counts, tmp_path, monkeypatch)

    async def cut(self, lane: LaneAlone, refusal: TooLarge | RowsRefused, budget: int = PLENTY) -> list[str]:
        prepared = await lane.prepared(0)
        pieces = await lane.splitter().split(prepared, refusal, LARGE, IsolationBudget(budget))
        assert lane.tally.totals == await lane.journal.totals()
        found = []
        for piece in pieces:
            assert piece.hold is not None
            rows = json.loads(b"[" + b",".join(lane.worker._held[piece.hold.key]) + b"]")
            found.append(" ".join(row["t"] for row in rows))
        return found

    @pytest.mark.parametrize(
        ("counts", "pieces"),
        [
            ((3, 0, 1, 2), ["a1 a2 a3", "c1 d1 d2"]),
            ((1, 3, 2), ["a1 b1 b2 b3", "c1 c2"]),
            ((5, 1), ["a1 a2 a3 a4 a5", "b1"]),
            ((1, 5), ["a1", "b1 b2 b3 b4 b5"]),
            ((1, 1, 1), ["a1", "b1 c1"]),
        ],
    )
    async def test_a_chunk_is_halved_behind_its_middle_or_before_its_last(
        self, several: Several, counts: Sequence[int], pieces: list[str]
    ) -> None:
        async with several(counts) as lane:
            assert await self.cut(lane, RowsRefused("HTTP 422")) == pieces

    @pytest.mark.parametrize(
        ("bad", "rejects", "pieces"),
        [
            ((0,), "a1 a2 a3", ["c1 d1 d2"]),
            ((2,), "a1 a2 a3", ["c1 d1 d2"]),
            ((3,), "c1", ["a1 a2 a3", "d1 d2"]),
            ((4,), "d1 d2", ["a1 a2 a3 c1"]),
            ((5,), "d1 d2", ["a1 a2 a3 c1"]),
            ((1, 5), "a1 a2 a3 d1 d2", ["c1"]),
        ],
    )
    async def test_all_that_was_made_of_a_row_at_fault_is_set_aside(
        self, several: Several, bad: tuple[int, ...], rejects: str, pieces: list[str]
    ) -> None:
        async with several((3, 0, 1, 2)) as lane:
            assert await self.cut(lane, RowsRefused("HTTP 422", bad)) == pieces
            found = await lane.rejects()
        assert " ".join(json.loads(reject["row"])["t"] for reject in found) == rejects
        assert [reject.get("part", 1) for reject in found] == [int(name[1:]) for name in rejects.split()]
        assert not any("isolated" in reject for reject in found)

    @pytest.mark.parametrize("refusal", [TooLarge("HTTP 413"), RowsRefused("HTTP 422"), RowsRefused("HTTP 422", (1,))])
    async def test_what_one_row_has_become_is_set_aside_together(
        self, several: Several, refusal: TooLarge | RowsRefused
    ) -> None:
        """None of it was tried alone."""
        async with several((0, 3)) as lane:
            assert await self.cut(lane, refusal) == []
            found = await lane.rejects()
            assert (await lane.now(0)).state is ChunkState.REFUSED
        assert [(reject["line_in_chunk"], reject["part"], reject["isolated"]) for reject in found] == [
            (1, part, False) for part in (1, 2, 3)
        ]

    @pytest.mark.parametrize(
        ("refusal", "budget"), [(TooLarge("HTTP 413"), 9), (RowsRefused("HTTP 422"), 9), (RowsRefused("HTTP 422"), 0)]
    )
    async def test_other_rows_than_were_planned_are_not_sent(
        self, several: Several, refusal: TooLarge | RowsRefused, budget: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with several((1, 2)) as lane:
            prepared = await lane.prepared(0)
            monkeypatch.setenv(MORE, "1")
            with pytest.raises(SourceChanged, match=r"--map .*rows\.py:fix made other rows of them this time"):
                await lane.splitter().split(prepared, refusal, LARGE, IsolationBudget(budget))
            assert (await lane.states(), await lane.rejects()) == (["planned"], [])
