"""What a run came to, out of its journal alone: what it says, for the one rule of `verdict`, and the receipt made of it."""

from __future__ import annotations

from collections.abc import Mapping

from bulkup.destinations.registry import assumptions_for
from bulkup.errors import ExitCode
from bulkup.journal.facts import LANE_END, RUN_END
from bulkup.journal.reading import JournalView, view
from bulkup.receipt import REMOTE_LISTED, DestinationReceipt, Invocation, Receipt, SourceReceipt, seconds_between
from bulkup.verdict import LaneEnd, LaneRecord, RunRecord, run_verdict
from bulkup.wiring.folder import RunFolder

__all__ = ["read_receipt", "read_record"]


def read_record(journal: JournalView) -> RunRecord:
    """What the journal says of the run, for `run_verdict`. A run that was stopped before it had begun has no lanes."""
    upload, end = journal.fact("upload"), journal.fact(RUN_END)
    return RunRecord(
        lanes={name: _lane_record(journal, name) for name in (upload["destinations"] if upload else ())},
        has_ended=end is not None,
        interrupted=ExitCode(end["interrupted"]) if end and end["interrupted"] is not None else None,
    )


def _lane_record(journal: JournalView, name: str) -> LaneRecord:
    end = journal.fact(LANE_END, name)
    return LaneRecord(
        totals=journal.totals(name),
        planned_whole=bool(journal.fact("planned whole", name)),
        unreadable=journal.fact("unreadable", name),
        late=journal.fact("late", name),
        end=None if end is None else LaneEnd.from_json(end),
    )


def read_receipt(folder: RunFolder, this_invocation: Mapping[str, Invocation]) -> Receipt:
    """The receipt of the run in *folder*, which has ended. Raises `JournalUnusable`."""
    with view(folder.path) as journal:
        record = read_record(journal)
        lanes = {
            name: DestinationReceipt.of(
                lane,
                max_body_bytes=journal.fact("largest body", name) or 0,
                remote=tuple(journal.remote(name, REMOTE_LISTED)),
                datasets=journal.datasets(name),
                evidence=journal.evidence(name),
                assumptions=assumptions_for(name),
                this_invocation=this_invocation.get(name, Invocation()),
            )
            for name, lane in record.lanes.items()
        }
        verdict, files = run_verdict(record), journal.fact("files") or []
        started_at, finished_at = journal.fact("started_at"), journal.fact("finished_at")
    return Receipt(
        run_id=folder.run_id,
        status=verdict.status,
        exit_code=int(verdict.exit_code),
        source=SourceReceipt(
            uris=tuple(file["uri"] for file in files),
            bytes=sum(file["size"] or 0 for file in files),
            rows_read=max(lane.rows_read for lane in lanes.values()),
            rows_blank=max(lane.rows_blank for lane in lanes.values()),
        ),
        started_at=started_at,
        finished_at=finished_at,
        duration_s=seconds_between(started_at, finished_at),
        destinations=lanes,
    )
