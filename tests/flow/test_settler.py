"""What follows from looks and verdicts in the journal: with a real journal and source, and a destination in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from bulkup.chunk import FAILED_ONCE, WHOLE, Chunk, ChunkId, ChunkState, Evidence
from bulkup.destinations.base import Asking, ReadBackUnavailable
from bulkup.doubt.by_count import BY_COUNT
from bulkup.doubt.settlement import PATIENCE_QUIET_PERIODS, Others
from bulkup.errors import SourceChanged
from bulkup.flow import looking, settler, stored_rows
from bulkup.flow.kept_answers import KeptAnswers
from bulkup.flow.lane import recovered
from bulkup.flow.orders import KeptAnswer
from bulkup.flow.settler import Audit
from bulkup.journal.facts import FAILED_DATASETS, FAR_LEASE_S, REFUSALS_STORE_NOTHING, SURVEY
from bulkup.journal.sidecars import ids_line
from bulkup.outcome import RemoteStatus
from tests.flow.alone import UNIX_S
from tests.flow.lane_alone import QUIET_S, LaneAlone, lane_of
from tests.flow.several import MORE, lane_of_several

PATIENCE_S = PATIENCE_QUIET_PERIODS * QUIET_S


@pytest.fixture
async def named() -> AsyncIterator[LaneAlone]:
    """Four chunks, each of which makes a dataset."""
    async with lane_of(4) as lane:
        yield lane


@pytest.fixture
async def counted() -> AsyncIterator[LaneAlone]:
    """Four chunks of one dataset."""
    async with lane_of(4, policy=BY_COUNT) as lane:
        yield lane


class TestByName:
    async def test_without_a_doubt_nobody_looks(self, named: LaneAlone) -> None:
        await named.settler().settle()
        assert (named.to.looks, named.said, named.clock.monotonic()) == (0, [], 0.0)

    async def test_what_is_there_has_landed(self, named: LaneAlone) -> None:
        await named.doubt(1, 2)
        ids = [named.store(2), named.store(1)]
        await named.settler().settle()
        assert await named.states() == ["planned", "landed", "landed", "planned"]
        chunk = await named.now(1)
        assert (chunk.remote_id, chunk.evidence, chunk.reason) == (ids[1], Evidence.READ_BACK, None)
        assert (named.tally.rows_landed, named.was_found, named.clock.monotonic()) == (4, 2, 0.0)
        assert named.said == ["looked for chunks in doubt (1 look): 2 had landed"]

    async def test_what_is_not_goes_again_after_a_quiet_period_and_is_remembered(self, named: LaneAlone) -> None:
        await named.doubt(0, 1)
        await named.land(3, at=QUIET_S + 0.1)
        await named.settler().settle()
        assert await named.states() == ["planned", "planned", "planned", "landed"]
        assert [(c.absences, c.attempts) for c in await named.journal.called_absent()] == [(1, 1), (1, 1)]
        assert named.clock.monotonic() == QUIET_S
        assert (named.tally.rows_landed, named.was_found) == (0, 0)
        assert named.said == ["looked for chunks in doubt (2 looks): 2 had not, and will be sent again"]
        assert await named.journal.fact(REFUSALS_STORE_NOTHING) is False

    async def test_what_all_looks_have_settled_is_told_together(self, named: LaneAlone) -> None:
        await named.doubt(0, 1, 2)
        named.store(0)
        named.store(1, ends=RemoteStatus.FAILED)
        await named.land(3, at=QUIET_S + 1)
        await named.settler().settle()
        assert named.said == ["looked for chunks in doubt (2 looks): 1 had landed, 2 had not, and will be sent again"]

    async def test_journal_and_totals_do_not_part_when_the_lane_ends_in_between(
        self, named: LaneAlone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        named.writes_take_time()
        landed = named.journal.landed
        await named.doubt(0)
        named.store(0)
        with anyio.CancelScope() as scope:

            async def cancelled(*given: Any, **how: Any) -> None:
                scope.cancel()
                await landed(*given, **how)

            monkeypatch.setattr(named.journal, "landed", cancelled)
            await named.settler().settle()
        assert await named.states() == ["landed", "planned", "planned", "planned"]

    async def test_what_is_waited_for_is_shown_meanwhile(self, named: LaneAlone) -> None:
        shown = []
        slept = named.clock.sleep

        async def sleep(seconds: float) -> None:
            shown.append(named.pacing.waiting_for_evidence)
            await slept(seconds)

        named.clock = replace(named.clock, sleep=sleep)
        await named.doubt(0)
        await named.land(1, at=QUIET_S + 1)
        await named.settler().settle()
        assert shown == ["its body may still be on its way"]
        assert named.pacing.waiting_for_evidence == ""

    async def test_the_soonest_is_waited_for(self, named: LaneAlone) -> None:
        await named.doubt(0, at=10)
        await named.doubt(1)
        await named.land(2, at=QUIET_S + 20)
        await named.settler().settle(patience_s=35)
        assert await named.states() == ["in doubt", "planned", "landed", "planned"]
        assert named.clock.monotonic() == QUIET_S

    @pytest.mark.parametrize(("patience_s", "looks"), [(QUIET_S - 0.1, 1), (QUIET_S, 2)])
    async def test_what_needs_longer_than_there_is_patience_stays_in_doubt(
        self, named: LaneAlone, patience_s: float, looks: int
    ) -> None:
        await named.doubt(0)
        await named.land(1, at=QUIET_S + 1)
        await named.settler().settle(patience_s=patience_s)
        assert named.to.looks == looks
        assert (await named.now(0)).state is (ChunkState.PLANNED if looks == 2 else ChunkState.IN_DOUBT)

    async def test_what_was_sent_before_this_timeline_counts_as_sent_at_its_beginning(self, named: LaneAlone) -> None:
        """How long ago that was nobody knows."""
        await named.doubt(0, at=-1e6)
        await named.land(1, at=QUIET_S + 1)
        await named.settler().settle()
        assert named.clock.monotonic() == QUIET_S

    async def test_what_failed_goes_once_more_and_its_dataset_is_none_of_ours(self, named: LaneAlone) -> None:
        await named.doubt(0, 1)
        failed = [named.store(number, ends=RemoteStatus.FAILED) for number in (0, 1)]
        await named.settler().settle()
        assert await named.states() == ["planned"] * 4
        chunk = await named.now(0)
        assert (chunk.reason, chunk.absences) == (FAILED_ONCE, 0)
        assert await named.journal.fact(FAILED_DATASETS) == tuple(failed)
        assert named.said == ["looked for chunks in doubt (1 look): 2 had not, and will be sent again"]
        await settler.count_out(named.journal, failed[0])
        assert await named.journal.fact(FAILED_DATASETS) == tuple(failed)
        await named.doubt(0)  # lost, and only the old dataset is there
        await named.settler().settle(patience_s=0)
        assert (await named.now(0)).state is ChunkState.IN_DOUBT

    async def test_what_cannot_be_decided_is_held_with_its_reason(self, named: LaneAlone) -> None:
        await named.doubt(0)
        ids = [named.store(0), named.store(0)]
        await named.settler().settle()
        chunk = await named.now(0)
        assert chunk.state is ChunkState.IN_DOUBT
        assert chunk.reason == f"2 datasets are named {chunk.name}: {ids[0]}, {ids[1]}"
        assert named.said == ["looked for chunks in doubt (1 look): 1 held"]
        assert await named.states() == ["in doubt", "planned", "planned", "planned"]

    @pytest.mark.parametrize("how", ["no look", "no look to be had"])
    async def test_without_a_first_look_everything_is_held(self, named: LaneAlone, how: str) -> None:
        """What was there before cannot be told from what this run has stored."""
        await named.doubt(0)
        named.store(0)
        if how == "no look":
            await named.journal.set_fact(SURVEY, None)
        else:
            await named.survey(unavailable="HTTP 404")
        await named.settler().settle()
        chunk = await named.now(0)
        assert chunk.state is ChunkState.IN_DOUBT
        assert chunk.reason == "what the destination held before the run could not be seen"

    async def test_what_was_there_before_is_none_of_ours(self, named: LaneAlone) -> None:
        await named.doubt(0)
        await named.survey((named.store(0), named.chunks[0].name, 2))
        await named.land(1, at=QUIET_S + 1)
        await named.settler().settle()
        assert (await named.now(0)).state is ChunkState.PLANNED

    async def test_what_a_list_calls_pending_is_asked_for_by_itself(self, named: LaneAlone) -> None:
        """Only where it has the name of a doubt."""
        await named.doubt(0)
        ids = [named.store(0), named.store(1), named.store(2)]
        named.to.listed_as = {ids[0]: "PENDING", ids[1]: "PENDING"}
        await named.settler().settle()
        assert named.to.polled == [ids[0]]
        assert (await named.now(0)).remote_id == ids[0]

    async def test_where_it_cannot_be_asked_for_the_lists_word_stands(self, named: LaneAlone) -> None:
        class Mute(type(named.to)):  # type: ignore[misc]
            async def poll(self, asking: Asking, remote_id: str) -> RemoteStatus:
                raise ReadBackUnavailable("HTTP 404")

        await named.doubt(0)
        id_ = named.store(0)
        named.to = Mute(**{name: getattr(named.to, name) for name in named.to.__dataclass_fields__})
        named.to.listed_as = {id_: "PENDING"}
        await named.settler().settle()
        chunk = await named.now(0)
        assert chunk.reason == f"dataset {id_} ({chunk.name}) is PENDING"
        assert named.clock.monotonic() == PATIENCE_S + QUIET_S

    async def test_other_content_is_held_in_the_end(self, named: LaneAlone) -> None:
        await named.doubt(0)
        id_ = named.store(0, rows=1)
        await named.settler().settle()
        chunk = await named.now(0)
        assert chunk.reason == f"dataset {id_} is named {chunk.name} and holds something else"

    async def test_a_list_may_show_what_the_run_knows_of_and_has_made(self, named: LaneAlone) -> None:
        await named.survey(*[(f"old-{n}", f"other-{n}", None) for n in range(7)])
        named.tally.requests = 5
        await named.doubt(0)
        named.store(0)
        await named.settler().settle()
        assert named.to.known_datasets == 4 + 5 + 7


class TestByBareName:
    """A chunk that is called as the dataset is: its name says nothing of what it holds."""

    async def begin(self, lane: LaneAlone) -> str:
        chunk = replace(lane.chunks[3], id=ChunkId(lane.chunks[3].id.lane, 9, WHOLE), name=lane.to.dataset_name)
        await lane.journal.plan([chunk])
        lane.chunks.append(chunk)
        lane.tally.totals = await lane.journal.totals()
        await lane.doubt(4)
        return lane.to._store(chunk.name, lane.rows(3)).id

    async def test_its_rows_are_compared(self, named: LaneAlone) -> None:
        id_ = await self.begin(named)
        await named.settler().settle()
        assert (await named.now(4)).remote_id == id_

    async def test_in_pages_of_about_so_many_bytes(self, named: LaneAlone, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(looking, "PAGE_BYTES", 20)
        id_ = await self.begin(named)
        await named.settler().settle()
        assert (await named.now(4)).remote_id == id_
        assert set(named.to.page_rows) == {2}

    async def test_in_any_order(self, named: LaneAlone) -> None:
        id_ = await self.begin(named)
        named.to.datasets[id_].rows.reverse()
        await named.settler().settle()
        assert (await named.now(4)).remote_id == id_

    async def test_other_rows_are_something_else(self, named: LaneAlone) -> None:
        id_ = await self.begin(named)
        named.to.datasets[id_].rows[0] = {"t": "of somebody else"}
        await named.settler().settle()
        assert (await named.now(4)).reason == f"dataset {id_} is named set and holds something else"

    async def test_where_their_number_tells_they_are_not_read(self, named: LaneAlone) -> None:
        id_ = await self.begin(named)
        named.to.datasets[id_].rows += [{"t": "more"}]
        await named.settler().settle()
        assert (await named.now(4)).reason == f"dataset {id_} is named set and holds something else"
        assert named.to.page_rows == []

    @pytest.mark.parametrize("how", ["not to be read", "not all of them"])
    async def test_rows_that_are_not_read_say_nothing(self, named: LaneAlone, how: str) -> None:
        id_ = await self.begin(named)
        if how == "not to be read":
            named.to.unreadable = ReadBackUnavailable("HTTP 403")
        else:
            named.to.shown = 1
        await named.settler().settle()
        assert (await named.now(4)).reason == f"dataset {id_} (set) is READY"


class TestByCount:
    async def test_one_set_fits(self, counted: LaneAlone) -> None:
        await counted.land(3, at=QUIET_S)
        await counted.doubt(0, 1)
        counted.store(0)
        counted.store(1)
        await counted.settler().settle()
        assert await counted.states() == ["landed", "landed", "planned", "landed"]
        chunk = await counted.now(0)
        assert (chunk.evidence, chunk.remote_id) == (Evidence.COUNT, "ds-0")
        assert counted.tally.page_backs == 0
        assert counted.said == ["looked for chunks in doubt (2 looks): 2 had landed"]

    async def test_rows_of_before_and_of_others_count(self, counted: LaneAlone) -> None:
        counted.to._store("set", [{"t": "old"}] * 5)
        await counted.survey(("ds-0", "set", 2))
        await counted.land(3, at=QUIET_S)
        await counted.doubt(0)
        await counted.settler(others=Others(rows=3)).settle()
        assert await counted.states() == ["planned", "planned", "planned", "landed"]

    async def test_where_nobody_knows_how_many_were_there_none_were(self, counted: LaneAlone) -> None:
        counted.to._store("set", [])
        await counted.survey(("ds-0", "set", None))
        await counted.land(3, at=QUIET_S)
        await counted.doubt(0)
        await counted.settler().settle()
        assert await counted.states() == ["planned", "planned", "planned", "landed"]

    async def test_an_unclear_run_is_named(self, counted: LaneAlone) -> None:
        await counted.doubt(0)
        await counted.settler(others=Others(unclear=("run-x",))).settle()
        assert str((await counted.now(0)).reason).startswith("it is not known how many rows run run-x has put into")

    async def test_a_refusal_that_stored_nothing_is_remembered_and_is_no_absence(self, counted: LaneAlone) -> None:
        await counted.land(3)
        await counted.doubt(0, answered=True)
        await counted.settler().settle()
        assert (await counted.now(0)).state is ChunkState.PLANNED
        assert counted.clock.monotonic() == QUIET_S, "nothing is on its way, so a still count is enough"
        assert await counted.journal.called_absent() == []
        assert await counted.journal.fact(REFUSALS_STORE_NOTHING) is True
        assert await counted.states() == ["planned", "planned", "planned", "landed"]


class TestByRows:
    """Two doubts of equal size, one of which is there."""

    async def begin(self, lane: LaneAlone, *, ids: bool = True) -> None:
        chunk = lane.chunks[3]
        await lane.land(3, at=1, ids=ids_line(chunk, "ds-0", [0, 1]) if ids else b"")
        await lane.doubt(0, 1)
        lane.store(1)

    @pytest.mark.parametrize("ids", [True, False])
    async def test_the_rows_tell_which(self, counted: LaneAlone, ids: bool) -> None:
        """With the ids of what has landed, or its rows as they are in the source."""
        counted.tally.page_backs = 5
        await self.begin(counted, ids=ids)
        await counted.settler().settle()
        assert await counted.states() == ["planned", "landed", "planned", "landed"]
        assert counted.tally.page_backs == 6
        assert counted.said == [
            "looked for chunks in doubt (2 looks, rows paged back): 1 had landed, 1 had not, and will be sent again"
        ]

    async def test_they_are_read_in_pages_of_about_so_many_bytes(
        self, counted: LaneAlone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A row has 9 bytes."""
        monkeypatch.setattr(looking, "PAGE_BYTES", 20)
        await self.begin(counted)
        await counted.settler().settle()
        assert await counted.states() == ["planned", "landed", "planned", "landed"]
        assert set(counted.to.page_rows) == {2}

    async def test_what_the_last_look_counts_is_read(self, counted: LaneAlone) -> None:
        """It was less before."""
        await counted.land(3, ids=ids_line(counted.chunks[3], "ds-0", [0, 1]))
        await counted.doubt(0, 1)
        slept, sleeps = counted.clock.sleep, []

        async def sleep(seconds: float) -> None:
            sleeps.append(seconds)
            await slept(seconds)
            if len(sleeps) == 2:
                counted.store(1)

        counted.clock = replace(counted.clock, sleep=sleep)
        await counted.settler().settle()
        assert await counted.states() == ["planned", "landed", "planned", "landed"]

    @pytest.mark.parametrize(("held", "is_too_much"), [(3, True), (4, False)])
    async def test_more_rows_than_memory_is_for_are_not_read(
        self, counted: LaneAlone, held: int, is_too_much: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stored_rows, "ROWS_HELD", held)
        await self.begin(counted)
        await counted.settler().settle()
        chunk = await counted.now(1)
        assert (chunk.state is ChunkState.LANDED) is not is_too_much
        if is_too_much:
            assert str(chunk.reason).endswith(
                ": several sets of chunks in doubt add up to the difference, and reading its 4 rows back takes more memory than "
                "there is for it"
            )

    async def test_rows_that_cannot_be_read_leave_it_open(self, counted: LaneAlone) -> None:
        await self.begin(counted)
        counted.to.unreadable = ReadBackUnavailable("HTTP 403")
        await counted.settler().settle()
        assert str((await counted.now(0)).reason).endswith(", and the rows cannot be read back: HTTP 403")
        assert await counted.states() == ["in doubt", "in doubt", "planned", "landed"]

    async def test_rows_that_are_shown_twice_leave_it_open(self, counted: LaneAlone) -> None:
        await self.begin(counted)
        counted.to.twice = True
        await counted.settler().settle()
        assert str((await counted.now(0)).reason).endswith(", and reading the rows back shows some of them twice")

    async def test_fewer_rows_than_are_counted_are_waited_for(self, counted: LaneAlone) -> None:
        await self.begin(counted)
        counted.to.shown = 3
        await counted.settler().settle()
        assert (await counted.now(0)).reason == "3 rows were read back where the count says 4"
        assert counted.clock.monotonic() == PATIENCE_S + QUIET_S
        assert counted.tally.page_backs == 0

    @pytest.mark.parametrize("ids", [True, False])
    async def test_a_count_that_lags_may_fit_with_doubts_in_the_place_of_what_has_landed(
        self, counted: LaneAlone, ids: bool
    ) -> None:
        """Two doubts are shown, and the landed chunk is not yet: nothing says that the third doubt is absent."""
        chunk = counted.chunks[3]
        await counted.land(3, at=QUIET_S, ids=ids_line(chunk, "ds-0", [4, 5]) if ids else b"")
        hidden, counted.to.datasets["ds-0"].rows[:] = counted.to.datasets["ds-0"].rows[:], []
        await counted.doubt(0, 1, 2)
        counted.store(0)
        counted.store(1)
        await counted.settler().settle()
        assert (await counted.now(2)).reason == "the rows read back lack 2 that have landed"
        assert await counted.states() == ["in doubt", "in doubt", "in doubt", "landed"]
        counted.to.datasets["ds-0"].rows += hidden
        await counted.settler().settle()
        assert await counted.states() == ["landed", "landed", "planned", "landed"]

    async def test_rows_of_nobody_leave_it_open(self, counted: LaneAlone) -> None:
        await self.begin(counted)
        counted.to.datasets["ds-0"].rows[3] = {"t": "of somebody else"}
        await counted.settler().settle()
        assert str((await counted.now(0)).reason).endswith(", and the rows read back do not tell which")


class TestAudit:
    """The last look at what was called absent and sent again."""

    async def again(self, lane: LaneAlone, *numbers: int) -> None:
        for number in numbers:
            await lane.doubt(number)
            await lane.journal.absent(lane.chunks[number].id)
            lane.tally.totals.move(lane.chunks[number], ChunkState.IN_DOUBT, ChunkState.PLANNED)
            await lane.land(number)

    async def test_where_nothing_was_sent_again_nobody_looks(self, named: LaneAlone) -> None:
        await named.land(0)
        assert await named.settler().audit() == Audit()
        assert (named.to.looks, named.clock.monotonic()) == (0, 0.0)

    async def test_what_is_there_once_is_well_and_is_looked_at_after_a_quiet_period(self, named: LaneAlone) -> None:
        await self.again(named, 0)
        assert await named.settler().audit() == Audit()
        assert (named.to.looks, named.clock.monotonic()) == (1, QUIET_S)

    async def test_what_is_there_twice_is_named(self, named: LaneAlone) -> None:
        await self.again(named, 0, 1)
        named.store(1)
        chunk = named.chunks[1]
        assert await named.settler().audit() == Audit(
            late="stored late, after bulkup had sent them again, so these rows are there twice: chunk "
            f"{chunk.id} (file 0, byte {chunk.byte_offset:,}, 2 rows)"
        )

    async def test_a_dataset_on_which_the_service_failed_is_not_there_twice(self, named: LaneAlone) -> None:
        await self.again(named, 0)
        named.store(0, ends=RemoteStatus.FAILED)
        assert await named.settler().audit() == Audit()

    async def test_of_many_five_are_named(self) -> None:
        async with lane_of(6) as lane:
            await self.again(lane, *range(6))
            for number in range(6):
                lane.store(number)
            late = (await lane.settler().audit()).late
        assert late is not None
        assert late.count("chunk 0") == 5
        assert late.endswith(" and 1 more")

    async def test_five_of_five_are_all(self) -> None:
        async with lane_of(5) as lane:
            await self.again(lane, *range(5))
            for number in range(5):
                lane.store(number)
            late = (await lane.settler().audit()).late
        assert late is not None
        assert late.endswith("2 rows)")

    async def test_a_dataset_of_a_doubt_that_is_open_is_not_late(self, named: LaneAlone) -> None:
        await self.again(named, 0)
        await named.doubt(0 + 1)
        await named.journal.absent(named.chunks[1].id)
        await named.journal.sending(named.chunks[1].id, UNIX_S)
        await named.journal.in_doubt(named.chunks[1].id, "lost", UNIX_S)
        named.store(1)
        assert await named.settler().audit() == Audit()

    async def test_without_a_first_look_it_is_unseen(self, named: LaneAlone) -> None:
        await self.again(named, 0)
        await named.survey(unavailable="HTTP 404")
        assert await named.settler().audit() == Audit(
            unseen="whether each chunk that was sent again (1 in all) is there once could not be checked at the end (what the "
            "destination held before the run could not be seen); run the same command to check again"
        )

    async def test_without_a_last_look_it_is_unseen(self, named: LaneAlone) -> None:
        await self.again(named, 0, 1)
        named.to.look_unavailable = "HTTP 403"
        assert await named.settler().audit() == Audit(
            unseen="whether each chunk that was sent again (2 in all) is there once could not be checked at the end (HTTP 403); "
            "run the same command to check again"
        )
        assert named.to.looks == 1

    async def test_a_look_that_does_not_show_all_is_repeated_as_long_as_patience_lasts(self, named: LaneAlone) -> None:
        """Of each dataset: rows of another make up for nothing."""
        await self.again(named, 0)
        named.to.hidden = {"ds-0"}
        named.store(3)
        assert await named.settler().audit() == Audit(late="the service does not show all that has landed")
        assert (named.to.looks, named.clock.monotonic()) == (PATIENCE_QUIET_PERIODS, PATIENCE_S)

    async def test_rows_that_are_missing_from_a_count_are_told(self, counted: LaneAlone) -> None:
        counted.to._store("set", [{"t": "old"}] * 5)
        await counted.survey(("ds-0", "set", 5))
        await self.again(counted, 0)
        del counted.to.datasets["ds-0"].rows[-1]
        late = "the service does not show all that has landed: 6 rows, not 7"
        assert await counted.settler().audit() == Audit(late=late)
        assert counted.to.looks == PATIENCE_QUIET_PERIODS

    async def test_as_many_rows_as_have_landed_are_well(self, counted: LaneAlone) -> None:
        await self.again(counted, 0)
        assert await counted.settler().audit() == Audit()
        assert counted.clock.monotonic() == QUIET_S

    async def test_of_several_those_of_just_so_many_rows_are_named(self, counted: LaneAlone) -> None:
        short = replace(counted.chunks[3], id=ChunkId(counted.chunks[3].id.lane, 9, WHOLE), rows=1, lines=((0, 1),))
        await counted.journal.plan([short])
        counted.chunks.append(short)
        counted.tally.totals = await counted.journal.totals()
        await self.again(counted, 0, 4)  # of which two rows are there, one too many
        late = (await counted.settler().audit()).late
        assert late is not None
        assert "chunk 00009 (" in late
        assert "chunk 00000" not in late

    @pytest.mark.parametrize("surplus", [2, 3])
    async def test_rows_too_many_are_told_with_what_may_be_there_twice(self, counted: LaneAlone, surplus: int) -> None:
        counted.to._store("set", [{"t": "old"}] * 5)
        await counted.survey(("ds-0", "set", 5))
        await self.again(counted, 0)
        counted.to.datasets["ds-0"].rows += [{"t": "late"}] * surplus
        chunk = counted.chunks[0]
        late = (await counted.settler().audit()).late
        assert late == (
            f"{surplus} rows too many; unless somebody else wrote them, they were stored late, after bulkup had sent them again, "
            f"so these rows are there twice: chunk {chunk.id} (file 0, byte {chunk.byte_offset:,}, 2 rows)"
        )

    @pytest.mark.parametrize(("surplus", "is_late"), [(2, False), (3, True)])
    async def test_what_is_in_doubt_may_account_for_it(self, counted: LaneAlone, surplus: int, is_late: bool) -> None:
        await self.again(counted, 0)
        await counted.doubt(1)
        counted.to.datasets["ds-0"].rows += [{"t": "late"}] * surplus
        assert ((await counted.settler().audit()).late is not None) is is_late

    async def test_without_a_quiet_period_a_moment_is_waited(self, named: LaneAlone) -> None:
        await self.again(named, 0)
        assert await named.settler(quiet_s=0.0).audit() == Audit()
        assert named.clock.monotonic() == settler.MIN_WAIT_S


@pytest.mark.parametrize("makes_others", [False, True])
async def test_rows_that_a_function_makes_are_compared_as_it_made_them(
    makes_others: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it makes others now, nothing can be said of what is there: neither that it is what was sent, nor that it is not."""
    async with lane_of_several((2, 0, 1), tmp_path, monkeypatch) as lane:
        await lane.doubt(0)
        assert lane.chunks[0].name == lane.to.dataset_name, "its name says nothing of its rows"
        lane.to._store(lane.to.dataset_name, [{"t": name} for name in ("a1", "a2", "c1")])
        if makes_others:
            monkeypatch.setenv(MORE, "1")
            with pytest.raises(SourceChanged, match=r"--map .*rows\.py:fix made other rows of them this time"):
                await lane.settler().settle()
        else:
            await lane.settler().settle()
        assert await lane.states() == ["in doubt" if makes_others else "landed"]


def kept(chunk: Chunk, **other: Any) -> KeptAnswer:
    """The service's answer to the last attempt at *chunk*, as a worker keeps it."""
    id_ = chunk.id
    line = b'{"chunk":"%s"}\n' % str(id_).encode()
    made = KeptAnswer("run", id_.lane, id_.tile, id_.child, chunk.attempts, chunk.rows_hash, "ds-kept", line)
    return replace(made, **other)


class TestKeptAnswers:
    async def test_an_answer_that_a_worker_has_kept_settles_its_doubt_without_a_look(self, named: LaneAlone) -> None:
        acked: list[int] = []
        await named.doubt(1, at=5)
        named.kept.put(kept(await named.now(1)), lambda: acked.append(1))
        await named.settler().settle()
        assert await named.states() == ["planned", "landed", "planned", "planned"]
        chunk = await named.now(1)
        assert (chunk.remote_id, chunk.evidence, chunk.reason) == ("ds-kept", Evidence.KEPT_ANSWER, None)
        assert chunk.ids_at is not None
        assert (named.to.looks, named.tally.rows_landed, named.was_found, acked) == (0, 2, 1, [1])
        assert named.said == ["1 of the chunks in doubt had landed: workers had kept the service's answers"]

    async def test_one_that_says_pending_has_the_service_asked_about_it(self, named: LaneAlone) -> None:
        """Not that it is stored, nor that anything is there."""
        acked: list[int] = []
        await named.doubt(1, at=5)
        named.kept.put(kept(await named.now(1), is_ready=False, ids=b""), lambda: acked.append(1))
        await named.settler().settle()
        assert await named.states() == ["planned", "answered", "planned", "planned"]
        chunk = await named.now(1)
        assert (chunk.remote_id, chunk.evidence, chunk.was_in_doubt) == ("ds-kept", None, True)
        assert (named.to.looks, named.tally.rows_landed, named.was_found, acked) == (0, 0, 0, [1])
        assert named.tally.totals.chunks_in_doubt == 0
        assert named.said == [
            "1 of the chunks in doubt were taken, and are asked about: workers had kept the service's answers"
        ]

    async def test_where_there_is_no_next_round_the_service_is_looked_at(
        self, named: LaneAlone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a source that is read once."""
        monkeypatch.setattr(type(named.source), "rereadable", False)
        await named.doubt(1)
        named.kept.put(kept(await named.now(1), is_ready=False), lambda: pytest.fail("it is of no use"))
        named.store(1)
        await named.settler().settle()
        assert (await named.now(1)).evidence is Evidence.READ_BACK

    async def test_it_is_no_control_for_others(self, named: LaneAlone) -> None:
        """When it was stored is not known: only when its doubt began."""
        await named.doubt(0)
        await named.doubt(1, at=QUIET_S + 1)
        named.kept.put(kept(await named.now(1)), lambda: None)
        named.store(1)
        await named.settler().settle()
        assert (await named.journal.landings())["ds-kept"] == 0
        assert named.clock.monotonic() > QUIET_S, "the other one was not called absent by it"

    @pytest.mark.parametrize(
        "other", [{"attempt": 2}, {"attempt": 0}, {"rows_hash": b"other"}, {"tile": 7}, {"lane": "x"}]
    )
    async def test_an_answer_to_something_else_settles_nothing(self, named: LaneAlone, other: dict[str, Any]) -> None:
        await named.doubt(1)
        named.kept.put(kept(await named.now(1), **other), lambda: pytest.fail("it is of no use"))
        named.store(1)
        await named.settler().settle()
        assert (await named.now(1)).evidence is Evidence.READ_BACK

    async def test_what_is_not_in_doubt_stays_as_it_is(self, named: LaneAlone) -> None:
        """It was called absent and is planned again, or is being sent."""
        await named.doubt(0, 1)
        told = [kept(await named.now(number)) for number in (0, 1)]
        await named.journal.absent(named.chunks[0].id)
        named.tally.totals.move(named.chunks[0], ChunkState.IN_DOUBT, ChunkState.PLANNED)
        await named.journal.sending(named.chunks[1].id, UNIX_S)
        for answer in told:
            named.kept.put(answer, lambda: pytest.fail("it is of no use"))
        await named.doubt(2)
        named.store(2)
        await named.settler().settle()
        assert [(await named.now(number)).state for number in (0, 1, 2)] == ["planned", "sending", "landed"]

    async def test_one_that_comes_while_the_service_is_looked_at_counts_before_what_was_seen(
        self, named: LaneAlone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        look, answer = looking.dated_look, list[KeptAnswer]()

        async def looked(*given: Any) -> Any:
            found = await look(*given)
            for one in answer:
                named.kept.put(one, lambda: None)
            return found

        await named.doubt(0)
        await named.land(3, at=QUIET_S + 0.1)
        answer.append(kept(await named.now(0)))
        monkeypatch.setattr(settler, "dated_look", looked)
        await named.clock.sleep(QUIET_S)
        await named.settler().settle()
        assert await named.states() == ["landed", "planned", "planned", "landed"]

    async def test_one_that_comes_ends_the_waiting(self, named: LaneAlone) -> None:
        named.kept = KeptAnswers(may_come=True)
        await named.doubt(0)
        answer = kept(await named.now(0))

        async def sleep(seconds: float) -> None:
            named.kept.put(answer, lambda: None)
            await anyio.sleep_forever()

        named.clock = replace(named.clock, sleep=sleep)
        with anyio.fail_after(20):
            await named.settler().settle()
        assert (await named.now(0)).evidence is Evidence.KEPT_ANSWER

    async def test_only_a_doubt_is_settled(self, named: LaneAlone) -> None:
        await named.doubt(0)
        chunk = await named.now(0)
        named.kept.put(kept(chunk), lambda: None)
        assert named.kept.of(chunk) is not None
        for state in set(ChunkState) - {ChunkState.IN_DOUBT}:
            assert named.kept.of(replace(chunk, state=state)) is None

    async def test_what_far_workers_may_still_send_is_waited_for(self, named: LaneAlone) -> None:
        """Their run was killed, and goes on at once, on the same machine."""
        await named.journal.sending(named.chunks[0].id, UNIX_S)
        assert await recovered(named.journal, UNIX_S + 1) == 1
        assert (await named.now(0)).last_byte_at == UNIX_S + 1
        await named.journal.set_fact(FAR_LEASE_S, 10.0)
        await named.journal.sending(named.chunks[0].id, UNIX_S)
        assert await recovered(named.journal, UNIX_S + 1) == 1
        assert (await named.now(0)).last_byte_at == UNIX_S + 11
