"""A source of several files, of which one is cut off or damaged: it is refused before anything is sent, where a scan has found it.

What stands behind such a file has no positions, so its rows could not be sent after it. And a run without the file is another run,
whose rows would stand beside those that this one had sent before.
"""

from __future__ import annotations

import posixpath

from bulkup.errors import SourceUnreadable
from bulkup.flow.planning import frozen_plan
from bulkup.journal.facts import SCAN
from bulkup.run.opened import OpenRun
from bulkup.sources import hide
from bulkup.sources.positions import UNREAD_ONES

__all__ = ["refuse_broken_files"]


async def refuse_broken_files(run: OpenRun) -> None:
    """Raise `SourceUnreadable` where a scan could not read a file to its end, others stand behind it, and nothing is planned."""
    files = run.source.files
    for lane in run.lanes:
        record = await lane.context.journal.fact(SCAN)
        if record is None or record.broke_off is None or await frozen_plan(lane.context) is not None:
            continue
        number = max((file.file for file in record.files), default=0)
        behind = len(files) - 1 - number
        if behind > 0:
            file = files[number]
            name = posixpath.basename(file.uri)
            left_out = (
                f"leave it out (--exclude '{name}' for folders and globs)"
                if file.member is None
                else "repack it without"
            )
            raise SourceUnreadable(
                f"{UNREAD_ONES.sub('', record.broke_off)}. Nothing has been sent, since {behind:,} more "
                f"file{'s' * (behind != 1)} stand{'s' * (behind == 1)} behind it: fetch {hide(name)} again, or {left_out}"
            )
