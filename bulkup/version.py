"""The version, in one place."""

from __future__ import annotations

__all__ = ["USER_AGENT", "VERSION"]

VERSION = "0.1.0"
USER_AGENT = f"bulkup/{VERSION}"
