"""The command line as the option tables and the services make it."""

import functools
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, get_args, get_origin

import typer

from bulkup.cli.completion import of_choices
from bulkup.destinations.registry import listed
from bulkup.destinations.service import Service
from bulkup.settings.destination import DestinationOptions
from bulkup.settings.option import Setting, settings_of
from bulkup.settings.run import RunOptions

__all__ = ["EACH", "RUN", "options_of", "with_options", "with_words"]

RUN = settings_of(RunOptions)
EACH = settings_of(DestinationOptions)

COMMON = ("json", "verbose")
"""The options of every command, which stand last."""

BENCH = "bench"
CHECK = "check"
"""Takes what `upload` takes."""


def options_of(command: str) -> tuple[Setting, ...]:
    """The settings for which *command* has a flag, whatever the services."""
    taken_as = "upload" if command == CHECK else command
    return tuple(setting for setting in (*RUN, *EACH) if taken_as in setting.option.commands)


def with_options(command: str, function: Callable[..., int], services: Sequence[Service]) -> Callable[..., int]:
    """*function*, which carries *command* out, with the command's options as typer takes them. It finds them in its context."""
    own = list(signature(function).parameters.values())
    last = next(place for place, parameter in enumerate(own) if parameter.name in COMMON)
    every = (*own[:last], *_parameters(command, services), *own[last:])
    parameters = [p.replace(kind=Parameter.KEYWORD_ONLY, annotation=_worded(p.annotation, services)) for p in every]
    names = {parameter.name for parameter in own}

    @functools.wraps(function)
    def called(**given: Any) -> int:
        return function(**{name: value for name, value in given.items() if name in names})

    del called.__wrapped__
    called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def _parameters(command: str, services: Iterable[Service]) -> list[Parameter]:
    """One for each name: services may have an option in common."""
    found: dict[str, Parameter] = {}
    if command in ("upload", CHECK, BENCH):
        for service in services:
            for setting in service.own_settings:
                text = _service_help(service, setting, is_bench=command == BENCH)
                found.setdefault(setting.name, _parameter(setting, text))
    if command in ("upload", CHECK):
        found |= {s.url_setting.name: _parameter(s.url_setting, s.url_setting.help) for s in services}
    found |= {setting.name: _parameter(setting, setting.help) for setting in options_of(command)}
    return list(found.values())


def _service_help(service: Service, setting: Setting, *, is_bench: bool = False) -> str:
    """What the help says of a setting of *service*'s own."""
    default = setting.option.bench if is_bench and setting.option.bench else setting.default_text
    ending = f"Needed for {service.name}." if setting.is_needed else f"Default: {default}."
    return f"{service.title}: {setting.option.meaning}. {ending}".replace("`", "")


def _parameter(setting: Setting, text: str) -> Parameter:
    kind: Any
    if setting.option.metavar:
        kind, flag = list[str] if setting.option.is_list else str, setting.flag
        made = typer.Option(
            flag,
            metavar=setting.option.metavar,
            help=text,
            show_default=False,
            autocompletion=of_choices(setting.choices) if setting.choices else None,
        )
    else:
        kind, flag = bool, f"{setting.flag}/--no-{setting.flag.removeprefix('--')}"
        made = typer.Option(flag, help=text, show_default=False)
    return Parameter(setting.name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, made])


def _worded(annotation: Any, services: Sequence[Service]) -> Any:
    """*annotation* with what the services say in its help."""
    if get_origin(annotation) is not Annotated:
        return annotation
    kind, *notes = get_args(annotation)
    worded = []
    for note in notes:
        help_ = getattr(note, "help", None)
        if help_ is not None:
            note = copy(note)
            note.help = with_words(help_, services)
        worded.append(note)
    return Annotated[(kind, *worded)]


def with_words(text: str, services: Sequence[Service]) -> str:
    """*text* with what the services say where braces stand."""
    names = [service.name for service in services]
    words = {
        "{destinations}": listed(names, "or"),
        "{list of destinations}": ",".join(names),
        "{token variables}": listed((service.token_variable for service in services), "and"),
        "{largest bodies}": ", ".join(service.largest_body for service in services),
    }
    for place, word in words.items():
        text = text.replace(place, word)
    return text
