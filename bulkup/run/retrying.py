"""Rejected rows sent once more, as runs of their own: one for each destination that had refused them."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any

import anyio
import msgspec
import orjson
import xxhash

from bulkup.destinations.registry import service_named
from bulkup.destinations.settings import DestinationSettings
from bulkup.encoding.shapes import PRESETS
from bulkup.errors import JournalUnusable, UsageProblem
from bulkup.journal.facts import PLAN, UPLOAD, PlanRecord
from bulkup.journal.place import kept_in
from bulkup.journal.postgres.wanted import Wanted
from bulkup.journal.reading import view
from bulkup.journal.sidecars import REJECTS
from bulkup.journal.state_files import open_in
from bulkup.light_dataclass import dataclass
from bulkup.model import BLOCK_BYTES, HEAD_BYTES, Validation
from bulkup.refusal import attempt
from bulkup.rows.function import Function, function_of
from bulkup.run.folder import RunFolder, StateDir, private_file
from bulkup.run.journals import opened
from bulkup.run.wish import Upload
from bulkup.settings.config import LONGEST_NAME, RejectLimit
from bulkup.sources.json_array import json_line
from bulkup.sources.renaming import Renamer, is_one_object, parse_renames

__all__ = ["Retries", "Retry", "prepare_retries"]

ROWS = "rows.jsonl"


@dataclass(frozen=True, slots=True)
class Retry:
    """A run that sends *rows* rows again."""

    run_id: str
    upload: Upload
    rows: int


@dataclass(frozen=True, slots=True)
class Retries:
    """One run for each destination. *lost*: rejected rows of which the whole was not kept, so they are in none of them."""

    runs: tuple[Retry, ...]
    lost: int


@dataclass(frozen=True, slots=True)
class _Row:
    """One row to send to *lane*, None where it cannot be told from what was kept. *is_made*: by the user's function, which must not
    be given it again."""

    lane: str | None
    data: bytes | None
    is_made: bool = False


def prepare_retries(
    state: StateDir, folder: RunFolder, *, lane: str | None, file: Path | None, functions: Sequence[Function] = ()
) -> Retries:
    """What sends the rejected rows of the run in *folder* again, to *lane* or wherever they were refused.

    The rows are those in `rejects.jsonl`, or those in *file*: rejected rows as exported, edited or not, or plain rows. The same
    rows of the same run make the same retry, so that it can be gone on with and does nothing twice. They stand under the keys that
    `--rename` has given them: it is not done again, but for what was no row and was mended. Rows of a run with a `--map` go
    through one of *functions*, which may be another one than then, unless they came out of it: of those a part may have landed. Not
    to be called where an event loop runs. Raises `UsageProblem`.
    """
    with view(folder.path) as journal:
        record = journal.fact(UPLOAD)
        if record is None:
            raise UsageProblem(f"run {folder.run_id} was stopped before it had begun: it has rejected nothing")
        parent = Upload.of_record(record)
        lanes = [destination.service for destination in parent.destinations]
        plans = {name: journal.fact(PLAN, name) for name in lanes}
    if lane is not None and lane not in lanes:
        raise UsageProblem(f"the run has no lane {lane!r}; it has {', '.join(lanes)}")
    wanted = [name for name in lanes if lane in (None, name)]

    as_mended = _as_it_is if file is None else _as_mended(folder.path, lanes, parent.settings.rename)

    def rows() -> Iterator[_Row]:
        return _rejected(folder.path, lanes) if file is None else _given(file, wanted, lanes, as_mended)

    lost = sum(row.data is None and row.lane in wanted for row in rows())
    if functions and all(d.map is None for d in parent.destinations):
        raise UsageProblem("the run makes its rows without a function: leave --map out")
    retries: list[Retry | None] = []
    for name in wanted:
        settings = next(d for d in parent.destinations if d.service == name)
        by = settings.map
        function = None if by is None else _function_for(name, function_of(by), functions)
        sides = ((True, None), (False, function)) if settings.makes_several else ((None, None),)
        for is_made, one in sides:
            if (
                by is not None
                and is_made is False
                and one is None
                and any(r.lane == name and not r.is_made for r in rows())
            ):
                raise UsageProblem(
                    f"{name}: the rejected rows go through --map {function_of(by).title} once more: give it again, or a "
                    "better one (bulkup runs no code that only a journal names)"
                )
            retries.append(_retry(state, folder, parent, name, plans[name], rows, is_made=is_made, function=one))
    found = tuple(retry for retry in retries if retry is not None)
    if not found:
        where = file or f"run {folder.run_id}"
        if lost:
            raise UsageProblem(
                f"{where}: bulkup kept none of the {lost:,} rejected rows as a whole: give a FILE with the rows"
            )
        raise UsageProblem(f"{where}: there is no row to send again")
    return Retries(found, lost)


def _function_for(lane: str, began_with: Function, given: Sequence[Function]) -> Function | None:
    """Which of those *given* the rows of *lane* go through: the one of that name, or the only one. Raises `UsageProblem`."""
    same = [function for function in given if function.name == began_with.name] or list(given)
    if len(same) > 1:
        raise UsageProblem(f"{lane}: --map names several functions, and none of them alone is called {began_with.name}")
    return same[0] if same else None


def _rejected(folder: Path, lanes: Sequence[str]) -> Iterator[_Row]:
    with view(folder) as journal:
        for at, line, record in journal.reject_lines(lanes):
            yield _Row(record["lane"], _row_of(record, f"{folder / REJECTS}, byte {at:,}", line), "part" in record)


_AsMended = Callable[[str, bytes], bytes]
"""What is sent of a rejected row of some id that was mended."""


def _as_it_is(_: str, row: bytes) -> bytes:
    return row


def _as_mended(folder: Path, lanes: Sequence[str], renames: Sequence[str]) -> _AsMended:
    """A rejected row has the new keys of *renames* already, unless it was no row, or too long to be looked at."""
    if not renames:
        return _as_it_is
    renamer, with_old_keys = Renamer(parse_renames(renames)), set[str]()
    for row_id, row in _with_ids(folder, lanes):
        if row is None or not is_one_object(row):
            with_old_keys.add(row_id)
    return lambda row_id, row: renamer.line(row) if row_id in with_old_keys else row


def _with_ids(folder: Path, lanes: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
    with view(folder) as journal:
        for at, line, record in journal.reject_lines(lanes):
            yield record["id"], _row_of(record, f"{folder / REJECTS}, byte {at:,}", line)


def _given(path: Path, wanted: Sequence[str], lanes: Sequence[str], as_mended: _AsMended) -> Iterator[_Row]:
    """The rows in a file of the user's. *lanes* are all of the run's, *wanted* those to send to."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise UsageProblem(f"{path}: {error.strerror}") from None
    with closing(stream):
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            record = _record(line)
            if record is not None:
                if record["lane"] not in lanes:
                    raise UsageProblem(
                        f"{path}, line {number}: the run has no lane {record['lane']!r}; it has {', '.join(lanes)}"
                    )
                row = _row_of(record, f"{path}, line {number}", line)
                row = row if row is None else as_mended(str(record["id"]), row)
                yield _Row(record["lane"], row, "part" in record)
            elif len(wanted) > 1:
                raise UsageProblem(f"{path}, line {number}: a plain row names no destination: give --lane")
            else:
                yield _Row(wanted[0], _on_one_line(line))


def _record(line: bytes) -> dict[str, Any] | None:
    """What is said of a rejected row on *line*; None where it is a row itself."""
    found = attempt(orjson.loads, line)
    return found if isinstance(found, dict) and {"id", "lane", "stage", "reason", "length"} <= found.keys() else None


class _Token(msgspec.Struct):
    row: msgspec.Raw


def _row_of(record: dict[str, Any], where: str, line: bytes) -> bytes | None:
    """The row in *record*, as it was or as it was edited: text, or JSON, which goes as it stands in *line*. None where not all of
    it was kept.

    Raises `UsageProblem`, naming *where* it stands.
    """
    row = record.get("row")
    if isinstance(row, str):
        data = row.encode()
    elif row is not None:
        try:
            return bytes(msgspec.json.decode(line, type=_Token).row)
        except (msgspec.MsgspecError, RecursionError):
            raise UsageProblem(f"{where}: its row cannot be read; give it as text, under row") from None
    elif "row_base64" in record:
        try:
            data = base64.b64decode(record["row_base64"])
        except (ValueError, TypeError):
            raise UsageProblem(f"{where}: its row_base64 is not base64; give the row as text, under row") from None
    else:
        return None
    length = record["length"]
    return None if isinstance(length, int) and _is_head(data, length) else _on_one_line(data)


def _is_head(data: bytes, length: int) -> bool:
    """Only the first bytes of a row that was too long are kept; an edited row may well be shorter, but not just that long."""
    return length > len(data) and len(data) == HEAD_BYTES


def _on_one_line(data: bytes) -> bytes:
    return json_line(data.strip(b" \t\r\n"))


def _retry(
    state: StateDir,
    folder: RunFolder,
    parent: Upload,
    lane: str,
    plan: PlanRecord | None,
    rows: Callable[[], Iterator[_Row]],
    *,
    is_made: bool | None,
    function: Function | None,
) -> Retry | None:
    """A run for those of *rows* that *is_made* says, None: all. *function* makes rows of them."""

    def wanted() -> Iterator[bytes]:
        for row in rows():
            if row.lane == lane and row.data is not None and is_made in (None, row.is_made):
                yield row.data

    seed = f"{folder.run_id} {lane}{'' if function is None else ' ' + function.key}\n".encode()
    hasher = xxhash.xxh3_128(seed)
    count, learns = 0, False
    destination = next(d for d in parent.destinations if d.service == lane)
    for data in wanted():
        if b"\0" in data and parent.settings.validation is Validation.TRUST:
            raise UsageProblem(
                f"run {folder.run_id}: a rejected row has a raw line break or a zero byte in a string, and --validation trust "
                "would send it altered. Give a FILE in which it is fixed"
            )
        hasher.update(data + b"\n")
        count += 1
        learns = learns or (_makes_its_own(destination) and _says_something(destination, data, function))
    if not count:
        return None
    mark = hasher.hexdigest()[:8]
    child = RunFolder(state.path / f"{folder.run_id}-retry-{lane}-{mark}", kept_in(folder.path))
    child.create()
    with ExitStack() as held:
        held.callback(child.lock().release)
        if not _holds(child.path, hasher.digest(), xxhash.xxh3_128(seed)):
            with private_file(child.path / ROWS) as out:
                _write(out, wanted())
        if plan is not None and not learns:
            rows_by = plan.rows | {"function": None if function is None else function.key}
            rows_by |= {"sides": None} if is_made else {}
            anyio.run(_adopt_plan, child, lane, msgspec.structs.replace(plan, rows=rows_by))
    return Retry(
        child.run_id,
        _upload(parent, lane, child, state.path, mark, folder.run_id, is_made=is_made, function=function),
        count,
    )


def _makes_its_own(destination: DestinationSettings) -> bool:
    """Whether the rows go into a dataset beside the run's: then its columns are those of these rows, so that what contradicted the
    run's lands there."""
    return service_named(destination.service).policy.has_dataset_per_chunk


def _says_something(destination: DestinationSettings, row: bytes, function: Function | None) -> bool:
    """Whether *row* can be read, and has the keys of the preset that the user named, unless *function* makes another of it: of such
    rows a plan can be made anew."""
    found, shape = attempt(msgspec.json.decode, row), PRESETS.get(destination.preset)
    if not isinstance(found, dict) or not found:
        return False
    return shape is None or function is not None or destination.turns in found or shape.is_in(found)


def _holds(folder: Path, wanted: bytes, hasher: xxhash.xxh3_128) -> bool:
    """Whether the rows of an earlier start are there. Others than those would be sent: the name of the folder can be computed."""
    try:
        fd = open_in(folder, ROWS, os.O_RDONLY)
    except FileNotFoundError:
        return False
    with os.fdopen(fd, "rb") as rows:
        while data := rows.read(BLOCK_BYTES):
            hasher.update(data)
    if hasher.digest() != wanted:
        raise JournalUnusable(
            f"{folder / ROWS} does not hold the rejected rows it was made of; find out who changed it, then restore or remove it"
        )
    return True


def _write(out: IO[bytes], rows: Iterator[bytes]) -> None:
    for row in rows:
        out.write(row + b"\n")


async def _adopt_plan(child: RunFolder, lane: str, plan: PlanRecord) -> None:
    """Rows are made as the run had decided to, whatever the few that are left look like."""
    with closing(opened(child, child.journal(), Wanted())) as journal:
        if await journal.lane(lane).fact(PLAN) is None:
            await journal.lane(lane).set_fact(PLAN, msgspec.structs.replace(plan, segments=((0, 0),)))


def _upload(
    parent: Upload,
    lane: str,
    child: RunFolder,
    state_dir: Path,
    mark: str,
    parent_id: str,
    *,
    is_made: bool | None,
    function: Function | None,
) -> Upload:
    destination = next(d for d in parent.destinations if d.service == lane)
    destination = destination.of_made_rows() if is_made else destination
    destination = destination.model_copy(update={"map": None if function is None else str(function)})
    # A service that makes a dataset of every request cannot add to one: the rows go into a dataset (a family) beside it.
    is_new = _makes_its_own(destination)
    changes = {
        "name": _beside(parent.settings.name, f"-retry-{mark}") if is_new else parent.settings.name,
        "append": not is_new,
        "state_dir": state_dir,
        "journal": kept_in(child.path.parent / parent_id),
        "rows_at": None,
        "encoding": None,
        "rename": (),  # it was done before they were rejected
        "scan": "all",
        "lines": True,  # its source is the rows themselves, a line each
        "max_rejects": RejectLimit(percent=100),  # what was refused once may well be again
        "on_source_change": "refuse",
    }
    settings = type(parent.settings).model_validate({**parent.settings.model_dump(), **changes})
    return Upload((str(child.path / ROWS),), (destination,), settings)


def _beside(name: str, mark: str) -> str:
    """*name* with *mark* behind it, cut where the two would be too long for a name."""
    return name[: LONGEST_NAME - len(mark)] + mark
