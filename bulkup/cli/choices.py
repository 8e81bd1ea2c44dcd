"""What the user chose: flag over environment over file over default, put together and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from bulkup.api import make_upload
from bulkup.cli.config_file import File
from bulkup.cli.parameters import EACH, RUN
from bulkup.destinations.registry import BUILT_IN, every_service, nowhere, service_named
from bulkup.destinations.service import Service
from bulkup.destinations.settings import DestinationSettings
from bulkup.errors import SourceChanged, UsageProblem
from bulkup.path_text import as_text
from bulkup.rows.function import function_given, function_of
from bulkup.run.wish import Upload
from bulkup.settings.config import RunSettings, settings_from
from bulkup.settings.near import did_you_mean
from bulkup.settings.option import Setting
from bulkup.tokens.database import shown_address

__all__ = ["asked_of", "choose", "journal", "override", "refuse_unknown_variables", "state_dir"]

PREFIX, FOR_TESTS = "BULKUP_", "BULKUP_TEST_"
OWN_VARIABLES = {"BULKUP_CONFIG", "BULKUP_TO"}
"""Those of no setting."""

Given = Mapping[str, Any]
"""The flags by parameter name, as text; None or empty where a flag was not given."""


def choose(sources: list[str], given: Given, environment: Mapping[str, str]) -> Upload:
    """The upload that flags, environment and config file ask for. Raises `UsageProblem`, one line."""
    refuse_unknown_variables(environment)
    config = given.get("config") or environment.get("BULKUP_CONFIG")
    file = File(Path(config)) if config else None
    run = file.run() if file else {}
    destinations: list[DestinationSettings] = []
    for service in _services(sources, given, environment, file):
        values = file.lane(service.name) if file else {}
        values |= asked_of(given, environment, _every(service))
        destinations.append(_checked(service, values, _called(_every(service), given, environment)))
    asked = asked_of(given, environment, RUN)
    name = asked.pop("name", run.get("name"))
    run.pop("name", None)
    return make_upload(sources, destinations, name, {**run, **asked}, called=_called(RUN, given, environment))


def override(upload: Upload, given: Given) -> Upload:
    """*upload* with the flags in *given* instead of what it was recorded with. Raises `UsageProblem`."""
    asked, each = asked_of(given, {}, RUN), asked_of(given, {}, EACH)
    named = each.pop("map", None)
    settings = settings_from(RunSettings, {**upload.settings.model_dump(), **asked}, "", _called(RUN, given, {}))
    destinations = tuple(
        settings_from(
            type(d), {**d.model_dump(by_alias=True), **each, **_the_same_map(d, named)}, "", _called(EACH, given, {})
        )
        for d in upload.destinations
    )
    if named is not None and all(d.map is None for d in destinations):
        raise UsageProblem("the run makes its rows without a function: leave --map out")
    return Upload(upload.sources, destinations, settings)


def _the_same_map(recorded: DestinationSettings, named: str | None) -> dict[str, Any]:
    """The function of a run, out of those *named* now, with commas between them: no code runs that only a journal names.

    Raises `UsageProblem` where none is, `SourceChanged` where it is another.
    """
    if recorded.map is None:
        return {}
    wanted = function_of(recorded.map)
    if named is None:
        raise UsageProblem(
            f"the run makes its rows by --map {wanted.title}: give that again (bulkup runs no code that only a journal names)"
        )
    found = [function_given(text) for text in named.split(",")]
    same = next((function for function in found if function.key == wanted.key), None)
    if same is None:
        raise SourceChanged(
            f"--map {named}: not the function that the run began with ({wanted.title}). Restore its file, or begin a new run under "
            "another --name"
        )
    return {"map": str(same)}


def refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """Raise `UsageProblem` for a variable of ours that nothing reads: it may be one that was meant to be read."""
    given = [name for name in environment if name.startswith(PREFIX) and not name.startswith(FOR_TESTS)]
    if not given or not (unknown := set(given) - _variables(BUILT_IN.values())):
        return
    known = _variables(every_service())
    for name in sorted(unknown - known):
        raise UsageProblem(f"{name}: bulkup has no such variable{did_you_mean(name, known)} (unset it to go on)")


def _variables(services: Iterable[Service]) -> set[str]:
    settings = [*RUN, *EACH]
    for service in services:
        settings += [*service.own_settings, service.url_setting]
    return {setting.variable for setting in settings if setting.has_flag} | OWN_VARIABLES


def _called(settings: Iterable[Setting], given: Given, environment: Mapping[str, str]) -> Callable[[str], str]:
    """What the user calls a field: the flag, if that was given, else the environment's variable."""
    by_field = {setting.field: setting for setting in settings if setting.has_flag}

    def called(field: str) -> str:
        setting = by_field.get(field)
        if setting is None:
            return field
        is_flag = given.get(setting.name) not in (None, [])
        return setting.flag if is_flag or setting.variable not in environment else setting.variable

    return called


def state_dir(flag: str | None, environment: Mapping[str, str]) -> Path:
    """Where runs are kept, for the commands that look at them. Raises `UsageProblem` for a variable of ours that nothing reads."""
    refuse_unknown_variables(environment)
    return Path(flag or environment.get("BULKUP_STATE_DIR") or ".bulkup")


def journal(flag: str | None, environment: Mapping[str, str]) -> str | None:
    """The database that has journals, as it is shown. Raises `UsageProblem`."""
    address = flag or environment.get("BULKUP_JOURNAL")
    return shown_address(address) if address else None


def _services(sources: list[str], given: Given, environment: Mapping[str, str], file: File | None) -> list[Service]:
    named = given.get("to") or [environment.get("BULKUP_TO", "")]
    lanes = [word.strip().lower() for text in named for word in text.split(",") if word.strip()]
    lanes = lanes or (file.to() if file else [])
    if not lanes:
        raise nowhere(sources)
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
        bounds = setting.bounds.text if setting.bounds is not None and str(error).endswith("number") else ""
        raise UsageProblem(f"{where} {given!r}: {error}{bounds}") from None


def _every(service: Service) -> tuple[Setting, ...]:
    """The settings of a destination at *service*."""
    return (*EACH, *service.own_settings, service.url_setting)


def _checked(service: Service, values: dict[str, Any], called: Callable[[str], str]) -> DestinationSettings:
    for setting in service.own_settings:
        if setting.is_needed and setting.field not in values:
            raise UsageProblem(f"{service.name} needs {setting.flag}, {setting.option.needed}")
    return settings_from(service.settings, values, "", called)
