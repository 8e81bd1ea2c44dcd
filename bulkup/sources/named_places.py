"""What the names in a folder, a prefix or an archive say of it as a whole: that it is a table's, what in it is beside the rows, and
which columns stand in the names of folders. One rule, wherever files are listed.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from bulkup.errors import UsageProblem

__all__ = ["is_hidden", "partition_keys", "refuse_table", "table_of", "without_companions"]

_TABLES = {"_delta_log": "Delta Lake", ".hoodie": "Hudi"}
"""Folders that make the folder in which they stand a table."""

_SIGNS = (*_TABLES, ".metadata.json")
"""A path without any of them says of no table."""

_ICEBERG = re.compile(r"(?:(.*)/)?metadata/[^/]+\.metadata\.json(?:\.gz)?", re.DOTALL)
_WAYS = {
    "Delta Lake": "polars.read_delta(FOLDER).write_parquet(NEW)",
    "Hudi": "spark.read.format('hudi').load(FOLDER).write.parquet(NEW)",
    "Iceberg": "polars.scan_iceberg(METADATA_JSON).sink_parquet(NEW)",
}
_DATA = {"Iceberg": "data/**/*.parquet"}

_BESIDE_ARROW = ("dataset_dict.json", "dataset_info.json", "state.json")
"""What stands beside the rows in a saved data set. What `map` and `filter` made of it is kept there too, as `cache-….arrow`."""

_PARTITION = re.compile(r"([^=/]+)=[^/]*")


def table_of(path: str) -> tuple[str, str] | None:
    """The folder of the table to which the file or folder at *path* belongs, and its kind; None where the names say of none."""
    if not any(map(path.__contains__, _SIGNS)):
        return None
    found = _ICEBERG.fullmatch(path)
    if found is not None:
        return found[1] or "", "Iceberg"
    steps = path.split("/")
    at = next((number for number, step in enumerate(steps) if step in _TABLES), None)
    return None if at is None else ("/".join(steps[:at]), _TABLES[steps[at]])


def refuse_table(place: str, paths: Sequence[str], *, otherwise: str | None = None) -> None:
    """Raise `UsageProblem` where one of *paths* below *place* says that a table stands there: its files are not its rows.

    *otherwise*: what else to do than to write what the table holds, if it is not to name the files.
    """
    if not any(map("\n".join(paths).__contains__, _SIGNS)):  # of ten thousand paths each would be asked
        return
    for path in paths:
        found = table_of(path)
        if found is not None:
            inside, kind = found
            folder = place.rstrip("/") + (f"/{inside}" if inside else "")
            names = otherwise or f"name the files: '{folder}/{_DATA.get(kind, '*.parquet')}'"
            raise UsageProblem(
                f"{folder}: is a table of {kind}, whose folder keeps files that the table has deleted. Write what it holds, "
                f"such as {_WAYS[kind]}, or {names}"
            )


def without_companions(paths: Sequence[str]) -> list[str]:
    """*paths* without what `save_to_disk` of the hub's data sets keeps beside the rows, where there is such a data set."""
    if ".arrow" not in "\n".join(paths):
        return list(paths)
    return [path for path in paths if not _is_companion(posixpath.basename(path))]


def _is_companion(name: str) -> bool:
    return name in _BESIDE_ARROW or (name.startswith("cache-") and name.endswith(".arrow"))


def is_hidden(path: str) -> bool:
    """Whether the file at *path*, or a folder in which it stands, is hidden: what programs keep there for themselves."""
    if not path.startswith((".", "_")) and "/." not in path and "/_" not in path:
        return False
    return any(part.startswith((".", "_")) and part not in (".", "..") for part in path.split("/"))


def partition_keys(path: str) -> list[str]:
    """The keys in the names of the folders right above the file at *path*, as Hive has them: `year=2024/lang=de/part-0.parquet`."""
    keys: list[str] = []
    if "=" not in path:
        return keys
    for folder in reversed(path.split("/")[:-1]):
        found = _PARTITION.fullmatch(folder)
        if found is None:
            break
        keys.insert(0, found[1])
    return keys
