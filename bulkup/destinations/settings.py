"""What the settings of every destination have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import SerializerFunctionWrapHandler, field_validator, model_serializer

from bulkup.destinations.service import DatasetAt
from bulkup.refusal import attempt
from bulkup.rows.function import Function, function_given, function_of
from bulkup.settings.config import Model
from bulkup.settings.destination import DestinationOptions
from bulkup.settings.option import settings_of
from bulkup.settings.repair import parse_repairs

if TYPE_CHECKING:
    from bulkup.encoding import RowOptions

__all__ = ["DestinationSettings"]

_ROWS = ("preset", "drop", "mapping")
"""The settings of every destination that change what is sent."""

_LATER_ROWS = ("turns", "repair", "map")
"""More of them. One that is not used is left out wherever settings are written, so a run without it has the id that it had before
there was one."""


class DestinationSettings(DestinationOptions, Model):
    """What every destination has. Sizes are in bytes, rates per unit of time as named; None means the destination's own default.

    A subclass belongs to one service. The base URL, *place* and whatever changes the rows make the run's id: two runs that differ
    in one of them are two runs.
    """

    service: ClassVar[str]
    """The service's name."""

    place: ClassVar[tuple[str, ...]]
    """The settings that say where at the service the dataset is, beside its name: text, or None."""

    row_settings: ClassVar[tuple[str, ...]] = ()
    """The keys of the subclass's own settings that change what is sent."""

    later_row_settings: ClassVar[tuple[str, ...]] = ()
    """More of them, which are left out where they are not used."""

    @field_validator("map")
    @classmethod
    def _function(cls, value: str | None) -> str | None:
        """With the hash of the file's content: that is what makes the rows."""
        if value is None:
            return None
        known = attempt(function_of, value)
        return value if isinstance(known, Function) else str(function_given(value))

    @field_validator("repair")
    @classmethod
    def _repairs(cls, value: str) -> str:
        return parse_repairs(value)

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        later = self._later()
        return {key: value for key, value in values.items() if value or key not in later}

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """What `help` says of each setting: the words of the option table."""
        said = {setting.field: setting for setting in settings_of(cls)}
        lines = [f"    {name}: {said[name].help}" for name in cls.model_fields if name in said]
        cls.__doc__ = f"{cls.__doc__ or cls.__name__}\n\n    Settings:\n\n" + "\n".join(lines)

    @classmethod
    def _later(cls) -> tuple[str, ...]:
        return (*_LATER_ROWS, *cls.later_row_settings)

    @property
    def makes_several(self) -> bool:
        """Whether others are made of the source's rows before anything else is done to them."""
        return self.map is not None

    def of_made_rows(self) -> Self:
        """The same for rows that were made already."""
        return self.model_copy(update={"map": None})

    def dataset(self, name: str) -> DatasetAt:
        """Where the dataset *name* is."""
        return DatasetAt(self.service, self.url, name, {field: getattr(self, field) for field in self.place})

    def identity(self) -> dict[str, Any]:
        """What these settings add to the run's id, by key, as JSON."""
        values = self.model_dump(mode="json", by_alias=True)
        known = {key: values[key] for key in ("url", *self.place, *_ROWS, *self.row_settings)}
        known |= {key: values[key] for key in self._later() if key in values}
        return known if self.map is None else known | {"map": function_of(self.map).key}

    def is_same_dataset(self, record: dict[str, Any]) -> bool:
        """Whether *record*, such settings as JSON, is of the same place at the same service."""
        return str(record["url"]).rstrip("/") == self.url.rstrip("/") and all(
            record[field] == getattr(self, field) for field in self.place
        )

    def where(self) -> str:
        """The place, in words."""
        return ", ".join(f"{field} {value}" for field in self.place if (value := getattr(self, field)) is not None)

    def row_options(self, common: RowOptions) -> RowOptions:
        """*common*, with what a subclass's own settings say of the rows."""
        return common

    def pending_s(self) -> float:
        """How long a dataset may be PENDING before its chunk counts as in doubt."""
        return 600.0
