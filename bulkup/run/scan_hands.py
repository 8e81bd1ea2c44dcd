"""Who looks at the parts of a source: a thread of this process, the run's worker processes, and workers of other machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from bulkup.run.run_workers import RunWorkers
from bulkup.run.scan_worker import LookAtPart, Reached, ScannedLane, blocking
from bulkup.scan.judging import Way
from bulkup.scan.learned import Learned
from bulkup.scan.scanner import look_at_part
from bulkup.scan.spread import END, Part
from bulkup.sources import KeptRows, KeptSource, Source, open_files
from bulkup.workers import WorkerLost

__all__ = ["ThisHand", "WorkerHand"]

T = TypeVar("T")


class ThisHand:
    """Looks in a thread of this process: the user's where *runs_user_code*. *source* is all of it; what is slow to read again is
    put into *keeps*."""

    def __init__(
        self,
        source: Source,
        max_row_bytes: int,
        reached: Callable[[object, int], None],
        *,
        goes_on: bool,
        runs_user_code: bool,
        keeps: KeptRows | None,
    ) -> None:
        self._source = source
        self._max_row_bytes = max_row_bytes
        self._reached = reached
        self._goes_on = goes_on
        self._is_users = runs_user_code
        self._keeps = keeps

    async def do(self, work: Callable[[], T]) -> T:
        """What *work* gives, in that thread."""
        return await blocking(lambda _: work(), is_users=self._is_users)

    async def check(self, work: Callable[[Callable[[], None]], T]) -> T:
        """As `do`; *work* calls what it is given now and then."""
        return await blocking(work, is_users=self._is_users)

    async def look(self, lanes: Mapping[str, Way], part: Part) -> Mapping[str, Learned]:
        """As `Hand.look`."""
        source = self._source_of(part)

        def work(check: Callable[[], None]) -> Mapping[str, Learned]:
            reached = partial(self._reached, part)
            return look_at_part(source, part, lanes, check, reached, goes_on=self._goes_on, keeps=self._keeps)

        return await blocking(work, is_users=self._is_users)

    def _source_of(self, part: Part) -> Source:
        files = self._source.files[part.file : part.file + part.files]
        if len(files) == len(self._source.files):
            return self._source
        opened = open_files(files, max_row_bytes=self._max_row_bytes)
        is_whole = part.most_bytes == END  # else how far it is read goes by what was read of the disk
        return KeptSource(opened, self._keeps, first=part.file) if self._keeps is not None and is_whole else opened


class WorkerHand:
    """Has worker number *number* look. *lanes* are all that are scanned, *files* all of the source's."""

    def __init__(
        self,
        workers: RunWorkers,
        number: int,
        lanes: Mapping[str, ScannedLane],
        source: Source,
        max_row_bytes: int,
        reached: Callable[[object, int], None],
        *,
        goes_on: bool,
    ) -> None:
        self._workers = workers
        self._number = number
        self._lanes = lanes
        self._source = source
        self._max_row_bytes = max_row_bytes
        self._reached = reached
        self._goes_on = goes_on

    async def look(self, lanes: Mapping[str, Way], part: Part) -> Mapping[str, Learned] | None:
        """As `Hand.look`: None where the worker has ended. One of another machine that finds an error there looks no more: whether
        the source is at fault, those find out that are at the run's own files."""
        order = LookAtPart(
            lanes={name: self._lanes[name] for name in lanes},
            stages={name: way.stage for name, way in lanes.items()},
            files=self._source.files[part.file : part.file + part.files],
            part=part,
            max_row_bytes=self._max_row_bytes,
            goes_on=self._goes_on,
        )

        def told(word: object) -> None:
            if isinstance(word, Reached):
                self._reached(part, word.bytes)

        is_far = self._workers.is_far(self._number)
        try:
            answer = await self._workers.ask(self._number, order, told)
        except WorkerLost:
            return None
        except Exception as error:
            if not is_far:
                raise
            self._workers.dismiss(self._number, str(error))
            return None
        if is_far and not _makes_sense(answer, part, lanes):
            return None
        assert isinstance(answer, dict), "a part that was looked at"
        return answer


def _makes_sense(answer: object, part: Part, lanes: Mapping[str, Way]) -> bool:
    """Whether *answer* is what *part* has taught of each of *lanes*, and it could be read to its end."""
    if not isinstance(answer, dict) or answer.keys() != lanes.keys():
        return False
    files = range(part.file, part.file + part.files)
    return all(
        learned.broke_off is None and all(file.file in files for file in (*learned.files, *learned.read))
        for learned in answer.values()
    )
