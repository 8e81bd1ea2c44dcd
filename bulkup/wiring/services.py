"""The table of services. No settings are needed here, so that a worker process need not load what checks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bulkup.destinations.base import Destination
from bulkup.destinations.collinear.wire import CollinearDestination
from bulkup.destinations.nebius.wire import NebiusDestination
from bulkup.token_source import TokenSource
from bulkup.transport import Transport

__all__ = ["DatasetAt", "destination_of"]

_SERVICES: Mapping[str, Callable[..., Destination]] = {"nebius": NebiusDestination, "collinear": CollinearDestination}


@dataclass(frozen=True, slots=True)
class DatasetAt:
    """A dataset's *name*, the service and its base URL, and the *place* of the dataset there: what the service wants to know."""

    service: str
    url: str
    name: str
    place: Mapping[str, str | None]


def destination_of(dataset: DatasetAt, transport: Transport, token: TokenSource) -> Destination:
    """The destination that holds *dataset*."""
    return _SERVICES[dataset.service](transport, token, dataset_name=dataset.name, **dataset.place)
