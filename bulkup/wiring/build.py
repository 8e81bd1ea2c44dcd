"""What a run is built of, out of settings."""

from __future__ import annotations

from dataclasses import replace

from bulkup.config import Collinear, Nebius, RunSettings
from bulkup.encoding import RowOptions
from bulkup.errors import BulkupError
from bulkup.mapping import parse_mapping
from bulkup.schema import Nested
from bulkup.token_source import TokenSource
from bulkup.wiring.services import DatasetAt
from bulkup.wiring.upload import lane_name

__all__ = ["dataset_of", "row_options", "token_of"]


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
