"""A dataset of `ray.data` into the services: `dataset.write_datasink(BulkupDatasink(FOLDER, destinations=[...], name="..."))`.

Ray runs a write again if it thinks that it was lost, so rows must not go to a service from there: neither service can delete. Each
write stages its rows in a file of shared storage. What is uploaded, once and at the end, are the files of the writes that Ray
counts. The job may be run again: what was staged whole is not staged again, and the upload goes on where it stood.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
from ray.data import Datasink
from ray.data.block import Block, BlockAccessor

from bulkup.account.receipt import Receipt
from bulkup.api import upload_sync
from bulkup.destinations.settings import DestinationSettings
from bulkup.errors import ExitCode, UsageProblem

__all__ = ["BulkupDatasink", "NotUploaded"]

COMPLETE = "complete.json"
"""Names the staged files once there are all of them."""


class NotUploaded(Exception):
    """The upload has ended with another exit code than 0 or 3; its text says which and why. Running the job again goes on."""


class BulkupDatasink(Datasink[list[str]]):
    """Stages rows in *staging*, a folder that all nodes and the driver share, and uploads them when the write is complete.

    *settings* are those of `bulkup.upload`. Runs are kept in *staging* too unless `state_dir` says otherwise, so that the job can
    be run again from another machine. *receipt* is the upload's, once it is done.
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
        self._destinations = tuple(destinations)
        self._name = name
        self._settings = {"state_dir": str(Path(self._staging) / "runs"), **settings}
        self._is_staged = False
        self.receipt: Receipt | None = None

    def on_write_start(self, *_: Any, **__: Any) -> None:
        """As Ray's: on the driver, before any write."""
        if not self._destinations:
            raise UsageProblem("nowhere to upload to: give destinations")
        Path(self._staging).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._is_staged = (Path(self._staging) / COMPLETE).exists()

    def write(self, blocks: Iterable[Block], ctx: Any) -> list[str]:
        """As Ray's: on a node. The file that was staged; none where an earlier job has staged all of them."""
        if self._is_staged:
            return []
        name = f"part-{ctx.task_idx:06d}-{uuid4().hex}.arrow"
        draft = Path(self._staging) / f"{name}.new"
        writer: pa.RecordBatchFileWriter | None = None
        schema: Any = None
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for block in blocks:
                table = BlockAccessor.for_block(block).to_arrow()
                if table.num_rows == 0:
                    continue
                if writer is None:
                    schema = table.schema
                    writer = pa.ipc.new_file(file, schema)
                writer.write_table(table.cast(schema))
            if writer is not None:
                writer.close()
                file.flush()
                os.fsync(file.fileno())
        if writer is None:
            draft.unlink()
            return []
        draft.rename(Path(self._staging) / name)
        return [name]

    def on_write_complete(self, write_result: Any) -> None:
        """As Ray's: on the driver. Uploads. Raises `NotUploaded`, and what `bulkup.upload` raises."""
        listed = Path(self._staging) / COMPLETE
        if not self._is_staged:
            names = sorted(name for found in write_result.write_returns for name in found)
            draft = listed.with_suffix(".new")
            draft.write_text(json.dumps(names))
            draft.rename(listed)
        files = [str(Path(self._staging) / name) for name in json.loads(listed.read_text())]
        if not files:
            raise UsageProblem("the dataset has no rows: nothing is uploaded")
        self.receipt = upload_sync(files, destinations=self._destinations, name=self._name, **self._settings)
        code = ExitCode(self.receipt.exit_code)
        if code not in (ExitCode.ALL_LANDED, ExitCode.SOME_REJECTED):
            raise NotUploaded(
                f"the upload has ended with exit code {int(code)}: its receipt stands in {self._settings['state_dir']}; "
                "run the job again, and it goes on"
            )
