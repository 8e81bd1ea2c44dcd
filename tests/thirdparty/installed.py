"""The one file as an installed distribution: what `pip install` would leave in a folder, and an environment that finds it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ["TOKEN", "environment_with", "install"]

FILE = Path(__file__).with_name("bulkup_thirdparty.py")
ROOT = Path(__file__).parents[2]
TOKEN = {"THIRDPARTY_KEY": "tp-token-81c0aa37f2"}


def install(folder: Path, *, name: str = "thirdparty", value: str = "bulkup_thirdparty:THIRDPARTY") -> Path:
    """Put the distribution into *folder*, its entry point being *name* = *value*."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(FILE, folder)
    info = folder / "bulkup_thirdparty-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bulkup-thirdparty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[bulkup.destinations]\n{name} = {value}\n")
    return folder


def environment_with(folder: Path) -> dict[str, str]:
    """This process's environment, with what is installed in *folder*, and its token."""
    path = os.pathsep.join([str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, **TOKEN}
