"""The services that there are: those that come with bulkup, and those that other distributions register.

A distribution registers one under the entry point group `bulkup.destinations`: the entry point's name is the service's, its
object an instance of `Service`. Such code is loaded when its name is wanted, or for help, and never before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from bulkup.destinations.collinear import COLLINEAR
from bulkup.destinations.nebius import NEBIUS
from bulkup.destinations.service import Service
from bulkup.errors import UsageProblem
from bulkup.settings.near import did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "BUILT_IN",
    "GROUP",
    "assumptions_for",
    "every_service",
    "find_service",
    "listed",
    "nowhere",
    "service_named",
    "service_names",
    "unknown",
]

GROUP = "bulkup.destinations"

BUILT_IN: Mapping[str, Service] = {service.name: service for service in (NEBIUS, COLLINEAR)}
"""By name, in the order in which they are listed and sent to."""

_loaded: dict[str, Service] = {}


def service_named(name: str) -> Service:
    """The service of that name. Raises `UsageProblem` where there is none, or it cannot be loaded."""
    found = find_service(name)
    if found is None:
        raise unknown(name)
    return found


def find_service(name: str) -> Service | None:
    """The service of that name; None where nobody has registered one. Raises `UsageProblem` where it cannot be loaded."""
    found = BUILT_IN.get(name) or _loaded.get(name)
    if found is None and (entry := _entries().get(name)) is not None:
        found = _loaded[name] = _load(entry)
    return found


def service_names() -> tuple[str, ...]:
    """Of all services; none is loaded."""
    return (*BUILT_IN, *(name for name in sorted(_entries()) if name not in BUILT_IN))


def every_service() -> tuple[Service, ...]:
    """All services. One that cannot be loaded is left out: whoever wants it by name is told why."""
    found = []
    for name in service_names():
        try:
            found.append(service_named(name))
        except UsageProblem:
            continue
    return tuple(found)


def unknown(name: str) -> UsageProblem:
    """The error for the name of no service."""
    hint = did_you_mean(name, service_names())
    return UsageProblem(f"there is no destination {name!r}{hint}; --to takes {listed(service_names(), 'or')}")


def nowhere(sources: Iterable[object] = ()) -> UsageProblem:
    """The error for an upload without a destination. One of the *sources* may be one."""
    flags = ", ".join(f"--to {name}" for name in BUILT_IN)
    meant = next((f" (did you mean --to {source}?)" for source in sources if source in BUILT_IN), "")
    return UsageProblem(f"nowhere to upload to{meant}: give {flags}, or several of them")


def listed(words: Iterable[str], last: str) -> str:
    """*words* in a sentence: `a, b and c`, where *last* is `and`."""
    *first, end = words
    return f"{', '.join(first)} {last} {end}" if first else end


def _entries() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _load(entry: EntryPoint) -> Service:
    where = f"destination {entry.name!r} ({entry.value})"
    try:
        found = entry.load()
    except Exception as error:
        raise UsageProblem(
            f"{where} cannot be loaded: {type(error).__name__}: {error}; reinstall or remove the package that registers it"
        ) from error
    if not isinstance(found, Service):
        raise UsageProblem(f"{where} is no bulkup.destinations.service.Service; its package must be corrected")
    if found.name != entry.name:
        raise UsageProblem(f"{where} calls itself {found.name!r}; its package must be corrected")
    return found


def assumptions_for(name: str) -> tuple[str, ...]:
    """The sentences that are taken for true of the service of that name."""
    return tuple(assumption.text for assumption in service_named(name).assumptions)
