"""Nebius Token Factory, as it describes itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from bulkup.destinations.service import MIB, DatasetAt, Service
from bulkup.path_text import as_text
from bulkup.settings.option import Bounds, Option, OptionTable

if TYPE_CHECKING:
    from bulkup.destinations.assumptions import Assumption
    from bulkup.destinations.base import Destination
    from bulkup.destinations.settings import DestinationSettings
    from bulkup.doubt.policy import Policy
    from bulkup.tokens.token_source import TokenSource
    from bulkup.transport import Transport

__all__ = ["NEBIUS", "NebiusOptions"]


class NebiusOptions(OptionTable):
    """Where a dataset is."""

    folder: Annotated[
        str,
        Bounds(length=1),
        Option(metavar="PATH", meaning="the folder", bench="/bulkup-bench", parse=as_text),
    ] = "/bulkup"
    ai_project_id: Annotated[
        str | None, Option(metavar="ID", meaning="the project", default="the token's own", parse=as_text)
    ] = None
    column: Annotated[
        tuple[str, ...],
        Option(
            metavar="NAME=TYPE",
            meaning="the type of one column, as `[nebius.columns]` has it: `string`, `integer`, `boolean`, `text`, with a `?` "
            "where it may be null; repeatable, and it overrules the config file",
            default="as inferred",
            is_list=True,
        ),
    ] = ()


class _Nebius(Service):
    name = "nebius"
    title = "Nebius"
    full_title = "Nebius Token Factory"
    token_variable = "NEBIUS_API_KEY"  # noqa: S105 - a variable's name
    url = "https://api.tokenfactory.nebius.com"
    max_chunk_bytes = 16 * MIB
    options = NebiusOptions

    @property
    def settings(self) -> type[DestinationSettings]:
        from bulkup.destinations.nebius.settings import Nebius

        return Nebius

    @property
    def policy(self) -> Policy:
        from bulkup.doubt.by_name import BY_NAME

        return BY_NAME

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        from bulkup.destinations.nebius.assumptions import ASSUMPTIONS

        return ASSUMPTIONS

    def destination(self, dataset: DatasetAt, transport: Transport, token: TokenSource) -> Destination:
        from bulkup.destinations.nebius.wire import NebiusDestination

        folder = dataset.place["folder"]
        assert folder is not None, "every dataset has a folder"
        return NebiusDestination(
            transport, token, dataset_name=dataset.name, folder=folder, ai_project_id=dataset.place["ai_project_id"]
        )

    def made_up_row(self, asked: str, said: str) -> dict[str, object]:
        return {"prompt": asked, "completion": said}


NEBIUS = _Nebius()
