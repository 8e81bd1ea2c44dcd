"""What a run came to, out of its journal alone: what it says, for the one rule of `verdict`, and the receipt made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bulkup.account.reasons import RejectedFor
from bulkup.account.receipt import (
    REMOTE_LISTED,
    DestinationReceipt,
    Invocation,
    Receipt,
    SourceReceipt,
    seconds_between,
)
from bulkup.account.verdict import LaneRecord, RunRecord, run_verdict
from bulkup.destinations.registry import assumptions_for
from bulkup.errors import BulkupError
from bulkup.journal.facts import (
    FILES,
    FINISHED_AT,
    LANE_END,
    LARGEST_BODY,
    LAST_TROUBLE,
    LATE,
    PLANNED_WHOLE,
    RUN_END,
    SCAN,
    STARTED_AT,
    UNREADABLE,
    UPLOAD,
    ScanRecord,
)
from bulkup.journal.reading import JournalView
from bulkup.run.rejected import commonest_reasons
from bulkup.settings.run import Empty

__all__ = ["read_record", "receipt_of"]


def read_record(journal: JournalView) -> RunRecord:
    """What the journal says of the run, for `run_verdict`. A run that was stopped before it had begun has no lanes."""
    upload, end = journal.fact(UPLOAD), journal.fact(RUN_END)
    return RunRecord(
        lanes={
            name: _lane_record(journal, name, empty_is_ok=upload.settings.get("empty") == Empty.OK)
            for name in upload.destinations
        }
        if upload
        else {},
        has_ended=end is not None,
        interrupted=end.interrupted if end else None,
    )


def _lane_record(journal: JournalView, name: str, *, empty_is_ok: bool) -> LaneRecord:
    return LaneRecord(
        totals=journal.totals(name),
        planned_whole=journal.fact(PLANNED_WHOLE, name),
        unreadable=journal.fact(UNREADABLE, name),
        late=journal.fact(LATE, name),
        end=journal.fact(LANE_END, name),
        trouble=journal.fact(LAST_TROUBLE, name),
        source_rows=_rows_of(journal.fact(SCAN, name)),
        empty_is_ok=empty_is_ok,
    )


def _why_rejected(journal: JournalView, lanes: Sequence[str]) -> Mapping[str, tuple[RejectedFor, ...]]:
    """A receipt is worth more than its reasons: nothing where the rejected rows are not as they were written."""
    try:
        return commonest_reasons(journal, lanes)
    except BulkupError:
        return {}


def _rows_of(scan: ScanRecord | None) -> int | None:
    """The source's rows, where a scan has seen all of it."""
    if scan is None or scan.broke_off is not None or scan.bytes_looked_at is not None:
        return None
    return scan.rows + scan.rejected + scan.skipped - scan.made


def receipt_of(journal: JournalView, run_id: str, this_invocation: Mapping[str, Invocation]) -> Receipt:
    """The receipt of the run *run_id*, which has ended, out of its *journal*. Raises `JournalUnusable`."""
    record = read_record(journal)
    why = _why_rejected(journal, list(record.lanes))
    lanes = {
        name: DestinationReceipt.of(
            lane,
            max_body_bytes=journal.fact(LARGEST_BODY, name),
            remote=tuple(journal.remote(name, REMOTE_LISTED)),
            datasets=journal.datasets(name),
            changes=journal.changes(name),
            evidence=journal.evidence(name),
            assumptions=assumptions_for(name),
            rejected_for=why.get(name, ()),
            this_invocation=this_invocation.get(name, Invocation()),
        )
        for name, lane in record.lanes.items()
    }
    verdict, files = run_verdict(record), journal.fact(FILES) or ()
    started_at, finished_at = journal.fact(STARTED_AT), journal.fact(FINISHED_AT)
    assert started_at is not None, "a run that has ended has begun"
    assert finished_at is not None, "and its end is recorded before its receipt is made"
    return Receipt(
        run_id=run_id,
        status=verdict.status,
        exit_code=int(verdict.exit_code),
        source=SourceReceipt(
            uris=tuple(file.uri for file in files),
            bytes=sum(file.size or 0 for file in files),
            rows_read=max(lane.rows_read for lane in lanes.values()),
            rows_blank=max(lane.rows_blank for lane in lanes.values()),
        ),
        started_at=started_at,
        finished_at=finished_at,
        duration_s=seconds_between(started_at, finished_at),
        destinations=lanes,
    )
