"""What the user chose: flag over environment over file over default, put together and checked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from bulkup.api import make_upload
from bulkup.cli.parameters import EACH, RUN
from bulkup.destinations.registry import BUILT_IN, find_service, nowhere, service_named
from bulkup.destinations.service import Service
from bulkup.destinations.settings import DestinationSettings
from bulkup.errors import UsageProblem
from bulkup.path_text import as_text
from bulkup.run.wish import Upload
from bulkup.settings.config import RejectLimit, RunSettings, load_file, settings_from
from bulkup.settings.option import Setting
from bulkup.settings.quantities import parse_path, parse_seconds, parse_size

__all__ = ["asked_of", "choose", "override", "state_dir"]

FOR_EACH = ("ca_file",)
"""What stands at the top of a config file for every destination that does not say it itself."""

Given = Mapping[str, Any]
"""The flags by parameter name, as text; None or empty where a flag was not given."""


def _places() -> dict[str, dict[str, Setting]]:
    places: dict[str, dict[str, Setting]] = {}
    for setting in RUN:
        section, _, key = setting.key.rpartition(".")
        places.setdefault(section, {})[key] = setting
    return places


PLACES = _places()
"""The run's settings by the section of the config file (the empty one is the top) and the key there."""


def choose(sources: list[str], given: Given, environment: Mapping[str, str]) -> Upload:
    """The upload that flags, environment and config file ask for. Raises `UsageProblem`, one line."""
    config = given.get("config") or environment.get("BULKUP_CONFIG")
    file = File(Path(config)) if config else None
    run = file.run() if file else {}
    destinations: list[DestinationSettings] = []
    for service in _services(given, environment, file):
        from_file = file.lane(service.name) if file else {}
        values = {**from_file, **asked_of(given, environment, (*EACH, *service.own_settings, service.url_setting))}
        destinations.append(_checked(service, values, from_file, file))
    asked = asked_of(given, environment, RUN)
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
    asked, each = asked_of(given, {}, RUN), asked_of(given, {}, EACH)
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


def asked_of(given: Given, environment: Mapping[str, str], settings: Iterable[Setting]) -> dict[str, Any]:
    """What flags and environment say about *settings*, by field."""
    asked: dict[str, Any] = {}
    for setting in settings:
        if not setting.has_flag:
            continue
        flag = given.get(setting.name)
        if flag is not None and flag != []:
            asked[setting.field] = _parsed(setting, flag, setting.flag)
        elif text := environment.get(setting.variable):
            words = text.split(",") if setting.option.is_list else text
            asked[setting.field] = _parsed(setting, words, setting.variable)
    return asked


def _parsed(setting: Setting, given: Any, where: str) -> Any:
    if not isinstance(given, str):  # several, or yes or no
        return tuple(map(as_text, given)) if isinstance(given, list) else given
    try:
        return setting.option.parse(given)
    except ValueError as error:
        raise UsageProblem(f"{where} {given!r}: {error}") from None


def _checked(
    service: Service, values: dict[str, Any], from_file: dict[str, Any], file: File | None
) -> DestinationSettings:
    needed = [setting for setting in service.own_settings if setting.is_needed]
    for setting in needed:
        if setting.field not in values:
            raise UsageProblem(f"{service.name} needs {setting.flag}, {setting.option.needed}")
    try:
        return settings_from(service.settings, values, service.name)
    except UsageProblem:
        if file:  # where the file is at fault, say so
            given = {setting.field: values[setting.field] for setting in needed}
            settings_from(service.settings, {**given, **from_file}, f"config file {file.path}, [{service.name}]")
        raise


class File:
    """A config file. Reading a part of it raises `UsageProblem` naming the file and the key that will not do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tables = load_file(path)
        known = {"to", *PLACES[""], *filter(None, PLACES), *FOR_EACH}
        others = [service for key in self._tables if key not in known and (service := find_service(key)) is not None]
        self._services = {service.name: service for service in (*BUILT_IN.values(), *others)}
        self._refuse_unknown(self._tables, known | self._services.keys(), "")
        for lane, service in self._services.items():  # also those that this run does not use: a typing error is one
            self._refuse_unknown(self._table(lane), _keys(service), lane)
        for section in filter(None, PLACES):
            self._refuse_unknown(self._table(section), PLACES[section].keys(), section)

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
        values: dict[str, Any] = {}
        for section, settings in PLACES.items():
            table = self._table(section) if section else self._tables
            for key in table.keys() & settings.keys():
                setting = settings[key]
                values[setting.field] = self._read(setting.key, table[key])
        if "max_rejects" in values:
            try:
                values["max_rejects"] = RejectLimit.parse(str(values["max_rejects"]))
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
                    values[key] = parse_path(values[key], self.path.parent)
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

    def _refuse_unknown(self, table: dict[str, Any], known: Collection[str], section: str) -> None:
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
