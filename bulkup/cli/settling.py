"""`bulkup settle`: what is in doubt is settled, by looking or by a person; nothing is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from bulkup.account.receipt import Receipt
from bulkup.cli.choices import journal, state_dir
from bulkup.cli.resuming import recorded
from bulkup.cli.runner import OutputMode, report, with_signals
from bulkup.errors import UsageProblem
from bulkup.journal.facts import UPLOAD
from bulkup.journal.reading import view
from bulkup.run.folder import StateDir
from bulkup.run.settling_by_hand import Decision, settle_by_hand
from bulkup.run.story import settle
from bulkup.run.wish import Upload

__all__ = ["settle_run"]


def settle_run(run: str, given: Mapping[str, Any], environment: Mapping[str, str], output: OutputMode) -> int:
    """Settle what is in doubt in *run*; the exit code. Raises `BulkupError`."""
    decision = _decision(given)
    if decision is None:
        upload, run_id = recorded(run, given, environment, "settled by looking")
        receipt: Receipt = with_signals(
            output.for_run(upload),
            lambda tell, interrupt: settle(upload, tell=tell, interrupt=interrupt, resume=run_id),
        )
        return report(upload, receipt, output)
    database = journal(given.get("journal"), environment)
    folder = StateDir(state_dir(given.get("state_dir"), environment), database).find(run)
    with view(folder.path) as looked:
        record = looked.fact(UPLOAD)
    if record is None:
        raise UsageProblem(f"run {folder.run_id} was stopped before it had begun: nothing is in doubt")
    receipt = asyncio.run(settle_by_hand(folder, chunk=given["chunk"], lane=given.get("lane"), decision=decision))
    upload = Upload.of_record(
        msgspec.structs.replace(record, settings={**record.settings, "state_dir": str(folder.path.parent)})
    )
    return report(upload, receipt, output)


def _decision(given: Mapping[str, Any]) -> Decision | None:
    landed, absent, chunk = given.get("landed"), given.get("absent"), given.get("chunk")
    if chunk is None:
        if landed or absent or given.get("lane"):
            raise UsageProblem("--landed, --absent and --lane are about one chunk: name it with --chunk")
        return None
    if bool(landed) == bool(absent):
        raise UsageProblem(
            f"--chunk {chunk}: say what you know about it: --landed (it is stored) or --absent (it is not)"
        )
    return Decision.LANDED if landed else Decision.ABSENT
