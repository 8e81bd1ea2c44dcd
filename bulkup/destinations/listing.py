"""When a list that comes in pages was read to its end, and when it was not: then it shows no absence."""

from __future__ import annotations

from collections.abc import Sequence

from bulkup.destinations.base import ReadBackUnavailable
from bulkup.destinations.scratch import scratch

__all__ = ["MARGIN_DATASETS", "MARGIN_PAGES", "Listing"]

MARGIN_DATASETS = 250_000
"""A list may show so many datasets beside those that the run knows of (its first look's, and those it may have made since): what
others have made. Some 4 TB in datasets of one request each; what is kept of each is bounded by it."""

MARGIN_PAGES = 20_000
"""And it may take so many pages beside one for each dataset that is known: a service may give fewer in a page than asked for."""

CURSOR_CHARACTERS = 1000


class Listing:
    """One reading of a list of datasets. Raises `ReadBackUnavailable` as soon as it cannot be read to its end: that look is none.

    A list is whole only where its own end was seen, and every page brought something new. A page that brings nothing new was not
    the page that was asked for; a service that ignores the cursor or the page's number would never come to the others.
    """

    def __init__(self, request: str, known: int) -> None:
        """*request* names it in errors; *known* datasets the run knows of."""
        self._request = request
        self._known = known
        self._ids = scratch("CREATE TABLE ids (hash INTEGER PRIMARY KEY)", self)
        self._cursors: set[int] = set()
        self._pages = 0
        self.datasets = 0
        """How many different ones were listed."""

    def page(self, ids: Sequence[str]) -> None:
        """The next page shows *ids*, more than none."""
        self._pages += 1
        new = self._ids.executemany("INSERT OR IGNORE INTO ids VALUES (?)", ((hash(id_),) for id_ in ids)).rowcount
        if not new:
            raise self.broke("gives the same page again")
        self.datasets += new
        if self.datasets > self._known + MARGIN_DATASETS or self._pages > self._known + MARGIN_PAGES:
            so_far = f"{self.datasets:,} datasets in {self._pages:,} pages"
            raise self.broke(f"does not come to its end: {so_far}, where the run knows of {self._known:,}")

    def cursor(self, after: str) -> None:
        """The list goes on *after* this one."""
        if len(after) > CURSOR_CHARACTERS:
            raise self.broke("gives a cursor that is not valid")
        before = len(self._cursors)
        self._cursors.add(hash(after))
        if len(self._cursors) == before:
            raise self.broke("gives the same cursor again")

    def broke(self, why: str) -> ReadBackUnavailable:
        """The error that says that the list was not read to its end, and *why*."""
        return ReadBackUnavailable(f"{self._request} {why}, so the list cannot be read to its end")
