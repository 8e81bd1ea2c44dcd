"""Settings: what a user may choose, checked once. The TOML file, the command line and the Python API fill the same models."""

from __future__ import annotations

import re
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bulkup.errors import UsageProblem
from bulkup.json_values import MOST_NESTED, trouble_in
from bulkup.model import Validation
from bulkup.path_text import is_unicode
from bulkup.refusal import Refusal, attempt

__all__ = [
    "LONGEST_NAME",
    "Collinear",
    "DestinationSettings",
    "Nebius",
    "OnDoubt",
    "OnSourceChange",
    "RejectLimit",
    "RunSettings",
    "load_file",
    "settings_from",
]

MIB = 1024 * 1024

LONGEST_NAME = 200
"""Characters of a dataset's name as a user may choose it."""

_LARGEST_FILE_BYTES = 4 * MIB
"""Of a config file; what is larger is another kind of file."""

_MULTI_LINE = rb'''"""(?:[^"\\]|\\[\s\S]|"(?!""))*+(?:""")?+|''' + rb"""'''(?:[^']|'(?!''))*+(?:''')?+"""
_KEY_PART = rb"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"?+|'[^'\n]*+'?+)"""
_KEYS = rb"#[^\n]*+|" + _MULTI_LINE + rb"|" + _KEY_PART + rb"(?:(?>[ \t]*+\.[ \t]*+" + _KEY_PART + rb"))*+"
"""A comment, a string of several lines, or what may be a key: any word or string of one line, and those behind its dots.

Each byte is taken once, so the time does not grow faster than the file.
"""

M = TypeVar("M", bound=BaseModel)


def _sound(table: dict[str, Any]) -> dict[str, Any]:
    trouble = trouble_in(table)
    if trouble is not None:
        raise ValueError(trouble)
    return table


Table = Annotated[dict[str, Any], AfterValidator(_sound)]
"""A table whose keys are the user's."""


class OnDoubt(StrEnum):
    """What happens to a chunk of which nobody knows whether it was stored."""

    HOLD = "hold"
    RESEND = "resend"


class OnSourceChange(StrEnum):
    """What happens where the source is no longer the one that the run began with."""

    REFUSE = "refuse"
    APPEND = "append"
    RESTART = "restart"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _texts(self) -> Self:
        """What goes to a service is Unicode. Paths stay here, and may be any bytes."""
        for name, value in self:
            texts = value if isinstance(value, tuple) else (value,)
            if not all(is_unicode(text) for text in texts if isinstance(text, str)):
                raise ValueError(f"{name} is not valid UTF-8")
        return self


class DestinationSettings(_Model):
    """What every destination has. Sizes are in bytes, rates per unit of time as named; None means the destination's own default."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None
    preset: Literal["auto", "identity", "chat", "prompt-completion", "question-answer", "text"] = "auto"
    drop: tuple[str, ...] = ()
    mapping: Table | None = None
    max_chunk_bytes: Annotated[int, Field(ge=1024)] | None = None
    max_chunk_rows: Annotated[int, Field(ge=1)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=256)] = 16
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    rows_per_second: Annotated[float, Field(gt=0)] | None = None
    bytes_per_second: Annotated[float, Field(gt=0)] | None = None


class Nebius(DestinationSettings):
    """Nebius Token Factory: one dataset, or a family of them, in *folder*. The token is in `NEBIUS_API_KEY` or *token_file*."""

    url: str = "https://api.tokenfactory.nebius.com"
    folder: Annotated[str, Field(min_length=1)] = "/bulkup"
    ai_project_id: str | None = None
    whole_schema: Table | None = Field(default=None, alias="schema")
    columns: Table = Field(default_factory=dict)
    nested: Literal["text", "as-is"] = "text"
    pending_timeout_s: Annotated[float, Field(gt=0)] = 600.0


class Collinear(DestinationSettings):
    """Collinear AI: one dataset in a space. The token is in `COLLINEAR_API_KEY` or *token_file*."""

    url: str = "https://api.collinear.ai"
    space_id: str

    @field_validator("space_id")
    @classmethod
    def _uuid(cls, value: str) -> str:
        return str(UUID(value))


class RejectLimit(_Model):
    """How many rows may be rejected before the lane stops: a number, or a share of the rows read (after 1,000 of them)."""

    rows: int | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, text: str) -> RejectLimit:
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


class RunSettings(_Model):
    """What a run has whatever its destinations. Times are in seconds, sizes in bytes."""

    name: str
    state_dir: Path = Path(".bulkup")
    on_doubt: OnDoubt = OnDoubt.HOLD
    settle_after_s: Annotated[float, Field(ge=0)] = 30.0
    on_source_change: OnSourceChange = OnSourceChange.REFUSE
    append: bool = False
    retry_for_s: Annotated[float, Field(ge=0)] = 600.0
    max_wait_s: Annotated[float, Field(ge=0)] = 3600.0
    drain_timeout_s: Annotated[float, Field(ge=0)] = 15.0
    max_rejects: RejectLimit | None = RejectLimit(percent=5.0)
    rejects_content: bool = True
    max_row_bytes: Annotated[int, Field(ge=1, le=1024 * MIB)] = 16 * MIB
    validation: Validation = Validation.FULL
    memory_bytes: Annotated[int, Field(ge=MIB)] = 48 * MIB
    workers: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = 1
    connect_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    stall_timeout_s: Annotated[float, Field(gt=0)] = 120.0

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not value.strip() or len(value) > LONGEST_NAME or any(not c.isprintable() for c in value):
            raise ValueError(f"a dataset's name has 1 to {LONGEST_NAME} printable characters")
        return value


def load_file(path: Path) -> dict[str, Any]:
    """The TOML file at *path* as tables. Raises `UsageProblem` naming the file and the line."""
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise UsageProblem(f"config file {path}: {error.strerror}") from None
    if len(data) > _LARGEST_FILE_BYTES:
        raise UsageProblem(f"config file {path}: larger than {_LARGEST_FILE_BYTES // MIB} MiB, so it is no config file")
    _check_keys(data, path)
    found = attempt(lambda: tomllib.loads(data.decode()))
    if isinstance(found, Refusal):
        deep = isinstance(found.why, RecursionError)
        raise UsageProblem(f"config file {path}: {'nested too deeply to be read' if deep else found.why}") from None
    trouble = trouble_in(found)
    if trouble is not None:
        raise UsageProblem(f"config file {path}: {trouble}")
    return found


def _check_keys(data: bytes, path: Path) -> None:
    """Refuse a key of too many parts before tomllib sees it: it keeps every beginning of one, 40 GB for 100,000 parts."""
    for found in re.finditer(_KEYS, data):
        key = found[0]
        if key.startswith((b"#", b'"""', b"'''")) or len(key) <= 2 * MOST_NESTED:
            continue
        if len(re.findall(_KEY_PART, key)) > MOST_NESTED:
            line = data.count(b"\n", 0, found.start()) + 1
            raise UsageProblem(f"config file {path}: line {line} has a key that is nested more than {MOST_NESTED} deep")


def settings_from(model: type[M], values: dict[str, Any], where: str) -> M:
    """*values* checked as *model*. Raises `UsageProblem` naming each setting that will not do, and *where* it stands."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            _fault(e["loc"], e["msg"], e["type"]) for e in error.errors(include_url=False, include_input=False)
        )
        raise UsageProblem(f"{where}: {faults}") from None


def _fault(place: tuple[int | str, ...], message: str, kind: str) -> str:
    name = ".".join(map(str, place))
    if not name:
        return message.removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return f"there is no setting {name!r}"
    if kind == "missing":
        return f"{name} is needed"
    return f"{name}: {message.removeprefix('Value error, ')}"
