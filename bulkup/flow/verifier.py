"""Comparing one lane's destination with the source: what is asked and read; `bulkup.doubt.verification` says what differs.

Memory is bounded whatever the sizes: a chunk's rows are 16 bytes each.
"""

from __future__ import annotations

from pathlib import Path

from bulkup.doubt.settlement import Look, Others
from bulkup.doubt.verification import LaneVerification, Sample
from bulkup.flow.context import PlannedLane
from bulkup.flow.halt import Halted
from bulkup.flow.looking import expect_datasets
from bulkup.flow.sent_rows import SentRows
from bulkup.flow.verify_context import Findings, LandedChunks, VerifyContext
from bulkup.flow.verify_each import EachDataset
from bulkup.flow.verify_one import OneDataset
from bulkup.journal.facts import SURVEY

__all__ = ["Verifier"]


class Verifier:
    """Reads back one lane's datasets and compares. Stores nothing anywhere."""

    def __init__(self, comparing: VerifyContext) -> None:
        self._with = comparing
        self.found = comparing.findings.found

    @classmethod
    async def begin(cls, planned: PlannedLane, sample: Sample, scratch: Path, *, read_whole: bool) -> Verifier:
        """For *planned*, of which all of the source was *read_whole*. *scratch* is a folder for what is sorted on disk."""
        lane, totals = planned.lane, planned.lane.tally.totals
        survey = await lane.journal.fact(SURVEY)
        sent = SentRows(lane.source, planned.chunker, planned.plan.rows, lane.destination.row_key)
        found = LaneVerification(
            rows_landed=totals.rows_landed,
            rows_in_doubt=totals.rows_in_doubt,
            rows_rejected=totals.rows_rejected,
            rows_left=totals.rows_left,
            read_whole=read_whole,
            chunks_landed=totals.chunks_landed,
        )
        return cls(
            VerifyContext(
                planned=planned,
                survey=survey if survey is not None and survey.unavailable is None else None,
                others=await lane.others(survey.at) if survey else Others(),
                sent=sent,
                chunks=LandedChunks(lane, sample),
                findings=Findings(found, sent, lane.tally),
                scratch=scratch,
            )
        )

    async def verify(self) -> None:
        """Compare; what was found stands in `found`. Raises `SourceChanged`, `SourceUnreadable`, `LocalDisk`."""
        lane = self._with.lane
        expect_datasets(lane.destination, self._with.survey, lane.tally.totals.chunks)
        try:
            look = await lane.destination.look(self._with.asking)
            if look.unavailable is not None:
                self.found.unverifiable.append(f"the service cannot be read back: {look.unavailable}")
            else:
                await lane.destination.policy.compare(look, self)
        except Halted:
            assert lane.halt.reason is not None, "a lane halts for a reason"
            self.found.stopped = (lane.halt.reason.text, lane.halt.reason.exit_code)
        finally:
            await self._with.sent.aclose()

    async def compare_each(self, look: Look) -> None:
        """Each of the lane's chunks with the dataset that it made."""
        await EachDataset(self._with).compare(look)

    async def compare_all(self, look: Look) -> None:
        """All of the lane's chunks with the one dataset, by its number of rows and by the rows' ids."""
        await OneDataset(self._with).compare(look)
