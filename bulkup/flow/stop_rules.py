"""When so much is refused that the rows cannot be what is wrong: the lane stops, and a person looks."""

from __future__ import annotations

import re

from bulkup.chunk import Totals
from bulkup.errors import ExitCode
from bulkup.flow.halt import Halt, Reason
from bulkup.settings.config import RejectLimit

__all__ = ["SAME_ANSWERS", "StopRules"]

SAME_ANSWERS = 3
"""So many root chunks of which nothing could land, one after the other and for the same reason, stop the lane."""

_NUMBERS = re.compile(r"\d+")


class StopRules:
    """Watches one lane's refusals. *limit*: how many rows may be rejected (None: any number)."""

    def __init__(self, *, totals: Totals, limit: RejectLimit | None, halt: Halt) -> None:
        self._totals = totals
        self._limit = limit
        self._halt = halt
        self._said = ""
        self._roots: set[int] = set()

    def check_rejects(self) -> None:
        """Stop the lane where more rows were rejected than the user allows."""
        rejected, read = self._totals.rows_rejected, self._totals.rows_read + self._totals.rows_made
        if self._limit is None or not self._limit.is_passed(rejected=rejected, read=read):
            return
        share = f"{100 * rejected / read:.1f} %"
        self._halt.set(
            Reason(
                f"{rejected:,} of {read:,} rows read were rejected ({share}), more than --max-rejects {self._limit} allows; "
                f"`bulkup rejects` shows them with their reasons. Fix the rows or the options, or continue with a larger "
                "--max-rejects (100% never stops)",
                ExitCode.STOPPED_BY_LIMIT,
            )
        )

    def landed(self) -> None:
        """The service took something: what it refused before was about the rows."""
        self._roots.clear()

    def nothing_landed(self, tile: int, reason: str) -> None:
        """Every row of a root chunk of *tile* was refused, the first time for *reason*. Numbers in it count as the same."""
        if self._limit is not None and self._limit.is_none:
            return
        said = _NUMBERS.sub("#", reason)
        if said != self._said:
            self._said = said
            self._roots.clear()
        self._roots.add(tile)
        if len(self._roots) >= SAME_ANSWERS:
            self._halt.set(
                Reason(
                    f"the service refused all rows of {len(self._roots)} chunks in a row with the same words, so the rows are "
                    f"probably not the cause: {reason}. Fix what the service complains about and continue with "
                    "--max-rejects 100%. Then send the rejected rows again with `bulkup rejects RUN --retry`",
                    ExitCode.STOPPED_BY_LIMIT,
                )
            )
