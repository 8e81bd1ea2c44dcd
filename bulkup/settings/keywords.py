"""A run's settings as keywords of the Python interface, for editors and type checkers. A test holds them to `RunOptions`."""

from __future__ import annotations

from os import PathLike
from typing import Literal, TypedDict

from bulkup.settings.run import Empty, Engine, LogFormat, OnDoubt, OnSourceChange, RejectLimit
from bulkup.settings.validation import Validation

__all__ = ["RunKeywords"]


class RunKeywords(TypedDict, total=False):
    """What `bulkup.upload` takes beside its sources, destinations and name. `docs/cli.md` says what each means."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]
    files_from: str | None
    anonymous: bool
    endpoint_url: str | None
    rows_at: str | None
    encoding: str | None
    lines: bool
    rename: tuple[str, ...]
    delimiter: str | None
    header: bool
    header_row: int | None
    sheet: str | None
    zstd_window_bytes: int
    empty: Empty | Literal["fail", "ok"]
    scan: int | Literal["all", "none"] | None
    stop_after: str | None
    log_file: str | None
    log_format: LogFormat | Literal["text", "json"]
    state_dir: str | PathLike[str]
    journal: str | None
    stand_by: bool
    lease_s: float
    on_doubt: OnDoubt | Literal["hold", "resend"]
    settle_after_s: float
    on_source_change: OnSourceChange | Literal["refuse", "append", "restart"]
    append: bool
    retry_for_s: float
    max_wait_s: float
    drain_timeout_s: float
    max_rejects: RejectLimit | None
    rejects_content: bool
    max_row_bytes: int
    validation: Validation | Literal["full", "trust"]
    memory_bytes: int
    workers: int | Literal["auto"]
    listen: str | None
    engine: Engine | Literal["local", "ray"]
    worker_key: str | PathLike[str] | None
    connect_timeout_s: float
    stall_timeout_s: float
