"""A config file, checked: all that is wrong with it is said at once, with its lines."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bulkup.cli.parameters import RUN
from bulkup.destinations.registry import BUILT_IN, find_service
from bulkup.destinations.service import Service
from bulkup.errors import UsageProblem
from bulkup.settings.config import Model, RejectLimit, RunSettings, load_file
from bulkup.settings.faults import faults_of
from bulkup.settings.near import did_you_mean
from bulkup.settings.option import Setting
from bulkup.settings.quantities import parse_path, parse_seconds, parse_size

__all__ = ["File"]

FOR_EACH = ("ca_file",)
"""What stands at the top of a config file for every destination that does not say it itself."""

_SECTION = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_\"'-]+)\s*[.=]")


def _places() -> dict[str, dict[str, Setting]]:
    places: dict[str, dict[str, Setting]] = {}
    for setting in RUN:
        section, _, key = setting.key.rpartition(".")
        places.setdefault(section, {})[key] = setting
    return places


PLACES = _places()
"""The run's settings by the section of the config file (the empty one is the top) and the key there."""


class File:
    """A config file. To read one raises `UsageProblem`, which names the file and all that is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tables = load_file(path)
        self._faults: dict[str, str] = {}
        """What is wrong, by section and key."""
        known = {"to", *PLACES[""], *filter(None, PLACES), *FOR_EACH}
        others = [service for key in self._tables if key not in known and (service := find_service(key)) is not None]
        self._services = {service.name: service for service in (*BUILT_IN.values(), *others)}
        self._note_unknown(self._tables, known | self._services.keys(), "")
        for lane, service in self._services.items():  # also those that this run does not use: a typing error is one
            self._note_unknown(self._table(lane), _keys(service), lane)
        for section in filter(None, PLACES):
            self._note_unknown(self._table(section), PLACES[section].keys(), section)
        self.to()
        by_field = {setting.field: setting.key for setting in RUN}
        self._note_values(RunSettings, self.run(), by_field)
        for lane, service in self._services.items():
            if lane in self._tables:
                self._note_values(service.settings, self.lane(lane), {}, f"{lane}.")
        if self._faults:
            raise UsageProblem(self._said())

    def to(self) -> list[str]:
        """The destinations that the file names, or else has a section for."""
        named = self._tables.get("to")
        if named is None:
            return [lane for lane in self._services if lane in self._tables]
        words = [named] if isinstance(named, str) else named
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            names = [f'"{name}"' for name in BUILT_IN]
            self._note("to", f"must be such as {names[0]}, or [{', '.join(names)}]")
            return []
        return list(words)

    def run(self) -> dict[str, Any]:
        """The run's settings."""
        values: dict[str, Any] = {}
        for section, settings in PLACES.items():
            table = self._table(section) if section else self._tables
            for key in table.keys() & settings.keys():
                self._read(values, settings[key].field, settings[key].key, table[key])
        if "max_rejects" in values:
            try:
                values["max_rejects"] = RejectLimit.parse(str(values["max_rejects"]))
            except UsageProblem:
                self._note("rejects.max", 'must be a number of rows, or a share such as "5%"')
                del values["max_rejects"]
        return values

    def lane(self, lane: str) -> dict[str, Any]:
        """A destination's settings."""
        values = {key: self._tables[key] for key in FOR_EACH if key in self._tables}
        for key, value in self._table(lane).items():
            self._read(values, key, f"{lane}.{key}", value)
        if isinstance(values.get("map"), str):
            values["map"] = str(self.path.parent / values["map"])
        for key in ("token_file", "ca_file"):
            if isinstance(values.get(key), str):
                try:
                    values[key] = parse_path(values[key], self.path.parent)
                except ValueError as error:
                    self._note(f"{lane}.{key}", str(error))
                    del values[key]
        return values

    def _table(self, name: str) -> dict[str, Any]:
        table = self._tables.get(name, {})
        if not isinstance(table, dict):
            self._note(name, f"must be a table: [{name}]")
            return {}
        return table

    def _read(self, values: dict[str, Any], field: str, key: str, value: Any) -> None:
        """Sizes and times may be written as on the command line."""
        parse = parse_size if "bytes" in key else parse_seconds if key.endswith("_s") else None
        if parse is not None and isinstance(value, str):
            try:
                value = parse(value)
            except ValueError as error:
                self._note(key, f"{value!r}: {error}")
                return
        values[field] = value

    def _note(self, key: str, what: str) -> None:
        self._faults.setdefault(key, f"{key}: {what}")

    def _note_unknown(self, table: Mapping[str, Any], known: Collection[str], section: str) -> None:
        for key in table:
            if key in known:
                continue
            homes = [f"[{lane}]" for lane, service in self._services.items() if key in _keys(service)]
            is_elsewhere = bool(homes) and not section
            hint = f"; it belongs under {' or '.join(homes)}" if is_elsewhere else did_you_mean(key, known)
            self._note(f"{section}.{key}" if section else key, f"there is no such setting{hint}")

    def _note_values(
        self, model: type[Model], values: dict[str, Any], keys: Mapping[str, str], section: str = ""
    ) -> None:
        """What the *model* finds wrong with *values*, what is missing aside: that may be given on the command line."""
        try:
            model.model_validate(values)
        except ValidationError as error:
            found = faults_of(model, error, lambda field: section + keys.get(field, field), with_missing=False)
            for field, text in found.items():
                self._faults.setdefault(section + keys.get(field, field), text)

    def _said(self) -> str:
        lines = _lines(self.path)
        placed = sorted((lines.get(key, 0), text) for key, text in self._faults.items())
        texts = [f"line {line}: {text}" if line else text for line, text in placed]
        return f"config file {self.path}: {'; '.join(texts)}"


def _keys(service: Service) -> set[str]:
    return {field.alias or name for name, field in service.settings.model_fields.items()}


def _lines(path: Path) -> dict[str, int]:
    """In which line a key stands, by section and key. A help, and no reading of TOML: what stands oddly has none."""
    found: dict[str, int] = {}
    section = ""
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if (head := _SECTION.match(line)) is not None:
            section = head[1].strip("\"'")
            found.setdefault(section, number)
        elif (key := _KEY.match(line)) is not None:
            name = key[1].strip("\"'")
            found.setdefault(f"{section}.{name}" if section else name, number)
    return found
