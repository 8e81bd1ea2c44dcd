"""What the services add to the command line: options of their own, and their names in the help of others."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, get_args, get_origin

import typer

from bulkup.destinations.registry import listed
from bulkup.destinations.service import Service, ServiceOption

__all__ = ["PerService", "command_line"]


@dataclass(frozen=True, slots=True)
class PerService:
    """Where a command has the services' options: behind which of its own, and behind which those with the base URLs (None: it has
    none). *is_bench*: their defaults are those of a bench."""

    options_after: str
    urls_after: str | None = None
    is_bench: bool = False


@functools.cache
def _made(app: typer.Typer, services: tuple[Service, ...], per_service: tuple[tuple[str, PerService], ...]) -> Any:
    places = dict(per_service)
    filled = copy(app)
    filled.registered_commands = []
    for command in app.registered_commands:
        info = copy(command)
        assert info.callback is not None
        info.callback = _with_options(info.callback, services, places.get(info.callback.__name__))
        info.epilog = _filled(info.epilog, services)
        filled.registered_commands.append(info)
    return typer.main.get_command(filled)


def command_line(app: typer.Typer, services: Sequence[Service], per_service: Mapping[str, PerService]) -> Any:
    """*app*'s command with the options of *services* and their names in its help. *per_service*: by the commands' functions."""
    return _made(app, tuple(services), tuple(per_service.items()))


def _with_options(
    callback: Callable[..., int], services: Sequence[Service], place: PerService | None
) -> Callable[..., int]:
    """*callback* as a command with the options of *services* too. It finds them in its context."""
    own = signature(callback).parameters
    parameters: list[Parameter] = []
    for name, parameter in own.items():
        annotation = _with_words(parameter.annotation, services)
        parameters.append(parameter.replace(annotation=annotation, kind=Parameter.KEYWORD_ONLY))
        if place is not None and name == place.options_after:
            parameters += _parameters(services, place)
        if place is not None and name == place.urls_after:
            parameters += [_parameter(s.url_option, f"Base URL. Default: {s.url}.") for s in services]

    @functools.wraps(callback)
    def called(**given: Any) -> int:
        return callback(**{name: value for name, value in given.items() if name in own})

    del called.__wrapped__
    called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def _parameters(services: Sequence[Service], place: PerService) -> list[Parameter]:
    """One for each name: services may have an option in common."""
    found: dict[str, Parameter] = {}
    for service in services:
        for option in service.options:
            found.setdefault(option.name, _parameter(option, option.help(service.title, is_bench=place.is_bench)))
    return list(found.values())


def _parameter(option: ServiceOption, text: str) -> Parameter:
    made = typer.Option(option.flag, metavar=option.metavar, help=text, show_default=False)
    return Parameter(option.name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, made])


def _with_words(annotation: Any, services: Sequence[Service]) -> Any:
    """*annotation* with what the services say in its help."""
    if get_origin(annotation) is not Annotated:
        return annotation
    kind, *notes = get_args(annotation)
    filled = []
    for note in notes:
        help_ = getattr(note, "help", None)
        if help_ is not None:
            note = copy(note)
            note.help = _filled(help_, services)
        filled.append(note)
    return Annotated[(kind, *filled)]


def _filled(text: str | None, services: Sequence[Service]) -> str | None:
    if text is None:
        return None
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
