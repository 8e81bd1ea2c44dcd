"""What is measured: which rows go where, and how they are made on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.rows import Shape

if TYPE_CHECKING:
    from bulkup.config import Collinear, Nebius

__all__ = ["CASES", "SPACE_ID", "Case"]

SPACE_ID = "3c90c3cc-0d44-4b50-8888-8dd25736052a"


@dataclass(frozen=True, slots=True)
class Case:
    """One upload of the file of *shape*. *destination* makes the settings for the sink at a URL."""

    name: str
    shape: Shape
    destination: Callable[[str], Collinear | Nebius]


def _collinear_identity(url: str) -> Collinear:
    from bulkup import Collinear

    return Collinear(url=url, space_id=SPACE_ID)


def _collinear_chat(url: str) -> Collinear:
    from bulkup import Collinear

    return Collinear(url=url, space_id=SPACE_ID, preset="chat")


def _nebius_text(url: str) -> Nebius:
    from bulkup import Nebius

    return Nebius(url=url)


CASES = {
    case.name: case
    for case in (
        Case("collinear-identity", Shape.COLLINEAR, _collinear_identity),  # sent as they are: the two-pass path
        Case("nebius-text", Shape.CHAT, _nebius_text),  # `messages` as JSON text in a column
        Case("collinear-chat", Shape.CHAT, _collinear_chat),  # `messages` split into conv_prefix and response
    )
}
"""By name, in the order in which they run."""
