"""What a run is built of, out of settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from bulkup.config import Collinear, Nebius, RunSettings
from bulkup.encoding import RowOptions
from bulkup.errors import BulkupError, UsageProblem
from bulkup.mapping import parse_mapping
from bulkup.schema import Nested
from bulkup.secret import LONG, known_secrets
from bulkup.token_source import TokenSource
from bulkup.wiring.services import DatasetAt
from bulkup.wiring.upload import Upload, lane_name

__all__ = ["dataset_of", "refuse_secrets", "row_options", "token_of"]


def dataset_of(settings: Nebius | Collinear, name: str) -> DatasetAt:
    """The dataset that *settings* and its *name* describe."""
    match settings:
        case Nebius():
            place = {"folder": settings.folder, "ai_project_id": settings.ai_project_id}
        case Collinear():
            place = {"space_id": settings.space_id}
    return DatasetAt(lane_name(settings), settings.url, name, place)


def row_options(settings: Nebius | Collinear, chosen: RunSettings) -> RowOptions:
    """How the user wants rows made for one destination. Raises `UsageProblem`."""
    mapping = None if settings.mapping is None else parse_mapping(settings.mapping)
    options = RowOptions(
        preset=settings.preset,
        mapping=mapping,
        drop=settings.drop,
        max_row_bytes=chosen.max_row_bytes,
        validation=chosen.validation,
    )
    if isinstance(settings, Collinear):
        return options
    return replace(options, schema=settings.whole_schema, columns=settings.columns, nested=Nested(settings.nested))


def token_of(settings: Nebius | Collinear) -> TokenSource:
    """Where that destination's token comes from. Raises `TokenRefused` where there is none."""
    variable = {"nebius": "NEBIUS_API_KEY", "collinear": "COLLINEAR_API_KEY"}[lane_name(settings)]
    try:
        return TokenSource(variable=variable, file=settings.token_file)
    except BulkupError as error:
        raise type(error)(f"{lane_name(settings)}: {error}") from None


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
