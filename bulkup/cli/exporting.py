"""`bulkup rejects`: rejected rows with their row numbers, in the source's order."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import orjson

from bulkup.account.reasons import RejectedFor
from bulkup.cli.figures import plural, printable
from bulkup.cli.streams import say, to_stdout
from bulkup.errors import LocalDisk, UsageProblem
from bulkup.journal.facts import FILES, UPLOAD
from bulkup.journal.reading import JournalView, view
from bulkup.path_text import local
from bulkup.run.rejected import Place, RowNumbers, commonest_reasons, files_of

__all__ = ["export_rejects", "keep_source", "reason_lines", "sink"]


def reason_lines(found: Mapping[str, Sequence[RejectedFor]], rejected: Mapping[str, int]) -> list[str]:
    """Why most rows of each lane were rejected, a line for each reason. *rejected*: how many rows each lane rejected."""
    lines: list[str] = []
    for lane, reasons in found.items():
        which = f"{lane}: " if len(found) > 1 else ""
        for why in reasons:
            row = "" if why.row_number is None else f"row {why.row_number:,} of "
            where = "" if why.file is None else f" (the first: {row}{printable(why.file)})"
            lines.append(f"    {why.rows:,} × {which}{printable(why.reason)}{where}")
        if (more := rejected[lane] - sum(why.rows for why in reasons)) > 0:
            lines.append(f"    {more:,} × {which}other reasons")
    return lines


def export_rejects(folder: Path, *, lane: str | None, output: Path | None) -> int:
    """Write the rejected rows of the run in *folder* to *output* or stdout, as JSON lines; how many. Raises `LocalDisk`, and
    `JournalUnusable` where they are not as they were written."""
    with view(folder) as journal:
        upload = journal.fact(UPLOAD)
        lanes = list(upload.destinations) if upload else []
        if lane is not None and lane not in lanes:
            raise UsageProblem(f"the run has no lane {lane!r}; it has {', '.join(lanes)}")
        keep_source(output, journal)
        files = files_of(journal)
        found = sorted(
            (record["position"], record["lane"], at, record["stage"])
            for at, record in journal.rejects(lanes)
            if lane in (None, record["lane"])
        )  # rows stay on the disk, there may be many
        if not found:
            return 0
        wanted = [name for name in lanes if lane in (None, name)]
        counts = Counter(name for _, name, _, _ in found)
        why = {name: reasons for name, reasons in commonest_reasons(journal, lanes).items() if name in wanted}
        say(f"{plural(len(found), 'row')} rejected", *reason_lines(why, counts))
        numbers = {
            name: RowNumbers(journal, name, files, ((at, stage) for at, its, _, stage in found if its == name))
            for name in {its for _, its, _, _ in found}
        }
        with journal.lines_of_rejects() as line_at, sink(output) as out:
            for _, _, offset, _ in found:
                record = orjson.loads(line_at(offset))
                position, line = record.pop("position"), record.pop("line_in_chunk")
                record["row_number"] = numbers[record["lane"]].of(
                    Place(record["file"], position, line, record["stage"])
                )
                out.write(orjson.dumps(record) + b"\n")
    return len(found)


def keep_source(output: Path | None, journal: JournalView) -> None:
    """Raise `UsageProblem` where *output*, which is written anew, is a file of the run's source."""
    if output is None:
        return
    with suppress(OSError):
        inode = output.stat().st_ino
        for file in journal.fact(FILES) or ():
            path = Path(local(file.uri.partition("::")[0]))
            if file.inode == inode and (path.name == output.name or output.samefile(path)):
                raise UsageProblem(
                    f"--output {output}: is a file that was uploaded, and would be lost; name another file"
                )


@contextmanager
def sink(output: Path | None) -> Iterator[BinaryIO]:
    """Where an export goes: *output*, readable by its owner alone, or stdout. Raises `LocalDisk`, and as `to_stdout`."""
    if output is None:
        with to_stdout() as out:
            yield out.buffer
        return
    try:  # rows may be private: the owner's alone, as in the state directory
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as stream:
            yield stream
    except OSError as error:
        raise LocalDisk(f"{output}: {error.strerror}") from error
