"""Writing what a bench has found into a config file that `bulkup upload --config` takes. Comments and all else stay."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulkup.cli.config_file import File
from bulkup.destinations.settings import DestinationSettings
from bulkup.errors import LocalDisk, UsageProblem
from bulkup.run.folder import write_private

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

__all__ = ["check_config", "write_config"]

MIB = 1024 * 1024


def check_config(path: Path, settings: DestinationSettings) -> None:
    """Raise `UsageProblem` now for what would keep `write_config` from writing later."""
    lane = settings.service
    folder = path.resolve().parent
    if not folder.is_dir():
        raise UsageProblem(f"--write-config {path}: there is no directory {folder}")
    if not path.exists():
        writable = os.access(folder, os.W_OK)
    else:
        writable = path.is_file() and os.access(path, os.W_OK) and os.access(folder, os.W_OK)
        url = File(path).lane(lane).get("url", type(settings).model_fields["url"].default)
        if str(url).rstrip("/") != settings.url.rstrip("/"):
            raise UsageProblem(
                f"--write-config {path}: its [{lane}] is for {url}, and this measures {settings.url}; name another file"
            )
    if not writable:
        raise UsageProblem(f"--write-config {path}: it cannot be written")


def write_config(
    path: Path, settings: DestinationSettings, *, chunk_bytes: int, concurrency: int | None, origin: str
) -> None:
    """Set the size, and the number at once if there is one, in the file's section for that destination. *origin*, one line, becomes
    their comment.

    A new file also says where it goes. Raises `LocalDisk`, and `UsageProblem` where the file has changed for the worse.
    """
    import tomlkit

    is_new = not path.exists()
    try:
        document = tomlkit.document() if is_new else tomlkit.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LocalDisk(f"{path}: {error.strerror}") from None
    except ValueError as error:  # it was readable before the bench began
        raise UsageProblem(f"config file {path}: {error}") from None
    lane = settings.service
    if is_new:
        document.add("to", tomlkit.item(lane))
    if lane not in document:
        document.add(lane, tomlkit.table())
    _fill(document, lane, _place(settings))
    for key, value in (("max_chunk_bytes", _size(chunk_bytes)), ("concurrency", concurrency)):
        if value is None:  # no limit was reached: what stands there stays
            continue
        item = tomlkit.item(value)
        item.comment(origin)
        _section(document, lane)[key] = item
    target = path.resolve()  # a link stays a link
    mode = None if is_new else target.stat().st_mode & 0o777
    write_private(target, tomlkit.dumps(document).encode())
    if mode is not None:
        target.chmod(mode)
    File(path)


def _place(settings: DestinationSettings) -> dict[str, Any]:
    """Where it goes, as far as it is not the default."""
    place: dict[str, Any] = {}
    if settings.url != type(settings).model_fields["url"].default:
        place["url"] = settings.url
    needed = (field for field in settings.place if type(settings).model_fields[field].is_required())
    place |= {field: getattr(settings, field) for field in needed}
    if settings.requests_per_minute is not None:
        place["requests_per_minute"] = settings.requests_per_minute
    return place


def _fill(document: TOMLDocument, lane: str, values: dict[str, Any]) -> None:
    """Add what the section does not have yet."""
    section = _section(document, lane)
    for key, value in values.items():
        if key not in section:
            section[key] = value


def _section(document: TOMLDocument, lane: str) -> dict[str, Any]:
    section: dict[str, Any] = document[lane]
    return section


def _size(count: int) -> int | str:
    return f"{count // MIB}MiB" if count % MIB == 0 else count
