"""The options of a run, whatever its destinations. Times are in seconds, sizes in bytes.

Annotations are values here: the command line reads them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from bulkup.errors import UsageProblem
from bulkup.path_text import as_text
from bulkup.settings.option import Bounds, Option, OptionTable
from bulkup.settings.quantities import (
    parse_address,
    parse_path,
    parse_scan,
    parse_seconds,
    parse_size,
    parse_stop_after,
    parse_truth,
    parse_whole,
    parse_workers,
)
from bulkup.settings.validation import Validation
from bulkup.tokens.database import shown_address

__all__ = ["Empty", "Engine", "LogFormat", "OnDoubt", "OnSourceChange", "RejectLimit", "RunOptions"]

MIB = 1024 * 1024

ALONE = ("upload",)
ON_THE_WAY = ("upload", "resume")
SETTLING = (*ON_THE_WAY, "settle")
ASKING = (*SETTLING, "verify")
CONTROL = ("pause", "continue", "stop", "set")
LISTING = ("runs", "logs", "clean")
JOURNALED = (*ASKING, "runs", "status", "rejects", "ids", "logs", *CONTROL)
EVERYWHERE = (*ASKING, *CONTROL, *LISTING, "status", "rejects", "ids", "bench")


class OnDoubt(StrEnum):
    """What happens to a chunk of which nobody knows whether it was stored."""

    HOLD = "hold"
    RESEND = "resend"


class OnSourceChange(StrEnum):
    """What happens where the source is no longer the one that the run began with."""

    REFUSE = "refuse"
    APPEND = "append"
    RESTART = "restart"


class Empty(StrEnum):
    """What it means that a source holds no rows."""

    FAIL = "fail"
    OK = "ok"


@dataclass(frozen=True, kw_only=True)
class RejectLimit:
    """How many rows may be rejected before the lane stops: a number, or a share of the rows read (after 1,000 of them)."""

    __pydantic_config__: ClassVar[dict[str, object]] = {
        "extra": "forbid",
        "allow_inf_nan": False,
        "revalidate_instances": "always",
    }

    rows: int | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, text: str) -> "RejectLimit":
        """From `N` or `P%`. Raises `UsageProblem`."""
        try:
            if text.endswith("%"):
                percent = float(text[:-1])
                if 0 <= percent <= 100:
                    return cls(percent=percent)
            elif int(text) >= 0:
                return cls(rows=int(text))
        except ValueError:
            pass
        raise UsageProblem(f"--max-rejects {text!r}: give a number of rows, or a percentage such as 5%")

    def __str__(self) -> str:
        return f"{self.rows:,}" if self.rows is not None else f"{self.percent:g}%"

    @property
    def is_none(self) -> bool:
        """100%: rejects never stop the lane."""
        return self.percent is not None and self.percent >= 100

    def is_passed(self, *, rejected: int, read: int) -> bool:
        """Whether so many rejects of so many rows are too many."""
        if self.rows is not None and rejected > self.rows:
            return True
        return self.percent is not None and read >= 1000 and rejected * 100 > self.percent * read


_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " ", "bar": "|", "pipe": "|"}


def parse_delimiter(text: str) -> str:
    """The character. Raises `UsageProblem`."""
    found = _DELIMITERS.get(text.lower(), text)
    if len(found) != 1 or not found.isascii() or found in '"\r\n\0':
        raise UsageProblem(f"--delimiter {text!r}: give one ASCII character, or tab, comma, semicolon or space")
    return found


class Engine(StrEnum):
    """Who starts the workers of a run."""

    LOCAL = "local"
    RAY = "ray"


class LogFormat(StrEnum):
    """How a log is written."""

    TEXT = "text"
    JSON = "json"


class _Shown:
    """That an address of a database is kept without its password."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema  # not for a command that only prints its help

        return core_schema.no_info_after_validator_function(shown_address, handler(source))


class RunOptions(OptionTable):
    """What `bulkup upload` asks of a run."""

    name: Annotated[
        str,
        Option(
            metavar="NAME",
            meaning="the dataset's name",
            default="the file's name without its ending, if it is the only file",
            parse=as_text,
            commands=ALONE,
        ),
    ]
    include: Annotated[
        tuple[str, ...],
        Option(
            metavar="PATTERN",
            meaning="of folders and globs, take only the files that match this pattern, such as `*.jsonl` or `train/**`; "
            "repeatable",
            default="what may hold rows",
            is_list=True,
            commands=ALONE,
        ),
    ] = ()
    exclude: Annotated[
        tuple[str, ...],
        Option(
            metavar="PATTERN",
            meaning="of folders and globs, leave out the files that match this pattern; repeatable",
            default="",
            is_list=True,
            commands=ALONE,
        ),
    ] = ()
    files_from: Annotated[
        str | None,
        Option(
            metavar="LIST",
            meaning="read the sources from this file, one on each line; `-` reads the list from standard input",
            parse=as_text,
            commands=ALONE,
        ),
    ] = None
    anonymous: Annotated[
        bool,
        Option(
            metavar="",
            meaning="read buckets and the hub without credentials",
            default="with those that each cloud's own tools find",
            parse=parse_truth,
            commands=ON_THE_WAY,
        ),
    ] = False
    endpoint_url: Annotated[
        str | None,
        Option(
            metavar="URL",
            meaning="where the buckets are, if not at the cloud itself: MinIO, R2, Ceph and others",
            parse=as_text,
            commands=ON_THE_WAY,
        ),
    ] = None
    rows_at: Annotated[
        str | None,
        Option(
            metavar="KEYS",
            meaning="take the rows that stand under these keys of the JSON in a file, such as `data.paragraphs`; a step goes "
            "through arrays; `.` takes a file's only object for a row (docs/formats.md)",
            default="what the content tells",
            parse=as_text,
            commands=ALONE,
        ),
    ] = None
    encoding: Annotated[
        str | None,
        Option(
            metavar="NAME",
            meaning="the encoding of all files, such as `utf-16`, `windows-1252` or `shift_jis`",
            default="UTF-8; another one is never guessed",
            parse=as_text,
            commands=ALONE,
        ),
    ] = None
    lines: Annotated[
        bool,
        Option(
            metavar="",
            meaning="take every line for a row, whatever a file looks like",
            default="the content tells",
            parse=parse_truth,
            commands=ALONE,
        ),
    ] = False
    rename: Annotated[
        tuple[str, ...],
        Option(
            metavar="OLD=NEW",
            meaning="call the key OLD of every row NEW, before anything else is made of the rows; repeatable",
            default="",
            is_list=True,
            commands=ALONE,
        ),
    ] = ()
    delimiter: Annotated[
        str | None,
        Option(
            metavar="CHARACTER",
            meaning="what separates the fields of CSV and TSV files: one character, or `tab`, `comma`, `semicolon`, `space`",
            default="what the content and the name tell",
            parse=parse_delimiter,
            commands=ALONE,
        ),
    ] = None
    header: Annotated[
        bool,
        Option(
            metavar="",
            meaning="the first row of CSV, TSV and Excel files names the columns; "
            "with `--no-header` they are `column_1`, `column_2` …",
            parse=parse_truth,
            commands=ALONE,
        ),
    ] = True
    header_row: Annotated[
        Annotated[int, Bounds(ge=1)] | None,
        Option(
            metavar="N",
            meaning="the row of CSV, TSV and Excel files that names the columns (blank lines of text do not count); "
            "rows above are left out",
            default="1",
            parse=parse_whole,
            commands=ALONE,
        ),
    ] = None
    sheet: Annotated[
        str | None,
        Option(
            metavar="NAME",
            meaning="the sheet of Excel files that is read, by its name or its number",
            default="the first",
            parse=as_text,
            commands=ALONE,
        ),
    ] = None
    zstd_window_bytes: Annotated[
        int,
        Bounds(ge=1024, le=2048 * MIB),
        Option(
            metavar="SIZE",
            meaning="the largest window of a zstd file, up to 2 GiB; what reads such a file holds that much memory more",
            name="zstd_window",
            default="128 MiB",
            parse=parse_size,
            commands=ON_THE_WAY,
        ),
    ] = 128 * MIB
    empty: Annotated[
        Empty,
        Option(
            metavar="fail|ok",
            meaning="a source without a row: `fail` ends with exit code 66, `ok` with 0",
            commands=ON_THE_WAY,
        ),
    ] = Empty.FAIL
    scan: Annotated[
        Annotated[int, Bounds(ge=1)] | Literal["all", "none"] | None,
        Option(
            metavar="all|none|SIZE",
            meaning="how much is read before anything is sent, so that preset and columns fit the rows, and too many rejected "
            "rows are known before (exit code 10): `all` rows; about SIZE, spread over all files; `none`: decide on the "
            "first block",
            default="`all`; `1GiB` of what is read from afar or goes through --map; the first 64 MiB of standard input, or what "
            "has come in 5 s",
            parse=parse_scan,
            commands=ON_THE_WAY,
        ),
    ] = None
    stop_after: Annotated[
        str | None,
        Option(
            metavar="LIMIT",
            meaning="stop after this much in one session: a time (`2h`), bytes sent (`10GB`) or rows landed (`1Mrows`); what is "
            "under way ends, and `bulkup resume` goes on (exit code 10)",
            default="no limit",
            parse=parse_stop_after,
            commands=ON_THE_WAY,
        ),
    ] = None
    log_file: Annotated[
        str | None,
        Option(
            metavar="FILE",
            meaning="append every event to this file too",
            default="only `events.jsonl` in the run's folder",
            parse=as_text,
            commands=ASKING,
        ),
    ] = None
    log_format: Annotated[
        LogFormat,
        Option(
            metavar="text|json",
            meaning="how events are written to standard error and into `--log-file`: for people, or as JSON, one object a line "
            "(docs/logs.md)",
            commands=ASKING,
        ),
    ] = LogFormat.TEXT
    state_dir: Annotated[Path, Option(metavar="DIR", meaning="where runs are kept", commands=EVERYWHERE)] = Path(
        ".bulkup"
    )
    journal: Annotated[
        Annotated[str, _Shown()] | None,
        Option(
            metavar="URL",
            meaning="keep the run's journal in PostgreSQL, `postgresql://USER@HOST/DATABASE`, so that any machine may go on "
            "with it; the password by `PGPASSWORD` or `~/.pgpass` (docs/postgres.md; needs `bulkup[postgres]`)",
            default="in the state directory",
            parse=shown_address,
            commands=JOURNALED,
        ),
    ] = None
    stand_by: Annotated[
        bool,
        Option(
            metavar="",
            meaning="with `--journal`: wait while another process works on the run, and take over when it ends or dies",
            default="end with exit code 8",
            parse=parse_truth,
            commands=ON_THE_WAY,
        ),
    ] = False
    lease_s: Annotated[
        float,
        Bounds(ge=1),
        Option(
            metavar="SECONDS",
            meaning="with `--journal`: how long this process may send after it last reached the database; another one takes over "
            "no earlier. Under 25, the end of a request of the old one may come up to 10 s after that: keep `--settle-after` above "
            "that",
            parse=parse_seconds,
            commands=ASKING,
        ),
    ] = 25.0
    on_doubt: Annotated[
        OnDoubt,
        Option(
            metavar="hold|resend",
            meaning="what to do about requests without an answer: `hold` reports them (exit code 4), "
            "`resend` sends them again and may create duplicates",
            commands=ON_THE_WAY,
        ),
    ] = OnDoubt.HOLD
    settle_after_s: Annotated[
        float,
        Bounds(ge=0),
        Option(
            metavar="SECONDS",
            meaning="the quiet period: how long bulkup waits after a request without an answer before it believes what the service "
            "shows of it",
            parse=parse_seconds,
            commands=SETTLING,
        ),
    ] = 30.0
    on_source_change: Annotated[
        OnSourceChange,
        Option(
            metavar="refuse|append|restart",
            meaning="what to do if the source has changed since the run began: `append` uploads what was added if the old part "
            "still matches, `restart` begins the run again and keeps the old run's folder",
            default="`refuse` (exit code 6)",
            commands=ON_THE_WAY,
        ),
    ] = OnSourceChange.REFUSE
    append: Annotated[
        bool,
        Option(
            metavar="",
            meaning="upload though a dataset of that name exists already: its service adds the rows to it or, where each request "
            "makes a dataset, makes another one of that name; `--no-append` overrules the environment and the config file",
            default="refuse (exit code 2)",
            parse=parse_truth,
            commands=ALONE,
        ),
    ] = False
    retry_for_s: Annotated[
        float,
        Bounds(ge=0),
        Option(
            metavar="SECONDS",
            meaning="give up after this long without a success (exit code 75); waits that the service asks for do not count",
            parse=parse_seconds,
            commands=ASKING,
        ),
    ] = 600.0
    max_wait_s: Annotated[
        float,
        Bounds(ge=0),
        Option(
            metavar="SECONDS",
            meaning="stop (exit code 75) if the service asks for a longer wait than this, in one answer or in several without a "
            "success in between",
            parse=parse_seconds,
            commands=ASKING,
        ),
    ] = 3600.0
    drain_timeout_s: Annotated[
        float,
        Bounds(ge=0),
        Option(
            metavar="SECONDS",
            meaning="how long the first Ctrl-C waits for requests that are under way",
            parse=parse_seconds,
            commands=ON_THE_WAY,
        ),
    ] = 15.0
    max_rejects: Annotated[
        RejectLimit | None,
        Option(
            metavar="N|P%",
            meaning="stop (exit code 10) if more than N rows are rejected, or more than P % of the rows once 1,000 are read; "
            "`100%` never stops",
            key="rejects.max",
            parse=RejectLimit.parse,
            commands=ON_THE_WAY,
        ),
    ] = RejectLimit(percent=5.0)
    rejects_content: Annotated[
        bool, Option(meaning="keep rejected rows themselves in `rejects.jsonl`", key="rejects.content")
    ] = True
    max_row_bytes: Annotated[
        int, Bounds(ge=1, le=1024 * MIB), Option(meaning="a larger row is rejected", default="16 MiB")
    ] = 16 * MIB
    validation: Annotated[
        Validation,
        Option(
            metavar="full|trust",
            meaning="`full` reads every row and sends only what the destination takes; `trust` checks that each line is one {...} "
            "and leaves the rest to the destination (docs/mapping.md). A run keeps the level it began with",
            commands=ALONE,
        ),
    ] = Validation.FULL
    memory_bytes: Annotated[
        int,
        Bounds(ge=MIB),
        Option(meaning="memory for rows that are being prepared and sent, for each process", default="48 MiB"),
    ] = 48 * MIB
    workers: Annotated[
        Annotated[int, Bounds(ge=1, le=64)] | Literal["auto"],
        Option(
            metavar="N|auto",
            meaning="number of processes that read, encode and send; `auto` is one for each core, if the source has 512 MiB or "
            "more and any of its rows can be read at any time",
            parse=parse_workers,
            commands=ON_THE_WAY,
        ),
    ] = 1
    listen: Annotated[
        str | None,
        Option(
            metavar="HOST:PORT",
            meaning="let workers of other machines in here, by `bulkup worker` (docs/cluster.md); they work besides `--workers`",
            default="nobody is let in",
            parse=parse_address,
            commands=ON_THE_WAY,
        ),
    ] = None
    engine: Annotated[
        Engine,
        Option(
            metavar="local|ray",
            meaning="who starts workers: `ray` places one on each node of the Ray cluster that `RAY_ADDRESS` names, with "
            "`--workers` processes each; it needs `--listen` (docs/cluster.md)",
            commands=ON_THE_WAY,
        ),
    ] = Engine.LOCAL
    worker_key: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            meaning="with `--listen`: write the key that workers need to this file too; it is a secret",
            default="only `worker.key` in the run's folder",
            parse=parse_path,
            commands=ON_THE_WAY,
        ),
    ] = None
    connect_timeout_s: Annotated[float, Bounds(gt=0), Option(meaning="how long it may take to make a connection")] = (
        30.0
    )
    stall_timeout_s: Annotated[
        float, Bounds(gt=0), Option(meaning="report a request if no byte of it moves and no answer comes for this long")
    ] = 120.0
