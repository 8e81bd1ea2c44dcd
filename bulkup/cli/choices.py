"""What the user chose: flag over environment over file over default, put together and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from bulkup.api import make_upload
from bulkup.cli.figures import parse_seconds, parse_size
from bulkup.config import Collinear, Nebius, RejectLimit, RunSettings, load_file, settings_from
from bulkup.errors import UsageProblem
from bulkup.path_text import as_text
from bulkup.wiring.upload import Upload

__all__ = ["choose", "override", "state_dir"]

SERVICES: dict[str, type[Nebius | Collinear]] = {"nebius": Nebius, "collinear": Collinear}

FOR_EACH = ("ca_file",)
"""What stands at the top of a config file for every destination that does not say it itself."""

Given = Mapping[str, Any]
"""The flags by parameter name, as text; None or empty where a flag was not given."""


class Scope(Enum):
    """Whose setting an option is."""

    RUN = "the run's"
    EACH = "each destination's"
    NEBIUS = "nebius"
    COLLINEAR = "collinear"


def _truth(text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in known:
        raise ValueError("give 1 or 0")
    return known[text.lower()]


def _whole(text: str) -> int:
    try:
        return int(text.replace("_", ""))
    except ValueError:
        raise ValueError("give a whole number") from None


def _workers(text: str) -> int | str:
    try:
        return "auto" if text == "auto" else int(text)
    except ValueError:
        raise ValueError("give a number of processes, or auto") from None


def _absolute(text: str, base: Path = Path()) -> Path:
    try:
        return (base / Path(text).expanduser()).absolute()
    except (RuntimeError, OSError):  # no HOME and no entry for this user, or no current directory
        raise ValueError("cannot be found from here: give an absolute path") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("give a number") from None


@dataclass(frozen=True, slots=True)
class Option:
    """An option of `upload`: its parameter's name, how its text is read, and the setting that it fills."""

    name: str
    scope: Scope
    field: str
    parse: Callable[[str], Any] = str


OPTIONS = (
    Option("name", Scope.RUN, "name", as_text),
    Option("state_dir", Scope.RUN, "state_dir"),
    Option("on_doubt", Scope.RUN, "on_doubt"),
    Option("settle_after", Scope.RUN, "settle_after_s", parse_seconds),
    Option("on_source_change", Scope.RUN, "on_source_change"),
    Option("append", Scope.RUN, "append", _truth),
    Option("retry_for", Scope.RUN, "retry_for_s", parse_seconds),
    Option("max_wait", Scope.RUN, "max_wait_s", parse_seconds),
    Option("drain_timeout", Scope.RUN, "drain_timeout_s", parse_seconds),
    Option("max_rejects", Scope.RUN, "max_rejects", RejectLimit.parse),
    Option("workers", Scope.RUN, "workers", _workers),
    Option("validation", Scope.RUN, "validation"),
    Option("ca_file", Scope.EACH, "ca_file", _absolute),
    Option("preset", Scope.EACH, "preset"),
    Option("drop", Scope.EACH, "drop"),
    Option("max_chunk_bytes", Scope.EACH, "max_chunk_bytes", parse_size),
    Option("max_chunk_rows", Scope.EACH, "max_chunk_rows", _whole),
    Option("concurrency", Scope.EACH, "concurrency", _whole),
    Option("requests_per_minute", Scope.EACH, "requests_per_minute", _number),
    Option("bytes_per_second", Scope.EACH, "bytes_per_second", parse_size),
    Option("folder", Scope.NEBIUS, "folder", as_text),
    Option("ai_project_id", Scope.NEBIUS, "ai_project_id", as_text),
    Option("nebius_url", Scope.NEBIUS, "url"),
    Option("space_id", Scope.COLLINEAR, "space_id"),
    Option("collinear_url", Scope.COLLINEAR, "url"),
)


def choose(sources: list[str], given: Given, environment: Mapping[str, str]) -> Upload:
    """The upload that flags, environment and config file ask for. Raises `UsageProblem`, one line."""
    config = given.get("config") or environment.get("BULKUP_CONFIG")
    file = File(Path(config)) if config else None
    run = file.run() if file else {}
    lanes = _lanes(given, environment, file)
    destinations: list[Nebius | Collinear] = []
    for lane in lanes:
        from_file = file.lane(lane) if file else {}
        values = {**from_file, **_asked(given, environment, {Scope.EACH, Scope(lane)})}
        destinations.append(_checked(SERVICES[lane], values, from_file, lane, file))
    asked = _asked(given, environment, {Scope.RUN})
    name = asked.pop("name", run.get("name"))
    run.pop("name", None)
    try:
        return make_upload(sources, destinations, name, {**run, **asked})
    except UsageProblem:
        if file:  # where the file is at fault, say so
            settings_from(RunSettings, {"name": "dataset", **run}, f"config file {file.path}")
        raise


def override(upload: Upload, given: Given) -> Upload:
    """*upload* with the flags in *given* instead of what it was recorded with. Raises `UsageProblem`."""
    asked, each = _asked(given, {}, {Scope.RUN}), _asked(given, {}, {Scope.EACH})
    settings = settings_from(RunSettings, {**upload.settings.model_dump(), **asked}, "settings")
    destinations = tuple(
        settings_from(type(d), {**d.model_dump(by_alias=True), **each}, lane_title(d)) for d in upload.destinations
    )
    return Upload(upload.sources, destinations, settings)


def lane_title(destination: Nebius | Collinear) -> str:
    """The destination's word."""
    return type(destination).__name__.lower()


def state_dir(flag: str | None, environment: Mapping[str, str]) -> Path:
    """Where runs are kept, for the commands that look at them."""
    return Path(flag or environment.get("BULKUP_STATE_DIR") or ".bulkup")


def _lanes(given: Given, environment: Mapping[str, str], file: File | None) -> list[str]:
    named = given.get("to") or [environment.get("BULKUP_TO", "")]
    lanes = [word.strip().lower() for text in named for word in text.split(",") if word.strip()]
    lanes = lanes or (file.to() if file else [])
    for lane in lanes:
        if lane not in SERVICES:
            raise UsageProblem(f"there is no destination {lane!r}; --to takes {' or '.join(SERVICES)}")
    if not lanes:
        raise UsageProblem("nowhere to upload to: give --to nebius, --to collinear, or both")
    return list(dict.fromkeys(lanes))


def _asked(given: Given, environment: Mapping[str, str], scopes: set[Scope]) -> dict[str, Any]:
    """What flags and environment say about the settings in *scopes*."""
    asked: dict[str, Any] = {}
    for option in OPTIONS:
        if option.scope not in scopes:
            continue
        flag = given.get(option.name)
        variable = "BULKUP_" + option.name.upper()
        if flag is not None and flag != []:
            asked[option.field] = _parsed(option, flag, "--" + option.name.replace("_", "-"))
        elif text := environment.get(variable):
            asked[option.field] = _parsed(option, text.split(",") if option.name == "drop" else text, variable)
    return asked


def _parsed(option: Option, given: Any, where: str) -> Any:
    if not isinstance(given, str):  # several, or yes or no
        return tuple(map(as_text, given)) if isinstance(given, list) else given
    try:
        return option.parse(given)
    except ValueError as error:
        raise UsageProblem(f"{where} {given!r}: {error}") from None


def _checked(
    model: type[Nebius | Collinear], values: dict[str, Any], from_file: dict[str, Any], lane: str, file: File | None
) -> Nebius | Collinear:
    if model is Collinear and "space_id" not in values:
        raise UsageProblem("collinear needs --space-id, the space's UUID")
    try:
        return settings_from(model, values, lane)
    except UsageProblem:
        if file:  # where the file is at fault, say so
            space = {"space_id": values["space_id"]} if "space_id" in values else {}
            settings_from(model, {**space, **from_file}, f"config file {file.path}, [{lane}]")
        raise


class File:
    """A config file. Reading a part of it raises `UsageProblem` naming the file and the key that will not do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tables = load_file(path)
        top = set(RunSettings.model_fields) - {"max_rejects", "rejects_content"}
        self._refuse_unknown(self._tables, top | {"to", "rejects", *FOR_EACH, *SERVICES}, "")
        for lane in SERVICES:  # also those that this run does not use: a typing error is one
            self._refuse_unknown(self._table(lane), _keys(SERVICES[lane]), lane)
        self._refuse_unknown(self._table("rejects"), {"content", "max"}, "rejects")

    def to(self) -> list[str]:
        """The destinations that the file names, or else has a section for."""
        named = self._tables.get("to")
        if named is None:
            return [lane for lane in SERVICES if lane in self._tables]
        words = [named] if isinstance(named, str) else named
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise self._problem("to", 'must be such as "nebius", or ["nebius", "collinear"]')
        return list(words)

    def run(self) -> dict[str, Any]:
        """The run's settings."""
        values = {
            key: self._read(key, value)
            for key, value in self._tables.items()
            if key not in {"to", "rejects", *FOR_EACH, *SERVICES}
        }
        rejects = self._table("rejects")
        if "content" in rejects:
            values["rejects_content"] = rejects["content"]
        if "max" in rejects:
            try:
                values["max_rejects"] = RejectLimit.parse(str(rejects["max"]))
            except UsageProblem:
                raise self._problem("rejects.max", 'must be a number of rows, or a share such as "5%"') from None
        return values

    def lane(self, lane: str) -> dict[str, Any]:
        """A destination's settings."""
        for_each = {key: self._tables[key] for key in FOR_EACH if key in self._tables}
        values = for_each | {key: self._read(f"{lane}.{key}", value) for key, value in self._table(lane).items()}
        for key in ("token_file", "ca_file"):
            if isinstance(values.get(key), str):
                try:
                    values[key] = _absolute(values[key], self.path.parent)
                except ValueError as error:
                    raise self._problem(f"{lane}.{key}", str(error)) from None
        return values

    def _table(self, name: str) -> dict[str, Any]:
        table = self._tables.get(name, {})
        if not isinstance(table, dict):
            raise self._problem(name, f"must be a table: [{name}]")
        return table

    def _read(self, key: str, value: Any) -> Any:
        """Sizes and times may be written as on the command line."""
        parse = parse_size if "bytes" in key else parse_seconds if key.endswith("_s") else None
        if parse is None or not isinstance(value, str):
            return value
        try:
            return parse(value)
        except ValueError as error:
            raise self._problem(key, str(error)) from None

    def _refuse_unknown(self, table: dict[str, Any], known: set[str], section: str) -> None:
        for key in table:
            if key in known:
                continue
            homes = [f"[{lane}]" for lane in SERVICES if key in _keys(SERVICES[lane])]
            hint = f"; it belongs under {' or '.join(homes)}" if homes and not section else ""
            raise self._problem(f"{section}.{key}" if section else key, f"there is no such setting{hint}")

    def _problem(self, key: str, what: str) -> UsageProblem:
        return UsageProblem(f"config file {self.path}: {key}: {what}")


def _keys(model: type[Nebius | Collinear]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}
