"""Archives that stand one behind the other, as `cat` puts them: the rows of all but one would be passed over."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from bulkup.errors import UsageProblem
from bulkup.sources import open_source


def packed(kind: str, name: str) -> bytes:
    out, data = io.BytesIO(), b'{"a":1}\n'
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(name, data)
        return out.getvalue()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue()) if kind == "tar.gz" else out.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_second_archive_behind_the_first_is_not_passed_over(tmp_path: Path, kind: str) -> None:
    one, other = packed(kind, "a.jsonl"), packed(kind, "b.jsonl")
    path = tmp_path / f"both.{kind}"
    path.write_bytes(one + other)
    with pytest.raises(UsageProblem, match=f"is more than one {kind.partition('.')[0]} archive, one behind the other"):
        open_source([str(path)], max_row_bytes=1000)
    path.write_bytes(one)
    assert [file.uri for file in open_source([str(path)], max_row_bytes=1000).files] == [f"{path}::a.jsonl"]
