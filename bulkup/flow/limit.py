"""The largest body a destination takes, as far as it has shown."""

from __future__ import annotations

from bulkup.light_dataclass import dataclass

__all__ = ["BodyLimit"]


@dataclass(slots=True)
class BodyLimit:
    """The largest body that may be sent now. A 413 lowers it; `learned` is what the service taught, None if nothing."""

    bytes: int
    learned: int | None = None

    def refused(self, size: int) -> None:
        """A body of *size* bytes was too large."""
        self.bytes = self.learned = max(1, min(self.bytes, size // 2))
