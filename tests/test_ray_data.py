"""The datasink's part of a write, without Ray: which files count, what a failure leaves, what goes to the nodes."""

from __future__ import annotations

import asyncio
import importlib
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pytest

from bulkup import Nebius
from bulkup.errors import ExitCode, TokenRefused, UsageProblem

T = TypeVar("T")


class Datasink(Generic[T]):
    """As Ray's."""


class BlockAccessor:
    """As Ray's, of blocks that are Arrow tables."""

    @staticmethod
    def for_block(block: Any) -> Any:
        return SimpleNamespace(to_arrow=lambda: block)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, members in (
        ("ray", {}),
        ("ray.data", {"Datasink": Datasink}),
        ("ray.data.block", {"Block": Any, "BlockAccessor": BlockAccessor}),
    ):
        made = ModuleType(name)
        vars(made).update(members)
        monkeypatch.setitem(sys.modules, name, made)
    monkeypatch.setenv("NEBIUS_API_KEY", "t0ken-7f3a9c")
    sys.modules.pop("bulkup.ray_data", None)
    yield importlib.import_module("bulkup.ray_data")
    sys.modules.pop("bulkup.ray_data", None)


class Uploaded:
    """Stands for `bulkup.upload`: what was to be uploaded, row by row."""

    def __init__(self, module: Any, monkeypatch: pytest.MonkeyPatch, code: ExitCode = ExitCode.ALL_LANDED) -> None:
        self.rows: list[list[bytes]] = []
        self.code = code
        monkeypatch.setattr(module, "upload", self.upload)
        monkeypatch.setattr(module, "upload_sync", lambda *given, **named: asyncio.run(self.upload(*given, **named)))

    async def upload(self, files: list[str], **_: Any) -> Any:
        self.rows.append(sorted(line for file in files for line in Path(file).read_bytes().splitlines()))
        return SimpleNamespace(exit_code=int(self.code))


@pytest.fixture
def uploaded(module: Any, monkeypatch: pytest.MonkeyPatch) -> Uploaded:
    return Uploaded(module, monkeypatch)


def sink(module: Any, folder: Path, **settings: Any) -> Any:
    return module.BulkupDatasink(folder / "s", destinations=[Nebius(folder="/tests")], name="numbers", **settings)


def block(*numbers: int) -> Any:
    return pa.table({"n": pa.array(numbers, pa.int64())})


def task(number: int) -> Any:
    return SimpleNamespace(task_idx=number)


def result(*returned: Any) -> Any:
    return SimpleNamespace(write_returns=list(returned))


def on_a_node(made: Any) -> Any:
    """What a node works with."""
    return pickle.loads(pickle.dumps(made))


def staged(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "s").glob("*part*"))


def test_of_a_write_that_ray_runs_again_the_one_that_it_counts_is_uploaded(
    module: Any, uploaded: Uploaded, tmp_path: Path
) -> None:
    made = sink(module, tmp_path)
    made.on_write_start(schema=None)
    first = [on_a_node(made).write([block(1, 2), block(), block(3)], task(0)) for _ in range(2)]
    other = on_a_node(made).write([block(4)], task(1))
    nothing = on_a_node(made).write([block()], task(2))
    assert nothing.file is None
    made.on_write_complete(result(first[1], other, nothing))
    assert uploaded.rows == [[b'{"n":1}', b'{"n":2}', b'{"n":3}', b'{"n":4}']]
    assert staged(tmp_path) == sorted([first[1].file, other.file]), "the other one's file is gone"
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "s").glob("*.json*")} == {0o600}


def test_a_job_that_runs_again_stages_nothing_and_uploads_the_same(
    module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failing = Uploaded(module, monkeypatch, ExitCode.TRY_LATER)
    made = sink(module, tmp_path)
    made.on_write_start()
    wrote = on_a_node(made).write([block(1, 2)], task(0))
    with pytest.raises(module.NotUploaded, match=r"exit code 75.*run the job again"):
        made.on_write_complete(result(wrote))
    made.on_write_failed(RuntimeError("as Ray tells it then"))
    before = staged(tmp_path)
    again = sink(module, tmp_path)
    again.on_write_start()
    wrote = on_a_node(again).write([block(2), block(1)], task(0))
    assert wrote == module.Staged(2)
    failing.code = ExitCode.SOME_REJECTED
    again.on_write_complete(result(wrote))
    assert failing.rows == [[b'{"n":1}', b'{"n":2}']] * 2
    assert staged(tmp_path) == before
    assert again.receipt is not None


def test_another_dataset_in_the_same_folder_is_refused(module: Any, uploaded: Uploaded, tmp_path: Path) -> None:
    made = sink(module, tmp_path)
    made.on_write_start()
    made.on_write_complete(result(made.write([block(1, 2)], task(0))))
    other = sink(module, tmp_path)
    other.on_write_start()
    with pytest.raises(
        UsageProblem, match="2 rows were staged here, and this dataset has 3; give another dataset another"
    ):
        other.on_write_complete(result(other.write([block(1, 2, 3)], task(0))))
    assert len(uploaded.rows) == 1


def test_a_write_that_fails_leaves_nothing(module: Any, tmp_path: Path) -> None:
    made, beside = sink(module, tmp_path), sink(module, tmp_path)
    made.on_write_start()
    made.write([block(1)], task(0))
    kept = beside.write([block(1)], task(0))

    def broken() -> Iterator[Any]:
        yield block(2)
        raise RuntimeError("the task's own")

    with pytest.raises(RuntimeError, match="the task's own"):
        made.write(broken(), task(1))
    with pytest.raises(UsageProblem, match="column d"):
        made.write([block(1), pa.table({"d": pa.array([0], pa.timestamp("s", "Nowhere/Land"))})], task(2))
    assert len(staged(tmp_path)) == 2
    made.on_write_failed(RuntimeError("x"))
    assert staged(tmp_path) == [kept.file], "what another job has staged is not this one's to remove"


def test_of_two_jobs_at_once_the_first_that_has_staged_all_counts(
    module: Any, uploaded: Uploaded, tmp_path: Path
) -> None:
    made, first = sink(module, tmp_path), sink(module, tmp_path)
    made.on_write_start()

    def blocks() -> Iterator[Any]:
        yield block(1)
        first.on_write_complete(result(first.write([block(1, 2)], task(0))))
        yield block(2)

    made.on_write_complete(result(made.write(blocks(), task(0))))
    assert uploaded.rows == [[b'{"n":1}', b'{"n":2}']] * 2, "the same files: the second run finds all of them landed"
    assert len(staged(tmp_path)) == 1


def test_a_dataset_without_rows_is_said(module: Any, uploaded: Uploaded, tmp_path: Path) -> None:
    """Ray does not say that a write begins if there is no block."""
    for returned in ([], [module.Staged(0)]):
        with pytest.raises(UsageProblem, match="no rows: nothing is uploaded"):
            sink(module, tmp_path).on_write_complete(result(*returned))
    assert uploaded.rows == []


def test_nodes_learn_nothing_of_settings_or_tokens(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["t0ken-7f3a9c", "pa55-88e1", "token-file-5c1d", "Bearer"]
    (tmp_path / "token-file-5c1d").write_text("t0ken-7f3a9c")
    made = module.BulkupDatasink(
        tmp_path / "s",
        destinations=[Nebius(folder="/tests", token_file=tmp_path / "token-file-5c1d")],
        name="numbers",
        journal="postgresql://me:pa55-88e1@db/x",
    )
    made.on_write_start()
    for text in (
        pickle.dumps(made),
        repr(made).encode(),
        str(on_a_node(made)).encode(),
        repr(vars(on_a_node(made))).encode(),
    ):
        assert [word for word in words if word.encode() in text] == []
    assert os.fspath(tmp_path / "s") in repr(made)


def test_what_is_wrong_is_said_before_anything_is_computed(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageProblem, match="nowhere to upload to"):
        module.BulkupDatasink(tmp_path, destinations=[], name="x")
    with pytest.raises(UsageProblem, match="retry_four_s"):
        sink(module, tmp_path, retry_four_s=3)
    monkeypatch.delenv("NEBIUS_API_KEY")
    with pytest.raises(TokenRefused, match="NEBIUS_API_KEY"):
        sink(module, tmp_path).on_write_start()


async def test_it_uploads_where_a_loop_runs_already_as_in_a_notebook(
    module: Any, uploaded: Uploaded, tmp_path: Path
) -> None:
    made = sink(module, tmp_path)
    made.on_write_start()
    made.on_write_complete(result(made.write([block(7)], task(0))))
    assert uploaded.rows == [[b'{"n":7}']]
