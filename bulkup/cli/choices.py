"""What the user chose: flag over environment over file over default, put together and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from bulkup.api import make_upload
from bulkup.cli.figures import parse_seconds, parse_size
from bulkup.config import RejectLimit, RunSettings, load_file, settings_from
from bulkup.destinations.registry import BUILT_IN, find_service, nowhere, service_named
from bulkup.destinations.service import Service
from bulkup.destinations.settings import DestinationSettings
from bulkup.errors import UsageProblem
from bulkup.path_text import as_text
from bulkup.wiring.wish import Upload

__all__ = ["choose", "override", "state_dir"]

FOR_EACH = ("ca_file",)
"""What stands at the top of a config file for every destination that does not say it itself."""

Given = Mapping[str, Any]
"""The flags by parameter name, as text; None or empty where a flag was not given."""


class Scope(Enum):
    """Whose setting an option is."""

    RUN = "the run's"
    EACH = "each destination's"
    SERVICE = "one service's"


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
)
"""Those that every upload has; each service has its own beside them."""


def choose(sources: list[str], given: Given, environment: Mapping[str, str]) -> Upload:
    """The upload that flags, environment and config file ask for. Raises `UsageProblem`, one line."""
    config = given.get("config") or environment.get("BULKUP_CONFIG")
    file = File(Path(config)) if config else None
    run = file.run() if file else {}
    destinations: list[DestinationSettings] = []
    for service in _services(given, environment, file):
        from_file = file.lane(service.name) if file else {}
        values = {**from_file, **_asked(given, environment, (*_of(Scope.EACH), *_of_service(service)))}
        destinations.append(_checked(service, values, from_file, file))
    asked = _asked(given, environment, _of(Scope.RUN))
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
    asked, each = _asked(given, {}, _of(Scope.RUN)), _asked(given, {}, _of(Scope.EACH))
    settings = settings_from(RunSettings, {**upload.settings.model_dump(), **asked}, "settings")
    destinations = tuple(
        settings_from(type(d), {**d.model_dump(by_alias=True), **each}, d.service) for d in upload.destinations
    )
    return Upload(upload.sources, destinations, settings)


def state_dir(flag: str | None, environment: Mapping[str, str]) -> Path:
    """Where runs are kept, for the commands that look at them."""
    return Path(flag or environment.get("BULKUP_STATE_DIR") or ".bulkup")


def _services(given: Given, environment: Mapping[str, str], file: File | None) -> list[Service]:
    named = given.get("to") or [environment.get("BULKUP_TO", "")]
    lanes = [word.strip().lower() for text in named for word in text.split(",") if word.strip()]
    lanes = lanes or (file.to() if file else [])
    if not lanes:
        raise nowhere()
    return [service_named(lane) for lane in dict.fromkeys(lanes)]


def _of(scope: Scope) -> tuple[Option, ...]:
    return tuple(option for option in OPTIONS if option.scope is scope)


def _of_service(service: Service) -> tuple[Option, ...]:
    return tuple(
        Option(option.name, Scope.SERVICE, option.setting, option.parse)
        for option in (*service.options, service.url_option)
    )


def _asked(given: Given, environment: Mapping[str, str], options: Sequence[Option]) -> dict[str, Any]:
    """What flags and environment say about the settings of *options*."""
    asked: dict[str, Any] = {}
    for option in options:
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
    service: Service, values: dict[str, Any], from_file: dict[str, Any], file: File | None
) -> DestinationSettings:
    needed = [option for option in service.options if option.default is None]
    for option in needed:
        if option.setting not in values:
            raise UsageProblem(f"{service.name} needs {option.flag}, {option.needed}")
    try:
        return settings_from(service.settings, values, service.name)
    except UsageProblem:
        if file:  # where the file is at fault, say so
            given = {option.setting: values[option.setting] for option in needed}
            settings_from(service.settings, {**given, **from_file}, f"config file {file.path}, [{service.name}]")
        raise


class File:
    """A config file. Reading a part of it raises `UsageProblem` naming the file and the key that will not do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tables = load_file(path)
        top = set(RunSettings.model_fields) - {"max_rejects", "rejects_content"}
        known = top | {"to", "rejects", *FOR_EACH}
        others = [service for key in self._tables if key not in known and (service := find_service(key)) is not None]
        self._services = {service.name: service for service in (*BUILT_IN.values(), *others)}
        self._refuse_unknown(self._tables, known | self._services.keys(), "")
        for lane, service in self._services.items():  # also those that this run does not use: a typing error is one
            self._refuse_unknown(self._table(lane), _keys(service), lane)
        self._refuse_unknown(self._table("rejects"), {"content", "max"}, "rejects")

    def to(self) -> list[str]:
        """The destinations that the file names, or else has a section for."""
        named = self._tables.get("to")
        if named is None:
            return [lane for lane in self._services if lane in self._tables]
        words = [named] if isinstance(named, str) else named
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            names = [f'"{name}"' for name in BUILT_IN]
            raise self._problem("to", f"must be such as {names[0]}, or [{', '.join(names)}]")
        return list(words)

    def run(self) -> dict[str, Any]:
        """The run's settings."""
        values = {
            key: self._read(key, value)
            for key, value in self._tables.items()
            if key not in {"to", "rejects", *FOR_EACH, *self._services}
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
            homes = [f"[{lane}]" for lane, service in self._services.items() if key in _keys(service)]
            hint = f"; it belongs under {' or '.join(homes)}" if homes and not section else ""
            raise self._problem(f"{section}.{key}" if section else key, f"there is no such setting{hint}")

    def _problem(self, key: str, what: str) -> UsageProblem:
        return UsageProblem(f"config file {self.path}: {key}: {what}")


def _keys(service: Service) -> set[str]:
    return {field.alias or name for name, field in service.settings.model_fields.items()}
