"""What a scan found for a lane, as its journal keeps it."""

from __future__ import annotations

from collections.abc import Sequence

from bulkup.encoding import RowPlan, Target
from bulkup.errors import JournalUnusable
from bulkup.journal import LaneJournal
from bulkup.journal.facts import SCAN, CountedKeys, ReasonRecord, ScannedFile, ScanRecord
from bulkup.rows.function import Function
from bulkup.rows.schema import Kind
from bulkup.scan.found import Found, Measure
from bulkup.scan.learned import FileCounts, FileRead, KeyCounts
from bulkup.scan.reasons import Reason
from bulkup.scan.seen import Place, Seen

__all__ = ["reasons_of", "reasons_recorded", "record_of", "scanned"]


def reasons_recorded(reasons: Sequence[Reason]) -> tuple[ReasonRecord, ...]:
    """*reasons* for the journal."""
    return tuple(
        ReasonRecord(reason.text, reason.count, tuple((p.file, p.at, p.line) for p in reason.places))
        for reason in reasons
    )


def reasons_of(records: Sequence[ReasonRecord]) -> tuple[Reason, ...]:
    """From the journal."""
    return tuple(Reason(r.text, r.count, tuple(Place(*place) for place in r.places)) for r in records)


async def scanned(journal: LaneJournal, target: Target, function: Function | None = None) -> Found | None:
    """What the scan found for a lane to *target*, of the rows that *function* makes if the user has one; None where there was no
    scan. Raises `JournalUnusable`."""
    record = await journal.fact(SCAN)
    return None if record is None else _found(record, target, function)


def record_of(found: Found) -> ScanRecord:
    """*found* for the journal."""
    measure = found.measure
    return ScanRecord(
        plan=found.plan.to_json(),
        rows=found.rows,
        blank=found.blank,
        rejected=found.rejected,
        measure=(measure.raw_bytes, measure.body_bytes, measure.rows, measure.largest_row),
        line_bytes=measure.line_bytes,
        reasons=reasons_recorded(found.reasons),
        keys={
            name: {str(kind): (place.file, place.at, place.line) for kind, place in seen.first.items()}
            for name, seen in found.keys.items()
        },
        broke_off=found.broke_off,
        skipped=found.skipped,
        made=found.made,
        bytes_looked_at=found.bytes_looked_at,
        files=_files_recorded(found),
        counted=CountedKeys(found.counted.rows, dict(found.counted.present), dict(found.counted.null)),
    )


def _files_recorded(found: Found) -> tuple[ScannedFile, ...]:
    counted = {counts.file: counts for counts in found.files}
    made = []
    for read in found.read:
        counts = counted.get(read.file, FileCounts(read.file))
        last_line = -1 if read.last_line is None else read.last_line
        made.append(
            ScannedFile(
                read.file, read.lines, read.end, last_line, counts.rows, counts.blank, counts.rejected, counts.largest
            )
        )
    return tuple(made)


def _found(record: ScanRecord, target: Target, function: Function | None) -> Found:
    try:
        return Found(
            plan=RowPlan.from_json(record.plan, target, function),
            rows=record.rows,
            blank=record.blank,
            rejected=record.rejected,
            measure=Measure(*record.measure, record.line_bytes),
            reasons=reasons_of(record.reasons),
            keys={
                name: Seen({Kind(kind): Place(*place) for kind, place in first.items()})
                for name, first in record.keys.items()
            },
            broke_off=record.broke_off,
            skipped=record.skipped,
            made=record.made,
            bytes_looked_at=record.bytes_looked_at,
            files=tuple(FileCounts(f.file, f.rows, f.blank, f.rejected, f.largest) for f in record.files),
            read=tuple(
                FileRead(f.file, f.lines, f.end, None if f.last_line < 0 else f.last_line) for f in record.files
            ),
            counted=KeyCounts(record.counted.rows, record.counted.present, record.counted.null),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise JournalUnusable(
            f"the scan in the run's journal makes no sense ({said}); restore the run's folder from a copy"
        ) from error
