"""What a run is built of, out of settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from bulkup.destinations.registry import BUILT_IN, service_named
from bulkup.destinations.settings import DestinationSettings
from bulkup.encoding import RowOptions
from bulkup.encoding.shapes import PRESETS
from bulkup.errors import BulkupError, UsageProblem
from bulkup.rows.function import function_of
from bulkup.rows.mapping import parse_mapping
from bulkup.run.wish import Upload
from bulkup.settings.config import RunSettings
from bulkup.settings.repair import repairs_in
from bulkup.sources import Kind, Reading, encoding_named, kind_of_type, parse_renames, path_of
from bulkup.tokens.secret import LONG, known_secrets
from bulkup.tokens.token_source import TokenSource

__all__ = ["reading_of", "refuse_secrets", "row_options", "token_of"]


def reading_of(chosen: RunSettings, destinations: Sequence[DestinationSettings] = ()) -> Reading:
    """How the user wants files read. A file's only object is a row if it has a preset's keys, or those of a service's own rows, as
    they are called in the file.
    What the columns of *destinations* are said to be, they are in the files too.

    Raises `UsageProblem`.
    """
    try:
        rows_at = None if chosen.rows_at is None else path_of(chosen.rows_at)
    except ValueError as error:
        raise UsageProblem(f"--rows-at {chosen.rows_at!r}: {error}") from None
    keys = (choice for shape in PRESETS.values() for choice in shape.choices)
    turns = ((destination.turns,) for destination in destinations if destination.turns is not None)
    renames = parse_renames(chosen.rename)
    called = {new: old for old, new in renames}
    shapes = [*keys, *turns, *(service.made_up_row("", "") for service in BUILT_IN.values())]
    if called:
        shapes += [[called.get(key, key) for key in shape] for shape in shapes]
    return Reading(
        rows_at=rows_at,
        encoding=None if chosen.encoding is None else encoding_named(chosen.encoding),
        zstd_window=chosen.zstd_window_bytes,
        as_lines=chosen.lines,
        row_keys=tuple(map(frozenset, shapes)),
        max_row_bytes=chosen.max_row_bytes,
        delimiter=None if chosen.delimiter is None else chosen.delimiter.encode(),
        has_header=chosen.header,
        header_row=chosen.header_row,
        kinds=tuple(_kinds_said(chosen, destinations).items()),
        renames=renames,
        sheet=chosen.sheet,
    )


def _kinds_said(chosen: RunSettings, destinations: Sequence[DestinationSettings]) -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    for destination in destinations:
        options = row_options(destination, chosen)
        for name, said in {**(options.schema or {}), **options.columns}.items():
            kind = kind_of_type(said)
            if kind is not None:
                found.setdefault(name, kind)
    return found


def row_options(settings: DestinationSettings, chosen: RunSettings) -> RowOptions:
    """How the user wants rows made for one destination. Raises `UsageProblem`."""
    mapping = None if settings.mapping is None else parse_mapping(settings.mapping)
    common = RowOptions(
        preset=settings.preset,
        turns=settings.turns,
        repairs=repairs_in(settings.repair),
        function=None if settings.map is None else function_of(settings.map),
        mapping=mapping,
        drop=settings.drop,
        max_row_bytes=chosen.max_row_bytes,
        validation=chosen.validation,
    )
    return settings.row_options(common)


def token_of(settings: DestinationSettings) -> TokenSource:
    """Where that destination's token comes from. Raises `TokenRefused` where there is none."""
    variable = service_named(settings.service).token_variable
    try:
        return TokenSource(variable=variable, file=settings.token_file)
    except BulkupError as error:
        raise type(error)(f"{settings.service}: {error}") from None


def refuse_secrets(upload: Upload) -> None:
    """Raise `UsageProblem` where a token of this process stands in a setting: settings are printed, and written into the journal.

    A short one may well be a word, such as a dataset's name.
    """
    secrets = [secret for secret in known_secrets() if len(secret) >= LONG]
    for place, text in _texts(msgspec.to_builtins(upload.to_record()), ""):
        if any(secret in text for secret in secrets):
            raise UsageProblem(
                f"{place} holds a token: settings are printed and written down. "
                "Tokens come from the environment or a token_file, and stand nowhere else"
            )


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    match value:
        case str():
            yield place, value
        case dict():
            for key, inner in value.items():
                yield place or "a setting", key
                yield from _texts(inner, f"{place}.{key}" if place else key)
        case list() | tuple():
            for inner in value:
                yield from _texts(inner, place)
        case _:
            pass
