"""What a service says of itself before anybody speaks to it. This loads nothing: the command line reads it for its help."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from bulkup.light_dataclass import dataclass
from bulkup.settings.option import Option, OptionTable, Setting, settings_of

if TYPE_CHECKING:
    from bulkup.destinations.assumptions import Assumption
    from bulkup.destinations.base import Destination
    from bulkup.destinations.settings import DestinationSettings
    from bulkup.doubt.policy import Policy
    from bulkup.tokens.token_source import TokenSource
    from bulkup.transport import Transport

__all__ = ["DatasetAt", "Service"]

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class DatasetAt:
    """A dataset's *name*, the service and its base URL, and the *place* of the dataset there: what the service wants to know.

    Plain values: a worker process gets it, and need not load what checks settings.
    """

    service: str
    url: str
    name: str
    place: Mapping[str, str | None]


class Service(ABC):
    """One service: its words, its defaults, and how to come by the parts that do the work. The parts are loaded when asked for.

    One instance of a subclass describes a service. It is registered in `bulkup.destinations.registry`, or by another
    distribution under the entry point group `bulkup.destinations`.
    """

    name: ClassVar[str]
    """The word for it: of `--to`, of the config file's section, of the lane."""

    title: ClassVar[str]
    """Its name in sentences."""

    full_title: ClassVar[str]
    """Its name in full."""

    token_variable: ClassVar[str]
    """The environment variable that holds its token."""

    url: ClassVar[str]
    """Its base URL, unless the user gives another."""

    max_chunk_bytes: ClassVar[int]
    """The largest body of a request, in bytes, unless the user gives another size. Whole MiB."""

    max_chunk_rows: ClassVar[int | None] = None
    """The most rows in a request, unless the user gives another number. None: no limit."""

    options: ClassVar[type[OptionTable]] = OptionTable
    """The table of its own options, beside those that every service has; *settings* inherits from it."""

    @property
    @abstractmethod
    def settings(self) -> type[DestinationSettings]:
        """The model of its settings."""

    @property
    @abstractmethod
    def policy(self) -> Policy:
        """How chunks become datasets there, and what shows whether one was stored."""

    @property
    @abstractmethod
    def assumptions(self) -> tuple[Assumption, ...]:
        """What is taken for true of it, in the order of `docs/guarantees.md`."""

    @abstractmethod
    def destination(self, dataset: DatasetAt, transport: Transport, token: TokenSource) -> Destination:
        """The destination that holds *dataset*, over *transport*."""

    @abstractmethod
    def made_up_row(self, asked: str, said: str) -> dict[str, object]:
        """A row in its shape that holds the two texts: what `bulkup bench` sends."""

    @property
    def own_settings(self) -> tuple[Setting, ...]:
        """The settings of its own table."""
        return settings_of(self.options)

    @property
    def url_setting(self) -> Setting:
        """What changes its base URL."""
        option = Option(name=f"{self.name}_url", metavar="URL", meaning="base URL", default=self.url)
        return Setting("url", option, self.url)

    @property
    def largest_body(self) -> str:
        """The default size of a request, for a person."""
        return f"{self.max_chunk_bytes // MIB}MiB for {self.name}"
