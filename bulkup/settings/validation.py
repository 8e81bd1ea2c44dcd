"""How closely rows are looked at before they are sent."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Validation"]


class Validation(StrEnum):
    """What is checked of a row before it is sent."""

    FULL = "full"
    """Everything that is known of the destination's rows."""

    TRUST = "trust"
    """That each line is one `{…}`, and what making a row anew needs; the rest is left to the destination."""
