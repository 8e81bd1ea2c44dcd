"""Settings: what a user may choose, checked once. The TOML file, the command line and the Python API fill the same models."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bulkup.errors import UsageProblem
from bulkup.path_text import is_unicode
from bulkup.refusal import Refusal, attempt
from bulkup.settings.json_values import MOST_NESTED, trouble_in
from bulkup.settings.near import similar_file
from bulkup.settings.option import Table
from bulkup.settings.run import OnDoubt, OnSourceChange, RejectLimit, RunOptions

__all__ = [
    "LONGEST_NAME",
    "Model",
    "OnDoubt",
    "OnSourceChange",
    "RejectLimit",
    "RunSettings",
    "Table",
    "load_file",
    "may_be_name",
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


class Model(BaseModel):
    """Settings: frozen, and of known keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_yes_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python takes true for 1."""
        if isinstance(value, bool) and "bool" not in str(cls.model_fields[str(info.field_name)].annotation):
            raise PydanticCustomError("int_type", "true and false are no value of it")
        return value

    @model_validator(mode="after")
    def _texts(self) -> Self:
        """What goes to a service is Unicode. Paths stay here, and may be any bytes."""
        for name, value in self:
            texts = value if isinstance(value, tuple) else (value,)
            if not all(is_unicode(text) for text in texts if isinstance(text, str)):
                raise ValueError(f"{name} is not valid UTF-8")
        return self


class RunSettings(RunOptions, Model):
    """What a run has whatever its destinations, checked."""

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not may_be_name(value):
            raise ValueError(f"a dataset's name has 1 to {LONGEST_NAME} printable characters")
        return value


def may_be_name(text: str) -> bool:
    """Whether a dataset may be called *text*."""
    return bool(text.strip()) and len(text) <= LONGEST_NAME and text.isprintable()


def load_file(path: Path) -> dict[str, Any]:
    """The TOML file at *path* as tables. Raises `UsageProblem` naming the file and the line."""
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST_FILE_BYTES + 1)
    except FileNotFoundError:
        raise UsageProblem(f"config file {path}: there is no such file{similar_file(path)}") from None
    except OSError as error:
        raise UsageProblem(f"config file {path}: {error.strerror}") from None
    if len(data) > _LARGEST_FILE_BYTES:
        raise UsageProblem(f"config file {path}: larger than {_LARGEST_FILE_BYTES // MIB} MiB, so it is no config file")
    _check_keys(data, path)
    found = attempt(lambda: tomllib.loads(data.decode()))
    if isinstance(found, Refusal) and isinstance(found.why, UnicodeDecodeError):
        line = data.count(b"\n", 0, found.why.start) + 1
        raise UsageProblem(f"config file {path}: line {line} is not UTF-8; save the file as UTF-8")
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


def settings_from(model: type[M], values: dict[str, Any], where: str, called: Callable[[str], str] = str) -> M:
    """*values* checked as *model*. Raises `UsageProblem` naming each setting that will not do as it is *called*, and *where* it
    stands."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        from bulkup.settings.faults import faults_of

        faults = "; ".join(faults_of(model, error, called).values())
        raise UsageProblem(f"{where}: {faults}" if where else faults) from None
