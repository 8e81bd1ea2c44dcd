"""What a user may choose for Nebius."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from bulkup.destinations.nebius import NEBIUS, NebiusOptions
from bulkup.destinations.settings import DestinationSettings
from bulkup.encoding import RowOptions
from bulkup.light_dataclass import replace
from bulkup.rows.schema import Nested, misspelt
from bulkup.settings.config import Table

__all__ = ["Nebius"]


class Nebius(NebiusOptions, DestinationSettings):
    """Nebius Token Factory: one dataset, or a family of them, in *folder*. The token is in `NEBIUS_API_KEY` or *token_file*."""

    service = NEBIUS.name
    place = ("folder", "ai_project_id")
    row_settings = ("schema", "columns", "nested")
    later_row_settings = ("column",)

    url: str = NEBIUS.url
    whole_schema: Table | None = Field(default=None, alias="schema")
    columns: Table = Field(default_factory=dict)
    nested: Literal["text", "as-is"] = "text"
    pending_timeout_s: Annotated[float, Field(gt=0)] = 600.0

    @field_validator("column")
    @classmethod
    def _named_and_typed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            name, equals, kind = text.rpartition("=")
            if not equals or not name or not kind.removesuffix("?"):
                raise ValueError(f"{text!r} is not NAME=TYPE, such as score=integer or note=string?")
            if (meant := misspelt(kind)) is not None:
                raise ValueError(f"{text!r}: there is no type {kind.removesuffix('?')!r} (did you mean {meant}?)")
        return value

    def where(self) -> str:
        return f"folder {self.folder}"

    def row_options(self, common: RowOptions) -> RowOptions:
        pairs = (text.rpartition("=") for text in self.column)
        columns = {**self.columns, **{name: kind for name, _, kind in pairs}}
        return replace(common, schema=self.whole_schema, columns=columns, nested=Nested(self.nested))

    def pending_s(self) -> float:
        return self.pending_timeout_s
