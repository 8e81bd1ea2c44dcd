"""A dataset of `ray.data` into the services: `dataset.write_datasink(BulkupDatasink(FOLDER, destinations=[...], name="..."))`.

Ray runs a write again if it thinks that it was lost, so rows must not go to a service from there: neither service can delete. Each
write stages its rows as JSON lines in a file of shared storage. What is uploaded, once and at the end, are the files of the writes
that Ray counts. The job may be run again: what was staged whole is not staged again, and the upload goes on where it stood.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from anyio.from_thread import start_blocking_portal
from ray.data import Datasink
from ray.data.block import Block, BlockAccessor

from bulkup.account.receipt import Receipt
from bulkup.api import make_upload, upload, upload_sync
from bulkup.destinations.settings import DestinationSettings
from bulkup.errors import ExitCode, UsageProblem
from bulkup.ray_lines import lines_of
from bulkup.run.build import token_of

__all__ = ["BulkupDatasink", "NotUploaded", "Staged"]

COMPLETE = "complete.json"
"""Names the staged files once there are all of them."""


class NotUploaded(Exception):
    """The upload has ended with another exit code than 0 or 3; its text says which and why. Running the job again goes on."""


@dataclass(frozen=True)
class Staged:
    """What a write has come to: how many rows, and their file; none where there are no rows, or all were staged before."""

    rows: int
    file: str | None = None


class BulkupDatasink(Datasink[Staged]):
    """Stages rows in *staging*, a folder that all nodes and the driver share, and uploads them when the write is complete.

    *settings* are those of `bulkup.upload`. Runs are kept in *staging* too unless `state_dir` says otherwise, so that the job can
    be run again from another machine. *receipt* is the upload's, once it is done. Nodes learn where to stage, and nothing else: no
    setting, and no token. Raises `UsageProblem` where a setting is wrong.
    """

    def __init__(
        self,
        staging: str | os.PathLike[str],
        *,
        destinations: Sequence[DestinationSettings],
        name: str,
        **settings: Any,
    ) -> None:
        self._staging = str(Path(staging).absolute())
        self._job = uuid4().hex[:12]
        self._destinations = tuple(destinations)
        self._name = name
        self._settings = {"state_dir": str(Path(self._staging) / "runs"), **settings}
        self.receipt: Receipt | None = None
        if not self._destinations:
            raise UsageProblem("nowhere to upload to: give destinations")
        make_upload(self._staging, self._destinations, name, dict(self._settings))

    def __repr__(self) -> str:
        return f"BulkupDatasink({self._staging!r}, name={self._name!r})"

    def __getstate__(self) -> dict[str, Any]:
        """For the nodes: pickles pass through Ray's storage, and are kept there."""
        return {**vars(self), "_destinations": (), "_settings": {}, "receipt": None}

    def on_write_start(self, *_: Any, **__: Any) -> None:
        """As Ray's: on the driver, before any write. Raises `TokenRefused` where there is no token, before hours are spent."""
        for destination in self._destinations:
            token_of(destination)
        Path(self._staging).mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, blocks: Iterable[Block], ctx: Any) -> Staged:
        """As Ray's: on a node. Stages *blocks* in a file, unless an earlier job has staged all. Raises `UsageProblem` where a value
        has no form in JSON."""
        folder = Path(self._staging)
        tables = (BlockAccessor.for_block(block).to_arrow() for block in blocks)
        if self._listed() is not None:
            return Staged(sum(table.num_rows for table in tables))
        name = f"part-{ctx.task_idx:06d}-{self._job}-{uuid4().hex}.jsonl"
        draft = folder / f"{name}.new"
        rows = 0
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                for table in tables:
                    rows += table.num_rows
                    file.writelines(lines_of(table))
                file.flush()
                os.fsync(file.fileno())
            if rows:
                draft.rename(folder / name)
        except FileNotFoundError:
            if self._listed() is None:
                raise
            return Staged(rows)  # another job has staged all meanwhile, and has removed what is not its own
        finally:
            draft.unlink(missing_ok=True)
        return Staged(rows, name if rows else None)

    def on_write_complete(self, write_result: Any) -> None:
        """As Ray's: on the driver. Uploads. Raises `NotUploaded`, and what `bulkup.upload` raises."""
        folder = Path(self._staging)
        rows = sum(staged.rows for staged in write_result.write_returns)
        known = self._listed()
        if known is None:
            if not rows:
                raise UsageProblem("the dataset has no rows: nothing is uploaded")
            known = {
                "rows": rows,
                "files": sorted(one.file for one in write_result.write_returns if one.file is not None),
            }
            self._list(known)
        if known["rows"] != rows:
            raise UsageProblem(
                f"{folder}: {known['rows']:,} rows were staged here, and this dataset has {rows:,}; give another dataset another "
                "folder, or remove this one if what is in it need not be uploaded"
            )
        self._discard("part-*", but=known["files"])
        self.receipt = self._uploaded([str(folder / name) for name in known["files"]])
        code = ExitCode(self.receipt.exit_code)
        if code not in (ExitCode.ALL_LANDED, ExitCode.SOME_REJECTED):
            raise NotUploaded(
                f"the upload has ended with exit code {int(code)}: its receipt stands in {self._settings['state_dir']}; "
                "run the job again, and it goes on"
            )

    def on_write_failed(self, error: Exception) -> None:
        """As Ray's: on the driver. What this job has staged is of no use, unless there is all of it."""
        if self._listed() is None:
            self._discard(f"part-*-{self._job}-*")

    def _uploaded(self, files: list[str]) -> Receipt:
        send = partial(upload, files, destinations=self._destinations, name=self._name, **self._settings)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return upload_sync(files, destinations=self._destinations, name=self._name, **self._settings)
        with start_blocking_portal() as portal:  # a notebook, whose own loop waits here
            return portal.call(send)

    def _listed(self) -> dict[str, Any] | None:
        """What was staged whole."""
        try:
            found: dict[str, Any] = json.loads((Path(self._staging) / COMPLETE).read_text())
        except FileNotFoundError:
            return None
        return found

    def _list(self, known: dict[str, Any]) -> None:
        """Durably: the names of the files before the file that says that these are all."""
        draft = Path(self._staging) / f"{COMPLETE}.{self._job}"
        _sync(draft.parent)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump(known, file)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(Path(self._staging) / COMPLETE)
        _sync(draft.parent)

    def _discard(self, pattern: str, but: Sequence[str] = ()) -> None:
        kept = frozenset(but)
        for path in Path(self._staging).glob(pattern):
            if path.name not in kept:
                path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
