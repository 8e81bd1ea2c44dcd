"""What a user may choose for Collinear."""

from __future__ import annotations

from typing import Self
from uuid import UUID

from pydantic import field_validator

from bulkup.destinations.collinear import COLLINEAR, CollinearOptions
from bulkup.destinations.settings import DestinationSettings
from bulkup.encoding import RowOptions
from bulkup.light_dataclass import replace

__all__ = ["Collinear"]


class Collinear(CollinearOptions, DestinationSettings):
    """Collinear AI: one dataset in a space. The token is in `COLLINEAR_API_KEY` or *token_file*."""

    service = COLLINEAR.name
    place = ("space_id",)
    later_row_settings = ("both_sides",)

    url: str = COLLINEAR.url

    @field_validator("space_id")
    @classmethod
    def _uuid(cls, value: str) -> str:
        try:
            return str(UUID(value))
        except ValueError:
            raise ValueError("give the space's UUID, such as 3c90c3cc-0d44-4b50-8888-8dd25736052a") from None

    @property
    def makes_several(self) -> bool:
        return self.both_sides or super().makes_several

    def of_made_rows(self) -> Self:
        return super().of_made_rows().model_copy(update={"both_sides": False})

    def row_options(self, common: RowOptions) -> RowOptions:
        return replace(common, both_sides=self.both_sides)

    def where(self) -> str:
        return f"space {self.space_id}"
