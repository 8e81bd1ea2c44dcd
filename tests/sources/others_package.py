"""A package of somebody else's, made on disk, that brings formats."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def toy_format() -> str:
    """The code on the page."""
    _, behind = PAGE.read_text(encoding="utf-8").split("```python\n")
    return behind.partition("```")[0]


def install(site: Path, **formats: str) -> Path:
    """What an installer would leave in *site*: each of *formats* as `module:name`, and the page's module."""
    about = site / "others-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1\n")
    points = "".join(f"{name} = {value}\n" for name, value in formats.items())
    (about / "entry_points.txt").write_text(f"[bulkup.formats]\n{points}")
    (site / "toy_format.py").write_text(toy_format(), encoding="utf-8")
    (site / "cells_format.py").write_bytes((Path(__file__).parent / "cells_format.py").read_bytes())
    return site
