"""Collinear AI, as it describes itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from bulkup.destinations.service import MIB, DatasetAt, Service
from bulkup.settings.option import Option, OptionTable
from bulkup.settings.quantities import parse_truth

if TYPE_CHECKING:
    from bulkup.destinations.assumptions import Assumption
    from bulkup.destinations.base import Destination
    from bulkup.destinations.settings import DestinationSettings
    from bulkup.doubt.policy import Policy
    from bulkup.tokens.token_source import TokenSource
    from bulkup.transport import Transport

__all__ = ["COLLINEAR", "CollinearOptions"]


class CollinearOptions(OptionTable):
    """Where a dataset is, and what is asked of its rows."""

    space_id: Annotated[str, Option(metavar="UUID", meaning="the space", needed="the space's UUID")]
    both_sides: Annotated[
        bool,
        Option(
            metavar="",
            meaning="make two rows of each preference (`chosen`, `rejected`): one a side, with `ground_truth` 1 and 0",
            parse=parse_truth,
            commands=("upload",),
        ),
    ] = False


class _Collinear(Service):
    name = "collinear"
    title = "Collinear"
    full_title = "Collinear AI"
    token_variable = "COLLINEAR_API_KEY"  # noqa: S105 - a variable's name
    url = "https://api.collinear.ai"
    max_chunk_bytes = 8 * MIB
    max_chunk_rows = 50_000  # the answer holds an id for each row: this bounds what must be kept of it
    options = CollinearOptions

    @property
    def settings(self) -> type[DestinationSettings]:
        from bulkup.destinations.collinear.settings import Collinear

        return Collinear

    @property
    def policy(self) -> Policy:
        from bulkup.doubt.by_count import BY_COUNT

        return BY_COUNT

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        from bulkup.destinations.collinear.assumptions import ASSUMPTIONS

        return ASSUMPTIONS

    def destination(self, dataset: DatasetAt, transport: Transport, token: TokenSource) -> Destination:
        from bulkup.destinations.collinear.wire import CollinearDestination

        space_id = dataset.place["space_id"]
        assert space_id is not None, "every dataset is in a space"
        return CollinearDestination(transport, token, dataset_name=dataset.name, space_id=space_id)

    def made_up_row(self, asked: str, said: str) -> dict[str, object]:
        return {
            "conv_prefix": [{"role": "user", "content": asked}],
            "response": {"role": "assistant", "content": said},
        }


COLLINEAR = _Collinear()
