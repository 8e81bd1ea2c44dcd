"""What a user may choose for Collinear."""

from __future__ import annotations

from uuid import UUID

from pydantic import field_validator

from bulkup.destinations.collinear import COLLINEAR, CollinearOptions
from bulkup.destinations.settings import DestinationSettings

__all__ = ["Collinear"]


class Collinear(CollinearOptions, DestinationSettings):
    """Collinear AI: one dataset in a space. The token is in `COLLINEAR_API_KEY` or *token_file*."""

    service = COLLINEAR.name
    place = ("space_id",)

    url: str = COLLINEAR.url

    @field_validator("space_id")
    @classmethod
    def _uuid(cls, value: str) -> str:
        try:
            return str(UUID(value))
        except ValueError:
            raise ValueError("give the space's UUID, such as 3c90c3cc-0d44-4b50-8888-8dd25736052a") from None

    def where(self) -> str:
        return f"space {self.space_id}"
